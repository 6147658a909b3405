"""Whom a `Server` trusts, what it calls itself, and where plaintext may go."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import tls
from scripted import Action, Script, ScriptedServer
from sending import MESSAGE, WAYS, Send, envelope, send_in_loop, send_sync, server_for

from smtpsend import Method, OAuth2, Password, Policy, Server
from smtpsend._model.server.host import check_private
from smtpsend._wire.tls.context import context_for
from smtpsend.errors import CertificateError, ConfigError, SendError


CUT = b"-----BEGIN CERTIFICATE-----\nAAAA\n"


@pytest.mark.parametrize("content", [None, b"", b"no PEM", CUT])
@pytest.mark.parametrize("send", WAYS)
def test_cafile(content: bytes | None, send: Send, tmp_path: Path) -> None:
    """A cafile that is missing or holds no certificate is a ConfigError that names it."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with ScriptedServer() as scripted:
        with pytest.raises(ConfigError, match=r"ca\.pem"):
            send(MESSAGE, server_for(scripted, cafile=str(file)), **envelope())
    assert not scripted.connections


@pytest.mark.parametrize("cafile", [1, b"ca.pem", "a\0b", "\ud800", "/", ""], ids=ascii)
@pytest.mark.parametrize("send", WAYS)
def test_no_cafile(cafile: Any, send: Send) -> None:
    """What cannot be a file of CAs is a ConfigError, before any network."""
    with pytest.raises(ConfigError):
        send(MESSAGE, Server("127.0.0.1", cafile=cafile), **envelope())


def test_renewed_cafile(tmp_path: Path) -> None:
    """A cafile that was replaced is read again; a path-like one is taken, too."""
    file = tmp_path / "ca.pem"
    wrong = tls.trustme.CA().cert_pem.bytes()
    file.write_bytes(wrong)
    with ScriptedServer() as scripted:
        server = server_for(scripted, "implicit", cafile=file)
        with pytest.raises(CertificateError):
            send_sync(MESSAGE, server, **envelope())
        file.write_bytes(tls.ca().cert_pem.bytes())
        os.utime(file, (1, 1))
        send_sync(MESSAGE, server, **envelope())
    assert len(scripted.accepted) == 1


def test_our_context() -> None:
    """Our context verifies all, the same on each Python, and is built once."""
    context = context_for(tls.ca_file(), None)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.hostname_checks_common_name
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert context_for(tls.ca_file(), None) is context
    assert context_for(None, None).get_ca_certs()


def context(**changes: Any) -> ssl.SSLContext:
    """A context that trusts the CA of the tests, with changes that may make it unfit."""
    made = tls.client_context()
    for name, value in changes.items():
        setattr(made, name, value)
    return made


UNFIT: dict[str, dict[str, Any]] = {
    "any name": {"check_hostname": False},
    "no certificate": {"check_hostname": False, "verify_mode": ssl.CERT_NONE},
    "optional": {"check_hostname": False, "verify_mode": ssl.CERT_OPTIONAL},
    "optional, names checked": {"verify_mode": ssl.CERT_OPTIONAL},
}


@pytest.mark.parametrize("case", UNFIT)
@pytest.mark.parametrize("send", WAYS)
def test_unfit_context(case: str, send: Send) -> None:
    """A context that does not verify is a ConfigError, and nothing is connected."""
    unfit = context(**UNFIT[case])
    with ScriptedServer() as scripted, pytest.raises(ConfigError):
        send(MESSAGE, server_for(scripted, ssl_context=unfit), **envelope())
    assert not scripted.connections


