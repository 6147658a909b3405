"""No wait for a reply is held up by an acknowledgement that the kernel delays."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from sending import MESSAGE, SENDER, envelope, forget
from tls import ca_file
from withholding import Watch, WithholdingServer

from smtpsend import (
    AsyncClient,
    Client,
    Method,
    Password,
    Policy,
    Server,
    send,
    send_async,
)
from smtpsend._wire.transport.acknowledge import Acknowledger


pytestmark = pytest.mark.skipif(
    not hasattr(socket, "TCP_QUICKACK"), reason="the system has no TCP_QUICKACK"
)

OFFERS: dict[str, tuple[str, ...]] = {
    "neither": (),
    "pipelining": ("PIPELINING",),
    "chunking": ("PIPELINING", "CHUNKING"),
}
# A busy machine may be too slow to deliver an acknowledgement at once, but not always.
TRIES = 3


def one_sync(server: Server) -> int:
    send(MESSAGE, server, **envelope())
    return 1


def one_async(server: Server) -> int:
    asyncio.run(send_async(MESSAGE, server, **envelope()))
    return 1


def kept_sync(server: Server) -> int:
    with Client(server) as client:
        for _ in range(2):
            client.send(MESSAGE, **envelope())
    return 2


def many_async(server: Server) -> int:
    async def many() -> int:
        mails = [(MESSAGE, SENDER, ["bob@example.net"])] * 5
        async with AsyncClient(server, max_connections=1, window=2) as client:
            return len([one async for one in client.send_many(mails) if one.receipt])

    return asyncio.run(many())


WORKS = [one_sync, one_async, kept_sync, many_async]


def delayed(
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Server], int],
    offers: str,
    security: str,
) -> tuple[list[str], list[str]]:
    """The waits of some work, and those whose acknowledgement was delayed."""
    with monkeypatch.context() as patch:
        watch = Watch(patch)
        implicit = security == "implicit"
        with WithholdingServer(watch, *OFFERS[offers], implicit=implicit) as scripted:
            forget()
            method = Method(scripted.port, "implicit" if implicit else "starttls")
            server = Server(
                "127.0.0.1",
                Password("ann", "secret"),
                policy=Policy(methods=(method,)),
                cafile=ca_file(),
                ehlo_name="client.example.org",
            )
            assert work(server) == scripted.accepted
    return watch.waits, watch.delayed


@pytest.mark.parametrize("security", ["starttls", "implicit"])
@pytest.mark.parametrize("offers", OFFERS)
@pytest.mark.parametrize("work", WORKS)
def test_each_wait_acknowledges(
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Server], int],
    offers: str,
    security: str,
) -> None:
    """What was read is acknowledged before anything is waited for, at every wait."""
    always: set[str] | None = None
    for _ in range(TRIES):
        waits, found = delayed(monkeypatch, work, offers, security)
        assert {"greeting", "EHLO", "AUTH", "session tickets"} <= set(waits)
        always = set(found) if always is None else always & set(found)
        if not always:
            return
    assert not always


@pytest.mark.parametrize("security", ["starttls", "implicit"])
def test_the_delay_is_seen(monkeypatch: pytest.MonkeyPatch, security: str) -> None:
    """Without the option every wait is held up from EHLO on, but one in the handshake."""
    monkeypatch.setattr(Acknowledger, "acknowledge", lambda self: None)
    always: set[str] = set()
    for _ in range(TRIES):
        _, found = delayed(monkeypatch, one_async, "chunking", security)
        always |= set(found)
    # The kernel does not delay the first acknowledgements of a connection.
    first = "TLS handshake" if security == "starttls" else "session tickets"
    assert {first, "EHLO", "AUTH", "MAIL RCPT BDAT QUIT"} <= always
