"""Replies are acknowledged at once, where the system has an option for that."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from leaks import numbered, one_port
from sending import envelope, server_for

from smtpsend import Client
from smtpsend._wire.transport.acknowledge import Acknowledger


linux = pytest.mark.skipif(
    not hasattr(socket, "TCP_QUICKACK"), reason="the system has no TCP_QUICKACK"
)


class Transport(asyncio.Transport):
    """A transport of this socket, or of none."""

    def __init__(self, sock: Any) -> None:
        super().__init__({"socket": sock})


@linux
def test_before_each_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option is set on the socket of the connection, once for each reply or more."""
    seen: list[int] = []
    acknowledge = Acknowledger.acknowledge

    def noted(self: Acknowledger) -> None:
        acknowledge(self)
        sock = self._socket
        assert sock is not None
        seen.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK))

    monkeypatch.setattr(Acknowledger, "acknowledge", noted)
    with one_port() as scripted, Client(server_for(scripted)) as client:
        client.send(numbered(1), **envelope())
        (record,) = scripted.connections
        assert len(seen) >= len(record.verbs)
    assert set(seen) == {1}


@pytest.mark.parametrize("sock", [None, object(), "closed"])
def test_a_transport_without_a_socket(sock: Any) -> None:
    """A transport without a usable socket is left alone, and asked once only."""
    if sock == "closed":
        sock = socket.socket()
        sock.close()
    acknowledger = Acknowledger()
    acknowledger.use(Transport(sock))
    acknowledger.acknowledge()
    assert acknowledger._socket is None
    acknowledger.acknowledge()
