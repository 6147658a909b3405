"""Batches over servers that misbehave at random: the accounts are true, whatever happens.

``SMTPSEND_SEEDS=1000:9000`` runs these seeds in place of the usual few.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, closing, suppress

import pytest
from leaks import one_port
from scripted import Action, Connection, Script, close, normal, reply, rst
from sending import server_for

from smtpsend import AsyncClient, Client, Delivery, Outcome
from smtpsend.errors import DeliveryUnknown, SendError


pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.scan]

FIRST, LAST = map(int, os.environ.get("SMTPSEND_SEEDS", "0:80").split(":"))
GROUPS = 8

MODES = [(), ("PIPELINING",), ("PIPELINING", "CHUNKING"), ("CHUNKING",)]
BYE = reply(421, "4.3.2", "bye")
FAULTS = [
    reply(550, "5.1.1", "no"),
    reply(451, "4.3.0", "later"),
    reply(452, "4.5.3", "too many"),
    reply(250, "2.0.0", "ok") + close(),
    BYE,
    BYE + close(),
    close(),
    rst(),
    normal() + close(),
    normal() + rst(),
    Action("late", lambda talk: (talk.pause(0.005), talk.do_normal())),
]
AT_BYTES = ["after-auth", "sent-after-auth"]
AT_STEPS = ["mail", "rcpt", "data", "final", "rset", "ehlo2", "quit"]


class Case:
    """What one seed comes to: a batch, and servers that are connected to in turn."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        draw = self.random.choice
        self.offers = ("8BITMIME", "AUTH PLAIN", "DSN", *draw(MODES))
        self.in_loop = draw([False, True])
        self.require_all = draw([False, False, False, True])
        self.leaves = draw([False] * 6 + [True])
        # When so many are told of.
        self.cancels = self.in_loop and draw([0, 0, 1, 3, 12])
        self.taken = 0
        self.scripts = [self.script() for _ in range(self.random.randrange(1, 12))]
        self.scripts.append(Script(offers=self.offers))
        self.items = [self.item(n) for n in range(draw([1, 3, 10, 40, 80]))]
        self.limits = {
            "max_connections": draw([1, 1, 2, 4]),
            "window": draw([1, 2, 5, 16]),
            "max_messages": draw([100, 100, 3, 1]),
            "max_rate": draw([None] * 9 + [500]),
        }

    def script(self) -> Script:
        """A server with some faults, or none."""
        draw, on = self.random.choice, {}
        for _ in range(draw([0, 0, 1, 2, 4, 8])):
            if draw([True] * 5 + [False]):
                on[f"{draw(AT_STEPS)}:{self.random.randrange(1, 12)}"] = draw(FAULTS)
            else:
                place = self.random.randrange(1, 1500)
                on[f"{draw(AT_BYTES)}:{place}"] = draw([close(), rst()])
        if draw([False] * 9 + [True]):
            on["greeting"] = draw([BYE, close()])
        return Script(on, offers=self.offers)

    def given(self) -> Iterator[tuple[bytes, str, list[str], Delivery | None]]:
        """The messages, counted as they are taken."""
        for item in self.items:
            self.taken += 1
            yield item

    def item(self, n: int) -> tuple[bytes, str, list[str], Delivery | None]:
        """One message; now and then with an address that is none.

        Every third one asks for notifications.
        """
        draw = self.random.choice
        text = b"x" * 70 + b"\r\n"
        content = b"Message-ID: <%d@a.b>\r\n\r\n.%d\r\n" % (n, n)
        content += text * draw([0, 0, 0, 0, 1, 30, 1000])
        to = [f"b{n}.{k}@a.b" for k in range(draw([1, 1, 1, 2, 5]))]
        sender = draw([f"a{n}@a.b"] * 30 + ["no address"])
        return content, sender, to, _delivery(n)


