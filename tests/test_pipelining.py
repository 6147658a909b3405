"""MAIL, all RCPTs and DATA in one write (RFC 2920): every reply finds its command."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from groups import (
    GROUP,
    OFFERS,
    POSITIONS,
    RCPTS,
    REPLIES,
    TO,
    caught,
    check_outcome,
    contents,
    outcome,
    pipelined_after,
    script,
)
from leaks import InLoop, numbered, one_port
from scripted import (
    Action,
    Connection,
    Script,
    ScriptedServer,
    close,
    garbage,
    hang,
    reply,
    rst,
    say,
)
from sending import SENDER, WAYS, Send, forget, patiently, server_for

from smtpsend import Client, Receipt, send
from smtpsend.errors import (
    ConnectionLost,
    DeliveryUnknown,
    Phase,
    RecipientsRefused,
)


MODES = {"DATA": OFFERS, "BDAT": (*OFFERS, "CHUNKING")}

both = pytest.mark.parametrize("face", [Client, InLoop])


# What goes out in one write.

WRITES = {
    "offered": (OFFERS, {}, {}, [*GROUP, b"DATA"]),
    "not offered": (OFFERS[:3], {}, {}, []),
    "turned off": (OFFERS, {"pipelining": False}, {}, []),
    "require_all": (OFFERS, {}, {"require_all": True}, GROUP),
}


@pytest.mark.parametrize("send", WAYS)
@pytest.mark.parametrize("case", WRITES)
def test_one_write(case: str, send: Send) -> None:
    """The whole group comes with MAIL, where it may, and the content after the 354."""
    offers, policy, options, group = WRITES[case]
    seen, data = list[list[bytes]](), list[list[bytes]]()
    watch = {"mail": pipelined_after(seen), "data": pipelined_after(data)}
    for on in (watch, {}):
        with one_port(Script(on, offers=offers)) as scripted:
            receipt = caught(send, numbered(1), server_for(scripted, **policy), **options)
        assert receipt.accepted == tuple(TO)
        assert contents(scripted) == [numbered(1)]
        scripted.assert_clean()
    assert (seen, data) == ([group], [[]])


@both
def test_rset_is_in_the_group(face: Any) -> None:
    """On a kept connection RSET goes before MAIL in the same write, after a refusal."""
    seen: list[list[bytes]] = []
    on = {"rcpt:2": reply(550, "5.1.1", "no"), "rset": pipelined_after(seen)}
    with one_port(script(on)) as scripted:
        with face(server_for(scripted)) as client:
            error = caught(client.send, numbered(1), require_all=True)
            assert caught(client.send, numbered(2)).accepted == tuple(TO)
    assert list(error.refused) == [TO[1]]
    assert seen == [[f"MAIL FROM:<{SENDER}>".encode(), *GROUP, b"DATA"]]
    assert scripted.connections[0].verbs[-7:-5] == ["RSET", "MAIL"]
    assert contents(scripted) == [numbered(2)]
    scripted.assert_clean()


def test_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No group is larger than the limit, and DATA goes with the last one."""
    monkeypatch.setattr("smtpsend._protocol.groups.LARGEST_GROUP", 4)
    seen: list[list[bytes]] = []
    on = {m: pipelined_after(seen) for m in ("mail", "rcpt:4", "rcpt:8")}
    to = [f"b{n}@b.example" for n in range(1, 11)]
    ends = [b"RCPT TO:<b3@b.example>", b"RCPT TO:<b7@b.example>", b"DATA"]
    with one_port(script(on)) as scripted:
        receipt = send(numbered(1), server_for(scripted), sender=SENDER, recipients=to)
    assert receipt.accepted == tuple(to)
    assert [(len(group), group[-1]) for group in seen] == [(3, end) for end in ends]


# Refusals: at each position, and at several.

SOME = [set(c) for n in range(7) for c in combinations(POSITIONS, n)]


# `lax`: the server sends a 354 although nobody was accepted. Where all recipients are
# required, DATA is not in the group, so that it cannot.
@pytest.mark.parametrize(
    ("lax", "require_all"), [(False, False), (True, False), (False, True)]
)
def test_refusals_at_every_position(lax: bool, require_all: bool) -> None:
    """Any set of refusals is reported as it was said; the next message goes out."""
    for refused in SOME:
        kind, phase, _ = outcome(refused, require_all=require_all)
        nobody = phase in ("mail", "rcpt")
        dot = lax and nobody and "data:1" not in refused
        on = {"data:1": say(b"354 go\r\n")} if dot else {}
        on |= {p: REPLIES[p] for p in refused}
        # The next message is not to meet what this one does not come to.
        if not dot and phase not in (None, "final"):
            on.pop("final:1", None)
        if require_all and nobody:
            on.pop("data:1", None)
        with one_port(script(on)) as scripted, Client(server_for(scripted)) as client:
            found = caught(client.send, numbered(1), require_all=require_all)
            after = caught(client.send, numbered(2))
        check_outcome(found, refused, require_all=require_all)
        assert (after.accepted, after.attempts) == (tuple(TO), ())
        taken = [numbered(1)] if kind is Receipt else []
        assert contents(scripted) == [*taken, numbered(2)]
        (record,) = scripted.connections
        assert (b"DATA\r\n.\r\n" in record.received) is dot
        scripted.assert_clean()


