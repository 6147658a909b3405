"""The content by BDAT (RFC 3030), behind RCPT in one write or after the replies."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

import pytest
from groups import (
    BDAT,
    GROUP,
    MODES,
    OFFERS,
    PHASES,
    POSITIONS,
    RCPTS,
    REPLIES,
    TO,
    caught,
    check_outcome,
    pipelined_after,
)
from leaks import InLoop, numbered, one_port
from scripted import (
    Action,
    Script,
    ScriptedServer,
    close,
    garbage,
    hang,
    normal,
    nothing,
    reply,
    rst,
    say,
    split,
    stop_reading,
    then,
)
from sending import WAYS, Send, patiently, server_for

from smtpsend import Client, Receipt, send
from smtpsend.errors import (
    ConnectionLost,
    DeliveryUnknown,
    Event,
    Phase,
    RecipientsRefused,
    Rejected,
)


NOBODY = {p: reply(550, "5.1.1", "no") for p in RCPTS}

both = pytest.mark.parametrize("face", [Client, InLoop])
modes = pytest.mark.parametrize("mode", MODES)


def check_true(scripted: ScriptedServer, found: Any) -> None:
    """The report agrees with the server, which took it once at most for each."""
    got = Counter(to for m in scripted.accepted for to in m.recipients)
    assert set(got.values()) <= {1}, "twice"
    if type(found) is not DeliveryUnknown:
        assert set(found.accepted) == set(got)


def one_port_of_two(*scripts: Script) -> ScriptedServer:
    """A script for each connection to the first port; the second is there, too."""
    return ScriptedServer(starttls=scripts, starttls2=None)


def send_to(scripted: ScriptedServer) -> Any:
    """`send` with the server given, as a client has it."""
    return lambda message, **options: send(message, server_for(scripted), **options)


# What goes out, and in how many writes.


@pytest.mark.parametrize("chunking", [True, False])
@pytest.mark.parametrize("send", WAYS)
def test_the_content_goes_out_as_it_is(send: Send, chunking: bool) -> None:
    """By BDAT lines of dots are as they were; without chunking it is DATA."""
    with one_port(Script(offers=BDAT)) as scripted:
        found = caught(send, numbered(1), server_for(scripted, chunking=chunking))
    assert found.accepted == tuple(TO)
    (record,) = scripted.connections
    bdat = b"BDAT %d LAST\r\n%b" % (len(numbered(1)), numbered(1))
    assert (bdat in record.received) is chunking
    assert ("DATA" in record.verbs) is not chunking
    assert [m.content for m in scripted.accepted] == [numbered(1)]
    scripted.assert_clean()


LIKE_COMMANDS = ["MAIL FROM:<a@b>", "rcpt to:<c@d>", "  quit", "\tDATA", "Bdat 9 LAST"]
LIKE_COMMANDS += ["RSET", "noop", "SEND x", "SOML x", "saml x", "EHLO x", "AUTH PLAIN"]
PLAIN = ["mailbox", "a quit", ".MAIL FROM:<a@b>", "x DATA", "databank", "-RCPT TO:<a@b>"]
LARGE = numbered(1) + (b"x" * 78 + b"\r\n") * 820

SHARES: dict[str, tuple[bytes, tuple[str, ...], dict[str, Any], bool]] = {
    **{x: (numbered(1) + x.encode() + b"\r\n", BDAT, {}, False) for x in LIKE_COMMANDS},
    **{x: (numbered(1) + x.encode() + b"\r\n", BDAT, {}, True) for x in PLAIN},
    "plain": (numbered(1), BDAT, {}, True),
    "65,536 bytes": (LARGE[:65534] + b"\r\n", BDAT, {}, False),
    "just below": (LARGE[:65533] + b"\r\n", BDAT, {}, True),
    "BURL": (numbered(1), (*BDAT, "BURL imap://x"), {}, False),
    "no PIPELINING": (numbered(1), (*OFFERS[:3], "CHUNKING"), {}, False),
    "require_all": (numbered(1), BDAT, {"require_all": True}, False),
}


@pytest.mark.parametrize("case", SHARES)
def test_what_shares_a_write(case: str) -> None:
    """Content that could be taken for commands, or is large, waits for the replies."""
    content, offers, options, shares = SHARES[case]
    seen: list[list[bytes]] = []
    on = {"mail": pipelined_after(seen), "rcpt": pipelined_after(seen)}
    with one_port(Script(on, offers=offers)) as scripted:
        found = caught(send, content, server_for(scripted), **options)
    assert found.accepted == tuple(TO)
    assert scripted.accepted[0].content == content
    bdat = b"BDAT %d LAST" % len(content)
    if shares:
        assert [lines[3 - n] for n, lines in enumerate(seen)] == [bdat] * 4
    else:
        assert not any(set(lines) - {*GROUP, b"DATA"} for lines in seen)
    scripted.assert_clean()


@both
@pytest.mark.parametrize("warm", [0, 1000])
def test_content_waits_on_a_kept_connection(
    face: Any, warm: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have died, however long it was idle: the replies come first."""
    monkeypatch.setattr("smtpsend._wire.connection._FRESH", warm)
    seen: list[list[bytes]] = []
    with one_port(Script({"mail:2": pipelined_after(seen)}, offers=BDAT)) as scripted:
        with face(server_for(scripted)) as client:
            assert caught(client.send, numbered(1)).accepted == tuple(TO)
            assert caught(client.send, numbered(2)).accepted == tuple(TO)
    assert set(seen[0]) <= {*GROUP, b"DATA"}
    assert len(scripted.connections) == 1
    scripted.assert_clean()


