"""P1: a server's name counts where it stands in subjectAltName (RFC 9525 section 2)."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import Any

import pytest
import tls
from scripted import Script, ScriptedServer
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import Method, Policy, Server
from smtpsend.check import check
from smtpsend.errors import CertificateError, ConfigError, Phase


NAMELESS = ["cn_only", "cn_and_ip"]
METHODS = ["implicit", "starttls"]


def by_name(scripted: ScriptedServer, *methods: str, **options: Any) -> Server:
    """A scripted server by its name, with a context of the caller."""
    options.setdefault("ssl_context", ssl.create_default_context(cafile=scripted.ca))
    return replace(server_for(scripted, *methods, **options), host="localhost")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", NAMELESS)
@pytest.mark.parametrize("send", WAYS)
def test_common_name(kind: str, method: str, send: Send) -> None:
    """A common name is no name, whatever the caller's context makes of it."""
    with ScriptedServer(Script(certificate=kind)) as scripted:
        with pytest.raises(CertificateError, match="common name") as caught:
            send(MESSAGE, by_name(scripted, method), **envelope())
    assert caught.value.phase is Phase.TLS
    assert not caught.value.temporary
    assert not any(c.received for c in scripted.connections)
    assert any(c.tls_version for c in scripted.connections)
    scripted.assert_clean(auths=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_alternative_name(host: str, method: str) -> None:
    """A name or an address in subjectAltName is one, for the same context."""
    with ScriptedServer() as scripted:
        server = replace(by_name(scripted, method), host=host)
        WAYS[0](MESSAGE, server, **envelope())
    assert len(scripted.accepted) == 1


def test_address_beside_a_common_name() -> None:
    """An address that stands in subjectAltName needs no host name beside it."""
    with ScriptedServer(Script(certificate="cn_and_ip")) as scripted:
        server = replace(by_name(scripted, "implicit"), host="127.0.0.1")
        WAYS[0](MESSAGE, server, **envelope())
    assert len(scripted.accepted) == 1


def test_pinned() -> None:
    """A pinned certificate is trusted whatever its names."""
    with ScriptedServer(Script(certificate="cn_only")) as scripted:
        server = by_name(scripted, "implicit")
        pin = check(server, timeout=20).methods[0].certificate
        assert pin is not None
        pinned = replace(server, ssl_context=None, fingerprint=pin.fingerprint)
        WAYS[0](MESSAGE, pinned, **envelope())
    assert len(scripted.accepted) == 1


@pytest.mark.parametrize("kind", NAMELESS)
def test_advice(kind: str) -> None:
    """A check says that it is the name, and shows the certificate."""
    with ScriptedServer(Script(certificate=kind)) as scripted:
        report = check(by_name(scripted, "implicit"), timeout=20)
    assert isinstance(report.error, CertificateError)
    assert report.methods[0].certificate is not None
    assert not report.methods[0].certificate.verified
    assert "not for localhost" in report.advice[0]


TRUST: dict[str, dict[str, Any]] = {
    "cafile": {"cafile": tls.ca_file()},
    "fingerprint": {"fingerprint": "sha256:" + "0" * 64},
    "context": {"ssl_context": tls.client_context()},
}


@pytest.mark.parametrize("what", TRUST)
def test_trust_beside_plaintext(what: str) -> None:
    """What is to be trusted, beside a method without TLS, is a ConfigError."""
    plaintext = Policy(methods=(Method(1025, "plaintext"),))
    with pytest.raises(ConfigError, match="plaintext"):
        Server("127.0.0.1", policy=plaintext, **TRUST[what])
    with pytest.raises(ConfigError, match="plaintext"):
        replace(Server("127.0.0.1", **TRUST[what]), policy=plaintext)
    assert Server("127.0.0.1", policy=plaintext).plaintext


METADATA = ["169.254.169.254", "169.254.0.1", "::ffff:169.254.169.254"]


@pytest.mark.parametrize("address", METADATA)
@pytest.mark.parametrize("send", WAYS)
def test_metadata(address: str, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    """An IPv4 address of the link, where clouds keep credentials, is no private one."""
    plaintext = Policy(methods=(Method(25, "plaintext"),))
    with pytest.raises(ConfigError):
        Server(address, policy=plaintext)
    family = 10 if ":" in address else 2
    found = [(family, 1, 6, "", (address, 0, 0, 0) if ":" in address else (address, 0))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    with pytest.raises(ConfigError, match="private"):
        send(MESSAGE, Server("sink.example", policy=plaintext), **envelope())
