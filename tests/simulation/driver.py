"""Runs a case through the driver and the channel, over a transport without a socket."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

from simulation.cases import ASKING, Case, Run, start
from simulation.world import GARBAGE, LOST, World
from smtpsend._protocol.failures import TimedOut
from smtpsend._protocol.redaction.redact import Redactor
from smtpsend._protocol.transaction import Transaction
from smtpsend._wire.channel import Channel
from smtpsend._wire.connection import Session
from smtpsend._wire.exchange import run as drive
from smtpsend.errors import Phase, Reply


def parse(data: bytes) -> list[tuple[str, str]]:
    """The commands in one write, as the simulated server executes them."""
    commands = []
    while data:
        line, _, rest = data.partition(b"\r\n")
        verb, _, argument = line.decode().partition(" ")
        if line == b".":
            commands.append(("content", ""))
        elif verb == "content":
            commands.append(("content", argument))
            assert rest.startswith(b".\r\n")
            rest = rest[3:]
        elif verb == "BDAT":
            length = int(argument.split()[0])
            commands.append(("bdat", rest[8 : length - 2].decode()))
            rest = rest[length:]
        else:
            address, _, asked = argument.partition("<")[2].partition(">")
            if verb == "RCPT":
                assert asked in ("", f" NOTIFY=FAILURE ORCPT=rfc822;{address}")
                assert bool(asked) is (address in ASKING)
            commands.append((verb.lower(), address))
        data = rest
    return commands


def _octets(reply: Reply) -> bytes:
    *lines, last = reply.text.split("\n")
    code = str(reply.code)
    enhanced = f"{reply.enhanced} " if reply.enhanced else ""
    text = [f"{code}-{enhanced}{line}\r\n" for line in lines]
    return "".join([*text, f"{code} {enhanced}{last}\r\n"]).encode()


class Transport(asyncio.Transport):
    """Gives what is written to a simulated server, and its replies to the channel.

    The replies to one write arrive in pieces, which are cut at random places. What comes
    after the reply to the last command of the write arrives with the end of this reply,
    since the time at which the client sees it would otherwise be random, too.
    """

    def __init__(self, world: World, channel: Channel, random: random.Random) -> None:
        super().__init__()
        self.pieces: deque[bytes] = deque()
        self._world = world
        self._channel = channel
        self._random = random
        self._ends = False  # after the pieces

    def write(self, data: Any) -> None:
        assert not self.pieces, "a group was written before the replies to the last one"
        if self._ends:
            return
        commands = parse(bytes(data))
        self._world.group(commands)
        octets, awaited = b"", 0
        for n, item in enumerate(self._world.out, 1):
            if isinstance(item, Reply):
                octets += _octets(item)
            elif item == GARBAGE:
                octets += b"no reply at all\r\n"
            else:
                self._ends = item == LOST
            if n <= len(commands):
                awaited = len(octets)
        self._world.out.clear()
        places = range(1, awaited)
        most = min(len(places), self._random.choice((0, 1, 2, 8)))
        cuts = [0, *sorted(self._random.sample(places, most)), len(octets)]
        self.pieces += [octets[a:b] for a, b in pairwise(cuts)]
        self._deliver()

    def _deliver(self) -> None:
        if self.pieces and (piece := self.pieces.popleft()):
            self._channel.data_received(piece)
        if self.pieces:
            asyncio.get_running_loop().call_soon(self._deliver)
        elif self._ends:
            self._channel.eof_received()

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class _Deadline:
    """The time limit of one message.

    It is reached at once if the server is silent, and when the message has its outcome,
    so that the next message fails if it has this one.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.over = False

    def within(self, seconds: float) -> float:
        return seconds if self._transport.pieces and not self.over else 0.0

    def raise_if_over(self) -> None:
        if self.over:
            raise TimedOut("the deadline ran out")


async def run_driven(case: Case, random: random.Random) -> Run:
    """Run a case through the driver."""
    started = start(case)
    channel = Channel(Redactor())
    transport = Transport(started.world, channel, random)
    channel.connection_made(transport)
    for transaction in started.transactions:
        transaction.deadline = _Deadline(transport)
    session = SimpleNamespace(
        channel=channel,
        deadline=_Deadline(transport),
        track=SimpleNamespace(phase=Phase.MAIL),
        target=SimpleNamespace(policy=SimpleNamespace(reply_timeout=60.0)),
        timeout=lambda: session.deadline.within(60.0),
        final_timeout=lambda: session.deadline.within(600.0),
        ehlo_line=b"EHLO [127.0.0.1]\r\n",
    )
    settled: list[Transaction] = []

    def settle(transaction: Transaction) -> None:
        settled.append(transaction)
        transaction.deadline.over = True

    await drive(cast("Session", session), started.pipeline, settle)
    return Run(started.transactions, started.world, settled, list(started.queue))
