"""Passwords from a function: called once at a time, and rotated under way."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from leaks import InLoop, ids, numbered
from scripted import Action, Script, ScriptedServer, close, normal, reply
from sending import MESSAGE, RECIPIENT, SENDER, WAYS, Send, envelope, server_for

from smtpsend import Client, OAuth2, Password, send, send_async
from smtpsend._wire.secrets.source import SecretSource
from smtpsend.errors import AuthError, ConnectionLost, Event, Phase


USER = "user@example.org"
OLD, NEW = "s3cret-of-before", "s3cret-of-now"
both = pytest.mark.parametrize("face", [Client, InLoop])


def implicit(script: Any = None, **options: Any) -> ScriptedServer:
    """A server with one port."""
    options.setdefault("password", NEW)
    return ScriptedServer(
        script or Script(), user=USER, starttls=None, starttls2=None, **options
    )


def once(scripted: ScriptedServer, send: Send, provider: Any, **options: Any) -> None:
    """One send with a function that returns the password."""
    server = server_for(scripted, auth=Password(USER, provider), **options)
    send(MESSAGE, server, **envelope())


class Vault:
    """Returns passwords in turn, the last one for ever; counts the calls and overlaps."""

    def __init__(self, *passwords: Any) -> None:
        self.passwords, self.asked, self.inside, self.most = list(passwords), 0, 0, 0
        self.lock = threading.Lock()

    def __call__(self) -> Any:
        with self.lock:
            self.asked += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
            value = self.passwords[min(self.asked, len(self.passwords)) - 1]
        for _ in range(50):
            os.sched_yield()
        with self.lock:
            self.inside -= 1
        if isinstance(value, Exception):
            raise value
        return value

    async def later(self) -> Any:
        """The same, as a coroutine that lets others run meanwhile."""
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0)
        self.inside -= 1
        self.asked += 1
        return self.passwords[min(self.asked, len(self.passwords)) - 1]


@pytest.mark.parametrize("kind", ["function", "coroutine function", "both"])
@pytest.mark.parametrize("send", WAYS)
def test_providers(kind: str, send: Send) -> None:
    """A function, a coroutine function, and a function that returns a coroutine work."""
    vault = Vault(NEW)
    provider: dict[str, Any] = {
        "function": vault,
        "coroutine function": vault.later,
        "both": lambda: vault.later(),
    }
    with implicit() as scripted:
        once(scripted, send, provider[kind])
    assert vault.asked == 1
    scripted.assert_clean()


@pytest.mark.parametrize(
    ("passwords", "asked", "tries", "works"),
    [
        ((OLD, NEW), 2, 2, True),
        ((OLD, OLD, NEW), 2, 1, False),
        ((OLD, "older", NEW), 2, 2, False),
    ],
)
@pytest.mark.parametrize("send", WAYS)
def test_second_try(
    passwords: tuple[str, ...], asked: int, tries: int, works: bool, send: Send
) -> None:
    """A refused password is followed by one more try, and only by another password."""
    vault = Vault(*passwords)
    with implicit() as scripted:
        if works:
            once(scripted, send, vault)
        else:
            with pytest.raises(AuthError) as caught:
                once(scripted, send, vault)
            assert caught.value.reply is not None
            assert not caught.value.temporary
    assert vault.asked == asked
    assert scripted.connections[0].verbs.count("AUTH") == tries


@pytest.mark.parametrize("when", ["with the refusal", "a moment later"])
@pytest.mark.parametrize("send", WAYS)
def test_closed_after_the_refusal(when: str, send: Send) -> None:
    """If the server hangs up after its 535, the new password goes out on a fresh one."""
    refusal = reply(535, "5.7.8", "no")
    first: dict[str, Action] = {"auth": refusal + close()}
    if when == "a moment later":
        first = {"auth:1": refusal, "auth:2": close()}
    vault = Vault(OLD, NEW)
    with implicit([Script(first), Script()]) as scripted:
        once(scripted, send, vault)
    assert len(scripted.connections) == 2
    assert len(scripted.accepted) == 1


@pytest.mark.parametrize("send", WAYS)
def test_closed_after_every_refusal(send: Send) -> None:
    """It is done once: after that the error is temporary, and keeps the refusal."""
    script = Script({"auth": reply(535, "5.7.8", "no") + close()})
    with implicit(script) as scripted, pytest.raises(ConnectionLost) as caught:
        once(scripted, send, Vault(*(f"s3cret-number-{n}" for n in range(4))))
    error = caught.value
    assert (error.event, error.phase) == (Event.AUTH_RENEWED, Phase.AUTH)
    assert error.temporary
    assert error.reply is not None
    assert error.reply.code == 535
    assert [attempt.event for attempt in error.attempts] == [Event.AUTH_RENEWED] * 2
    assert [c.verbs.count("AUTH") for c in scripted.connections] == [1, 1]


FAILING: dict[str, tuple[Any, bool, str]] = {
    "raises": (Vault(KeyError(OLD)), False, "raised KeyError"),
    "raises an OSError": (Vault(ConnectionResetError(OLD)), True, "ConnectionResetError"),
    "raises an AuthError": (Vault(AuthError("sealed", temporary=True)), True, "sealed"),
    "None": (Vault(None), False, "must be a str"),
    "empty": (Vault(""), False, "the password cannot be empty"),
    "a line end": (Vault(f"{NEW}\n"), False, "ends with a line end: strip it"),
}


@pytest.mark.parametrize("case", FAILING)
@pytest.mark.parametrize("send", WAYS)
def test_failing_providers(case: str, send: Send) -> None:
    """A function that fails is an AuthError that says why, and nothing was sent."""
    provider, temporary, text = FAILING[case]
    with implicit() as scripted, pytest.raises(AuthError, match=text) as caught:
        once(scripted, send, provider)
    error = caught.value
    assert (error.phase, error.reply, error.temporary) == (Phase.AUTH, None, temporary)
    assert not scripted.connections[0].verbs.count("AUTH")
    assert OLD not in str(error)


@pytest.mark.parametrize("send", WAYS)
def test_deadline(send: Send) -> None:
    """A function that blocks does not outlive the deadline, nor block the next call."""
    over, calls = threading.Event(), Vault(NEW)

    def blocks_once() -> Any:
        if calls() and calls.asked == 1:
            over.wait()
        return NEW

    try:
        with implicit() as scripted:
            auth = Password(USER, blocks_once)
            server = server_for(scripted, auth=auth)
            with pytest.raises(AuthError, match="did not return within") as caught:
                send(MESSAGE, server, **envelope(timeout=0.3))
            assert caught.value.timed_out
            send(MESSAGE, server, **envelope())
    finally:
        over.set()
    assert len(scripted.accepted) == 1


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
def test_once_at_a_time(kind: str) -> None:
    """Twenty threads and a second event loop never call the function at the same time."""
    vault = Vault(NEW)
    auth = Password(USER, vault if kind == "function" else vault.later)
    with implicit() as scripted, ThreadPoolExecutor(20) as threads:
        server = server_for(scripted, auth=auth)
        sends: list[Callable[[], object]] = [
            lambda: send(MESSAGE, server, **envelope()),
            lambda: asyncio.run(send_async(MESSAGE, server, **envelope())),
        ]
        for sent in [threads.submit(sends[n % 2]) for n in range(20)]:
            sent.result()
    assert len(scripted.accepted) == 20
    assert vault.most == 1
    assert vault.asked <= 20


def test_calls_are_shared_by_those_who_asked_before() -> None:
    """Who asks while a call runs waits for the next one, and all of them share that."""

    async def main() -> tuple[list[str], int]:
        source, started = SecretSource(), 0
        go_on = asyncio.Event()

        async def call() -> str:
            nonlocal started
            started += 1
            number = started
            await go_on.wait()
            return f"secret {number}"

        first = asyncio.create_task(source.ask(call, 10))
        await asyncio.sleep(0)
        rest = [asyncio.create_task(source.ask(call, 10)) for _ in range(9)]
        await asyncio.sleep(0)
        go_on.set()
        results = [task.text for task in await asyncio.gather(first, *rest)]
        return results, started

    results, started = asyncio.run(main())
    assert results == ["secret 1", *["secret 2"] * 9]
    assert started == 2


def test_failures_are_shared_and_cancellations_are_not() -> None:
    """A failure is raised for all who wait; after a cancelled call the next one calls."""

    async def main() -> list[Any]:
        source, calls = SecretSource(), 0

        async def call() -> str:
            nonlocal calls
            calls += 1
            if calls == 1:
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            raise AuthError(f"sealed {calls}")

        first = asyncio.create_task(source.ask(call, 10))
        await asyncio.sleep(0)
        rest = [asyncio.create_task(source.ask(call, 10)) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        return await asyncio.gather(first, *rest, return_exceptions=True)

    cancelled, *failures = asyncio.run(main())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert [str(failure) for failure in failures] == [str(AuthError("sealed 2"))] * 3
    assert len({id(failure) for failure in failures}) == 3


@both
def test_idle_connections_end(face: Callable[..., Any]) -> None:
    """A new connection that gets another password ends the idle ones of before."""
    with implicit(password=OLD) as scripted:
        auth = Password(USER, Vault(OLD, NEW))
        with face(server_for(scripted, auth=auth), max_connections=2) as client:
            client.send(numbered(0), **envelope())
            scripted.password = NEW
            client.check()
            scripted.wait_closed(1)
            client.send(numbered(1), **envelope())
    assert [len(c.accepted) for c in scripted.connections] == [1, 1]
    scripted.assert_clean(auths=None)


def test_busy_connections_end() -> None:
    """A connection that is in use when the password changes ends after its message."""
    go_on, busy = threading.Event(), threading.Event()
    wait = Action("wait", lambda talk: busy.set() or go_on.wait(20)) + normal()
    with implicit([Script({"final": wait}), Script()], password=OLD) as scripted:
        auth = Password(USER, Vault(OLD, NEW))
        with Client(server_for(scripted, auth=auth), max_connections=2) as client:
            with ThreadPoolExecutor(1) as threads:
                first = threads.submit(client.send, numbered(0), **envelope())
                assert busy.wait(20)
                scripted.password = NEW
                client.check()
                go_on.set()
                first.result()
            scripted.wait_closed(1)
            client.send(numbered(1), **envelope())
    assert [len(c.accepted) for c in scripted.connections] == [1, 1]


def test_tokens_end_no_connection() -> None:
    """A function that returns a new token for each connection ends none of them."""
    tokens = iter(["t0ken-1", "t0ken-2"])
    with implicit(Script(offers=("AUTH XOAUTH2",)), password="t0ken-1") as scripted:
        auth = OAuth2(USER, lambda: next(tokens))
        with Client(server_for(scripted, auth=auth), max_connections=2) as client:
            client.send(numbered(0), **envelope())
            scripted.password = "t0ken-2"
            client.check()
            for n in range(1, 4):
                client.send(numbered(n), **envelope())
    assert sorted(len(c.accepted) for c in scripted.connections) in ([0, 4], [1, 3])
    assert len(scripted.connections) == 2


def test_unchanged_passwords_keep_connections() -> None:
    """A function that returns the same password ends no connection."""
    with implicit() as scripted:
        auth = Password(USER, Vault(NEW))
        with Client(server_for(scripted, auth=auth), max_connections=2) as client:
            with ThreadPoolExecutor(2) as threads:
                for n in range(20):
                    threads.submit(client.send, numbered(n), **envelope())
    assert len(scripted.connections) <= 2
    assert len(scripted.accepted) == 20


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("way", ["eight threads", "send_many", "both"])
def test_rotation(way: str, closes: bool) -> None:
    """A rotation under eight threads: no message fails, the old password has one try.

    It has that try because the function returns it a moment before the rotation. The
    other connections ask after that one was refused.
    """
    with implicit({"auth": hangs_up()} if closes else {}, password=OLD) as scripted:
        vault = Rotating(scripted, at=12)
        server = server_for(scripted, auth=Password(USER, vault))
        with (
            Client(server, max_connections=8, max_messages=1) as client,
            ThreadPoolExecutor(8) as threads,
        ):
            sends, outcomes = [], []
            if way != "eight threads":
                outcomes = [threads.submit(list, client.send_many(MANY))]
            if way != "send_many":
                for n in range(50, 74):
                    sends.append(threads.submit(client.send, numbered(n), **envelope()))
            for sent in sends:
                sent.result()
        failures = [one.error for many in outcomes for one in many.result() if one.error]
    assert not failures
    wanted = {"eight threads": 24, "send_many": 24, "both": 48}[way]
    assert len(set(ids(scripted))) == len(scripted.accepted) == wanted
    sent = b"".join(bytes(c.sent) for c in scripted.connections)
    # A batch and the other sends of a client take turns among themselves only.
    assert 1 <= sent.count(b"535 5.7.8") <= (2 if way == "both" else 1)


MANY = [(numbered(n), SENDER, [RECIPIENT]) for n in range(24)]


class Rotating:
    """Returns the password of a server, and changes it there in its n-th call."""

    def __init__(self, scripted: ScriptedServer, at: int) -> None:
        self.scripted, self.left = scripted, at

    def __call__(self) -> str:
        password, self.left = self.scripted.password, self.left - 1
        if not self.left:
            self.scripted.password = NEW
        return password


def hangs_up() -> Action:
    """Close the connection after a refusal."""

    def run(talk: Any) -> None:
        if b"535 " in talk.record.sent:
            close().run(talk)

    return normal() + Action("hangs_up()", run)
