"""`send_many` over two servers: each message has one outcome, wherever it ends."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from leaks import InLoop, eventually, run
from scripted import OFFERS, Action, Script, close, hang, reply
from sending import MESSAGE, envelope
from two_servers import FIRST, SECOND, Pair, check_true, two_servers

from smtpsend import AsyncClient, Client, Outcome, SendError
from smtpsend._client.servers import retries
from smtpsend.errors import (
    AuthError,
    ConnectError,
    ConnectionLost,
    DeliveryUnknown,
    RecipientsRefused,
    Rejected,
)


pytestmark = pytest.mark.usefixtures("no_leaks")
faces = pytest.mark.parametrize("face", [Client, InLoop], ids=["sync", "async"])
MODES = {"plain": (), "chain": ("PIPELINING",), "window": ("PIPELINING", "CHUNKING")}
modes = pytest.mark.parametrize("mode", MODES)

LATER = reply(451, "4.3.0", "later")
BYE = reply(421, "4.3.2", "bye") + close()
GONE = {"greeting": close()}


def item(n: int, *to: str) -> tuple[bytes, str, list[str]]:
    """One message of a batch, with an envelope of its own."""
    content = f"Message-ID: <{n}@a.b>\r\n\r\n{n}\r\n".encode()
    return content, f"a{n}@a.b", list(to) or [f"b{n}@a.b"]


def script(mode: str = "window", on: dict[str, Any] | None = None) -> Script:
    """A script with the extensions of a mode."""
    return Script(on or {}, offers=(*OFFERS, *MODES[mode]))


def batch(pair: Pair, count: int, face: Any = Client, **options: Any) -> list[Outcome]:
    """The outcomes of a batch, in the order of the messages, each compared."""
    told: list[Outcome] = []
    options = {"max_connections": 1, "on_outcome": told.append, **options}
    with face(pair.servers(retry_interval=300), **options) as client:
        found = sorted(client.send_many(map(item, range(count))), key=lambda x: x.index)
    pair.wait_closed()
    assert [one.index for one in found] == list(range(count))
    assert sorted(one.index for one in told) == list(range(count))
    taken = pair.taken()
    for n, one in enumerate(found):
        check_true(taken, f"<{n}@a.b>", [f"b{n}@a.b"], one)
    return found


def hosts(found: list[Outcome]) -> Counter[str | None]:
    """How many messages each server accepted, by the receipts."""
    return Counter(one.receipt.server for one in found if one.receipt)


@faces
@modes
def test_the_first_server_is_gone(mode: str, face: Any) -> None:
    """One message finds out, and all go to the second; the others try nothing."""
    with two_servers(script(mode, GONE), script(mode)) as pair:
        found = batch(pair, 200, face)
    assert hosts(found) == {SECOND: 200}
    assert pair.connections[0] <= 2
    assert 1 <= sum(bool(x.receipt and x.receipt.attempts) for x in found) <= 2


@faces
@modes
def test_the_first_server_goes_in_the_middle(mode: str, face: Any) -> None:
    """What it accepted stays there, and the rest goes to the second, each once."""
    first = script(mode, {"mail:20": BYE})
    with two_servers([first, script(mode, GONE)], script(mode)) as pair:
        found = batch(pair, 60, face)
    counts = hosts(found)
    assert counts[FIRST] >= 10
    assert counts[SECOND] >= 20
    assert sum(counts.values()) == 60
    assert pair.accepted == (counts[FIRST], counts[SECOND])


@modes
def test_an_unknown_one_stays(mode: str) -> None:
    """The first server is gone after the end of a message: that one is not sent again."""
    first = script(mode, {"final:3": close()})
    with two_servers([first, script(mode, GONE)], script(mode)) as pair:
        found = batch(pair, 30, window=4)
    unknown = [x.error for x in found if x.error is not None]
    assert 1 <= len(unknown) <= 4
    assert {type(error) for error in unknown} == {DeliveryUnknown}
    assert {error.server for error in unknown} == {FIRST}
    assert sum(hosts(found).values()) == 30 - len(unknown)


def for_some(lines: dict[bytes, bytes]) -> Action:
    """Reply to the commands in which a text stands; the others are accepted."""

    def act(talk: Any) -> None:
        command = talk.record.commands[-1][1]
        for text, answer in lines.items():
            if text in command:
                talk.say(answer)
                return
        talk.do_normal()

    return Action("for some", act)


@faces
@modes
def test_what_is_refused_to_some(mode: str, face: Any) -> None:
    """A 451 sends its own message on, a 550 stays, and the others are not touched."""
    refusals = {
        b"<a2@": b"451 4.3.0 later\r\n",
        b"<a4@": b"550 5.7.1 no\r\n",
        b"<b6@": b"450 4.2.0 grey\r\n",
        b"<b8@": b"550 5.1.1 no\r\n",
    }
    on = {"mail": for_some(refusals), "rcpt": for_some(refusals)}
    with two_servers(script(mode, on), script(mode)) as pair:
        found = batch(pair, 12, face)
    assert hosts(found) == {FIRST: 8, SECOND: 2}
    by_second = [x.index for x in found if x.receipt and x.receipt.server == SECOND]
    assert by_second == [2, 6]
    errors = {x.index: type(x.error) for x in found if x.error}
    assert errors == {4: Rejected, 8: RecipientsRefused}


@faces
def test_a_refused_login(face: Any) -> None:
    """The login is tried once for the batch, and every message arrives by the second."""
    refused = Script({"auth": reply(535, "5.7.8", "no")})
    with two_servers(refused) as pair:
        found = batch(pair, 50, face, max_connections=3)
    assert hosts(found) == {SECOND: 50}
    assert sum("AUTH" in c.verbs for c in pair.first.connections) == 1


@faces
def test_every_login_is_refused(face: Any) -> None:
    """Each login is tried once, and each error names it once."""
    refused = Script({"auth": reply(535, "5.7.8", "no")})
    with two_servers(refused, Script({"auth": reply(535, "5.7.8", "no")})) as pair:
        found = batch(pair, 6, face)
    for one in found:
        assert type(one.error) is AuthError
        assert sorted(a.server or "" for a in one.error.attempts) == [FIRST, SECOND]


@faces
def test_every_server_fails(face: Any) -> None:
    """Each message has the error that got furthest, with the attempts at both servers."""
    with two_servers(Script({"auth": reply(535, "5.7.8", "no")}), Script(GONE)) as pair:
        found = batch(pair, 6, face)
    assert not pair.taken()
    for one in found:
        assert type(one.error) is AuthError
        assert one.error.temporary
        assert one.error.__traceback__ is None
        assert {a.server for a in one.error.attempts} == {FIRST, SECOND}
    with two_servers(Script({"mail": close()}), Script({"mail": LATER})) as pair:
        found = batch(pair, 6, face)
    assert {type(one.error) for one in found} == {Rejected}


def test_the_first_server_comes_back() -> None:
    """In the middle of a batch: one message tries it, and then it is used again."""
    with two_servers([Script(GONE), {}]) as pair:
        servers = pair.servers(retry_interval=300)
        with Client(servers, max_connections=1) as client:
            found = []
            for one in client.send_many(map(item, range(40))):
                found.append(one)
                if len(found) == 10:
                    for failed in retries.in_process._failed.values():
                        failed.until = 0.0
        counts = hosts(found)
    assert counts[SECOND] >= 10
    assert counts[FIRST] >= 20
    assert pair.connections[0] == 2


@faces
def test_it_stays_lazy(face: Any) -> None:
    """With one server gone, no more messages are held than with a server that works."""
    most = 0
    done: list[Outcome] = []

    def items() -> Iterator[Any]:
        nonlocal most
        for n in range(300):
            most = max(most, n - len(done))
            yield item(n)

    with two_servers(Script(GONE)) as pair:
        options = {"max_connections": 2, "window": 4, "on_outcome": done.append}
        with face(pair.servers(), **options) as client:
            assert len(list(client.send_many(items()))) == 300
    assert most <= 2 * 4 * 2


@faces
def test_large_contents_are_bounded(face: Any) -> None:
    """The octets that are held are counted over both servers."""
    big = b"Subject: x\r\n\r\n" + b"x" * 70 + (b"\r\n" + b"y" * 70) * 30_000
    done: list[Outcome] = []
    most = 0

    def items() -> Iterator[Any]:
        nonlocal most
        for n in range(12):
            most = max(most, n - len(done))
            yield big, "a@a.b", [f"b{n}@a.b"]

    with two_servers(Script(GONE), script()) as pair:
        options = {"max_connections": 1, "window": 16, "on_outcome": done.append}
        with face(pair.servers(), **options) as client:
            found = list(client.send_many(items()))
    assert hosts(found) == {SECOND: 12}
    assert most <= 5  # of 2 MB each, within 8 MiB


def test_left_early() -> None:
    """Who leaves the loop: each message that was read is told once, and no more begin."""
    told: list[Outcome] = []
    read = 0

    def items() -> Iterator[Any]:
        nonlocal read
        for n in range(1000):
            read += 1
            yield item(n)

    with two_servers([Script({"mail:8": BYE}), Script(GONE)]) as pair:
        with Client(pair.servers(), max_connections=2, on_outcome=told.append) as client:
            outcomes = client.send_many(items())
            got = [next(outcomes) for _ in range(12)]
            outcomes.close()  # type: ignore[attr-defined]
        pair.wait_closed()
    assert sorted(x.index for x in told) == list(range(read))
    assert {x.index for x in got} <= {x.index for x in told}
    taken = pair.taken()
    for one in told:
        check_true(taken, f"<{one.index}@a.b>", [f"b{one.index}@a.b"], one)


PLACES = {
    "first, greeting": (Script({"greeting": hang()}), {}),
    "first, MAIL": (Script({"mail:3": hang()}), {}),
    "first, end": (Script({"final:3": hang()}), {}),
    "second, greeting": (Script(GONE), Script({"greeting": hang()})),
    "second, MAIL": (Script(GONE), Script({"mail:3": hang()})),
    "second, end": (Script(GONE), Script({"final:3": hang()})),
}


@pytest.mark.parametrize("place", PLACES)
def test_cancelled(place: str) -> None:
    """A batch that is cancelled tells each message that it read once, and truly."""
    told: list[Outcome] = []
    first, second = PLACES[place]
    hung = 0 if place.startswith("first") else 1

    async def collect(client: AsyncClient) -> None:
        async for _ in client.send_many(map(item, range(8))):
            pass

    def stands_still(pair: Pair) -> bool:
        server = (pair.first, pair.second)[hung]
        if "greeting" in place:
            return bool(server.connections)
        verbs = [verb for record in server.connections for verb in record.verbs]
        wanted, count = ("MAIL", 3) if "MAIL" in place else ("DATA", 3)
        return verbs.count(wanted) >= count

    async def main(pair: Pair) -> None:
        options: dict[str, Any] = {"max_connections": 1, "on_outcome": told.append}
        async with AsyncClient(pair.servers(), **options) as client:
            task = asyncio.create_task(collect(client))
            server = (pair.first, pair.second)[hung]
            await asyncio.to_thread(server.wait_for, lambda: stands_still(pair))
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    with two_servers(first, second) as pair:
        run(main(pair))
        pair.wait_closed()
        assert len({one.index for one in told}) == len(told) >= 1
        taken = pair.taken()
        for one in told:
            check_true(taken, f"<{one.index}@a.b>", [f"b{one.index}@a.b"], one)
            if isinstance(one.error, ConnectError):
                assert one.error.temporary


def test_a_cancelled_trial_ends() -> None:
    """A send that tried a failed server again and was cancelled lets another try it."""

    async def main(pair: Pair) -> None:
        async with AsyncClient(pair.servers(retry_interval=300)) as client:
            await client.send(MESSAGE, **envelope())
            for failed in retries.in_process._failed.values():
                failed.until = 0.0
            trial = asyncio.create_task(client.send(MESSAGE, **envelope()))
            seen = pair.first.wait_for
            await asyncio.to_thread(seen, lambda: len(pair.first.connections) == 2)
            # Meanwhile the others keep to the second server.
            receipt = await client.send(MESSAGE, **envelope())
            assert (receipt.server, receipt.attempts) == (SECOND, ())
            trial.cancel()
            await asyncio.wait([trial])
            receipt = await client.send(MESSAGE, **envelope())
            assert receipt.server == FIRST

    with two_servers([Script(GONE), Script({"greeting": hang()}), {}]) as pair:
        run(main(pair))


def test_many_threads() -> None:
    """Threads and batches on one client, while the first server goes and comes back."""
    goes = Script({"mail:5": BYE})
    with two_servers([goes, goes, Script(GONE), goes, {}]) as pair:
        servers = pair.servers(retry_interval=0.02)
        with Client(servers) as client, ThreadPoolExecutor(6) as threads:
            numbers = iter(range(1000))
            lock = threading.Lock()

            def one(_: int) -> tuple[int, Any]:
                with lock:
                    n = next(numbers)
                content, sender, to = item(n)
                try:
                    return n, client.send(content, sender=sender, recipients=to)
                except SendError as error:
                    return n, error

            sends = [threads.submit(one, n) for n in range(60)]
            many = threads.submit(
                lambda: list(client.send_many(item(n) for n in range(500, 560)))
            )
            found = [future.result() for future in sends]
            found += [(x.index + 500, x.receipt or x.error) for x in many.result()]
        pair.wait_closed()
    taken = pair.taken()
    for n, result in found:
        check_true(taken, f"<{n}@a.b>", [f"b{n}@a.b"], result)
    assert len(found) == 120
    assert all(not isinstance(x, ConnectionLost | ConnectError) for _, x in found)


def test_closed_while_a_send_goes_on() -> None:
    """`close` lets a send finish that has yet to go on to the second server."""
    reached, go = threading.Event(), threading.Event()

    def wait(talk: Any) -> None:
        reached.set()
        go.wait(10)
        talk.say(b"451 4.3.0 later\r\n")

    with two_servers(Script({"mail": Action("wait", wait)})) as pair:
        client = Client(pair.servers())
        with ThreadPoolExecutor(2) as threads:
            sent = threads.submit(client.send, MESSAGE, **envelope())
            assert reached.wait(10)
            closing = threads.submit(client.close)
            eventually(lambda: client._servers.pools[0].closed)
            go.set()
            assert sent.result().server == SECOND
            closing.result()