def test_context_of_a_server() -> None:
    """A context made for servers is a ConfigError, and nothing is connected."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.verify_mode, made.check_hostname = ssl.CERT_REQUIRED, True
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    with ScriptedServer() as scripted, pytest.raises(ConfigError):
        send_sync(MESSAGE, server_for(scripted, ssl_context=made), **envelope())
    assert not scripted.connections


@pytest.mark.parametrize("send", WAYS)
def test_changed_context(send: Send) -> None:
    """A context that was weakened after the send began is refused at the handshake."""
    weakened = context()

    def weaken(talk: Any) -> None:
        weakened.check_hostname = False
        talk.do_normal()

    script = Script({"starttls": Action("weaken", weaken)}, certificate="wrong_host")
    with ScriptedServer(script, implicit=None, starttls2=None) as scripted:
        with pytest.raises(ConfigError):
            send(MESSAGE, server_for(scripted, ssl_context=weakened), **envelope())
    assert not scripted.connections[0].received
    scripted.assert_clean(auths=0)


@pytest.mark.parametrize("send", WAYS)
def test_good_context(send: Send) -> None:
    """A context that verifies is used as it is."""
    with ScriptedServer() as scripted:
        server = server_for(scripted, "implicit", ssl_context=context())
        assert send(MESSAGE, server, **envelope()).tls == "TLSv1.3"
    with pytest.raises(ConfigError):
        dataclasses.replace(server, cafile=scripted.ca)


EHLO = {
    "client.example": "client.example",
    "client.example.": "client.example",
    "[192.0.2.1]": "[192.0.2.1]",
    "[IPv6:2001:db8::1]": "[IPv6:2001:db8::1]",
    "localhost": "localhost",
    "müller.example": "xn--mller-kva.example",
}


@pytest.mark.parametrize("name", EHLO)
def test_ehlo_name(name: str) -> None:
    """The EHLO name that is given is used before TLS and in it."""
    with ScriptedServer() as scripted:
        server = server_for(scripted, "starttls", ehlo_name=name)
        send_in_loop(MESSAGE, server, **envelope())
    said = [line for _, line in scripted.connections[0].commands if b"EHLO" in line]
    assert said == [f"EHLO {EHLO[name]}".encode()] * 2


BAD_EHLO = ["", " ", "a b", "a\r\nMAIL FROM:<>", "a\n", "a\0", "a\u2028b", "-a", "a..b"]
BAD_EHLO += ["[]", "[a]", "[192.0.2.1", "[192.0.2.256]", "[fe80::1%lo]", "<a>", "\ud800"]
BAD_EHLO += ["192.0.2.1", "1.2", "[::1]", "[IPv6:192.0.2.1]", "a" * 64]


@pytest.mark.parametrize("name", [*BAD_EHLO, b"a.example", 1], ids=ascii)
def test_bad_ehlo_name(name: Any) -> None:
    """What is neither a domain nor an address literal is refused."""
    with pytest.raises(ConfigError):
        Server("h.example", ehlo_name=name)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("box.example", "box.example"),
        ("box", None),
        ("", None),
        ("a_b.example", None),
        ("10.0.0.1", None),
        ("box.example\r\nX", None),
        ("bücher.example", None),
        ("localhost.localdomain", None),
        ("Box.LocalDomain", None),
        ("mac.local", None),
        ("box.localhost", None),
        ("local.example", "local.example"),
    ],
)
def test_own_name(own: str, said: str | None, host: str, monkeypatch: Any) -> None:
    """The machine's name is used if it is a domain, else its address; no look-up."""
    monkeypatch.setattr(socket, "gethostname", lambda: own)
    monkeypatch.setattr(socket, "getfqdn", lambda *_: pytest.fail("a look-up"))
    with ScriptedServer(host=host) as scripted:
        send_in_loop(MESSAGE, server_for(scripted, "implicit"), **envelope())
    literal = "[IPv6:::1]" if ":" in host else "[127.0.0.1]"
    assert scripted.connections[0].commands[0][1].decode() == f"EHLO {said or literal}"


def test_zone() -> None:
    """An IPv6 address with a zone is refused or works; no executor is started for it."""
    with ScriptedServer(host="::1") as scripted:
        with contextlib.suppress(SendError):
            server = dataclasses.replace(server_for(scripted, "implicit"), host="::1%lo")
            send_sync(MESSAGE, server, **envelope())
    assert not [t.name for t in threading.enumerate() if t.name.startswith("asyncio_")]


