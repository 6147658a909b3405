"""What is written together, and what a fault means for each message, by examples.

The simulation of test_simulation.py finds what is untrue; these find what is not written
together although it may be, and what is unknown although it could be known.
"""

import random
from collections import deque

import pytest
from simulation.cases import MODES, Case, Run, reported, run, start
from simulation.world import Rules

from smtpsend._protocol.ordering import Verb
from smtpsend._protocol.quirks import AfterData
from smtpsend.errors import RecipientsRefused, Reply


MAIL, RCPT, RSET = ("mail", 1), ("rcpt", 1), ("rset", 1)
CONTENT, BDAT, SECOND = ("content", 1), ("bdat", 1), ("mail", 2)
UNKNOWN = "DeliveryUnknown"


def outcomes(case):
    """The kind of each outcome, with the code of its reply, in the order of messages."""
    kinds = []
    for transaction in run(case).transactions:
        error = transaction.error
        kind = "accepted" if transaction.reply else "unsent"
        if error is not None:
            code = "" if error.reply is None else f" {error.reply.code}"
            kind = f"{type(error).__name__}{code}"
        kinds.append(kind)
    return kinds


def refusing(*steps, **rules):
    """Rules that refuse these steps."""
    return Rules(frozenset(steps), **rules)


STATED = [
    # Before the end of the content.
    ("group", {SECOND: "drop after"}, Rules(), ["accepted", "ConnectionLost", "unsent"]),
    ("group", {RCPT: "drop before"}, refusing(MAIL), ["Rejected 550", "unsent"]),
    ("group", {MAIL: "stray no before"}, Rules(), ["ConnectionLost", "unsent"]),
    ("group", {MAIL: "221"}, Rules(), ["Rejected 221", "unsent"]),
    ("group", {RCPT: "421"}, Rules(), ["ConnectionLost 421", "unsent"]),
    # After it.
    ("alone", {RCPT: "421"}, Rules(), ["ConnectionLost 421"]),
    ("alone", {BDAT: "drop before"}, refusing(MAIL), ["Rejected 550"]),
    ("alone", {MAIL: "stray no before"}, Rules(), [UNKNOWN]),
    ("alone", {BDAT: "drop unsaid"}, Rules(), [UNKNOWN]),
    (
        "window",
        {RSET: "drop before"},
        Rules(bdat="swallowed"),
        ["ConnectionLost 502"] * 3,
    ),
    ("window", {RSET: "354"}, Rules(bdat="swallowed"), [UNKNOWN] * 3),
    # After the reply to it.
    ("window", {BDAT: "stray no after"}, Rules(), [UNKNOWN] * 3),
    ("chain", {("rcpt", 3): "drop before"}, Rules(), ["accepted", "ConnectionLost"]),
    (
        "chain",
        {CONTENT: "stray ok before", SECOND: "drop before"},
        refusing(CONTENT),
        [UNKNOWN, "Rejected 552"],
    ),
    (
        "chain",
        {("rcpt", 3): "drop before"},
        refusing(CONTENT, SECOND),
        ["Rejected 552", "Rejected 550"],
    ),
]


@pytest.mark.parametrize(("mode", "faults", "rules", "expected"), STATED)
def test_stated(mode, faults, rules, expected):
    """Each row of the table of fates, by an example: as much is known as can be."""
    found = outcomes(Case(mode, faults, rules))
    assert found[: len(expected)] == expected


def letter(verb):
    """The first letter of a verb, but S for RSET."""
    return "S" if verb is Verb.RSET else verb.name[0]


def written(case):
    """What is written at once: a letter for each command."""
    started = start(case)
    next_group, groups = started.pipeline.next_group, []

    def noted():
        group = next_group()
        if group:
            groups.append([letter(command.verb) for command in group])
        return group

    started.pipeline.next_group = noted
    run(case, started)
    return ["".join(group) for group in groups]


WRITTEN = [
    (Case("single"), ["M", "R", "R", "D", "C"] * 4),
    (Case("single", rules=refusing(RCPT, ("rcpt", 2))), ["M", "R", "R", "S", "M"]),
    (Case("group"), ["MRRD", "C"] * 4),
    (Case("group", rules=refusing(RCPT, ("rcpt", 2))), ["MRRD", "SMRRD", "C"]),
    (Case("group", require_all=True), ["MRR", "D", "C"] * 4),
    (Case("chain"), ["MRRD", *["CMRRD"] * 3, "C"]),
    (Case("chain", require_all=True), ["MRR", "D", "CMRR", "D", "CMRR"]),
    (Case("chain", after_data=AfterData.TRYING), ["MRRD", "C"] * 4),
    (Case("window"), ["MRRBSMRRBSMRRBE"]),
    (Case("window", require_all=True), ["MRR", "BSMRR", "BSMRR", "BE"]),
    (Case("alone"), ["MRRBQ"]),
    (Case("quit"), ["MRRD", "CQ"]),
    (Case("quit", rules=Rules(limit=1)), ["MRRD", "C"]),
]


