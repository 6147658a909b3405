"""How often a host name is looked up."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable
from typing import Any

import pytest
from leaks import one_port
from scripted import Script, ScriptedServer, reply
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import ConnectError, SendError, Server
from smtpsend._wire import target
from smtpsend.check import check


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were looked up from now on."""
    names: list[str] = []
    look_up = socket.getaddrinfo

    def noted(host: str, *arguments: Any, **options: Any) -> Any:
        names.append(host)
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    return names


def named(scripted: ScriptedServer, **options: Any) -> Server:
    """A scripted server by its name."""
    return dataclasses.replace(server_for(scripted, **options), host="localhost")


def send_to(scripted: ScriptedServer, send: Send, **options: Any) -> None:
    """Send one message to a scripted server, by its name."""
    send(MESSAGE, named(scripted, **options), **envelope())


@pytest.mark.parametrize("send", WAYS)
def test_once_for_several_sends(send: Send, asked: list[str]) -> None:
    """The second send uses what the first one found; a check looks again."""
    with one_port() as scripted:
        for _ in range(3):
            send_to(scripted, send)
        assert asked == ["localhost"]
        check(named(scripted))
        assert asked == ["localhost"] * 2
    assert len(scripted.accepted) == 3


def test_for_a_short_time(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses are used again for some seconds, and not where nothing is remembered."""
    now = 1000.0
    monkeypatch.setattr(target.time, "monotonic", lambda: now)
    with one_port() as scripted:
        send_to(scripted, WAYS[1])
        now += 4.9
        send_to(scripted, WAYS[1])
        assert len(asked) == 1
        now += 0.2
        send_to(scripted, WAYS[1])
        assert len(asked) == 2
        send_to(scripted, WAYS[1], remember=0)
        assert len(asked) == 3
        now += 1.5
        send_to(scripted, WAYS[1], remember=1)
        assert len(asked) == 4


@pytest.mark.parametrize("kind", ["refused", "greeting", "certificate"])
@pytest.mark.parametrize("send", WAYS)
def test_again_after_a_failure(kind: str, send: Send, asked: list[str]) -> None:
    """Where no connection could be opened, the next send looks the name up again."""
    scripts: dict[str, Callable[[], Any]] = {
        "refused": lambda: "refused",
        "greeting": lambda: Script({"greeting": reply(554, None, "no")}),
        "certificate": lambda: Script(certificate="wrong_host"),
    }
    with one_port() as good:
        send_to(good, send)
        assert len(asked) == 1
        ports = {"implicit": None, "starttls2": None}
        with ScriptedServer(starttls=scripts[kind](), **ports) as bad:
            with pytest.raises(SendError):
                send_to(bad, send)
        assert len(asked) == 1
        send_to(good, send)
        assert len(asked) == 2


def test_another_function_looks_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program puts in the place of `getaddrinfo` is asked at once."""
    with one_port() as scripted:
        send_to(scripted, WAYS[0])

        def nothing(*_: Any, **__: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

        monkeypatch.setattr(socket, "getaddrinfo", nothing)
        with pytest.raises(ConnectError, match="is unknown"):
            send_to(scripted, WAYS[0])


def test_no_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that sends to ever new names keeps few of them."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(target, "_MOST_NAMES", 10)
    with one_port() as scripted:
        policy = server_for(scripted).policy
        for n in range(25):
            with pytest.raises(SendError):
                WAYS[1](MESSAGE, Server(f"h{n}.example.org", policy=policy), **envelope())
            assert len(target._found) <= 10
