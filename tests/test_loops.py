"""Many messages, many threads, many event loops: who waits for whom, and who leaves."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest
from leaks import InLoop, ids, numbered, one_port, run
from scripted import ScriptedServer, close, reply
from scripted.actions import Action
from sending import RECIPIENT, SENDER, envelope, server_for

from smtpsend import AsyncClient, Client, Outcome, Receipt, send, send_async
from smtpsend._client.bulk import handoff
from smtpsend._client.bulk.queue import Queue
from smtpsend.errors import (
    ConfigError,
    ConnectError,
    DeliveryUnknown,
    RecipientsRefused,
)


Face = Callable[..., Any]
Wrap = Callable[[Any], Any]
Item = tuple[bytes, str, list[str]]

pytestmark = pytest.mark.usefixtures("no_leaks")
both = pytest.mark.parametrize("face", [Client, InLoop])


class Boom(Exception):
    """What a user's own code raises."""


def item(n: int, *recipients: str) -> Item:
    """Message, sender, recipients."""
    return numbered(n), SENDER, list(recipients or [RECIPIENT])


class Source:
    """Messages without end, counting how many were taken; may break at one of them."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.taken = 0
        self._breaks_at = breaks_at

    def __iter__(self) -> Iterator[Item]:
        while self.taken != self._breaks_at:
            self.taken += 1
            yield item(self.taken)
        raise Boom


async def trickle(source: Source) -> AsyncIterator[Item]:
    """The same as an async iterable."""
    for one in source:
        await asyncio.sleep(0)
        yield one


sources = pytest.mark.parametrize("wrap", [iter, trickle])


# Many messages.


@both
def test_each_message_has_its_outcome(face: Face) -> None:
    """Fifty messages, with more than one connection: all there, each index once."""
    with one_port() as scripted:
        with face(server_for(scripted), max_connections=3) as client:
            outcomes = list(client.send_many(item(n) for n in range(50)))
    scripted.assert_clean(auths=3)
    assert sorted(o.index for o in outcomes) == list(range(50))
    assert ids(scripted) == list(range(50))
    for one in outcomes:
        assert one.error is None
        assert one.receipt.message_id == f"<{one.index}@example.org>"
        assert one.message == numbered(one.index)


@both
def test_no_bad_message_stops_the_rest(face: Face) -> None:
    """No sender, not a message, refused, unknown: each its outcome, the rest arrive."""
    script = {"rcpt:2": reply(550, "5.1.1", "who?"), "final:2": close()}
    bad = {1: item(1), 2: numbered(2), 4: object(), 5: item(5, "no address"), 6: (1, 2)}
    batch = [bad.get(n, item(n)) for n in range(8)]
    with one_port(script, {}) as scripted:
        with face(server_for(scripted), max_connections=1) as client:
            outcomes = {o.index: o for o in client.send_many(batch)}
    scripted.assert_clean(auths=2)
    kinds = {n: type(o.error) for n, o in outcomes.items() if o.error}
    assert kinds.pop(1) is RecipientsRefused
    assert kinds.pop(3) is DeliveryUnknown
    assert kinds == dict.fromkeys((2, 4, 5, 6), ConfigError)
    assert all((o.receipt is None) != (o.error is None) for o in outcomes.values())
    assert outcomes[4].message is bad[4]
    assert ids(scripted) == [0, 7]


def test_no_message_is_taken_before_its_time() -> None:
    """A source without end is never more than the connections ahead of the caller."""
    source, told = Source(), list[Outcome]()
    with one_port() as scripted:
        with Client(
            server_for(scripted), max_connections=3, on_outcome=told.append
        ) as client:
            outcomes = client.send_many(source)
            assert source.taken == 0
            for seen, _ in enumerate(outcomes, 1):
                assert source.taken - seen < 3
                if seen == 40:
                    break
            outcomes.close()
    everything_taken_is_known(scripted, source, told)


@sources
def test_no_message_is_taken_before_its_time_async(wrap: Wrap) -> None:
    """The same of `AsyncClient`, for iterables of both kinds."""
    source, told = Source(), list[Outcome]()

    async def main() -> None:
        async with AsyncClient(
            server_for(scripted), max_connections=3, on_outcome=told.append
        ) as client:
            async with aclosing(client.send_many(wrap(source))) as outcomes:
                assert source.taken == 0
                seen = 0
                async for _ in outcomes:
                    seen += 1
                    assert source.taken - seen < 3
                    if seen == 40:
                        break

    with one_port() as scripted:
        run(main())
    everything_taken_is_known(scripted, source, told)


def everything_taken_is_known(
    scripted: ScriptedServer, source: Source, told: list[Outcome], *also: int
) -> None:
    """What had been begun was finished, once; the hook was told of it and of the rest."""
    scripted.assert_clean(auths=3)
    sent = sorted(1 + one.index for one in told if one.receipt)
    assert ids(scripted) == [*sent, *also]
    others = [one for one in told if one.error]
    assert all(type(one.error) is ConnectError for one in others)
    assert all(one.error.temporary for one in others)
    assert len({one.index for one in told}) == len(told) == source.taken


@pytest.mark.parametrize("source", [Source(), Source(breaks_at=10)], ids=["c", "s"])
def test_an_exception_finishes_what_is_in_flight(source: Source) -> None:
    """One of the caller or of the source leaves the loop as it is."""

    told: list[Outcome] = []

    def loop() -> None:
        for outcome in client.send_many(source):
            assert outcome.error is None
            if source.taken > 11:
                raise Boom

    with one_port() as scripted:
        with Client(
            server_for(scripted), max_connections=3, on_outcome=told.append
        ) as client:
            with pytest.raises(Boom):
                loop()
    everything_taken_is_known(scripted, source, told)


@sources
@pytest.mark.parametrize("breaks_at", [None, 10])
def test_an_exception_in_an_async_batch(wrap: Wrap, breaks_at: int | None) -> None:
    """The same of `AsyncClient`; and the client is of use after it."""
    source, told = Source(breaks_at), list[Outcome]()

    async def loop(client: AsyncClient) -> None:
        async with aclosing(client.send_many(wrap(source))) as outcomes:
            async for _ in outcomes:
                if source.taken > 11:
                    raise Boom

    async def main() -> None:
        async with AsyncClient(
            server_for(scripted), max_connections=3, on_outcome=told.append
        ) as client:
            with pytest.raises(Boom):
                await loop(client)
            await client.send(numbered(1000), **envelope())

    with one_port() as scripted:
        run(main())
    assert told.pop().receipt is not None
    everything_taken_is_known(scripted, source, told, 1000)


def test_a_cancelled_batch_ends_at_once() -> None:
    """Nothing more is begun, and the task ends although the server says nothing."""

    async def main() -> None:
        async with AsyncClient(server_for(scripted), max_connections=2) as client:

            async def batch() -> list[Outcome]:
                return [one async for one in client.send_many(source)]

            task = asyncio.create_task(batch())
            await asyncio.to_thread(stuck.wait, 20)
            task.cancel()
            async with asyncio.timeout(10):
                await asyncio.wait([task])
            assert task.cancelled()

    source, stuck = Source(), threading.Barrier(3)
    script = {"final": Action("stuck", lambda talk: (stuck.wait(20), talk.listen()))}
    with one_port(script) as scripted:
        run(main())
    assert ids(scripted) == []
    assert source.taken == 2


# Many threads, many loops.


def test_twenty_threads_on_one_client() -> None:
    """Ten messages each over four connections: every one of them once."""
    with one_port() as scripted, ThreadPoolExecutor(20) as threads:
        with Client(server_for(scripted)) as client:

            def ten(first: int) -> bool:
                sent = [client.send(numbered(first + n), **envelope()) for n in range(10)]
                return all(one.attempts == () for one in sent)

            assert all(threads.map(ten, range(0, 200, 10)))
    scripted.assert_clean(auths=4)
    assert ids(scripted) == list(range(200))
    assert len(scripted.connections) <= 4


def test_sync_sends_inside_a_running_loop() -> None:
    """They block that loop, and work: `send`, `Client.send`, `Client.send_many`."""

    async def main() -> None:
        send(numbered(0), where, **envelope())
        with Client(where) as client:
            client.send(numbered(1), **envelope())
            assert all(o.error is None for o in client.send_many([item(2), item(3)]))

    with one_port() as scripted:
        where = server_for(scripted)
        run(main())
    assert ids(scripted) == [0, 1, 2, 3]


def test_one_loop_after_another() -> None:
    """`send_async`, and an `AsyncClient` of each loop."""

    async def main(first: int) -> None:
        await send_async(numbered(first), where, **envelope())
        async with AsyncClient(where) as client:
            await client.send(numbered(first + 1), **envelope())

    with one_port() as scripted:
        where = server_for(scripted)
        run(main(0))
        run(main(2))
    scripted.assert_clean(auths=4)
    assert ids(scripted) == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_a_client_goes_on_in_the_loop_after_the_one_that_ended() -> None:
    """Its connections of the ended loop are let go of, and it opens new ones."""
    with one_port() as scripted:
        client = AsyncClient(server_for(scripted))
        run(client.send(numbered(0), **envelope()))
        run(client.send(numbered(1), **envelope()))
        scripted.wait_closed(1)
        run(client.aclose())
        scripted.wait_closed(2)
        del client
        gc.collect()  # where asyncio's warning is expected: the caller did not close
    scripted.assert_clean(auths=2)
    assert ids(scripted) == [0, 1]


def test_a_client_in_use_in_another_running_loop_is_refused() -> None:
    """A typed error, at once; the loop that has the client goes on undisturbed."""

    async def main() -> None:
        async with AsyncClient(server_for(scripted)) as client:
            await client.send(numbered(0), **envelope())
            with pytest.raises(ConfigError, match="another event loop"):
                await asyncio.to_thread(run, client.send(numbered(1), **envelope()))
            (outcome,) = await asyncio.to_thread(run, collect(client))
            assert isinstance(outcome.error, ConfigError)
            await client.send(numbered(2), **envelope())

    async def collect(client: AsyncClient) -> list[Outcome]:
        return [one async for one in client.send_many([item(1)])]

    with one_port() as scripted:
        run(main())
    scripted.assert_clean()
    assert ids(scripted) == [0, 2]


def test_an_outcome_that_comes_before_it_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The caller does not wait for it; a bad message after it has its outcome, too."""
    there = threading.Event()

    add = Queue._add_outcome

    def seen(self: Queue, submission: Any, outcome: Outcome) -> None:
        add(self, submission, outcome)
        there.set()

    def late() -> threading.Lock:
        """What the caller would wait on is made when the first outcome is there."""
        assert there.wait(10)
        return threading.Lock()

    monkeypatch.setattr(handoff, "threading", SimpleNamespace(Lock=late))
    monkeypatch.setattr(Queue, "_add_outcome", seen)
    items = [item(1), item(2, "no address"), item(3)]
    with (
        one_port() as scripted,
        Client(server_for(scripted), max_connections=1) as client,
    ):
        found = list(client.send_many(items))
    kinds = {one.index: type(one.receipt or one.error) for one in found}
    assert kinds == {0: Receipt, 1: ConfigError, 2: Receipt}
