"""Sockets are closed as sockets, and a machine without descriptors is no dead end."""

from __future__ import annotations

import asyncio
import gc
import os
import stat

import pytest
from leaks import eventually, ids, letter, sockets
from scripted import ScriptedServer
from sending import envelope, server_for

from smtpsend import AsyncClient, Receipt


@pytest.fixture
def _as_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, `os.close` accepts no socket: a socket's handle is no descriptor."""
    close = os.close

    def picky(fd: int) -> None:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            raise OSError(9, "Bad file descriptor")
        close(fd)

    monkeypatch.setattr(os, "close", picky)


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
@pytest.mark.usefixtures("_as_on_windows")
def test_second_loop() -> None:
    """An `AsyncClient` of one event loop sends in the next, and closes in a third."""
    had = sockets()
    with ScriptedServer() as scripted:
        client = AsyncClient(server_for(scripted, "implicit"))

        async def send(n: int) -> Receipt:
            return await client.send(letter(n), **envelope())

        asyncio.run(send(1))
        asyncio.run(send(2))
        asyncio.run(client.aclose())
        gc.collect()
    assert ids(scripted) == [1, 2]
    eventually(lambda: not sockets() - had, "a socket is left")
