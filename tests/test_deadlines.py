"""P4: every call ends in time, typed, whatever the server, the network or DNS does."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted import Action, Script, ScriptedServer, drip, hang
from scripted.actions import endless_line, endless_multiline
from sending import MESSAGE, WAYS, Send, envelope, patiently, send_in_loop, server_for

from smtpsend import SendError, Server, send_async
from smtpsend.errors import (
    ConnectError,
    ConnectionLost,
    DeliveryUnknown,
    Event,
    Phase,
    TLSError,
)


STEPS: dict[str, tuple[type[SendError], Phase]] = {
    "connect": (ConnectError, Phase.GREETING),
    "greeting": (ConnectError, Phase.GREETING),
    "ehlo": (ConnectError, Phase.EHLO),
    "starttls": (TLSError, Phase.STARTTLS),
    "tls": (TLSError, Phase.TLS),
    "ehlo2": (ConnectError, Phase.EHLO),
    "auth": (ConnectionLost, Phase.AUTH),
    "mail": (ConnectionLost, Phase.MAIL),
    "rcpt": (ConnectionLost, Phase.RCPT),
    "data": (ConnectionLost, Phase.DATA),
    "final": (DeliveryUnknown, Phase.FINAL),
}
LATE = 20.0  # no call here is allowed more than 1 s; the rest is for a busy machine


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Fail if what is done takes far longer than it may."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < LATE


def patient(scripted: ScriptedServer, **options: Any) -> Server:
    """A server with one method, whose steps may take for ever: the deadline decides."""
    long = {"connect_timeout": 300, "reply_timeout": 300, "final_timeout": 300}
    return server_for(scripted, "starttls", **{**long, **options})


@pytest.mark.parametrize("moment", STEPS)
@pytest.mark.parametrize("send", WAYS)
@patiently
def test_drip(moment: str, send: Send) -> None:
    """A byte each 50 ms at any step does not stretch a call beyond its deadline."""
    data = b"\x16\x03\x03\x3f\xff\x02" if moment == "tls" else b"250-"
    script = Script({moment: drip(data + b"\0" * 10_000, 0.05)})
    with ScriptedServer(script) as scripted:
        with in_time(), pytest.raises(SendError) as caught:
            send(MESSAGE, patient(scripted), **envelope(timeout=0.4))
    error = caught.value
    assert (type(error), error.phase) == STEPS[moment]
    assert error.timed_out
    assert error.temporary is (moment != "final")
    assert error.attempts[-1].phase == error.phase
    assert not scripted.accepted
    scripted.assert_clean()


@pytest.mark.parametrize("moment", STEPS)
@pytest.mark.parametrize("action", [endless_line(), endless_multiline()], ids=str)
def test_endless(moment: str, action: Action) -> None:
    """A line or a reply without end is typed at any step, long before the deadline."""
    with ScriptedServer({moment: action}) as scripted:
        with in_time(), pytest.raises(SendError) as caught:
            send_in_loop(MESSAGE, patient(scripted), **envelope(timeout=60))
    error = caught.value
    assert (type(error), error.phase) == STEPS[moment]
    assert not error.timed_out
    assert not scripted.accepted


@pytest.mark.parametrize("limit", ["reply_timeout", "final_timeout"])
@pytest.mark.parametrize("send", WAYS)
@patiently
def test_steps_have_limits(limit: str, send: Send) -> None:
    """A step's own limit ends it where the deadline is far away."""
    moment = "final" if limit == "final_timeout" else "greeting"
    with ScriptedServer({moment: hang()}) as scripted:
        server = patient(scripted, **{limit: 0.3}, deadline=300)
        with in_time(), pytest.raises(SendError) as caught:
            send(MESSAGE, server, **envelope())
    assert (type(caught.value), caught.value.timed_out) == (STEPS[moment][0], True)


@pytest.mark.parametrize("moment", ["quit", "final"])
@pytest.mark.parametrize("send", WAYS)
def test_goodbye(moment: str, send: Send) -> None:
    """After the receipt nothing is waited for, whatever the server does with QUIT."""
    deaf = Action("deaf", lambda talk: (talk.do_normal(), talk.wire.go_deaf()))
    with ScriptedServer({moment: hang() if moment == "quit" else deaf}) as scripted:
        with in_time():
            receipt = send(MESSAGE, patient(scripted), **envelope())
    assert receipt.reply.code == 250
    assert len(scripted.accepted) == 1


Found = Callable[..., list[Any]]