SINK = Script(offers_in_clear=("SIZE",), require_tls=False, require_auth=False)


def sink(scripted: ScriptedServer, host: str = "127.0.0.1") -> Server:
    """The plaintext port of a development sink."""
    policy = Policy(methods=(Method(scripted.port("starttls"), "plaintext"),), deadline=5)
    return Server(host, policy=policy)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("send", WAYS)
def test_sink(host: str, send: Send) -> None:
    """A development sink on this machine gets the message; the receipt says: no TLS."""
    with ScriptedServer(starttls=SINK, host=host) as scripted:
        receipt = send(MESSAGE, sink(scripted, host), **envelope())
    assert (receipt.tls, receipt.address) == (None, host)
    assert [m.content for m in scripted.accepted] == [MESSAGE]


@pytest.mark.parametrize("auth", [Password("u", "p"), OAuth2("u", "t")])
def test_sink_without_credentials(auth: Any) -> None:
    """Plaintext never goes with credentials, and never beside another method."""
    plaintext = Method(1025, "plaintext")
    with pytest.raises(ConfigError):
        Server("127.0.0.1", auth, policy=Policy(methods=(plaintext,)))
    with pytest.raises(ConfigError):
        Policy(methods=(Method(587, "starttls"), plaintext))


PRIVATE = "127.0.0.1 127.9.9.9 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1"
PRIVATE += " ::1 fc00::1 fdff::1 fe80::1 fe80::1%eth0 ::ffff:127.0.0.1 ::ffff:10.0.0.1"
PUBLIC = "8.8.8.8 172.32.0.1 172.15.0.1 192.169.0.1 11.0.0.1 0.0.0.0 100.64.0.1 192.0.2.1"
PUBLIC += " 2001:4860::1 2001:db8::1 :: ff02::1 ::ffff:8.8.8.8 ::8.8.8.8 64:ff9b::a00:1"
PUBLIC += " 2002:a00:1:: ::ffff:0:127.0.0.1 255.255.255.255 224.0.0.1"
PUBLIC += " 169.254.1.1 169.254.169.254 ::ffff:169.254.169.254"


def test_private() -> None:
    """What is loopback or private, IPv4 inside IPv6 looked through; all else is not."""
    for address in PRIVATE.split():
        check_private(address)
    for address in PUBLIC.split():
        with pytest.raises(ConfigError):
            check_private(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_sink_in_public(address: str) -> None:
    """A public address as the host of a sink is refused when the server is made."""
    with pytest.raises(ConfigError):
        Server(address, policy=Policy(methods=(Method(25, "plaintext"),)))


def found(*addresses: str) -> Any:
    """A getaddrinfo that finds these addresses for any name."""
    v6, v4 = (socket.AF_INET6, 1, 6, ""), (socket.AF_INET, 1, 6, "")
    answer = [(*v6, (a, 0, 0, 0)) if ":" in a else (*v4, (a, 0)) for a in addresses]
    return lambda *_, **__: answer


@pytest.mark.parametrize("last", ["8.8.8.8", "::ffff:8.8.8.8"])
@pytest.mark.parametrize("send", WAYS)
def test_sink_in_public_by_name(last: str, send: Send, monkeypatch: Any) -> None:
    """A name with any public address is refused, and nothing is connected."""
    monkeypatch.setattr(socket, "getaddrinfo", found("127.0.0.1", last))
    with ScriptedServer(starttls=SINK) as scripted, pytest.raises(ConfigError):
        send(MESSAGE, sink(scripted, "sink.example"), **envelope())
    assert not scripted.connections


def test_sink_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to this machine is fine, through IPv4 in IPv6, too."""
    for address in ("127.0.0.1", "::ffff:127.0.0.1"):
        monkeypatch.setattr(socket, "getaddrinfo", found(address))
        with ScriptedServer(starttls=SINK) as scripted:
            send_sync(MESSAGE, sink(scripted, "sink.example"), **envelope())
        assert len(scripted.accepted) == 1
