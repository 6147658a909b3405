"""A server without PIPELINING: a sequence is read ahead, other iterables are not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from leaks import InLoop, eventually, ids, numbered, one_port, run
from programs import finish, started
from scripted import Action, Script, ScriptedServer, close, hang, normal
from sending import RECIPIENT, SENDER, server_for
from two_servers import two_servers

from smtpsend import AsyncClient, Client, Outcome
from smtpsend._client.servers.dispatching import _AHEAD
from smtpsend.errors import ConnectError, ConnectionLost, DeliveryUnknown


pytestmark = pytest.mark.usefixtures("no_leaks")
faces = pytest.mark.parametrize("face", [Client, InLoop], ids=["sync", "async"])
# More than are read before the first outcome, for one connection.
COUNT = 3 * _AHEAD


def item(n: int) -> tuple[bytes, str, list[str]]:
    """Message, sender, recipients."""
    return numbered(n), SENDER, [RECIPIENT]


class Counted(Sequence[Any]):
    """A sequence that counts how many of its messages were read.

    Args:
        full: called after each, with the number of those that were read.
    """

    def __init__(self, count: int, full: Callable[[int], object] | None = None) -> None:
        self.read = 0
        self._count, self._full = count, full or (lambda read: None)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if index >= self._count:
            raise IndexError
        self.read = index + 1
        self._full(self.read)
        return item(index)


def held_until(ready: threading.Event) -> Action:
    """Greet when `ready` is set."""

    def wait(_: object) -> None:
        assert ready.wait(15), "not so many messages were read"

    return Action("held", wait) + normal()


def alone(scripted: ScriptedServer) -> Client:
    """A client with one connection."""
    return Client(server_for(scripted), max_connections=1)


def each_once(outcomes: list[Outcome], scripted: ScriptedServer, count: int) -> None:
    """Each message has a receipt, and arrived once."""
    assert sorted(one.index for one in outcomes if one.receipt) == list(range(count))
    assert ids(scripted) == list(range(count))


@pytest.mark.parametrize("connections", [1, 3])
@faces
def test_a_sequence_is_read_ahead(face: Any, connections: int) -> None:
    """A few messages for each connection are read before the server greets, no more."""
    most, ready = connections * (1 + _AHEAD), threading.Event()

    def full(read: int) -> None:
        if read == most:
            ready.set()
        if read > most:
            assert scripted.accepted, "too many messages were read"

    items = Counted(most + 5, full)
    with one_port({"greeting": held_until(ready)}) as scripted:
        with face(server_for(scripted), max_connections=connections) as client:
            outcomes = list(client.send_many(items))
        each_once(outcomes, scripted, most + 5)


def test_it_is_never_further_ahead_than_that() -> None:
    """Not at the first outcome, and not at any later one."""
    items, behind = Counted(COUNT), list[int]()
    with one_port() as scripted, alone(scripted) as client:
        for seen, _ in enumerate(client.send_many(items), 1):
            behind.append(items.read - seen)
    assert max(behind) == _AHEAD
    assert ids(scripted) == list(range(COUNT))


@pytest.mark.parametrize("connections", [1, 3])
def test_a_generator_is_not_read_ahead(connections: int) -> None:
    """One message for each connection is read, and the next one after an outcome."""
    items, seen = Counted(COUNT), 0
    with one_port() as scripted:
        with Client(server_for(scripted), max_connections=connections) as client:
            for _ in client.send_many(one for one in items):
                seen += 1
                assert items.read - seen < connections
    assert ids(scripted) == list(range(COUNT))


def the_next_one_goes_out(scripted: ScriptedServer, seen: int) -> None:
    """Wait until the server has one more than were seen, or all of them."""
    wanted = min(seen + 1, COUNT)
    eventually(lambda: len(scripted.accepted) >= wanted, "the connection stood still")


ITEMS: dict[str, Callable[[], Any]] = {
    "list": lambda: [item(n) for n in range(COUNT)],
    "tuple": lambda: tuple(item(n) for n in range(COUNT)),
    "another sequence": lambda: Counted(COUNT),
}


@pytest.mark.parametrize("kind", ITEMS)
def test_a_connection_goes_on_while_the_caller_uses_an_outcome(kind: str) -> None:
    """The server has the next message before the caller asks for the next outcome."""
    with one_port() as scripted, alone(scripted) as client:
        outcomes = []
        for outcome in client.send_many(ITEMS[kind]()):
            outcomes.append(outcome)
            the_next_one_goes_out(scripted, len(outcomes))
    each_once(outcomes, scripted, COUNT)


def test_it_goes_on_in_async_code() -> None:
    """The same of `AsyncClient`."""

    async def main() -> list[Outcome]:
        outcomes = []
        async with AsyncClient(server_for(scripted), max_connections=1) as client:
            async for outcome in client.send_many(ITEMS["list"]()):
                outcomes.append(outcome)
                await asyncio.to_thread(the_next_one_goes_out, scripted, len(outcomes))
        return outcomes

    with one_port() as scripted:
        each_once(run(main()), scripted, COUNT)


def test_it_goes_on_over_several_servers() -> None:
    """The same of a client that has two servers."""
    outcomes = []
    with (
        two_servers(Script(), Script()) as pair,
        Client(pair.servers(), max_connections=1) as client,
    ):
        for outcome in client.send_many(ITEMS["list"]()):
            outcomes.append(outcome)
            wanted = min(len(outcomes) + 1, COUNT)
            eventually(lambda n=wanted: len(pair.first.accepted) >= n)  # type: ignore[misc]
        each_once(outcomes, pair.first, COUNT)


def left_after_the_first(
    scripted: ScriptedServer, told: list[Outcome], read: int
) -> None:
    """What was begun has arrived; each message that was read was reported once."""
    assert sorted(one.index for one in told) == list(range(read))
    sent = [one.index for one in told if one.receipt]
    assert ids(scripted) == sorted(sent)
    others = [one.error for one in told if one.error]
    assert [type(error) for error in others] == [ConnectError] * len(others)
    assert all(error.temporary for error in others)
    assert 1 <= len(sent) <= read <= COUNT


@pytest.mark.parametrize("connections", [1, 3])
def test_the_caller_stops_after_the_first_outcome(connections: int) -> None:
    """What was begun is finished, the rest is not begun, and both are reported once."""
    items, told = Counted(COUNT), list[Outcome]()
    with one_port() as scripted:
        options: Any = {"max_connections": connections, "on_outcome": told.append}
        with Client(server_for(scripted), **options) as client:
            outcomes: Any = client.send_many(items)
            assert next(outcomes).receipt
            outcomes.close()
            left_after_the_first(scripted, told, items.read)


def test_the_caller_stops_in_async_code() -> None:
    """The same of `AsyncClient`."""
    items, told = Counted(COUNT), list[Outcome]()

    async def main() -> None:
        async with AsyncClient(
            server_for(scripted), max_connections=1, on_outcome=told.append
        ) as client:
            async with aclosing(client.send_many(items)) as outcomes:  # type: ignore[type-var]
                assert (await anext(outcomes)).receipt

    with one_port() as scripted:
        run(main())
    left_after_the_first(scripted, told, items.read)


LOSSES = {
    "before MAIL": ("mail:2", ConnectionLost),
    "at DATA": ("data:2", ConnectionLost),
    "at the end": ("final:2", DeliveryUnknown),
}


@pytest.mark.parametrize("loss", LOSSES)
@faces
def test_a_connection_is_lost_with_messages_read_ahead(face: Any, loss: str) -> None:
    """The other messages go out over a new one, each once, in their order."""
    moment, kind = LOSSES[loss]
    told = list[Outcome]()
    with one_port({moment: close()}, {}) as scripted:
        options = {"max_connections": 1, "on_outcome": told.append}
        with face(server_for(scripted), **options) as client:
            outcomes = list(client.send_many(Counted(COUNT)))
    assert [one.index for one in outcomes] == list(range(COUNT))
    assert sorted(one.index for one in told) == list(range(COUNT))
    errors = {one.index: type(one.error) for one in outcomes if one.error}
    assert errors in ({}, {1: kind})
    assert kind is not DeliveryUnknown or errors
    arrived = [m.message_id for m in scripted.accepted]
    assert arrived == [f"<{n}@example.org>" for n in range(COUNT) if n not in errors]


@faces
def test_each_message_read_ahead_has_the_error(face: Any) -> None:
    """No connection can be opened: nothing arrives, and each message has an outcome."""
    with one_port({"greeting": close()}) as scripted:
        with face(server_for(scripted), max_connections=1) as client:
            outcomes = list(client.send_many(Counted(COUNT)))
    assert sorted(one.index for one in outcomes) == list(range(COUNT))
    assert all(one.error for one in outcomes)
    assert ids(scripted) == []


def broken() -> Iterator[Any]:
    """An iterator that raises after two messages."""
    yield item(0)
    yield item(1)
    raise LookupError


class Broken(Counted):
    """A sequence whose third message raises an error that is no end."""

    def __iter__(self) -> Iterator[Any]:
        return broken()


def test_an_error_of_a_sequence_comes_after_the_outcomes() -> None:
    """It was met while the first message was sent, and is raised after the second."""
    seen: list[Outcome] = []
    with one_port() as scripted, alone(scripted) as client:
        with pytest.raises(LookupError):
            seen.extend(client.send_many(Broken(COUNT)))  # what came before it stays
    assert [one.receipt is not None for one in seen] == [True, True]
    assert ids(scripted) == [0, 1]


def first(scripted: ScriptedServer) -> list[Any]:
    """The messages of the first connection."""
    return [m for record in scripted.connections[:1] for m in record.messages]


def test_the_background_thread_dies_with_messages_read_ahead() -> None:
    """Over two servers, too, they are sent by a new thread, each once."""
    program = """
import dataclasses
from smtpsend._client.background import portal

logging.getLogger("asyncio").disabled = True  # what it says of tasks that are left
other = dataclasses.replace(where, host="127.0.0.1")
client = Client([where, other], max_connections=1)

def die():
    sys.stdin.readline()
    loop = portal._portal.running()
    loop.call_soon_threadsafe(loop._selector.close)

threading.Thread(target=die).start()
outcomes = client.send_many(batch(*range(1, 10)))
say(*[type(o.error).__name__[0] for o in sorted(outcomes, key=lambda o: o.index)])
client.close()
os._exit(0)
"""
    with one_port({"final": hang()}, {}) as scripted:
        with started(program, scripted) as process:
            scripted.wait_for(lambda: any(m.state == "unknown" for m in first(scripted)))
            process.stdin.write("go\n")
            out = finish(process)
    assert out[1:] == ["D N N N N N N N N"]
    assert ids(scripted) == [*range(2, 10)]
