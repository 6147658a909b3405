"""When a batch opens further connections, and which of them logs in first."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest
from leaks import InLoop, one_port
from scripted import Action, Script, ScriptedServer, close, normal, reply
from sending import MESSAGE, envelope, server_for

from smtpsend import Client, Outcome, Password, Receipt, Server
from smtpsend._client.bulk.queue import FIRST_WINDOW, Queue
from smtpsend._client.hooks import Hooks
from smtpsend._client.pool import Limits, Pool
from smtpsend.errors import Attempt, AuthError, Event


pytestmark = pytest.mark.usefixtures("no_leaks")
faces = pytest.mark.parametrize("face", [Client, InLoop], ids=["sync", "async"])
OFFERS = ("8BITMIME", "AUTH PLAIN", "PIPELINING", "CHUNKING")
CONNECTIONS = 4
MANY = FIRST_WINDOW * CONNECTIONS


def items(count: int = MANY) -> list[Any]:
    """Messages, each with a Message-ID of its own; a list tells how many there are."""
    to = envelope()
    messages = [MESSAGE.replace(b"<1@", b"<%d@" % n) for n in range(count)]
    return [(message, to["sender"], to["recipients"]) for message in messages]


def meeting(count: int = CONNECTIONS) -> Action:
    """Go on when so many connections have come here."""
    arrivals, complete = itertools.count(1), threading.Event()

    def meet(_: object) -> None:
        if next(arrivals) >= count:
            complete.set()
        assert complete.wait(15), "the other connections were not opened"

    return Action("meeting", meet)


def after(event: threading.Event) -> Action:
    """Go on when an event has happened."""

    def wait(_: object) -> None:
        assert event.wait(15), "it did not happen"

    return Action("after", wait) + normal()


def all_arrived(scripted: ScriptedServer, outcomes: list[Outcome]) -> None:
    """Each message has a receipt, and arrived once."""
    assert [o for o in outcomes if not isinstance(o.receipt, Receipt)] == []
    arrived = Counter(m.message_id for m in scripted.accepted)
    assert set(arrived.values()) == {1}
    assert len(arrived) == len(outcomes)


def logins(scripted: ScriptedServer) -> int:
    """How many connections tried to log in."""
    return sum("AUTH" in c.verbs for c in scripted.connections)


@faces
def test_they_are_opened_beside_the_first(face: Any) -> None:
    """The greeting of the first one comes when all others are there."""
    script = Script({"greeting": meeting() + normal()}, offers=OFFERS)
    with one_port(script) as scripted:
        with face(server_for(scripted), max_connections=CONNECTIONS) as client:
            outcomes = list(client.send_many(items()))
        all_arrived(scripted, outcomes)
        assert len(scripted.connections) == CONNECTIONS


@faces
def test_the_first_one_logs_in_first(face: Any) -> None:
    """It greets when the others are waiting to log in; they do it after its 235."""
    waiting, order = threading.Event(), list[str]()

    def note(talk: Any) -> None:
        order.append("first" if talk.record is scripted.connections[0] else "other")
        talk.do_normal()

    def count_others(talk: Any) -> None:
        talk.do_normal()
        if sum(c.verbs.count("EHLO") for c in scripted.connections) == 6:
            waiting.set()

    auth = Action("note", note)
    first = Script({"greeting": after(waiting), "auth": auth}, offers=OFFERS)
    others = Script({"ehlo2": Action("count", count_others), "auth": auth}, offers=OFFERS)
    with one_port(first, others) as scripted:
        with face(server_for(scripted), max_connections=CONNECTIONS) as client:
            outcomes = list(client.send_many(items()))
        all_arrived(scripted, outcomes)
    assert order[0] == "first"
    assert order[1:].count("other") == len(order) - 1


@pytest.mark.parametrize("count", [MANY, 3 * MANY])
@faces
def test_a_refused_password_is_tried_once(face: Any, count: int) -> None:
    """The others are there, and do not try it; each message has the error."""
    refused = {"greeting": meeting() + normal(), "auth": reply(535, "5.7.8", "no")}
    attempts = list[Attempt]()
    with one_port(Script(refused, offers=OFFERS)) as scripted:
        options = {"max_connections": CONNECTIONS, "on_attempt": attempts.append}
        with face(server_for(scripted), **options) as client:
            outcomes = list(client.send_many(items(count)))
        assert [type(o.error) for o in outcomes] == [AuthError] * count
        assert logins(scripted) == 1
    assert [a.event for a in attempts if a.error] == [Event.AUTH_REFUSED]


FAILS: dict[str, dict[str, Action]] = {
    "421 greeting": {"greeting": reply(421, "4.7.0", "busy") + close()},
    "closed at once": {"greeting": close()},
    "closed after EHLO": {"ehlo2": close()},
    "421 in AUTH": {"auth": reply(421, "4.7.0", "too many") + close()},
    "454 in AUTH": {"auth": reply(454, "4.7.0", "not now")},
}


@pytest.mark.parametrize("case", FAILS)
@faces
def test_the_first_one_fails(face: Any, case: str) -> None:
    """The next one logs in in its place, and no message has an error."""
    meet = meeting()
    on = {"greeting": normal(), **FAILS[case]}
    failing = Script({**on, "greeting": meet + on["greeting"]}, offers=OFFERS)
    good = Script({"greeting": meet + normal()}, offers=OFFERS)
    with one_port(failing, good) as scripted:
        with face(server_for(scripted), max_connections=CONNECTIONS) as client:
            outcomes = list(client.send_many(items()))
        all_arrived(scripted, outcomes)


@pytest.mark.parametrize("count", [1, FIRST_WINDOW])
@faces
def test_one_window_needs_one_connection(face: Any, count: int) -> None:
    """The messages of a first window are sent over one connection."""
    with one_port(Script(offers=OFFERS)) as scripted:
        with face(server_for(scripted), max_connections=CONNECTIONS) as client:
            outcomes = list(client.send_many(items(count)))
        all_arrived(scripted, outcomes)
        assert len(scripted.connections) == 1


def test_two_windows_need_two_connections() -> None:
    """As many connections are opened at once as there are windows for them."""
    meet = Script({"greeting": meeting(2) + normal()}, offers=OFFERS)
    with one_port(meet) as scripted:
        with Client(server_for(scripted), max_connections=CONNECTIONS) as client:
            outcomes = list(client.send_many(items(FIRST_WINDOW + 1)))
        all_arrived(scripted, outcomes)
        assert len(scripted.connections) == 2


@faces
def test_a_slow_generator(face: Any) -> None:
    """One connection does it, if each message is given when the last one was accepted."""

    def slow() -> Iterator[Any]:
        for n, item in enumerate(items()):
            scripted.wait_for(partial(arrived, n))
            yield item

    def arrived(count: int) -> bool:
        return len(scripted.accepted) >= count

    with one_port(Script(offers=OFFERS)) as scripted:
        with face(server_for(scripted), max_connections=CONNECTIONS) as client:
            source = slow() if face is Client else in_turns(slow())
            outcomes = list(client.send_many(source))
        all_arrived(scripted, outcomes)
        assert len(scripted.connections) == 1


async def in_turns(source: Iterator[Any]) -> AsyncIterator[Any]:
    """The items of an iterator that waits, for which the loop does not wait."""
    while (item := await asyncio.to_thread(next, source, None)) is not None:
        yield item


class Misleading(list[Any]):
    """A list that gives another length than it has, or none."""

    def __init__(self, length: Any) -> None:
        super().__init__(items(3))
        self._length = length

    def __len__(self) -> int:
        if isinstance(self._length, BaseException):
            raise self._length
        found: int = self._length
        return found


@pytest.mark.parametrize("length", [0, 10**6, -1, None, ValueError()], ids=repr)
def test_a_wrong_length(length: Any) -> None:
    """Each message is sent once, however many the iterable says that it has."""
    with one_port(Script(offers=OFFERS)) as scripted:
        with Client(server_for(scripted), max_connections=CONNECTIONS) as client:
            outcomes = list(client.send_many(Misleading(length)))
        all_arrived(scripted, outcomes)
    assert len(outcomes) == 3


def test_a_server_that_is_gone() -> None:
    """Only as many messages are read as there may be connections, until one fails."""
    with one_port() as scripted:
        server = server_for(scripted)
    read = 0

    def counted() -> Iterator[Any]:
        nonlocal read
        for item in items():
            read += 1
            yield item

    with Client(server, max_connections=CONNECTIONS) as client:
        for _ in client.send_many(counted()):
            break
    assert read <= CONNECTIONS


def test_each_connection_has_its_share() -> None:
    """The message that is begun, and those pending, are divided by the connections."""
    server = Server("mail.example.org", Password("ann", "secret"))
    queue = Queue(Pool(server, Limits(), Hooks()), lambda: None)
    queue.pending.extend([object()] * 40)  # type: ignore[list-item]
    queue.senders = 1
    assert queue.share == 41
    queue.senders = 4
    assert queue.share == 11
