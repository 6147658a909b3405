"""Clients under watch: what a test of one needs, and what it must not leave behind.

``pytestmark = pytest.mark.usefixtures("no_leaks")`` lets each test of a module fail that
leaves a socket, a task, a thread or an unclosed thing.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Self, TypeVar

import pytest
from scripted import ScriptedServer
from sending import MESSAGE

from smtpsend import AsyncClient, Outcome, Receipt
from smtpsend._client.background import portal


T = TypeVar("T")

_PATIENCE = 10.0
_BACKGROUND = "smtpsend"  # the one thread that may stay


def numbered(n: int) -> bytes:
    """A message with a Message-ID of its own."""
    return MESSAGE.replace(b"<1@example.org>", b"<%d@example.org>" % n)


def ids(scripted: ScriptedServer) -> list[int]:
    """The numbers of the messages accepted, in order; twice what came twice."""
    return sorted(int(m.message_id[1:].split("@")[0]) for m in scripted.accepted)


def one_port(*scripts: Any) -> ScriptedServer:
    """A server with one port, and a script for each connection in turn."""
    return ScriptedServer(starttls=list(scripts) or {}, implicit=None, starttls2=None)


def eventually(predicate: Callable[[], object], what: str = "") -> None:
    """Wait until the predicate is true.

    Raises:
        AssertionError: it did not become true in time.
    """
    until = time.monotonic() + _PATIENCE
    while not predicate():
        if time.monotonic() > until:
            raise AssertionError(what or "it did not happen in time")
        threading.Event().wait(0.005)


def sockets() -> set[str]:
    """The sockets that this process has open."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def others() -> set[threading.Thread]:
    """The threads, without the one that the library keeps."""
    return {t for t in threading.enumerate() if t.name != _BACKGROUND}


def background() -> list[threading.Thread]:
    """The library's background thread: one at most."""
    return [t for t in threading.enumerate() if t.name == _BACKGROUND]


async def _tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


def tasks() -> set[asyncio.Task[Any]]:
    """What runs on the library's background loop."""
    return portal.run(_tasks)


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, and no task but the main one is left when that ends."""

    async def watched() -> T:
        result = await main
        left = await _tasks()
        assert not left, f"tasks left: {left}"
        return result

    return asyncio.run(watched())


class InLoop:
    """`AsyncClient` with the face of `Client`; its loop stands still between calls."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.client = AsyncClient(*args, **options)
        self._servers = self.client._servers
        self._runner = asyncio.Runner()

    def send(self, *args: Any, **options: Any) -> Receipt:
        """`AsyncClient.send`."""
        return self._runner.run(self.client.send(*args, **options))

    def send_many(self, *args: Any, **options: Any) -> list[Outcome]:
        """`AsyncClient.send_many`, to the end."""

        async def collect() -> list[Outcome]:
            return [one async for one in self.client.send_many(*args, **options)]

        return self._runner.run(collect())

    def check(self, **options: Any) -> None:
        """`AsyncClient.check`."""
        self._runner.run(self.client.check(**options))

    def close(self) -> None:
        """`AsyncClient.aclose`."""
        self._runner.run(self.client.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._runner:
            self.close()
            left = self._runner.run(_tasks())
        assert error or not left, f"tasks left: {left}"


def pytest_collection_finish() -> None:
    """What modules and collected tests hold is not looked through for each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Nothing that a test opened or started is left after it."""
    portal.run(_tasks)  # its thread and its loop's own sockets stay for the next test
    with warnings.catch_warnings(action="ignore"):
        gc.collect()
    gc.freeze()  # what other tests left is looked through once, and not for each test
    had = sockets(), others()
    yield
    with warnings.catch_warnings(record=True, action="always") as warned:
        gc.collect()
    eventually(lambda: not sockets() - had[0], "a socket is left")
    eventually(lambda: not others() - had[1], f"threads left: {others() - had[1]}")
    eventually(lambda: not tasks(), f"tasks left: {tasks()}")
    assert len(background()) == 1, background()
    assert not warned, [str(one.message) for one in warned]
