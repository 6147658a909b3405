"""Where connections come from (source_address), and for whom the certificate is."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

import pytest
from scripted import Script, ScriptedServer
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import Server, diagnose, send
from smtpsend._client import known_servers
from smtpsend._wire import dial
from smtpsend.errors import CertificateError, ConnectError, Event, Phase


pytestmark = pytest.mark.usefixtures("no_leaks")


def peers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Where each connection of the library comes from, as it is made."""
    found: list[tuple[str, int]] = []
    connect = dial._connect

    async def noted(*args: Any) -> Any:
        dialled = await connect(*args)
        found.append(dialled[0].getsockname()[:2])
        return dialled

    monkeypatch.setattr(dial, "_connect", noted)
    return found


@pytest.mark.parametrize("send", WAYS)
def test_source_address(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections come from the source address."""
    found = peers(monkeypatch)
    with ScriptedServer() as scripted:
        server = replace(server_for(scripted), source_address="127.0.0.2")
        send(MESSAGE, server, **envelope())
    assert {address for address, _ in found} == {"127.0.0.2"}


def test_a_source_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source port is used for the connection of the one method."""
    found = peers(monkeypatch)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ScriptedServer() as scripted:
        server = replace(server_for(scripted, "implicit"), source_address=("", port))
        send(MESSAGE, server, **envelope())
    assert found == [("127.0.0.1", port)]


@pytest.mark.parametrize("source", ["::1", "192.0.2.77"])
def test_a_source_address_that_cannot_be(source: str) -> None:
    """An address of another family, or of no interface, is a typed error with a hint."""
    with ScriptedServer() as scripted:
        server = replace(server_for(scripted), source_address=source)
        with pytest.raises(ConnectError) as caught:
            send(MESSAGE, server, **envelope())
        assert not scripted.connections
        report = diagnose(server)
    error = caught.value
    assert (error.phase, error.event) == (Phase.CONNECT, Event.UNREACHABLE)
    assert "source_address" in error.message
    assert "source_address" in error.hint
    assert error.temporary == (source != "::1")
    assert all("source_address" in line for line in report.advice)


def test_a_source_port_in_use() -> None:
    """A source port that is in use is a typed error, and may pass."""
    with socket.socket() as taken, ScriptedServer() as scripted:
        taken.bind(("127.0.0.1", 0))
        source = ("127.0.0.1", taken.getsockname()[1])
        server = replace(server_for(scripted, "implicit"), source_address=source)
        with pytest.raises(ConnectError, match="in use") as caught:
            send(MESSAGE, server, **envelope())
    assert caught.value.temporary


def test_addresses_of_the_other_family_are_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a host with both kinds of address, those of the source's family are tried."""
    found = peers(monkeypatch)
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: both)
    with ScriptedServer() as scripted:
        base = replace(server_for(scripted), host="localhost")
        receipt = send(MESSAGE, replace(base, source_address="127.0.0.1"), **envelope())
    assert receipt.address == "127.0.0.1"
    assert {address for address, _ in found} == {"127.0.0.1"}


@pytest.mark.parametrize("name", ["starttls", "implicit"])
@pytest.mark.parametrize("send", WAYS)
def test_tls_name(name: str, send: Send) -> None:
    """The certificate is verified for the TLS name in place of the host."""
    with ScriptedServer(Script(certificate="wrong_host")) as scripted:
        server = server_for(scripted, name)
        named = replace(server, tls_name="wrong.example.org")
        send(MESSAGE, named, **envelope())
        assert len(scripted.accepted) == 1
        assert b"wrong.example.org" in scripted.connections[-1].handshake  # SNI
        for other in ("other.example.org", "example.org", None):
            with pytest.raises(CertificateError) as caught:
                send(MESSAGE, replace(server, tls_name=other), **envelope())
        assert len(scripted.accepted) == 1
    assert "tls_name" in caught.value.hint
    assert "wrong.example.org" in caught.value.hint


@pytest.mark.parametrize(
    "certificate", ["expired", "self_signed", "unknown_ca", "cn_only"]
)
def test_tls_name_is_all_that_changes(certificate: str) -> None:
    """With a TLS name, all else of a certificate is verified as ever."""
    with ScriptedServer(Script(certificate=certificate)) as scripted:
        server = replace(server_for(scripted, "implicit"), tls_name="localhost")
        with pytest.raises(CertificateError) as caught:
            send(MESSAGE, server, **envelope())
        assert "localhost" in caught.value.message
        assert not scripted.accepted


def test_a_wrong_tls_name() -> None:
    """Where the TLS name itself is the wrong one, the error and the advice name it."""
    with ScriptedServer() as scripted:
        server = replace(server_for(scripted), tls_name="tls.example.org")
        with pytest.raises(CertificateError) as caught:
            send(MESSAGE, server, **envelope())
        report = diagnose(server)
    assert "the certificate of tls.example.org was refused" in caught.value.message
    for text in (caught.value.hint, *report.advice):
        assert "not for tls.example.org" in text
        assert "as tls_name" in text


def test_tunnels_with_one_host() -> None:
    """Two servers behind tunnels on one host and port are not taken for each other."""
    server = Server("localhost")
    keys = {
        known_servers.key_of(replace(server, tls_name=name, source_address=source))
        for name in (None, "a.example", "b.example")
        for source in (None, "127.0.0.1", "127.0.0.2")
    }
    assert len(keys) == 9
