"""Real proxies: microsocks and tinyproxy, each with a login and a refusal."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from frames import nothing_of
from scripted import ScriptedServer
from scripted_proxy import KINDS
from sending import MESSAGE, WAYS, Send, envelope, server_for
from servers.proxies import PASSWORD, proxy, require

from smtpsend import diagnose, send
from smtpsend.errors import ConnectError, Event, Phase


pytestmark = pytest.mark.real

kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
@pytest.mark.parametrize("login", [False, True])
@pytest.mark.parametrize("send", WAYS)
def test_send(kind: str, login: bool, send: Send, tmp_path: Path) -> None:
    """A message goes out through a real proxy, on STARTTLS and on implicit TLS."""
    with ScriptedServer() as scripted, proxy(kind, tmp_path, login=login) as url:
        for name in ("starttls", "implicit"):
            server = replace(server_for(scripted, name), host="localhost", proxy=url)
            receipt = send(MESSAGE, server, **envelope())
            port = scripted.port(name)
            assert receipt.address.startswith(f"localhost:{port} via 127.0.0.1:")
        assert len(scripted.accepted) == 2


@kinds
@pytest.mark.parametrize("given", ["ann:wr0ng-Pa55word@", ""])
def test_wrong_login(kind: str, given: str, tmp_path: Path) -> None:
    """A login that a real proxy refuses, or wants, is tried once; the hint says so."""
    with ScriptedServer() as scripted, proxy(kind, tmp_path, login=True) as url:
        wrong = url.replace(url.partition("//")[2].rpartition("@")[0] + "@", given)
        server = replace(server_for(scripted), host="localhost", proxy=wrong)
        with pytest.raises(ConnectError) as caught:
            send(MESSAGE, server, **envelope())
        assert not scripted.connections
    error = caught.value
    assert (error.event, error.phase) == (Event.PROXY_LOGIN, Phase.CONNECT)
    assert (error.temporary, len(error.attempts)) == (False, 1)
    assert "URL of the proxy" in error.hint
    nothing_of("wr0ng-Pa55word", error)
    assert PASSWORD not in str(error)


@kinds
def test_target_down(kind: str, tmp_path: Path) -> None:
    """A port that is closed behind a real proxy is a temporary error with its words."""
    with ScriptedServer() as scripted, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with proxy(kind, tmp_path) as url:
            server = server_for(scripted, "implicit")
            methods = tuple(replace(m, port=port) for m in server.policy.methods)
            policy = replace(server.policy, methods=methods)
            with pytest.raises(ConnectError) as caught:
                send(MESSAGE, replace(server, policy=policy, proxy=url), **envelope())
    error = caught.value
    assert (error.event, error.temporary) == (Event.UNREACHABLE, True)
    assert "the proxy 127.0.0.1:" in error.message
    assert ("refused" if kind == "socks5" else "50") in error.message


def test_rule(tmp_path: Path) -> None:
    """Where a rule of the proxy allows one port alone, the message goes out by that."""
    with ScriptedServer() as scripted:
        allowed = [scripted.port("implicit")]
        with proxy("http", tmp_path, ports=allowed, login=True) as url:
            server = replace(server_for(scripted), host="localhost", proxy=url)
            receipt = send(MESSAGE, server, **envelope())
            assert receipt.method.port == scripted.port("implicit")
            assert "403" in str(receipt.attempts[0])
            report = diagnose(server)
    assert report.ok
    assert any("does not allow it (403" in line for line in report.advice)


def test_unknown_name(tmp_path: Path) -> None:
    """A name that the proxy does not know is its refusal, and is not looked up here."""
    require("http")
    with ScriptedServer() as scripted, proxy("http", tmp_path) as url:
        server = replace(server_for(scripted), host="mail.invalid", proxy=url)
        with pytest.raises(ConnectError) as caught:
            send(MESSAGE, server, **envelope())
    assert caught.value.event is Event.UNREACHABLE
    assert "the proxy 127.0.0.1:" in caught.value.message
