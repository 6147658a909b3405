"""Runs transactions against a simulated server, and judges what is reported of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import cast

from simulation.world import SILENT, Rules, World
from smtpsend._model.delivery import Delivery
from smtpsend._protocol.connection_state import ConnectionState
from smtpsend._protocol.ordering import Command, Terms, Verb
from smtpsend._protocol.pipeline import Pipeline
from smtpsend._protocol.quirks import AfterData, Quirks
from smtpsend._protocol.transaction import Stage, Transaction
from smtpsend.errors import DeliveryUnknown, Event, Reply


# The recipients of the messages that ask for notifications: of every second one.
ASKING = frozenset(f"b{n}.{k}" for n in (1, 3) for k in range(8))

MODES = ("single", "group", "chain", "window", "alone", "quit")

_ASKED = Delivery(notify=("failure",))
_NAMED = {Verb.MAIL, Verb.CONTENT, Verb.BDAT}

_COUNT = {"alone": 1, "quit": 1, "window": 3}
_PIPELINED_AFTER_CONTENT = (AfterData.REPLIES, AfterData.UNTRIED)


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
    faults: Mapping[tuple[str, int], str] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    require_all: bool = False
    recipients: int = 2
    after_data: AfterData = AfterData.REPLIES

    def transactions(self) -> list[Transaction]:
        """The messages, not sent yet."""
        by_bdat = self.mode in ("window", "alone")
        return [
            Transaction(
                mail=f"MAIL FROM:<a{n}>\r\n".encode(),
                recipients=[f"b{n}.{k}" for k in range(self.recipients)],
                content=f"content a{n}\r\n".encode(),
                require_all=self.require_all,
                by_bdat=by_bdat,
                delivery=_ASKED if n % 2 else None,
            )
            for n in range(_COUNT.get(self.mode, 4))
        ]

    def terms(self, quirks: Quirks) -> Terms:
        """What may be pipelined."""
        chain = self.mode == "chain"
        return Terms(
            pipelining=self.mode != "single",
            after_content=lambda: chain and quirks.after_data in _PIPELINED_AFTER_CONTENT,
            windows=self.mode == "window",
            quit=self.mode == "alone",
            quit_after_content=self.mode == "quit",
        )


@dataclass(slots=True)
class Run:
    """What became of a case.

    Attributes:
        settled: the transactions in the order in which they were settled.
        left: those that were never given to the pipeline.
    """

    transactions: list[Transaction]
    world: World
    settled: list[Transaction]
    left: Sequence[Transaction]


def name_of(transaction: Transaction) -> str:
    """The sender, which tells the messages of a case apart."""
    return _name(transaction.mail)


@cache
def _name(mail: bytes) -> str:
    return mail[11:-3].decode()


@cache
def _seen(verb: Verb) -> str:
    return verb.name.lower()


def executed(command: Command) -> tuple[str, str]:
    """A command as the server sees it."""
    verb, transaction, address = command
    if verb is Verb.RCPT:
        return "rcpt", address
    if transaction is not None and verb in _NAMED:
        return _seen(verb), _name(transaction.mail)
    return _seen(verb), ""


@dataclass(slots=True)
class Started:
    """A case with its server and its pipeline, before the first command."""

    world: World
    transactions: list[Transaction]
    pipeline: Pipeline
    queue: deque[Transaction]


def start(case: Case) -> Started:
    """Prepare a case."""
    transactions = case.transactions()
    queue = deque(transactions)
    quirks = Quirks(after_data=case.after_data)
    pipeline = Pipeline(
        ConnectionState(),
        case.terms(quirks),
        quirks,
        lambda _: queue.popleft() if queue else None,
    )
    return Started(World(case.rules, case.faults), transactions, pipeline, queue)


def run(case: Case, begun: Started | None = None) -> Run:
    """Run a case over the protocol core, or one that was prepared already."""
    started = begun or start(case)
    world, pipeline = started.world, started.pipeline
    settled: list[Transaction] = []
    while group := pipeline.next_group():
        _write(pipeline, world, group)
        while pipeline.awaiting:
            _read(pipeline, world)
        settled += pipeline.take_settled()
    pipeline.finish(unread=bool(world.out) and isinstance(world.out[0], Reply))
    settled += pipeline.take_settled()
    return Run(started.transactions, world, settled, list(started.queue))


def _write(pipeline: Pipeline, world: World, group: list[Command]) -> None:
    """Write a group as the driver does, which looks for unread replies before."""
    first = world.out[0] if world.out else SILENT
    if first is SILENT:
        pipeline.written()
        world.group([executed(command) for command in group])
        return
    world.out.popleft()
    if not isinstance(first, Reply):
        pipeline.connection_lost(first)
    elif first.code == 421 or group[0].verb is Verb.CONTENT:
        pipeline.early_reply(first)
    else:
        pipeline.connection_lost(f"an extra reply: {first}", extra_reply=True)


def _read(pipeline: Pipeline, world: World) -> None:
    out, ending = world.out, ""
    if out and not isinstance(out[-1], Reply):
        ending = str(out.pop())
    if out:
        pipeline.receive_all(cast("deque[Reply]", out))  # the ending alone was no reply
        if ending:
            out.append(ending)
    else:
        fault = ending or SILENT
        pipeline.connection_lost(fault, timed_out=fault == SILENT)


def unseen(case: Case, world: World, name: str) -> bool:
    """Whether no client can find out what the server did with a message.

    - An extra reply came directly in front of the reply to the content, and nothing was
      pipelined after it. The client reads the extra reply as that to the content, and the
      true one comes after the outcome.
    - An extra reply came, and a second deviation (a fault, or a rule that no server may
      have) prevents the synchronisation point after it, or is an extra reply, too. Then
      the number of replies is right by coincidence.
    - A server replied with 421, as the first deviation, which says that it accepts
      nothing more (RFC 5321 section 3.8); nevertheless it accepted the message, and the
      second one is that the connection ended without a further reply.
    """
    if name in world.bare:
        return True
    two = len(world.hits) + (not case.rules.regular) >= 2
    return two and (name in world.uncounted or name in world.denied)


def judge(case: Case, done: Run) -> Counter[str]:
    """Compare what is reported of each message with what the server accepted.

    Returns:
        How often each outcome came; those that are not true, but of which no client could
        know the truth, as ``unseen``.
    """
    kinds: Counter[str] = Counter()
    assert all(count == 1 for count in done.world.accepted.values()), "accepted twice"
    settled, unbegun = [*map(id, done.settled)], {*map(id, done.left)}
    for transaction in done.transactions:
        name, key = name_of(transaction), id(transaction)
        got = {address for (mail, address) in done.world.accepted if mail == name}
        times, left = settled.count(key), key in unbegun
        assert times == (not left), f"settled {times} times"
        assert left or transaction.stage is Stage.SETTLED
        kind, untrue = _outcome(transaction, got, left=left)
        if untrue and unseen(case, done.world, name):
            kind, untrue = "unseen", ""
        assert not untrue, untrue
        if kind == "unknown":
            _judge_unknown(case, done.world)
        kinds[kind] += 1
    return kinds


def _outcome(transaction: Transaction, got: set[str], *, left: bool) -> tuple[str, str]:
    """The kind of an outcome, and why it is not true; empty if it is."""
    error = transaction.error
    if left or transaction.unsent:
        kind = "not begun" if left else "unsent"
        return kind, "accepted, and to be sent again" if got else ""
    if error is None:
        true = got == set(transaction.accepted)
        return "accepted", "" if true else "a receipt, and not accepted"
    if type(error) is DeliveryUnknown:
        return "unknown", ""
    kind = "lost" if error.event is Event.LOST else type(error).__name__
    return kind, f"{type(error).__name__}, and accepted" if got else ""


def _judge_unknown(case: Case, world: World) -> None:
    """Refusals of a server that otherwise does what it announces leave nothing open."""
    harmless = set(case.faults.values()) <= {"4yz", "5yz", "421"}
    at_point = {"rset", "quit", "ehlo"} & set(world.hits)
    odd = not case.rules.rset or case.rules.bdat == "commands"
    assert not harmless or at_point or odd, "unknown without a reason"


def reported(done: Run) -> list[tuple[object, ...]]:
    """What is reported of each message, to compare two runs."""
    return [
        (
            type(transaction.error),
            transaction.error and (transaction.error.event, transaction.error.phase),
            transaction.error and transaction.error.reply,
            transaction.reply,
            transaction.accepted,
            transaction.refused,
            transaction.deferred,
        )
        for transaction in done.transactions
    ]
