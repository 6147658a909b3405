"""A port that speaks TLS from the first byte, where a greeting is expected."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from leaks import one_port
from scripted import Script, ScriptedServer, hang, say
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import Method, Password, Policy, Server
from smtpsend.check import check
from smtpsend.errors import ConnectError, Event, Phase, TLSError


pytestmark = pytest.mark.usefixtures("no_leaks")
sending = pytest.mark.parametrize("send", WAYS)


def implicit_as(scripted: ScriptedServer, security: str, **options: Any) -> Server:
    """The port with implicit TLS as a `Server` that expects a greeting there."""
    method = Method(scripted.port("implicit"), security)  # type: ignore[arg-type]
    policy = Policy(methods=(method,), reply_timeout=60, deadline=90)
    options.setdefault("auth", Password(scripted.user, scripted.password))
    return Server(scripted.host, policy=policy, **options)


@sending
@pytest.mark.usefixtures("probed_soon")
@pytest.mark.parametrize("certificate", ["good", "expired", "old_tls"])
def test_told_from_a_dead_port(certificate: str, send: Send) -> None:
    """The error says what the port speaks, long before the time-out of a reply."""
    script = Script(certificate=certificate)
    with ScriptedServer(implicit=script, starttls=None, starttls2=None) as scripted:
        server = implicit_as(scripted, "starttls", cafile=scripted.ca)
        with pytest.raises(TLSError) as caught:
            send(MESSAGE, server, **envelope(timeout=30))
        port = scripted.port("implicit")
    error = caught.value
    assert "TLS from the first byte" in error.message
    assert f"Method({port}, 'implicit')" in error.hint
    assert "smtps://" in error.hint
    assert (error.phase, error.event) == (Phase.GREETING, Event.NO_GREETING)
    assert not error.temporary
    assert not error.timed_out
    assert len(scripted.connections) == 2
    for connection in scripted.connections:
        assert connection.commands == []
        assert scripted.password.encode() not in bytes(connection.plaintext)


@sending
@pytest.mark.usefixtures("probed_soon")
def test_pinned_and_in_plaintext(send: Send) -> None:
    """The same with a pinned certificate, and for a sink in plaintext."""
    pin = "sha256:" + "0" * 64
    with ScriptedServer(starttls=None, starttls2=None) as scripted:
        for options in (
            {"security": "starttls", "fingerprint": pin},
            {"security": "plaintext", "auth": None},
        ):
            with pytest.raises(TLSError) as caught:
                send(MESSAGE, implicit_as(scripted, **options), **envelope(timeout=30))
            assert "'implicit'" in caught.value.hint


@pytest.mark.usefixtures("probed_soon")
def test_check_says_the_same() -> None:
    """A check names the error of a send, and what the port speaks."""
    with ScriptedServer(starttls=None, starttls2=None) as scripted:
        report = check(implicit_as(scripted, "starttls", cafile=scripted.ca), timeout=30)
    (method,) = report.methods
    assert isinstance(report.error, TLSError)
    assert method.speaks == "implicit"
    assert "'implicit'" in report.advice[0]


@contextmanager
def late(scripted: ScriptedServer, second: str) -> Iterator[tuple[int, list[str]]]:
    """A port whose first connection waits for a second one before it is served.

    Args:
        scripted: the server that the first connection is passed on to.
        second: what becomes of the second connection: "closed", "silent" or "greeted".
    """
    seen: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve() -> None:
        first, _ = listener.accept()
        other, _ = listener.accept()
        seen.append(second)
        if second == "closed":
            other.close()
        elif second == "greeted":
            other.sendall(b"220 slow.example ESMTP\r\n")
        behind = socket.create_connection((scripted.host, scripted.port("starttls")))
        back = threading.Thread(target=pump, args=(behind, first))
        back.start()
        pump(first, behind)
        back.join()
        for one in (first, other, behind):
            one.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1], seen
    finally:
        thread.join()
        listener.close()


@sending
@pytest.mark.usefixtures("probed_soon")
@pytest.mark.parametrize("second", ["closed", "silent", "greeted"])
def test_slow_greeting(second: str, send: Send) -> None:
    """A late greeting is waited for, whatever became of the second connection."""
    with one_port() as scripted, late(scripted, second) as (port, seen):
        policy = Policy(methods=(Method(port, "starttls"),), reply_timeout=30)
        login = Password(scripted.user, scripted.password)
        server = Server(scripted.host, login, policy=policy, cafile=scripted.ca)
        assert send(MESSAGE, server, **envelope()).attempts == ()
    assert seen == [second]
    assert len(scripted.accepted) == 1
    scripted.assert_clean()


@sending
@pytest.mark.usefixtures("probed_soon")
def test_dead_port(send: Send) -> None:
    """A port that sends nothing at all is silent, and the error names the whole time."""
    with ScriptedServer("silent", implicit=None, starttls2=None) as scripted:
        server = server_for(scripted, reply_timeout=0.6)
        with pytest.raises(ConnectError) as caught:
            send(MESSAGE, server, **envelope())
    assert not isinstance(caught.value, TLSError)
    assert caught.value.timed_out
    assert "within 0.6 s" in caught.value.message
    assert len(scripted.connections) == 2


@sending
@pytest.mark.usefixtures("probed_soon")
def test_begun_greeting(send: Send) -> None:
    """A server that has begun its greeting is not asked whether it speaks TLS."""
    teaser = Script({"greeting": say(b"220-wait\r\n") + hang()})
    with one_port(teaser) as scripted:
        server = server_for(scripted, reply_timeout=0.6)
        with pytest.raises(ConnectError):
            send(MESSAGE, server, **envelope())
    assert len(scripted.connections) == 1
