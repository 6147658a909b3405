"""EXTERNAL: a login by the certificate of the client (RFC 4422 appendix A)."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import tls
from scripted import Script, ScriptedServer, reply
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import External, SendError, Server
from smtpsend.check import check
from smtpsend.errors import AuthError, ConfigError, Event


def wanting() -> ssl.SSLContext:
    """The server's side: only clients with a certificate of our CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.ca().issue_cert(*tls.NAMES).configure_cert(context)
    context.load_verify_locations(tls.ca_file())
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def with_certificate() -> ssl.SSLContext:
    """The client's side, with a certificate."""
    context = tls.client_context()
    tls.ca().issue_cert("client.example.org").configure_cert(context)
    return context


def offering(mechanisms: str, **on: Any) -> Script:
    """A server that offers these mechanisms."""
    return Script(on, offers=("ENHANCEDSTATUSCODES", f"AUTH {mechanisms}"))


@pytest.fixture(autouse=True)
def _wanting(monkeypatch: pytest.MonkeyPatch) -> None:
    context = wanting()
    monkeypatch.setattr(tls, "server_context", lambda kind="good": context)


def external(scripted: ScriptedServer, name: str = "", **options: Any) -> Server:
    """The server, with a login by certificate."""
    auth, context = External(name), with_certificate()
    return server_for(scripted, auth=auth, ssl_context=context, **options)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("", b"AUTH EXTERNAL ="),
        ("user@example.org", b"AUTH EXTERNAL dXNlckBleGFtcGxlLm9yZw=="),
    ],
)
@pytest.mark.parametrize("send", WAYS)
def test_login(name: str, line: bytes, send: Send) -> None:
    """The certificate logs in, for its own account or for the one that is named."""
    with ScriptedServer(offering("PLAIN EXTERNAL")) as scripted:
        send(MESSAGE, external(scripted, name), **envelope())
    commands = [command for _, command in scripted.connections[0].commands]
    assert [command for command in commands if command.startswith(b"AUTH")] == [line]
    assert len(scripted.accepted) == 1
    scripted.assert_clean()


@pytest.mark.parametrize("send", WAYS)
def test_refused(send: Send) -> None:
    """A refusal names the certificate, and says what to look at."""
    script = offering("EXTERNAL", auth=reply(535, "5.7.8", "who are you"))
    with ScriptedServer(script) as scripted, pytest.raises(AuthError) as caught:
        send(MESSAGE, external(scripted), **envelope())
    assert "the login of the client certificate" in caught.value.message
    assert "load_cert_chain" in caught.value.hint
    assert len(scripted.connections) == 1


@pytest.mark.parametrize("send", WAYS)
def test_not_offered(send: Send) -> None:
    """Where EXTERNAL is not offered, nothing is sent, and the hint says what to do."""
    with ScriptedServer(offering("PLAIN")) as scripted:
        with pytest.raises(SendError) as caught:
            send(MESSAGE, external(scripted), **envelope())
        report = check(external(scripted))
    assert caught.value.event is Event.NO_MECHANISM
    assert "need one of EXTERNAL" in caught.value.message
    assert "no login by a certificate" in caught.value.hint
    assert not report.ok
    scripted.assert_clean(auths=0)


def test_report() -> None:
    """A check reports the login by its mechanism."""
    with ScriptedServer(offering("PLAIN EXTERNAL")) as scripted:
        login = check(external(scripted)).login
    assert login is not None
    assert (login.username, login.mechanism) == ("the client certificate", "EXTERNAL")


@pytest.mark.parametrize("options", [{}, {"fingerprint": "sha256:" + "0" * 64}])
def test_no_context(options: dict[str, str]) -> None:
    """Without a context there is no certificate: refused before any connection."""
    with pytest.raises(ConfigError, match="load_cert_chain"):
        Server("mail.example.org", External(), **options)


@pytest.mark.parametrize("name", ["a\0b", "a\n", b"a", None])
def test_unusable_names(name: Any) -> None:
    """A user name that cannot be sent is refused when it is given."""
    with pytest.raises(ConfigError):
        External(name)