def _delivery(n: int) -> Delivery | None:
    """What the nth message asks for."""
    return None if n % 3 else Delivery(notify=("failure",), envid=f"n{n}")


def check_parameters(connection: Connection) -> None:
    """Each command has the parameters of its own message."""
    for _, line in connection.commands:
        found = re.fullmatch(rb"(?:MAIL FROM|RCPT TO):<([ab](\d+)[^>]*)>(.*)", line)
        if found is None:
            continue
        address, n, parameters = found[1].decode(), int(found[2]), found[3].decode()
        wanted = f" ENVID=n{n}"
        if address.startswith("b"):
            wanted = f" NOTIFY=FAILURE ORCPT=rfc822;{address}"
        assert parameters == ("" if _delivery(n) is None else wanted)


def run(case: Case) -> tuple[list[Outcome], list[Outcome], Counter[str]]:
    """The outcomes given back, those told to the hook, and who got how many messages."""
    found: list[Outcome] = []
    told: list[Outcome] = []

    def seen(outcome: Outcome) -> bool:
        """Whether to leave after this one."""
        found.append(outcome)
        return case.leaves and len(found) > len(case.items) // 3

    async def in_loop() -> None:
        task = asyncio.current_task()
        assert task is not None

        def tell(outcome: Outcome) -> None:
            told.append(outcome)
            if len(told) == case.cancels:
                task.cancel()

        async with AsyncClient(server, on_outcome=tell, **case.limits) as client:
            outcomes = client.send_many(case.given(), require_all=case.require_all)
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    if seen(outcome):
                        break

    def in_thread() -> None:
        with Client(server, on_outcome=told.append, **case.limits) as client:
            outcomes = client.send_many(case.given(), require_all=case.require_all)
            with closing(outcomes):
                any(map(seen, outcomes))

    with one_port(*case.scripts) as scripted:
        server = server_for(scripted)
        if case.in_loop:
            with suppress(asyncio.CancelledError):
                asyncio.run(in_loop())
        else:
            in_thread()
        scripted.wait_for(lambda: all(c.closed for c in scripted.connections))
    for connection in scripted.connections:
        check_parameters(connection)
    got = Counter(who for m in scripted.accepted for who in m.recipients)
    return found, told, got


def check(case: Case) -> None:
    """Everything is told once, nothing is sent twice, and what is told is so."""
    found, told, got = run(case)
    numbers = [one.index for one in found]
    assert len(set(numbers)) == len(numbers)
    early = case.leaves or case.cancels
    assert early or sorted(numbers) == list(range(len(case.items)))
    assert not [n for n, count in Counter(one.index for one in told).items() if count > 1]
    assert not [who for who, count in got.items() if count > 1], "sent twice"
    by_number = {one.index: one for one in [*told, *found]}
    for n, (_, bad, to, _) in enumerate(case.items):
        have = {who for who in to if got[who]}
        if n in by_number:
            check_one(by_number[n], to, have, require_all=case.require_all)
        else:
            assert early
            assert n >= case.taken or bad == "no address"
            assert not have, "sent, and nobody was told"


def check_one(one: Outcome, to: list[str], have: set[str], *, require_all: bool) -> None:
    """What is told of a message is what became of it."""
    if one.receipt is not None:
        assert set(one.receipt.accepted) == have
        assert have | set(one.receipt.refused) == set(to)
        return
    assert isinstance(one.error, SendError)
    assert "internal error" not in str(one.error)
    if type(one.error) is not DeliveryUnknown:
        assert set(one.error.accepted) == have
        assert not (require_all and have)


@pytest.mark.parametrize("group", range(GROUPS))
def test_any_batch(group: int) -> None:
    """Whatever the servers do, each message is accounted for, truly."""
    for seed in range(FIRST + group, LAST, GROUPS):
        case = Case(seed)
        try:
            check(case)
        except Exception as error:
            error.add_note(f"seed {seed}: {case.limits}, {case.scripts}")
            raise