def found(*addresses: str) -> Found:
    """A getaddrinfo that finds these addresses for any name."""
    v6, v4 = (socket.AF_INET6, 1, 6, ""), (socket.AF_INET, 1, 6, "")
    answer = [(*v6, (a, 0, 0, 0)) if ":" in a else (*v4, (a, 0)) for a in addresses]
    return lambda *_, **__: answer


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A look-up that does not come back until the test is over; set when it began."""
    over, began = threading.Event(), threading.Event()

    def look_up(*_: object, **__: object) -> list[Any]:
        began.set()
        over.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield began
    over.set()


@pytest.mark.usefixtures("hanging")
@pytest.mark.parametrize("options", [{"timeout": 0.5}, {}], ids=["deadline", "step"])
@pytest.mark.parametrize("send", WAYS)
def test_look_up_hangs(options: dict[str, float], send: Send) -> None:
    """A look-up that hangs ends within the deadline, and within connect_timeout."""
    with ScriptedServer() as scripted:
        server = patient(scripted, connect_timeout=300 if options else 0.5)
        server = dataclasses.replace(server, host="localhost")
        with in_time(), pytest.raises(ConnectError) as caught:
            send(MESSAGE, server, **envelope(**options))
    error = caught.value
    assert (error.phase, error.event) == (Phase.RESOLVE, Event.UNRESOLVED)
    assert (error.timed_out, error.temporary) == (True, True)
    assert not scripted.connections
    assert not [t.name for t in threading.enumerate() if t.name.startswith("asyncio_")]


LOOK_UPS: dict[str, tuple[Exception, bool]] = {
    "unknown": (socket.gaierror(socket.EAI_NONAME, "unknown"), False),
    "later": (socket.gaierror(socket.EAI_AGAIN, "later"), True),
    "failed": (socket.gaierror(socket.EAI_FAIL, "failed"), True),
    "OSError": (OSError("no resolver"), True),
    "StopIteration": (StopIteration(), True),
    "UnicodeError": (UnicodeError("label empty or too long"), True),
    "TimeoutError": (TimeoutError("not ours"), True),
}


@pytest.mark.parametrize("case", LOOK_UPS)
@pytest.mark.parametrize("send", WAYS)
def test_look_up_fails(case: str, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that fails is a ConnectError, for good only where the name is unknown."""
    error, temporary = LOOK_UPS[case]

    def look_up(*_: object, **__: object) -> list[Any]:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(ConnectError) as caught:
        send(MESSAGE, "host.example", **envelope())
    assert (type(caught.value), caught.value.temporary) == (ConnectError, temporary)
    if case != "StopIteration":
        assert (caught.value.phase, caught.value.timed_out) == (Phase.RESOLVE, False)


def test_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without an address is a ConnectError."""
    monkeypatch.setattr(socket, "getaddrinfo", found())
    with pytest.raises(ConnectError) as caught:
        send_in_loop(MESSAGE, "host.example", **envelope())
    assert caught.value.phase is Phase.RESOLVE


@contextlib.contextmanager
def black_hole(host: str, port: int) -> Iterator[None]:
    """An address that neither takes nor refuses a connection."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind((host, port))
        sock.listen(0)
        for n in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(n == 0)
            filler.connect_ex((host, port))
        yield


# The server's own address, what the look-up finds, and whether 127.0.0.2 swallows all.
ADDRESSES = {
    "refused first": ("127.0.0.1", ["127.0.0.2", "127.0.0.1"], False),
    "black hole first": ("127.0.0.1", ["127.0.0.2", "127.0.0.1"], True),
    "many refused first": (
        "127.0.0.1",
        [f"127.0.0.{n}" for n in range(2, 30)] + ["127.0.0.1"],
        False,
    ),
    "IPv6 dead": ("127.0.0.1", ["::1", "127.0.0.1"], False),
    "IPv4 dead": ("::1", ["127.0.0.1", "::1"], False),
    "IPv4 swallowed": ("::1", ["127.0.0.2", "127.0.0.3", "::1"], True),
    "good first": ("::1", ["::1", "127.0.0.2"], True),
    "twice the same": ("127.0.0.1", ["127.0.0.1", "127.0.0.1"], False),
}


@pytest.mark.parametrize("case", ADDRESSES)
@pytest.mark.parametrize("send", WAYS)
def test_addresses(case: str, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead address of a host costs a head start, and no fallback of the method."""
    own, addresses, swallows = ADDRESSES[case]
    monkeypatch.setattr(socket, "getaddrinfo", found(*addresses))
    with ScriptedServer(host=own) as scripted, contextlib.ExitStack() as stack:
        if swallows:
            stack.enter_context(black_hole("127.0.0.2", scripted.port("starttls")))
        server = dataclasses.replace(patient(scripted), host="localhost")
        receipt = send(MESSAGE, server, **envelope())
    assert (receipt.address, receipt.attempts) == (own, ())
    assert len(scripted.connections) == len(scripted.accepted) == 1
    scripted.assert_clean()


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("send", WAYS)
@patiently
def test_dead_addresses(
    swallows: bool, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every address is dead, it is one ConnectError, in time."""
    monkeypatch.setattr(socket, "getaddrinfo", found("127.0.0.2", "127.0.0.3"))
    with ScriptedServer() as scripted, contextlib.ExitStack() as stack:
        if swallows:
            stack.enter_context(black_hole("127.0.0.2", scripted.port("starttls")))
        server = patient(scripted, connect_timeout=0.5)
        server = dataclasses.replace(server, host="localhost")
        with in_time(), pytest.raises(ConnectError) as caught:
            send(MESSAGE, server, **envelope())
    error = caught.value
    assert (error.phase, error.event) == (Phase.CONNECT, Event.UNREACHABLE)
    assert (error.timed_out, error.temporary) == (swallows, True)
    assert len(error.attempts) == 1


def cancelled(server: Server, reached: threading.Event) -> None:
    """Cancel a send once `reached` is set, and see that nothing of it is left."""

    async def main() -> None:
        sending = asyncio.create_task(send_async(MESSAGE, server, **envelope()))
        while not reached.is_set():
            await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with in_time():
        asyncio.run(main())


@pytest.mark.parametrize("moment", STEPS)
def test_cancelled(moment: str) -> None:
    """A send that is cancelled at any step hangs up, and leaves nothing behind."""
    reached = threading.Event()
    script = Script({moment: Action("reached", lambda _: reached.set()) + hang()})
    with ScriptedServer(script) as scripted:
        cancelled(patient(scripted, deadline=300), reached)
        scripted.wait_closed(1)
        assert [c.closed_by for c in scripted.connections] == ["client"]
    assert not scripted.accepted
    scripted.assert_clean()


def test_cancelled_in_a_look_up(hanging: threading.Event) -> None:
    """A send that is cancelled while its look-up hangs ends at once."""
    with ScriptedServer() as scripted:
        server = dataclasses.replace(patient(scripted, deadline=300), host="localhost")
        cancelled(server, hanging)
    assert not scripted.connections
