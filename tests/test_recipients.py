"""Many recipients, in as many transactions as it takes: the report is true for each."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from groups import MODES, OFFERS
from leaks import numbered, one_port
from scripted import Action, Script, ScriptedServer, close, hang, reply, rst
from sending import SENDER, patiently, server_for

from smtpsend import Client, Receipt, SendError, Server, send
from smtpsend.errors import (
    ConnectionLost,
    DeliveryUnknown,
    Event,
    Phase,
    RecipientsRefused,
    Rejected,
)


MANY = [f"b{n}@b.example" for n in range(1, 11)]
OTHER = "x@x.example"
LIMITS = "LIMITS RCPTMAX=3"

modes = pytest.mark.parametrize("mode", MODES)


def rcpt(most: int, no: list[str] | None = None, text: str = "452 4.5.3 Many") -> Action:
    """Take `most` recipients in a transaction, and not those of `no`."""

    def run(talk: Any) -> None:
        address = talk.record.commands[-1][1].decode()[len("RCPT TO:<") : -1]
        if address in (no or []):
            talk.say(b"550 5.1.1 no such user\r\n")
        elif talk._message and len(talk._message.recipients) >= most:
            talk.say(f"{text}\r\n".encode())
        else:
            talk.do_normal()

    return Action(f"rcpt({most})", run)


def by_client(message: bytes, server: Server, **options: Any) -> Receipt:
    """Over a client that sends another message after it."""
    with Client(server) as client:
        try:
            return client.send(message, **options)
        finally:
            client.send(numbered(2), sender=SENDER, recipients=[OTHER])


ways = pytest.mark.parametrize("way", [send, by_client])


def caught(way: Any, server: Server, to: list[str] = MANY, **options: Any) -> Any:
    """The receipt or the error."""
    try:
        return way(numbered(1), server, sender=SENDER, recipients=to, **options)
    except SendError as error:
        return error


def check(scripted: ScriptedServer, found: Any) -> None:
    """The report is what the server knows, and nobody got it twice.

    The judge of duplicates goes by Message-ID, and knows nothing of parts.
    """
    got = Counter(to for m in scripted.accepted for to in m.recipients if to != OTHER)
    assert set(got.values()) <= {1}
    assert sorted(found.accepted) == sorted(got)
    wrong = [w for w in scripted.judge(auths=None) if not w.startswith("duplicate")]
    assert not wrong


def parts(scripted: ScriptedServer) -> list[int]:
    """How many recipients each accepted transaction of the message had."""
    ours = [m for m in scripted.accepted if m.recipients != (OTHER,)]
    assert all(m.content == numbered(1) for m in ours)
    return [len(m.recipients) for m in ours]


# The server's limit, and who gets it.


@pytest.mark.parametrize(
    "text", ["452 4.5.3 Many", "452 Many", "552 5.5.3 Many", "LIMITS"]
)
@ways
@modes
def test_a_limit_on_recipients(mode: str, way: Any, text: str) -> None:
    """The rest go in further transactions, whether EHLO or a 452 says the limit."""
    offers = (*MODES[mode], LIMITS) if text == "LIMITS" else MODES[mode]
    with one_port(Script({"rcpt": rcpt(3, text=text)}, offers=offers)) as scripted:
        found = caught(way, server_for(scripted))
    assert (found.accepted, found.refused, found.attempts) == (tuple(MANY), {}, ())
    assert parts(scripted) == [3, 3, 3, 1]
    said = any(b"52 " in c.sent and b"Many" in c.sent for c in scripted.connections)
    assert said is (text != "LIMITS")
    assert len(scripted.connections) == 1 or (mode, way) == ("BDAT", send)
    check(scripted, found)


REFUSED = {
    "one in each part": [MANY[1], MANY[4], MANY[6], MANY[9]],
    "the first part": MANY[:3],
    "a part in the middle": MANY[3:6],
    "the last part": MANY[9:],
    "all but the last": MANY[:9],
    "all": MANY,
}


@pytest.mark.parametrize("limits", [True, False])
@pytest.mark.parametrize("case", REFUSED)
@modes
def test_refused_in_several_parts(mode: str, case: str, limits: bool) -> None:
    """Each recipient is accepted or refused, as the server said, wherever it stands."""
    no = REFUSED[case]
    offers = (*MODES[mode], LIMITS) if limits else MODES[mode]
    with one_port(Script({"rcpt": rcpt(3, no)}, offers=offers)) as scripted:
        found = caught(send, server_for(scripted))
    assert list(found.refused) == no
    assert {r.code for r in found.refused.values()} == {550}
    if case == "all":
        assert (type(found), found.accepted) == (RecipientsRefused, ())
        assert not found.temporary
    else:
        assert found.accepted == tuple(a for a in MANY if a not in no)
        assert found.attempts == ()
    check(scripted, found)


PLAIN_REFUSALS = {
    "a full mailbox": ("452 4.2.2 mailbox full", 2, {}),
    "a full disk": ("452 4.3.1 disk full", 2, {}),
    "a 552 of another kind": ("552 5.2.2 mailbox full", 2, {}),
    "the very first 552": ("552 5.5.3 too many", 0, {}),
    "the very first": ("452 4.5.3 too many", 0, {}),
    "451 of a few": ("451 4.5.3 too many", 2, {}),
    "require_all": ("452 4.5.3 too many", 2, {"require_all": True}),
}


@pytest.mark.parametrize("case", PLAIN_REFUSALS)
@modes
def test_a_refusal_that_is_no_limit(mode: str, case: str) -> None:
    """452 for another reason, or with require_all, is the answer for that recipient."""
    text, most, options = PLAIN_REFUSALS[case]
    no = reply(int(text[:3]), *text[4:].split(" ", 1))
    script = Script({f"rcpt:{most + 1}": no}, offers=MODES[mode])
    with one_port(script) as scripted:
        found = caught(send, server_for(scripted), **options)
    assert type(found) is (RecipientsRefused if options else Receipt)
    assert list(found.refused) == [MANY[most]]
    assert parts(scripted) == ([] if options else [9])
    check(scripted, found)


@pytest.mark.parametrize("text", ["451 4.5.3 too many", "452 4.3.1 no more"])
def test_a_limit_of_a_hundred_in_other_words(text: str) -> None:
    """From 100 on, which every server has to take, 451 and 452 say a limit."""
    to = [f"b{n}@b.example" for n in range(1, 251)]
    with one_port(Script({"rcpt": rcpt(100, text=text)}, offers=OFFERS)) as scripted:
        found = caught(send, server_for(scripted), to)
    assert (found.accepted, found.refused) == (tuple(to), {})
    assert parts(scripted) == [100, 100, 50]
    check(scripted, found)


@modes
def test_require_all_and_more_than_the_limit(mode: str) -> None:
    """It cannot be kept: Rejected, before anything of the message is sent."""
    with one_port(Script(offers=(*MODES[mode], LIMITS))) as scripted:
        found = caught(send, server_for(scripted), require_all=True)
        few = caught(send, server_for(scripted), MANY[:3], require_all=True)
    assert (type(found), found.reply, found.phase) == (Rejected, None, Phase.MAIL)
    assert not found.temporary
    assert few.accepted == tuple(MANY[:3])
    assert "MAIL" not in scripted.connections[0].verbs
    check(scripted, few)


@pytest.mark.parametrize("calls", [[1, 1, 1, 1, 1], [5], [1, 3, 1], [3, 2]])
@ways
@modes
def test_mailmax(mode: str, way: Any, calls: list[int]) -> None:
    """No connection is used for more transactions than EHLO says (RFC 9422)."""
    script = Script(offers=(*MODES[mode], "LIMITS MAILMAX=2 RCPTMAX=1"))
    with one_port(script) as scripted, Client(server_for(scripted)) as client:
        start = 0
        for n in calls:
            options = {"sender": SENDER, "recipients": MANY[start : start + n]}
            start += n
            if way is send:
                found = send(numbered(1), server_for(scripted), **options)
            else:
                found = client.send(numbered(1), **options)
            assert (len(found.accepted), found.attempts) == (n, ())
    assert len(parts(scripted)) == 5
    assert max(c.verbs.count("MAIL") for c in scripted.connections) <= 2


# What breaks when some have it already.

LATER = {
    "MAIL": ("mail:2", reply(550, "5.7.1", "no"), Rejected, Phase.MAIL),
    "MAIL, 4yz": ("mail:2", reply(450, "4.7.1", "later"), Rejected, Phase.MAIL),
    "the end": ("final:2", reply(554, "5.6.0", "no"), Rejected, Phase.FINAL),
    "the end, 4yz": ("final:2", reply(451, "4.3.0", "later"), Rejected, Phase.FINAL),
    "the end, 421": ("final:2", reply(421, "", "bye") + close(), Rejected, Phase.FINAL),
    "lost": ("final:2", close(), DeliveryUnknown, Phase.FINAL),
    "reset": ("final:2", rst(), DeliveryUnknown, Phase.FINAL),
    "silent": ("final:2", hang(), DeliveryUnknown, Phase.FINAL),
}


@pytest.mark.parametrize("case", LATER)
@modes
@patiently
def test_a_later_part_fails(mode: str, case: str) -> None:
    """The error names who has it, and is not temporary: it would repeat it to them."""
    moment, action, kind, phase = LATER[case]
    script = Script({moment: action}, offers=(*MODES[mode], LIMITS))
    with ScriptedServer(starttls=script, implicit=script) as scripted:
        server = server_for(scripted, final_timeout=0.3)
        found = caught(send, server)
    assert (type(found), found.phase) == (kind, phase)
    assert found.accepted == tuple(MANY[:3])
    assert not found.temporary
    assert parts(scripted) == [3]
    assert len(scripted.connections) == 1
    check(scripted, found)


LOST = [("mail:2", Phase.MAIL), ("rcpt:4", Phase.RCPT), ("rcpt:6", Phase.RCPT)]
LOST += [("data:2", Phase.DATA)]
LOSSES = {
    "close": close(),
    "rst": rst(),
    "421": reply(421, "4.3.2", "bye") + close(),
    "hang": hang(),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("moment", "phase"), LOST)
@pytest.mark.parametrize("ports", [["starttls"], ["starttls", "implicit"]])
@modes
@patiently
def test_a_later_part_is_lost(
    mode: str, ports: list[str], moment: str, phase: Phase, loss: str
) -> None:
    """It goes on, over a fresh connection or the next method, with who is left."""
    offers = (*MODES[mode], LIMITS)
    bad = Script({moment: LOSSES[loss]}, offers=offers)
    good = Script(offers=offers)
    with ScriptedServer(starttls=[bad, good], implicit=good) as scripted:
        server = server_for(scripted, *ports, reply_timeout=0.2, stagger=3)
        found = caught(send, server)
    assert found.accepted == tuple(MANY)
    assert [(a.event, a.phase) for a in found.attempts] == [(Event.LOST, phase)]
    assert found.method == server.policy.methods[-1]
    assert parts(scripted) == [3, 3, 3, 1]
    check(scripted, found)


@modes
def test_lost_twice(mode: str) -> None:
    """The second loss ends it: ConnectionLost says who has it, and is not temporary."""
    script = Script({"mail:2": close()}, offers=(*MODES[mode], LIMITS))
    with one_port(script) as scripted:
        found = caught(send, server_for(scripted))
    assert type(found) is ConnectionLost
    assert found.accepted == tuple(MANY[:6])
    assert not found.temporary
    assert len(found.attempts) == 2
    check(scripted, found)


@pytest.mark.parametrize(("count", "most"), [(3000, 3000), (1000, 100)])
@ways
@modes
def test_very_many(mode: str, way: Any, count: int, most: int) -> None:
    """Each of thousands gets it once, in seconds; a limit that a 452 said is learnt."""
    to = [f"b{n}@b.example" for n in range(count)]
    with one_port(Script({"rcpt": rcpt(most)}, offers=MODES[mode])) as scripted:
        found = caught(way, server_for(scripted), to)
    assert found.elapsed < 10
    assert (found.accepted, found.attempts) == (tuple(to), ())
    assert parts(scripted) == [most] * (count // most)
    asked = sum(c.verbs.count("RCPT") for c in scripted.connections)
    assert asked <= 2 * count, "not linear"
    check(scripted, found)