@pytest.mark.parametrize(("case", "expected"), WRITTEN)
def test_written(case, expected):
    """What goes out in one write, for each way to send: as much as may, and no more."""
    assert written(case)[: len(expected)] == expected


@pytest.mark.parametrize("mode", MODES)
def test_served(mode):
    """A connection has served once there is a reply to the end of a message."""
    started = start(Case(mode, rules=refusing(MAIL)))
    run(Case(mode, rules=refusing(MAIL)), started)
    by_bdat = started.transactions[0].by_bdat  # its end goes out before the reply to MAIL
    more = len(started.transactions) > 1
    assert started.pipeline._state.served == (more or by_bdat)
    accepting = start(Case(mode))
    run(Case(mode), accepting)
    assert accepting.pipeline._state.served


def test_quit_after_content_is_no_trial():
    """A lost connection tells nothing of MAIL after a content if QUIT was after it."""
    case = Case("quit", {CONTENT: "drop after"}, after_data=AfterData.UNTRIED)
    started = start(case)
    run(case, started)
    assert started.pipeline.broken is not None
    assert started.pipeline._quirks.after_data is AfterData.UNTRIED


def test_extra_reply_in_the_trial():
    """An extra reply to a content is seen where the trial ends with MAIL refused."""
    rules, untried = refusing(CONTENT, SECOND), AfterData.UNTRIED
    case = Case("chain", {CONTENT: "stray ok before"}, rules, after_data=untried)
    assert outcomes(case)[:2] == [UNKNOWN, "unsent"]
    without = Case("chain", {}, rules, after_data=untried)
    assert outcomes(without)[:2] == ["Rejected 552", "unsent"]


@pytest.mark.parametrize("together", [True, False])
def test_accepted_chunk_without_recipient(together):
    """A message that the server accepts for nobody has its refusals as its outcome."""
    started = start(Case("window"))
    pipeline, awaiting = started.pipeline, started.pipeline.awaiting
    pipeline.next_group()
    pipeline.written()
    ehlo, ok = Reply(250, None, "mail\nCHUNKING"), Reply(250, None, "ok")
    kinds = {Verb.RCPT: Reply(550, "5.1.1", "unknown"), Verb.EHLO: ehlo}
    replies = deque(kinds.get(command.verb, ok) for command in awaiting)
    while replies:
        pipeline.receive_all(replies if together else deque([replies.popleft()]))
    settled = pipeline.take_settled()
    assert [type(x.error) for x in settled] == [RecipientsRefused] * len(settled)
    assert len(settled) == 3
    assert all(not x.accepted and len(x.refused) == 2 for x in settled)


REPLIES = [
    *[Reply(250, None, "ok")] * 6,
    Reply(250, None, "mail\nCHUNKING"),
    Reply(251, None, "elsewhere"),
    Reply(354, None, "go on"),
    Reply(221, None, "bye"),
    Reply(421, None, "closing"),
    Reply(452, "4.5.3", "too many"),
    Reply(503, None, "not now"),
    Reply(550, "5.1.1", "unknown"),
]


@pytest.mark.parametrize("mode", MODES)
def test_replies_together(mode):
    """Replies that arrive together mean what they mean one by one, whatever they are."""
    r = random.Random(mode)
    for _ in range(400):
        both = [start(Case(mode)) for _ in range(2)]
        while [x.pipeline.next_group() != [] for x in both] == [True, True]:
            for started in both:
                started.pipeline.written()
            awaited = len(both[0].pipeline.awaiting)
            replies = r.choices(REPLIES, k=awaited + r.choice((0, 0, 0, 1)))
            left = deque(replies)
            both[0].pipeline.receive_all(left)
            for n, reply in enumerate(replies):
                if not both[1].pipeline.awaiting:
                    assert list(left) == replies[n:]
                    break
                both[1].pipeline.receive(reply)
            else:
                assert not left
            if both[0].pipeline.awaiting:
                for started in both:
                    started.pipeline.connection_lost("closed")
        for started in both:
            started.pipeline.finish(unread=False)
        one, other = [
            reported(Run(x.transactions, x.world, x.pipeline.take_settled(), []))
            for x in both
        ]
        assert one == other, replies


def test_accepted_chunk_after_refused_mail():
    """A BDAT that is accepted although MAIL and RCPT were refused leaves both in doubt.

    The server did not execute RSET, and so delivered the second content to the recipient
    of the first message.
    """
    rules = refusing(BDAT, ("rcpt", 2))
    case = Case("window", {RSET: "421 stays"}, rules, recipients=1)
    assert run(case).world.accepted["a1", "b0.0"] == 1
    assert outcomes(case)[:2] == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("mode", ["group", "chain", "window", "alone", "quit"])
def test_recipients_deferred_in_an_earlier_group(monkeypatch, mode):
    """Recipients that an earlier group deferred leave the end of the message as it is."""
    monkeypatch.setattr("smtpsend._protocol.groups.LARGEST_GROUP", 3)
    case = Case(mode, {}, Rules(limit=2), recipients=8)
    done = run(case)
    for transaction in done.transactions:
        assert transaction.error is None
        assert (len(transaction.accepted), len(transaction.deferred)) == (2, 6)
    assert not done.left