LATE = Action("late", lambda talk: (talk.pause(0.3), talk.do_normal()))
DOTS = {
    "250": ({"final:1": say(b"250 ok\r\n")}, 1),
    "554": ({"final:1": reply(554, "5.5.1", "no valid recipients")}, 1),
    "close": ({"final:1": close()}, 2),
    "hang": ({"final:1": hang()}, 2),
    "late": ({"final:1": LATE}, 2),
    "garbage": ({"final:1": garbage()}, 2),
    "two replies": ({"final:1": say(b"250 ok\r\n250 ok\r\n")}, 2),
    "a stray reply after the 354": ({"data:1": say(b"354 go\r\n250 stray\r\n")}, 2),
    "2yz to DATA": ({"data:1": say(b"250 ok\r\n")}, 2),
    "3yz to DATA": ({"data:1": say(b"334 x\r\n")}, 2),
}


@both
@pytest.mark.parametrize("case", DOTS)
@patiently
def test_all_refused_and_yet_a_354(case: str, face: Any) -> None:
    """Whatever answers DATA or the lone dot: nobody got it, and the next one is safe."""
    on, count = DOTS[case]
    no = {p: reply(550, "5.1.1", "no") for p in RCPTS}
    bad = script({**no, "data:1": say(b"354 go\r\n"), **on})
    with one_port(bad, script({})) as scripted:
        with face(server_for(scripted, reply_timeout=3, final_timeout=0.2)) as client:
            error = caught(client.send, numbered(1))
            after = caught(client.send, numbered(2))
    assert (type(error), list(error.refused)) == (RecipientsRefused, TO)
    assert (after.accepted, after.attempts) == (tuple(TO), ())
    assert after.elapsed < 2
    assert contents(scripted) == [numbered(2)]
    assert len(scripted.connections) == count, "in doubt, and used again, or the reverse"
    scripted.assert_clean(auths=count)


# Wherever the connection ends, for DATA and for BDAT.

LOST = {
    "none": (set[str](), 23),
    "one": ({"rcpt:2"}, 3),
    "all": (set(RCPTS), 23),
    "sender": ({"mail:1"}, 23),
    "content": ({"final:1"}, 23),
}
LOSSES = {"close": close(), "rst": rst(), "hang": hang()}


def told(record: Connection) -> int:
    """How many replies left after the 235."""
    sent = bytes(record.sent)
    return sent[sent.index(b"235 ") :].count(b"\r\n") - 1


def check_loss(
    scripted: ScriptedServer, found: Any, refused: set[str], mode: str
) -> None:
    """The report is what the server knows, and a refusal that was said is told."""
    taken = len(contents(scripted))
    if type(found) is DeliveryUnknown:
        assert mode == "BDAT" or max(map(told, scripted.connections)) >= 5
    elif type(found) is ConnectionLost:
        assert (taken, found.temporary, len(found.attempts)) == (0, True, 2)
    else:
        check_outcome(found, refused, require_all=False)
        assert taken == (type(found) is Receipt)
    needed = {Phase.MAIL: 1, Phase.RCPT: 4}
    phase = outcome(refused, require_all=False)[1]
    if told(scripted.connections[0]) >= needed.get(phase, 5 + (mode == "DATA")):
        check_outcome(found, refused, require_all=False)
        assert len(scripted.connections) == 1


@patiently
def lose_at(n: int, mode: str, loss: str, case: str, direction: str) -> ScriptedServer:
    """Lose the connection at the n-th byte: each time if n is odd, else the first."""
    refused = LOST[case][0]
    times = {"reply_timeout": 0.15, "final_timeout": 0.15} if loss == "hang" else {}
    on = {p: REPLIES[p] for p in refused}
    good = Script(on, offers=MODES[mode])
    bad = Script({**on, f"{direction}:{n}": LOSSES[loss]}, offers=MODES[mode])
    with one_port(*[bad, good][: 1 + n % 2]) as scripted:
        found = caught(send, numbered(1), server_for(scripted, **times))
    try:
        check_loss(scripted, found, refused, mode)
        assert type(found) is not ConnectionLost or not n % 2
        assert len(contents(scripted)) <= 1
        scripted.assert_clean(auths=2)
    except AssertionError as error:
        error.add_note(f"{loss} at {n}: {found!r}")
        raise
    return scripted


@pytest.mark.parametrize("direction", ["after-auth", "sent-after-auth"])
@pytest.mark.parametrize("case", LOST)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mode", MODES)
def test_loss(mode: str, loss: str, case: str, direction: str) -> None:
    """Lost anywhere, the first time or each time: the report is true, with one copy."""
    step = {"close": LOST[case][1], "rst": 29, "hang": 111}[loss]
    for n in range(1, 600, step):
        forget()
        scripted = lose_at(n, mode, loss, case, direction)
        if scripted.connections[0].closed_by == "quit":
            break  # past the last byte
