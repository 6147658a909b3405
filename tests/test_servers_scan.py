"""Two servers, killed at each byte: every recipient is accepted at most once, by both.

The connection to the first server ends after each Nth byte, received or sent, on its
first connection or on every one; then both servers are killed, at combinations of bytes.
`SMTPSEND_EVERY_BYTE=1` tries each byte. What is reported is compared with both records.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from scripted import Script, close, reply, rst
from sending import patiently
from two_servers import Pair, check_true, two_servers

from smtpsend import Client, Outcome, Receipt, SendError, Server, send
from smtpsend.errors import DeliveryUnknown


pytestmark = pytest.mark.scan
EVERY_BYTE = bool(os.environ.get("SMTPSEND_EVERY_BYTE"))

PLAIN = ("8BITMIME", "AUTH PLAIN")
OFFERS = {
    "plain": PLAIN,
    "chain": (*PLAIN, "PIPELINING"),
    "window": (*PLAIN, "PIPELINING", "CHUNKING"),
}
LOSSES = {"close": close(), "rst": rst(), "421": reply(421, "4.3.2", "bye") + close()}
TO = ["x@a.b", "y@a.b"]
COUNT = 4

Found = list[Receipt | SendError | Outcome]
Way = Callable[[list[Server]], Found]


def item(n: int) -> tuple[bytes, str, list[str]]:
    """One short message for two recipients: every byte of it costs a connection."""
    return f"Message-ID: <{n}@a.b>\r\n\r\n.{n}\r\n".encode(), f"a{n}@a.b", TO


def one_shot(servers: list[Server]) -> Found:
    """One message by `send`."""
    content, sender, to = item(0)
    try:
        return [send(content, servers, sender=sender, recipients=to)]
    except SendError as error:
        return [error]


def batch(servers: list[Server]) -> Found:
    """A few messages by `send_many`, each with one outcome."""
    with Client(servers, max_connections=1) as client:
        found = sorted(client.send_many(map(item, range(COUNT))), key=lambda x: x.index)
    assert [x.index for x in found] == list(range(COUNT))
    return [*found]


WAYS: dict[str, Way] = {"send": one_shot, "send_many": batch}
ways = pytest.mark.parametrize("way", WAYS)
modes = pytest.mark.parametrize("mode", OFFERS)
directions = pytest.mark.parametrize("direction", ["after-auth", "sent-after-auth"])


def bytes_of(way: str, mode: str, direction: str) -> int:
    """How many bytes the whole exchange has after AUTH, where nothing goes wrong."""
    with two_servers(Script(offers=OFFERS[mode])) as pair:
        found = WAYS[way](pair.servers())
        pair.wait_closed()
    assert Counter(map(kind, found)) == {"Receipt": len(found)}
    assert pair.connections == (1, 0)
    (record,) = pair.first.connections
    if direction == "after-auth":
        return len(record.after_auth)
    return len(record.sent) - record.sent.index(b"\r\n", record.sent.index(b"235 "))


def kind(result: Any) -> str:
    """The class of a receipt or an error."""
    if isinstance(result, Outcome):
        result = result.receipt or result.error
    return type(result).__name__


@patiently
def killed(way: str, first: Any, second: Any) -> tuple[Counter[str], Pair]:
    """Send to two servers that are killed so; return the kinds of results."""
    with two_servers(first, second) as pair:
        found = WAYS[way](pair.servers())
        pair.wait_closed()
    taken = pair.taken()
    for n, result in enumerate(found):
        check_true(taken, f"<{n}@a.b>", TO, result)
    for server in (pair.first, pair.second):
        server.assert_clean(auths=None)
    return Counter(map(kind, found)), pair


def places(way: str, mode: str, direction: str, step: int) -> list[str]:
    """The moments at which a connection ends."""
    count = bytes_of(way, mode, direction)
    assert count > 50
    return [f"{direction}:{n}" for n in range(1, count + 1, 1 if EVERY_BYTE else step)]


@directions
@modes
@ways
@pytest.mark.parametrize("loss", LOSSES)
def test_the_first_server_is_killed(
    way: str, mode: str, direction: str, loss: str
) -> None:
    """Killed each time, and the first time: what it did not get arrives, once."""
    step = 37 if way == "send" else 131
    for place in places(way, mode, direction, step):
        bad = Script({place: LOSSES[loss]}, offers=OFFERS[mode])
        good = Script(offers=OFFERS[mode])
        kinds, pair = killed(way, bad, good)
        # The second server is good: nothing fails but what the first may have accepted.
        total = COUNT if way == "send_many" else 1
        assert kinds["Receipt"] + kinds["DeliveryUnknown"] == total, (place, kinds)
        known = sum(pair.accepted) - kinds["Receipt"]
        assert 0 <= known <= kinds["DeliveryUnknown"], (place, kinds)
        killed(way, [bad, good], good)


@directions
@modes
@ways
def test_both_servers_are_killed(way: str, mode: str, direction: str) -> None:
    """Killed at combinations of bytes: never twice, and each report is true."""
    step = 59 if way == "send" else 251
    found = places(way, mode, direction, step)
    every = max(1, len(found) // 12) if EVERY_BYTE else 1
    for one in found:
        for two in found[::every]:
            first = Script({one: close()}, offers=OFFERS[mode])
            second = Script({two: rst()}, offers=OFFERS[mode])
            kinds, _ = killed(way, first, second)
            failed = sum(kinds.values()) - kinds["Receipt"]
            assert failed == kinds["DeliveryUnknown"] + kinds["ConnectionLost"], kinds


def test_the_sweep_sees_a_second_acceptance() -> None:
    """The comparison fails for a message that both servers accepted."""
    with two_servers({}) as pair:
        content, sender, to = item(0)
        for server in pair.servers():
            receipt = send(content, server, sender=sender, recipients=to)
    with pytest.raises(AssertionError, match="accepted twice"):
        check_true(pair.taken(), "<0@a.b>", TO, receipt)
    one: Counter[tuple[str | None, str]] = Counter({("<0@a.b>", TO[0]): 1})
    with pytest.raises(AssertionError, match="was accepted for"):
        check_true(one, "<0@a.b>", TO, SendError("no"))
    check_true(one, "<0@a.b>", TO, DeliveryUnknown("perhaps"))
