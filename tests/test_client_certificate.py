"""A server that wants a certificate of the client, and says so early or late."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import tls
import trustme
from scripted import Script, ScriptedServer, say
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import Method, Policy, Server
from smtpsend._wire.tls.alerts import about_client, alert_of
from smtpsend.check import check
from smtpsend.errors import Event, Phase, TLSError


VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def wanting(version: str = "1.3") -> ssl.SSLContext:
    """The server's side: only clients with a certificate of our CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.ca().issue_cert(*tls.NAMES).configure_cert(context)
    context.load_verify_locations(tls.ca_file())
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = VERSIONS[version]
    return context


def client(kind: str) -> ssl.SSLContext:
    """The client's side, with a certificate of this kind."""
    context = tls.client_context()
    authority = trustme.CA() if kind == "unknown ca" else tls.ca()
    ended = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    until = {"not_after": ended} if kind == "certificate expired" else {}
    if kind != "none":
        authority.issue_cert("client.example.org", **until).configure_cert(context)
    return context


@pytest.fixture
def _wanting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    context = wanting(getattr(request, "param", "1.3"))
    monkeypatch.setattr(tls, "server_context", lambda kind="good": context)


def judged(error: TLSError, alert: str) -> None:
    """The error is about the client's certificate, permanent, and says what to do."""
    assert (type(error), error.event) == (TLSError, Event.CLIENT_CERTIFICATE)
    assert (error.phase, error.temporary, error.timed_out) == (Phase.TLS, False, False)
    assert f"(TLS alert: {alert})" in error.message
    assert "certificate of the client" in error.message
    assert "load_cert_chain" in error.hint
    assert "EHLO" not in str(error)


@pytest.mark.usefixtures("_wanting")
@pytest.mark.parametrize("_wanting", VERSIONS, indirect=True)
@pytest.mark.parametrize("security", ["implicit", "starttls"])
@pytest.mark.parametrize("send", WAYS)
def test_given(security: str, send: Send) -> None:
    """The right certificate is all that it takes."""
    with ScriptedServer() as scripted:
        server = server_for(scripted, security, ssl_context=client("good"))
        send(MESSAGE, server, **envelope())
    assert len(scripted.accepted) == 1


@pytest.mark.usefixtures("_wanting")
@pytest.mark.parametrize(
    ("_wanting", "kind"),
    [
        ("1.3", "none"),
        ("1.3", "unknown ca"),
        ("1.3", "certificate expired"),
        ("1.2", "unknown ca"),
        ("1.2", "certificate expired"),
    ],
    indirect=["_wanting"],
)
@pytest.mark.parametrize("security", ["implicit", "starttls"])
@pytest.mark.parametrize("send", WAYS)
def test_refused(kind: str, security: str, send: Send) -> None:
    """None, or the wrong one: the server's alert, whenever it comes."""
    with ScriptedServer() as scripted:
        server = server_for(scripted, security, ssl_context=client(kind))
        with pytest.raises(TLSError) as caught:
            send(MESSAGE, server, **envelope())
    judged(caught.value, "certificate required" if kind == "none" else kind)
    scripted.assert_clean(auths=0)


@pytest.mark.usefixtures("_wanting")
@pytest.mark.parametrize("send", WAYS)
def test_others_closed(send: Send) -> None:
    """It is permanent, also where the other ports are closed, as on most servers."""
    with ScriptedServer(implicit="refused", starttls2="refused") as scripted:
        with pytest.raises(TLSError) as caught:
            send(MESSAGE, server_for(scripted), **envelope())
        report = check(server_for(scripted))
    judged(caught.value, "certificate required")
    assert len(caught.value.attempts) == 3
    assert "wants a certificate of the client" in report.advice[0]
    assert "load_cert_chain" in report.advice[0]


@contextmanager
def abrupt(context: ssl.SSLContext) -> Iterator[int]:
    """A server that resets the connection with the alert; the port.

    With an EHLO unread, or the end of the client's handshake, Linux sends a RST.
    """

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.settimeout(10)
            with suppress(OSError), connection:
                connection.sendall(b"220 mx.example.org\r\n")
                connection.recv(999)
                connection.sendall(b"250-mx.example.org\r\n250 STARTTLS\r\n")
                connection.recv(999)
                connection.sendall(b"220 go\r\n")
                context.wrap_socket(connection, server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("send", WAYS)
def test_reset(send: Send) -> None:
    """A reset right after the alert does not hide it, though no EHLO can be written."""
    with abrupt(wanting()) as port:
        policy = Policy(methods=(Method(port, "starttls"),))
        server = Server("localhost", policy=policy, cafile=tls.ca_file())
        for _ in range(5):
            with pytest.raises(TLSError) as caught:
                send(MESSAGE, server, **envelope())
            judged(caught.value, "certificate required")


# Alerts by their numbers (RFC 8446 section 6), as a server sends them to the ClientHello.
ALERTS = {
    40: None,
    41: "no certificate",
    42: "bad certificate",
    43: "unsupported certificate",
    44: "certificate revoked",
    45: "certificate expired",
    46: "certificate unknown",
    48: "unknown ca",
    49: "access denied",
    70: None,
    71: None,
    80: None,
    112: None,
    116: "certificate required",
}


@pytest.mark.parametrize("number", ALERTS)
@pytest.mark.parametrize("security", ["implicit", "starttls"])
def test_alerts(number: int, security: str) -> None:
    """An alert in the handshake: about the client's certificate, or not."""
    alert = say(bytes([0x15, 3, 3, 0, 2, 2, number]))
    with ScriptedServer(Script({"tls": alert})) as scripted:
        with pytest.raises(TLSError) as caught:
            WAYS[1](MESSAGE, server_for(scripted, security), **envelope())
    name = ALERTS[number]
    if name is None:
        assert caught.value.event is Event.HANDSHAKE
        assert not caught.value.temporary
    else:
        judged(caught.value, name)


def test_names() -> None:
    """What is no alert of the server is none; some count after the handshake alone."""
    for error in (None, OSError(1, "x"), ssl.SSLError(1, "x"), ssl.SSLEOFError(8, "x")):
        assert alert_of(error) is None
    for alert in ("handshake failure", "decrypt error"):
        assert about_client(alert, afterwards=True)
        assert not about_client(alert)
    assert not about_client("internal error", afterwards=True)
