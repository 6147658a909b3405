"""The connection ends at each byte in turn: the report always equals the server's record.

A mark in bytes stands on the first connection, or on every one: `after-auth:N` after the
Nth byte received, `sent-after-auth:N` after the Nth byte said. What a scan runs over is
measured first, on a server without a fault.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted import Script, ScriptedServer, close, hang, reply, rst, say
from sending import patiently, server_for

from smtpsend import AsyncClient, Client, Receipt, SendError, Server, send
from smtpsend.errors import ConnectionLost, DeliveryUnknown


pytestmark = pytest.mark.scan

PLAIN = ("8BITMIME", "AUTH PLAIN")
OFFERS = [PLAIN, (*PLAIN, "PIPELINING"), (*PLAIN, "PIPELINING", "CHUNKING")]
LOSSES = {"close": close(), "rst": rst(), "hang": hang()}
Found = list[Receipt | SendError]


def message(n: int) -> bytes:
    """A short message: every byte of it costs a connection or two."""
    return f"Message-ID: <{n}@a.b>\r\n\r\n.{n}\r\n".encode()


def one(n: int) -> dict[str, Any]:
    """Sender and recipients, other ones for each message."""
    return {"sender": f"a{n}@a.b", "recipients": [f"b{n}@a.b"]}


def caught(send_it: Callable[[], Receipt]) -> Receipt | SendError:
    """The receipt or the error."""
    try:
        return send_it()
    except SendError as error:
        return error


def one_shot(server: Server) -> Found:
    """One message, and hang up."""
    return [caught(lambda: send(message(1), server, **one(1)))]


def one_by_client(server: Server) -> Found:
    """One message over a Client."""
    with Client(server) as client:
        return [caught(lambda: client.send(message(1), **one(1)))]


def three_by_client(server: Server) -> Found:
    """Three messages in a row over one connection of a Client."""
    with Client(server) as client:
        return [
            caught(lambda n=n: client.send(message(n), **one(n)))  # type: ignore[misc]
            for n in (1, 2, 3)
        ]


def three_by_async_client(server: Server) -> Found:
    """Three messages in a row over one connection of an AsyncClient."""

    async def run() -> Found:
        found: Found = []
        async with AsyncClient(server) as client:
            for n in (1, 2, 3):
                try:
                    found.append(await client.send(message(n), **one(n)))
                except SendError as error:
                    found.append(error)
        return found

    return asyncio.run(run())


def three_at_once(server: Server) -> Found:
    """Three messages by `send_many`, over one connection."""
    items = [(message(n), one(n)["sender"], one(n)["recipients"]) for n in (1, 2, 3)]
    with Client(server, max_connections=1) as client:
        outcomes = sorted(client.send_many(items), key=lambda o: o.index)
    assert [o.index for o in outcomes] == [0, 1, 2]
    return [o.receipt or o.error for o in outcomes]  # type: ignore[misc]


Way = Callable[[Server], Found]
Offers = tuple[str, ...]


def run(way: Way, scripts: Any, **times: float) -> tuple[ScriptedServer, Found]:
    """Send by `way` to a server with one port; everything has ended when it returns."""
    ports = {"starttls": scripts, "implicit": None, "starttls2": None}
    with ScriptedServer(**ports) as scripted:  # type: ignore[arg-type]
        limits = {"reply_timeout": 5, "final_timeout": 5, "deadline": 15, **times}
        found = way(server_for(scripted, stagger=5, connect_timeout=5, **limits))
        scripted.wait_for(lambda: all(c.closed for c in scripted.connections))
    return scripted, found


def marks(way: Way, offers: Offers, *, received: bool) -> Iterator[str]:
    """Each byte of the whole exchange after AUTH, as a moment of a script."""
    scripted, found = run(way, Script(offers=offers))
    assert all(isinstance(f, Receipt) for f in found)
    (record,) = scripted.connections
    if received:
        count = len(record.after_auth)
    else:
        count = len(record.sent) - record.sent.index(b"\r\n", record.sent.index(b"235 "))
    name = "after-auth" if received else "sent-after-auth"
    return (f"{name}:{n}" for n in range(1, count + 1))


def check_record(scripted: ScriptedServer, found: Found) -> None:
    """What is reported of each message is what the server knows of it."""
    taken = Counter(m.message_id for m in scripted.accepted)
    # With BDAT the end goes out unasked; where MAIL was not read, nobody can tell.
    begun = sum(
        c.sent.count(b"354 ") + 3 * ("CHUNKING" in c.sent.decode())
        for c in scripted.connections
    )
    for n, outcome in enumerate(found, 1):
        count = taken[f"<{n}@a.b>"]
        assert count <= 1, "accepted twice"
        if isinstance(outcome, Receipt):
            assert count == 1, "a receipt for what was not accepted"
            (record,) = (m for m in scripted.accepted if m.content == message(n))
            assert (record.sender, record.recipients) == (
                one(n)["sender"],
                outcome.accepted,
            )
        else:
            assert not count or type(outcome) is DeliveryUnknown, outcome
            assert outcome.temporary is (type(outcome) is ConnectionLost), outcome
    ended = sum(isinstance(f, Receipt | DeliveryUnknown) for f in found)
    assert ended <= begun, "unknown, though the server never asked for the message"


def scan(
    way: Way, offers: Offers, loss: str, direction: str, step: int, *, always: bool
) -> None:
    """Lose the connection at each `step`th byte, the first time or every time."""
    places = list(marks(way, offers, received=direction == "received"))
    assert len(places) > 50
    first = (WAYS.index(way) * 2 + (loss == "rst")) * 3 % step
    for place in places[first::step]:
        lose_at(place, way, offers, loss, always=always)


@patiently
def lose_at(place: str, way: Way, offers: Offers, loss: str, *, always: bool) -> None:
    """Lose the connection there, and see what is reported."""
    slow = {"reply_timeout": 0.25, "final_timeout": 0.25} if loss == "hang" else {}
    bad = Script({place: LOSSES[loss]}, offers=offers)
    scripts = bad if always else [bad, Script(offers=offers)]
    scripted, found = run(way, scripts, **slow)
    try:
        check_record(scripted, found)
        if not always:
            errors = [f for f in found if isinstance(f, SendError)]
            # A window is unknown as a whole, but for what was answered.
            most = 3 if way not in ONE_BY_ONE and "CHUNKING" in offers else 1
            assert len(errors) <= most, "one loss, and too many messages unknown"
            assert all(type(e) is DeliveryUnknown for e in errors), errors
            assert all(e.timed_out is (loss == "hang") for e in errors)
        scripted.assert_clean(auths=None if always else 2)
    except AssertionError as error:
        error.add_note(f"{loss} at {place}: {found}")
        raise


WAYS = [
    one_shot,
    one_by_client,
    three_by_client,
    three_by_async_client,
    three_at_once,
]
ONE_BY_ONE = WAYS[:-1]
NAMES = ["plain", "pipelining", "chunking"]
EXTENSIONS = pytest.mark.parametrize("offers", OFFERS, ids=NAMES)
DIRECTIONS = pytest.mark.parametrize("direction", ["received", "said"])


@DIRECTIONS
@EXTENSIONS
@pytest.mark.parametrize("loss", ["close", "rst"])
@pytest.mark.parametrize("way", WAYS)
def test_loss_at_every_byte(way: Way, offers: Offers, loss: str, direction: str) -> None:
    """Lost once, at any byte: all messages but at most one, which is unknown, arrive."""
    # What follows from a loss is decided without I/O, and tested at each command by
    # test_simulation.py. Here each place of a command is met by some byte: the ways begin
    # at other ones, so that the places of one stand between those of the next.
    every = 7 if way in (one_shot, one_by_client) else 17
    scan(way, offers, loss, direction, every, always=False)


@DIRECTIONS
@EXTENSIONS
@pytest.mark.parametrize("way", [one_shot, three_by_client, three_at_once])
def test_silence_at_many_bytes(way: Way, offers: Offers, direction: str) -> None:
    """The server falls silent in place of hanging up: the same, and timed out."""
    every = (23 if way is one_shot else 89) * (1 if offers is PLAIN else 2)
    scan(way, offers, "hang", direction, every, always=False)


@DIRECTIONS
@EXTENSIONS
@pytest.mark.parametrize("loss", ["close", "rst"])
@pytest.mark.parametrize("way", [one_shot, three_by_client])
def test_lost_each_time(way: Way, offers: Offers, loss: str, direction: str) -> None:
    """Lost each time at the same byte: never a receipt for what was not accepted."""
    scan(way, offers, loss, direction, 7 if way is one_shot else 29, always=True)


class Context(ssl.SSLContext):
    """A context over which connections have the transport of the event loop."""


def by_the_loop(way: Way) -> Way:
    """The same way, with asyncio's TLS."""

    def send_it(server: Server) -> Found:
        context = Context(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(server.cafile)
        return way(dataclasses.replace(server, cafile=None, ssl_context=context))

    return send_it


@DIRECTIONS
@EXTENSIONS
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("way", [one_shot, three_by_client, three_at_once])
def test_loss_with_the_transport_of_the_loop(
    way: Way, offers: Offers, loss: str, direction: str
) -> None:
    """The same where asyncio's TLS is used, as on Windows."""
    ours = by_the_loop(way)
    places = list(marks(ours, offers, received=direction == "received"))
    for place in places[WAYS.index(way) :: 41 if loss != "hang" else 97]:
        lose_at(place, ours, offers, loss, always=False)


@pytest.mark.parametrize("moment", ["mail", "rcpt"])
@EXTENSIONS
def test_a_stray_reply_makes_no_receipt(offers: Offers, moment: str) -> None:
    """A reply too many is not taken for the answer to the end of the message."""
    on = {moment: say(b"250 ok\r\n250 stray\r\n"), "final": reply(554, "5.6.0", "spam")}
    scripted, found = run(one_shot, Script(on, offers=offers))
    assert not scripted.accepted
    assert isinstance(found[0], SendError)