@pytest.mark.parametrize("end", [close(), rst(), garbage()], ids=lambda a: a.name)
def test_what_an_unknown_teaches(end: Action) -> None:
    """After an unknown in a group, content waits with that server, by those methods."""
    seen: list[list[bytes]] = []
    good = Script({"mail": pipelined_after(seen)}, offers=BDAT)
    with one_port_of_two(Script({"final": end}, offers=BDAT), good) as scripted:
        alone = server_for(scripted, "starttls")
        assert type(caught(send, numbered(1), alone)) is DeliveryUnknown
        assert caught(send, numbered(2), alone).accepted == tuple(TO)
        found = caught(send, numbered(3), server_for(scripted, "starttls", "implicit"))
        assert found.accepted == tuple(TO)
    assert [b"BDAT %d LAST" % len(numbered(3)) in lines for lines in seen] == [
        False,
        True,
    ]
    scripted.assert_clean(auths=3)


# Refusals.


@pytest.mark.parametrize("require_all", [False, True])
@modes
def test_refusals_at_every_position(mode: str, require_all: bool) -> None:
    """Any set of refusals is reported as it was said, whatever BDAT was answered."""
    positions = ["mail:1", *RCPTS, "final:1"]
    for refused in (set(c) for n in range(6) for c in combinations(positions, n)):
        on = {p: REPLIES[p] for p in refused}
        with one_port(Script(on, offers=MODES[mode])) as scripted:
            found = caught(
                send, numbered(1), server_for(scripted), require_all=require_all
            )
        check_outcome(found, refused, require_all=require_all)
        assert not isinstance(found, Receipt) or found.reply.code == 250
        assert len(scripted.connections) == 1
        check_true(scripted, found)
        scripted.assert_clean()


LINES = b"500 5.5.1 what?\r\n" * 7
NOT_DISCARDED = {
    "at once": {"final:1": say(b"554 5.6.0 no\r\n" + LINES)},
    "one by one": {"final:1": then(reply(554, "5.6.0", "no"), *[say(LINES[:17])] * 7)},
    "late": {"final:1": reply(554, "5.6.0", "no"), "rset": say(LINES) + normal()},
    "very late": {"final:1": reply(554, "5.6.0", "no"), "quit": say(LINES) + normal()},
}


def has_said(scripted: ScriptedServer, count: int) -> bool:
    """Whether the last connection got so many strays, or is over by some of them."""
    last = scripted.connections[-1]
    return last.closed or bytes(last.sent).count(b"what?") >= count


@pytest.mark.parametrize("line", [b"harmless\r\n", b"RCPT TO:<eve@example.net>\r\n"])
@pytest.mark.parametrize("case", NOT_DISCARDED)
def test_refused_content_taken_for_commands(case: str, line: bytes) -> None:
    """The answers to its lines are never taken for those to another message."""
    early = {"at once": 7, "one by one": 7, "late": 0, "very late": 0}
    bad, content = Script(NOT_DISCARDED[case], offers=BDAT), numbered(1) + line
    with one_port(bad, bad, Script(offers=BDAT)) as scripted:
        with Client(server_for(scripted)) as client:
            for way in (send_to(scripted), client.send):
                found = caught(way, content)
                assert (type(found), found.phase) == (Rejected, Phase.FINAL)
                assert found.reply.code == 554
            # Before the next message: what comes in the middle of it is its own.
            scripted.wait_for(lambda: has_said(scripted, early[case]))
            after = caught(client.send, numbered(2))
    assert (after.accepted, after.attempts) == (tuple(TO), ())
    assert [m.content for m in scripted.accepted] == [numbered(2)]
    scripted.assert_clean(auths=3)


