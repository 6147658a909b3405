"""P4: what a server says unasked ends an idle connection, and is never piled up."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
from leaks import eventually, numbered, one_port
from scripted import Script, ScriptedServer, close, cut, normal, reply, rst, say
from scripted.actions import Action
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import AsyncClient, Client, OAuth2, SendError
from smtpsend._wire.channel import Channel


pytestmark = pytest.mark.usefixtures("no_leaks")

STRAY = b"250 stray\r\n"
FLOOD = 100_000  # replies, of 1.1 MB
MOST = 50_000  # which one read of a TLS transport (256 KiB) cannot hold


def flood() -> Action:
    """Replies without end, until the client leaves."""

    def run(talk: Any) -> None:
        while True:
            talk.pause(0)
            talk.say(STRAY * 1000)

    return Action("flood()", run)


UNASKED = {
    "a reply": say(STRAY),
    "a line without its end": say(b"2"),
    "half of a reply": say(b"250-more\r\n"),
    "no reply": say(b"what\r\n"),
    "421": reply(421, "4.4.2", "idle for too long"),
    "a flood": flood(),
    "a line that never ends": say(b"250 " + b"a" * 100_000),
    "close": close(),
    "cut": cut(),
    "reset": rst(),
}


def after(event: threading.Event, action: Action) -> Action:
    """Accept the message; when the test says so, do more."""
    wait = Action("wait", lambda talk: event.wait(20))
    return normal() + wait + action


@pytest.mark.parametrize("what", UNASKED)
def test_idle(what: str) -> None:
    """An idle connection is hung up as soon as anything comes, and another one opened."""
    go = threading.Event()
    with one_port({"final": after(go, UNASKED[what])}, {}) as scripted:
        with Client(server_for(scripted), idle_timeout=600, max_age=600) as client:
            client.send(numbered(1), **envelope())
            assert len(client._servers.pools[0]._idle) == 1
            go.set()
            eventually(lambda: not client._servers.pools[0]._idle, "it is kept")
            scripted.wait_closed(1)
            assert client.send(numbered(2), **envelope()).attempts == ()
    assert [len(c.accepted) for c in scripted.connections] == [1, 1]
    assert "QUIT" not in scripted.connections[0].verbs


@pytest.mark.parametrize("what", ["a reply", "a flood", "close"])
def test_idle_in_a_loop(what: str) -> None:
    """The same in an event loop of the caller's."""
    go = threading.Event()

    async def run() -> None:
        async with AsyncClient(server_for(scripted), idle_timeout=600) as client:
            await client.send(numbered(1), **envelope())
            go.set()
            await asyncio.to_thread(scripted.wait_closed, 1)
            await client.send(numbered(2), **envelope())

    with one_port({"final": after(go, UNASKED[what])}, {}) as scripted:
        asyncio.run(run())
    assert len(scripted.accepted) == 2


def test_others_are_kept() -> None:
    """Only the connection that is written to is hung up."""
    go = threading.Event()
    both = threading.Barrier(2)
    meet = Action("meet", lambda talk: both.wait(20))
    scripts = {"final:1": meet + after(go, say(STRAY))}, {"final:1": meet + normal()}
    with one_port(*scripts) as scripted:
        with Client(server_for(scripted), idle_timeout=600) as client:
            to = envelope()
            items = [(numbered(n), to["sender"], to["recipients"]) for n in range(2)]
            threads = [
                threading.Thread(target=lambda item=item: client.send(item[0], **to))
                for item in items
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            assert len(client._servers.pools[0]._idle) == 2
            go.set()
            scripted.wait_closed(1)
            eventually(lambda: len(client._servers.pools[0]._idle) == 1)
            client.send(numbered(3), **to)
            client.send(numbered(4), **to)
    assert len(scripted.connections) == 2


def channels() -> list[Channel]:
    """The channels that there are."""
    # Not isinstance, which asks an object for its class: other tests leave some that
    # raise then.
    return [one for one in gc.get_objects() if issubclass(type(one), Channel)]


def unread() -> int:
    """How many replies wait in them."""
    return sum(len(channel._replies) for channel in channels())


@pytest.mark.parametrize("moment", ["ehlo", "auth-refused"])
@pytest.mark.parametrize("send", WAYS)
def test_while_a_token_is_fetched(moment: str, send: Send) -> None:
    """A connection that waits for a token keeps no more than it reads at once."""
    seen: list[int] = []

    def token() -> str:
        if moment == "ehlo" or seen or asked:
            eventually(
                lambda: (
                    unread() > FLOOD // 2
                    or any(channel.reading_paused for channel in channels())
                ),
                "nothing came",
            )
            seen.append(unread())
        asked.append(True)
        return f"token {len(asked)}"

    asked: list[bool] = []
    burst = say(STRAY * FLOOD)
    on = {"ehlo": normal() + burst}
    if moment == "auth-refused":
        on = {"auth": reply(535, "5.7.8", "no") + burst}
    script = Script(on, offers=("SIZE", "AUTH XOAUTH2"))
    with ScriptedServer(script) as scripted:
        server = server_for(scripted, "implicit", auth=OAuth2("u@x.example", token))
        with pytest.raises(SendError):
            send(MESSAGE, server, **envelope())
    assert seen
    assert max(seen) < MOST


WAITS: dict[str, Callable[[], dict[str, Action]]] = {
    "after MAIL": lambda: {"mail": normal() + say(STRAY * FLOOD)},
    "after the end": lambda: {"final": normal() + say(STRAY * FLOOD)},
    "in place of a reply": lambda: {"mail": flood()},
    "in a reply": lambda: {"ehlo": say(b"250-more\r\n") + flood()},
}


@pytest.mark.parametrize("when", WAITS)
@pytest.mark.parametrize("send", WAYS)
def test_elsewhere(when: str, send: Send) -> None:
    """A flood at any other time ends the call as one reply too many does."""
    with ScriptedServer(Script(WAITS[when]())) as scripted:
        server = server_for(scripted, "implicit")
        if when == "after the end":
            send(MESSAGE, server, **envelope())
            return
        with pytest.raises(SendError):
            send(MESSAGE, server, **envelope())


def test_many_replies_that_were_asked_for() -> None:
    """A burst of replies that were asked for is read to its end."""
    offers = ("SIZE", "PIPELINING", "AUTH PLAIN LOGIN")
    recipients = [f"r{n}@x.example" for n in range(1000)]
    long = reply(250, "2.1.5", "x" * 400)  # 400 KB in all
    with ScriptedServer(Script({"rcpt": long}, offers=offers)) as scripted:
        server = server_for(scripted, "implicit")
        receipt = WAYS[0](MESSAGE, server, **envelope(recipients=recipients))
    assert len(receipt.accepted) == 1000
