"""Runs transactions against a simulated server, and judges what is reported of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simulation.world import GARBAGE, LOST, Rules, World
from smtpsend._protocol.connection_state import ConnectionState
from smtpsend._protocol.ordering import Command, Terms, Verb
from smtpsend._protocol.pipeline import Pipeline
from smtpsend._protocol.quirks import AfterData, Quirks
from smtpsend._protocol.transaction import Stage, Transaction
from smtpsend.errors import DeliveryUnknown, Event, Reply


MODES = ("single", "group", "chain", "window", "alone", "quit")


@dataclass(slots=True)
class Case:
    """One run.

    Attributes:
        mode: ``single``: one command at a time; ``group``: with PIPELINING; ``chain``:
            commands after the content, too; ``window``: several messages by BDAT;
            ``alone``: one message by BDAT, with QUIT after it; ``quit``: one by DATA,
            with QUIT after it.
    """

    mode: str
    faults: Mapping[tuple[str, int], str]
    rules: Rules = field(default_factory=Rules)
    require_all: bool = False
    recipients: int = 2
    after_data: AfterData = AfterData.REPLIES

    @property
    def count(self) -> int:
        """How many messages are sent."""
        return {"alone": 1, "quit": 1, "window": 3}.get(self.mode, 4)

    def transactions(self) -> list[Transaction]:
        """The messages, not sent yet."""
        by_bdat = self.mode in ("window", "alone")
        return [
            Transaction(
                mail=f"a{n}".encode(),
                recipients=[f"b{n}.{k}" for k in range(self.recipients)],
                content=b"hi\r\n",
                require_all=self.require_all,
                by_bdat=by_bdat,
            )
            for n in range(self.count)
        ]

    def terms(self, quirks: Quirks) -> Terms:
        """What may be pipelined."""
        known = (AfterData.REPLIES, AfterData.UNTRIED)
        return Terms(
            pipelining=self.mode != "single",
            after_content=lambda: self.mode == "chain" and quirks.after_data in known,
            windows=self.mode == "window",
            quit=self.mode in ("alone", "quit"),
        )


@dataclass(slots=True)
class Run:
    """What became of a case."""

    transactions: list[Transaction]
    world: World
    settled: list[Transaction]
    left: Sequence[Transaction]  # never given to the pipeline


def executed(command: Command) -> tuple[str, str]:
    """A command as the server sees it."""
    verb, transaction, address = command
    if verb is Verb.CONTENT:
        return "content", "" if transaction is None else "message"
    if verb is Verb.BDAT:
        return "bdat", "message"
    if verb is Verb.MAIL and transaction is not None:
        return "mail", transaction.mail.decode()
    return verb.name.lower(), address


def run(case: Case) -> Run:
    """Run a case over the protocol core."""
    world = World(case.rules, case.faults)
    transactions = case.transactions()
    queue = deque(transactions)
    quirks = Quirks(after_data=case.after_data)
    pipeline = Pipeline(
        ConnectionState(),
        case.terms(quirks),
        quirks,
        lambda _: queue.popleft() if queue else None,
    )
    settled: list[Transaction] = []
    for _ in range(1000):
        group = pipeline.next_group()
        if not group:
            break
        _write(pipeline, world, group)
        while pipeline.awaiting:
            _read(pipeline, world)
        settled += pipeline.take_settled()
    else:
        raise AssertionError("endless")
    pipeline.finish(unread=bool(world.out) and isinstance(world.out[0], Reply))
    settled += pipeline.take_settled()
    return Run(transactions, world, settled, list(queue))


def _write(pipeline: Pipeline, world: World, group: list[Command]) -> None:
    """Write a group as the driver does, which looks for unread replies before."""
    if world.out:
        first = world.out.popleft()
        if isinstance(first, Reply):
            if first.code == 421 or group[0].verb is Verb.CONTENT:
                pipeline.early_reply(first)
            else:
                pipeline.connection_lost(f"an extra reply: {first}", extra_reply=True)
        else:
            pipeline.connection_lost(first)
        return
    pipeline.written()
    world.group(map(executed, group))


def _read(pipeline: Pipeline, world: World) -> None:
    reply = world.out.popleft() if world.out else "silence"
    if isinstance(reply, Reply):
        pipeline.receive(reply)
    else:
        timed_out = reply not in (LOST, GARBAGE)
        pipeline.connection_lost(reply, timed_out=timed_out)


def judge(case: Case, done: Run) -> Counter[str]:
    """Compare what is reported of each message with what the server accepted.

    Returns:
        How often each outcome came.
    """
    kinds: Counter[str] = Counter()
    accepted = done.world.accepted
    assert all(count == 1 for count in accepted.values()), "accepted twice"
    faults = set(case.faults.values())
    for transaction in done.transactions:
        name = transaction.mail.decode()
        got = {address for (mail, address) in accepted if mail == name}
        times = sum(x is transaction for x in done.settled)
        if any(x is transaction for x in done.left):
            assert times == 0, "settled, and not begun"
            assert not got, "accepted, and not begun"
            kinds["not begun"] += 1
            continue
        assert times == 1, f"settled {times} times"
        assert transaction.stage is Stage.SETTLED
        error = transaction.error
        if transaction.unsent:
            assert not got, "accepted, and to be sent again"
            kinds["unsent"] += 1
        elif error is None:
            assert got == set(transaction.accepted), "a receipt, and not accepted"
            kinds["accepted"] += 1
        elif type(error) is DeliveryUnknown:
            harmless = faults <= {"4yz", "5yz", "421"}
            at_point = {"rset", "quit", "ehlo"} & set(done.world.hits)
            odd = not case.rules.rset or case.rules.bdat == "commands"
            assert not harmless or at_point or odd, "unknown without a reason"
            kinds["unknown"] += 1
        else:
            assert not got, f"{type(error).__name__}, and accepted"
            if error.event is Event.LOST:
                kinds["lost"] += 1
            else:
                kinds[type(error).__name__] += 1
    return kinds