ANSWERS = {str(c): reply(c, "", "x") for c in (250, 354, 421, 500, 502, 503, 552, 554)}
ANSWERS |= {"421, close": reply(421, "", "bye") + close(), "close": close()}
ANSWERS |= {"hang": hang(), "garbage": garbage(), "none": nothing(), "many": say(LINES)}


@pytest.mark.parametrize("send", WAYS)
@pytest.mark.parametrize("answer", ANSWERS)
@patiently
def test_nobody_was_accepted(answer: str, send: Send) -> None:
    """Whatever BDAT is answered in the group: RecipientsRefused, at once."""
    bad = Script({**NOBODY, "final": ANSWERS[answer]}, offers=BDAT)
    with one_port(bad) as scripted:
        found = caught(send, numbered(1), server_for(scripted, final_timeout=0.2))
    assert type(found) is RecipientsRefused
    assert [(to, r.text) for to, r in found.refused.items()] == [(to, "no") for to in TO]
    assert not found.temporary
    assert len(scripted.connections) == 1
    scripted.assert_clean()


@pytest.mark.parametrize("code", [500, 502])
def test_a_server_without_bdat(code: int) -> None:
    """It goes on with DATA, by the same method, and BDAT is not tried there again."""
    no = Script({"final:1": reply(code, "5.5.1", "BDAT?")}, offers=BDAT)
    plain = Script(offers=BDAT)
    with one_port_of_two(no, plain, plain, plain, no, plain) as scripted:
        server = server_for(scripted, "starttls", "implicit")
        found = caught(send, numbered(1), server)
        assert [a.event for a in found.attempts] == [Event.NO_BDAT]
        assert found.method == found.attempts[0].method
        assert caught(send, numbered(2), server).attempts == ()
        with Client(server) as client:
            assert caught(client.send, numbered(3)).attempts == ()
        found = caught(send, numbered(4), server_for(scripted, "starttls"))
        assert [a.event for a in found.attempts] == [Event.NO_BDAT]
    verbs = [[v for v in c.verbs if v in ("BDAT", "DATA")] for c in scripted.connections]
    assert verbs == [[v] for v in ("BDAT", "DATA", "DATA", "DATA", "BDAT", "DATA")]
    assert not scripted.on("implicit")
    assert [m.content for m in scripted.accepted] == [numbered(n) for n in (1, 2, 3, 4)]
    scripted.assert_clean(auths=6)


# What breaks, by BDAT and by DATA.

FAULTS = {
    "421": reply(421, "4.3.2", "bye"),
    "421, close": reply(421, "4.3.2", "bye") + close(),
    "3yz": say(b"334 what\r\n"),
    "missing": nothing(),
    "a 250 too many": normal() + say(b"250 stray\r\n"),
    "a 550 too many": normal() + say(b"550 stray\r\n"),
}
PLACES = [(m, p) for m in MODES for p in PHASES if (m, p) != ("BDAT", "data:1")]
LOST, WRONG, UNKNOWN = Event.LOST, Event.WRONG_CLASS, Event.UNKNOWN


def what_follows(mode: str, position: str, fault: str) -> tuple[Event | None, str]:
    """What ends the first method, and where; None where several things may."""
    phase, final = PHASES[position], position == "final:1"
    pairs = mode != "BDAT" and "PIPELINING" in MODES[mode]  # by the 354
    if "too many" in fault or (fault == "421" and mode == "BDAT" and not final):
        return None, ""
    if "421" in fault:
        return Event.CLOSING_AT_END if final else LOST, phase
    if mode == "BDAT" and not final:
        return UNKNOWN, "final"
    if fault == "3yz" and not final:
        return WRONG, phase
    if pairs and phase in ("mail", "rcpt"):
        return WRONG, "rcpt"
    return UNKNOWN if final else LOST, phase


# Each fault at each place, with and without a refusal at the end in turn: the simulation
# tries what the replies mean.
CASES = [
    (mode, position, fault, bool((m + n) % 2))
    for m, (mode, position) in enumerate(PLACES)
    for n, fault in enumerate(FAULTS)
]


@pytest.mark.parametrize(("mode", "position", "fault", "refused"), CASES)
@patiently
def test_faults(mode: str, position: str, fault: str, refused: bool) -> None:
    """A loss before the content goes on by the next method; nothing else does.

    Neither the answer to another command nor a 221 makes a receipt.
    """
    end = {"final:1": reply(554, "5.6.0", "spam")} if refused else {}
    action = FAULTS[fault]
    if position == "data:1" and "too many" in fault:  # in one packet, or it may be late
        action = say(b"354 go\r\n%s stray\r\n" % fault[2:5].encode())
    bad = Script({**end, position: action}, offers=MODES[mode])
    times = {"reply_timeout": 0.3, "final_timeout": 0.3}
    with ScriptedServer(starttls=bad, implicit=Script(offers=BDAT)) as scripted:
        server = server_for(scripted, "starttls", "implicit", **times)
        found = caught(send, numbered(1), server)
    event, phase = what_follows(mode, position, fault)
    if event is LOST:
        assert [(a.event, a.phase) for a in found.attempts] == [(LOST, phase)]
        assert found.accepted == tuple(TO)
    elif event is not None:
        assert (found.event, found.phase) == (event, phase)
        assert found.temporary is (event is Event.CLOSING_AT_END)
        assert len(scripted.connections) == 1
    check_true(scripted, found)
    scripted.assert_clean(auths=2)


def quiet(code: int) -> Action:
    """As if this had been said, which is said later."""
    return Action(f"quiet({code})", lambda talk: talk._conclude(code))


SPOKEN = b"250 2.1.0 ok\r\n250 ok\r\n550-5.1.1 no\r\n550 5.1.1 such\r\n250 ok\r\n"
LAST = {"DATA": ("data", b"354 go\r\n"), "BDAT": ("final", b"250 ok\r\n")}


@pytest.mark.parametrize("mode", LAST)
def test_replies_in_one_packet_or_two(mode: str) -> None:
    """All replies of the group at once, cut in two at places, or each byte alone."""
    last, more = LAST[mode]
    codes = zip(POSITIONS[:4], (250, 250, 550, 250), strict=True)
    on = {p: quiet(code) for p, code in codes}
    on["final"] = split(b"250-2.0.0 ok\r\n250 2.0.0 ok\r\n")
    whole = SPOKEN + more
    cuts = [say(whole[:n]) + say(whole[n:]) for n in range(0, len(whole), 7)]
    for cut in [*cuts, split(whole)]:
        with one_port(Script({**on, last: cut}, offers=MODES[mode])) as scripted:
            found = caught(send, numbered(1), server_for(scripted))
        assert found.accepted == scripted.accepted[0].recipients == (TO[0], TO[2])
        assert found.refused[TO[1]].text == "no\nsuch"
        scripted.assert_clean()


HUGE = numbered(1) + (b"x" * 78 + b"\r\n") * 65_000
MIDDLE = {
    "552": (reply(552, "5.3.4", "too big"), Rejected, Event.REFUSED),
    "250": (reply(250, "2.0.0", "ok"), DeliveryUnknown, Event.ACCEPTED_EARLY),
    "421": (reply(421, "4.3.2", "bye"), ConnectionLost, Event.LOST),
    "354": (say(b"354 more\r\n"), Rejected, Event.WRONG_CLASS),
    "rst": (rst(), ConnectionLost, Event.LOST),
    "deaf": (stop_reading(), ConnectionLost, Event.LOST),
}


@pytest.mark.parametrize("case", MIDDLE)
@patiently
def test_in_the_middle_of_5_mb(case: str) -> None:
    """What happens before the end of the message has gone out is never unknown."""
    action, kind, event = MIDDLE[case]
    with one_port(Script({"content:100000": action}, offers=BDAT)) as scripted:
        found = caught(send, HUGE, server_for(scripted, reply_timeout=0.3))
    assert (type(found), found.event, found.phase) == (kind, event, Phase.CONTENT)
    assert found.timed_out is (case == "deaf")
    assert not scripted.accepted
    scripted.assert_clean(auths=2)
