"""Batches under faults: every message accounted for once, and each report is true."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import threading
import time
from asyncio.sslproto import SSLProtocol
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from email.message import EmailMessage
from functools import partial
from typing import Any

import pytest
from leaks import InLoop, eventually, one_port, run
from scripted import (
    OFFERS,
    Action,
    Script,
    ScriptedServer,
    close,
    hang,
    normal,
    reply,
    rst,
    say,
)
from sending import patiently, server_for

from smtpsend import AsyncClient, Client, Outcome, Receipt
from smtpsend._wire.channel import Channel
from smtpsend.errors import (
    AuthError,
    ConnectError,
    ConnectionLost,
    DeliveryUnknown,
    RecipientsRefused,
    Rejected,
    SendError,
)


pytestmark = pytest.mark.usefixtures("no_leaks")
both = pytest.mark.parametrize("face", [Client, InLoop], ids=["sync", "async"])

SHORT = ("8BITMIME", "AUTH PLAIN")
MODES: dict[str, tuple[str, ...]] = {
    "plain": (),
    "chain": ("PIPELINING",),
    "window": ("PIPELINING", "CHUNKING"),
}
modes = pytest.mark.parametrize("mode", MODES)
EVERY_BYTE = bool(os.environ.get("SMTPSEND_EVERY_BYTE"))


def content(n: int) -> bytes:
    """A short message: every byte of it costs a connection or two."""
    return f"Message-ID: <{n}@a.b>\r\n\r\n.{n}\r\n".encode()


def item(n: int, *to: str) -> tuple[bytes, str, list[str]]:
    """One message of a batch, with an envelope of its own."""
    return content(n), f"a{n}@a.b", list(to) or [f"b{n}@a.b"]


def batch(
    scripted: ScriptedServer,
    items: Iterable[Any],
    face: Any = Client,
    *,
    told: list[Outcome] | None = None,
    times: dict[str, float] | None = None,
    **options: Any,
) -> list[Outcome]:
    """The outcomes, in the order of the messages."""
    where = server_for(scripted, **(times or {}))
    options = {"max_connections": 1, **options}
    if told is not None:
        options["on_outcome"] = told.append
    with face(where, **options) as client:
        found = sorted(client.send_many(items), key=lambda one: one.index)
    assert [one.index for one in found] == list(range(len(found)))
    scripted.wait_for(lambda: all(c.closed for c in scripted.connections))
    return found


def check_true(scripted: ScriptedServer, found: Sequence[Outcome]) -> Counter[str]:
    """What is reported of each message is what the server knows of it; the kinds."""
    taken = Counter(m.message_id for m in scripted.accepted)
    kinds: Counter[str] = Counter()
    for n, one in enumerate(found):
        count = taken[f"<{n}@a.b>"]
        assert count <= 1, f"{n} accepted twice"
        assert (one.receipt is None) != (one.error is None)
        if one.receipt is not None:
            assert count == 1, f"a receipt for {n}, which was not accepted"
            (record,) = (m for m in scripted.accepted if m.content == content(n))
            assert record.sender == f"a{n}@a.b"
            assert record.recipients == one.receipt.accepted
        elif type(one.error) is not DeliveryUnknown:
            assert not count, f"{n} was accepted: {one.error!r}"
        kinds[type(one.receipt or one.error).__name__] += 1
    return kinds


# Without a fault: what goes out together.


def lines(scripted: ScriptedServer) -> list[list[str]]:
    """The verbs of each connection behind AUTH."""
    return [
        " ".join(record.verbs).partition("AUTH ")[2].split()
        for record in scripted.connections
    ]


@both
@modes
def test_a_batch(mode: str, face: Any) -> None:
    """Ten messages over one connection, each with its receipt."""
    with one_port(Script(offers=(*OFFERS, *MODES[mode]))) as scripted:
        found = batch(scripted, map(item, range(10)), face)
        assert check_true(scripted, found) == {"Receipt": 10}
    (verbs,) = lines(scripted)
    if mode == "window":
        assert verbs.count("BDAT") == 10
        # One RSET between two messages, and one EHLO behind each window.
        assert verbs.count("RSET") + verbs.count("EHLO") == 10
    else:
        assert verbs == ["MAIL", "RCPT", "DATA"] * 10 + ["QUIT"]
    scripted.assert_clean()


@both
def test_the_window_is_the_callers(face: Any) -> None:
    """Never more than `window` messages are out without an answer."""
    with one_port(Script(offers=(*OFFERS, *MODES["window"]))) as scripted:
        found = batch(scripted, map(item, range(20)), face, window=3)
        assert check_true(scripted, found) == {"Receipt": 20}
    (verbs,) = lines(scripted)
    windows = " ".join(verbs).split("EHLO")
    assert all(window.count("BDAT") <= 3 for window in windows)
    assert len(windows) <= 12


def windows_of(scripted: ScriptedServer) -> list[int]:
    """How many messages each window of the only connection had."""
    (verbs,) = lines(scripted)
    counts = [window.count("BDAT") for window in " ".join(verbs).split("EHLO")]
    return [count for count in counts if count]


@both
@pytest.mark.parametrize("window", [64, 20, 16, 5])
def test_windows_grow(face: Any, window: int) -> None:
    """Windows that went well allow twice as many messages, up to those of the caller."""
    with one_port(Script(offers=(*OFFERS, *MODES["window"]))) as scripted:
        options = {"max_connections": 1, "max_messages": 1000, "window": window}
        found = batch(scripted, map(item, range(400)), face, **options)
        assert check_true(scripted, found) == {"Receipt": 400}
    sizes = windows_of(scripted)
    most = min(16, window)
    for size in sizes:
        assert size <= most
        most = min(2 * most, window) if size == most else most
    assert max(sizes) == window


@pytest.mark.parametrize(("code", "falls"), [(450, True), (550, False)])
def test_trouble_makes_windows_small(code: int, falls: bool) -> None:
    """After a 4yz windows begin small again; a refusal for good changes nothing."""
    on = {"rcpt:200": reply(code, f"{code // 100}.1.1", "not now")}
    with one_port(Script(on, offers=(*OFFERS, *MODES["window"]))) as scripted:
        options = {"max_connections": 1, "max_messages": 1000}
        found = batch(scripted, map(item, range(500)), **options)
        outcomes = check_true(scripted, found)
    assert outcomes == {"Receipt": 499, "RecipientsRefused": 1}
    sizes = windows_of(scripted)
    with_it = next(n for n in range(len(sizes)) if sum(sizes[: n + 1]) >= 200)
    assert sizes[with_it] > 16
    assert (sizes[with_it + 1] <= 16) is falls


@modes
def test_more_connections(mode: str) -> None:
    """Where there is enough to send, others are opened; each message goes out once."""
    with one_port(Script(offers=(*OFFERS, *MODES[mode]))) as scripted:
        options = {"max_connections": 3, "max_messages": 1000, "window": 4}
        found = batch(scripted, map(item, range(400)), **options)
        assert check_true(scripted, found) == {"Receipt": 400}
    assert 1 < len(scripted.connections) <= 3
    scripted.assert_clean(auths=len(scripted.connections))


@modes
def test_max_messages(mode: str) -> None:
    """A connection serves as many messages as it may, and the next one goes on."""
    with one_port(Script(offers=(*OFFERS, *MODES[mode]))) as scripted:
        found = batch(scripted, map(item, range(20)), max_messages=3)
        assert check_true(scripted, found) == {"Receipt": 20}
    assert [len(c.accepted) for c in scripted.connections] == [3] * 6 + [2]


@modes
def test_large_ones_among_them(mode: str) -> None:
    """A message that does not fit into a window goes out by DATA."""
    large = {n: content(n) + (b"x" * 70 + b"\r\n") * 2000 for n in (2, 3, 7)}
    commands = content(5) + b"QUIT\r\n"
    sizes = {**large, 5: commands}
    items = [(sizes.get(n, content(n)), f"a{n}@a.b", [f"b{n}@a.b"]) for n in range(10)]
    with one_port(Script(offers=(*OFFERS, *MODES[mode]))) as scripted:
        found = batch(scripted, items)
        assert [type(one.receipt) for one in found] == [Receipt] * 10
    assert sorted(m.content for m in scripted.accepted) == sorted(x[0] for x in items)
    scripted.assert_clean()


def refusing(*lines: bytes) -> Action:
    """Refuse what one of these stands in."""

    def run(talk: Any) -> None:
        if any(line in talk.record.commands[-1][1] for line in lines):
            talk.say(b"550 5.1.1 no\r\n")
        else:
            talk.do_normal()

    return Action("refusing", run)


@both
@modes
def test_refusals(mode: str, face: Any) -> None:
    """A refusal hits its own message only, and nobody gets what is another's."""

    def full(talk: Any) -> None:
        messages = talk.record.messages
        if messages and messages[-1].content == content(5):
            talk.say(b"552 5.2.2 full\r\n")
        else:
            talk.do_normal()

    on = {
        "mail": refusing(b"<a2@"),
        "rcpt": refusing(b"<b4@", b"<c6@"),
        "final": Action("full", full),
    }
    with one_port(Script(on, offers=(*OFFERS, *MODES[mode]))) as scripted:
        items = [item(n) for n in range(8)]
        items[6] = item(6, "b6@a.b", "c6@a.b", "d6@a.b")
        found = batch(scripted, items, face)
        kinds = check_true(scripted, found)
    assert kinds == {"Receipt": 5, "RecipientsRefused": 1, "Rejected": 2}
    assert list(found[6].receipt.refused) == ["c6@a.b"]
    scripted.assert_clean(auths=None)


@modes
def test_some_recipients_are_too_many(mode: str) -> None:
    """Those beyond the server's limit get the message in a transaction of their own."""
    on = {"rcpt:3": reply(452, "4.5.3", "too many")}
    to = ["x@a.b", "y@a.b", "z@a.b"]
    with one_port(Script(on, offers=(*OFFERS, *MODES[mode]))) as scripted:
        found = batch(scripted, [item(0, *to), item(1)])
    assert [one.receipt.accepted for one in found if one.receipt] == [
        tuple(to),
        ("b1@a.b",),
    ]
    got = Counter(r for m in scripted.accepted for r in m.recipients)
    assert got == Counter([*to, "b1@a.b"])


@modes
def test_require_all(mode: str) -> None:
    """A message goes to all or nobody, and the others are not touched by it."""
    on = {"rcpt:2": reply(550, "5.1.1", "who?")}
    with one_port(Script(on, offers=(*OFFERS, *MODES[mode]))) as scripted:
        where = server_for(scripted)
        with Client(where, max_connections=1) as client:
            items = [item(0, "x@a.b", "y@a.b"), item(1), item(2, "x@a.b", "y@a.b")]
            found = sorted(
                client.send_many(items, require_all=True), key=lambda one: one.index
            )
    assert type(found[0].error) is RecipientsRefused
    assert check_true(scripted, found)["Receipt"] == 2


# Faults at every byte.

GONE = {"close": close(), "rst": rst(), "421": reply(421, "4.3.2", "bye") + close()}


def scan(mode: str, fault: Action, direction: str, step: int, **times: float) -> None:
    """A fault at each `step`th byte of a batch of ten, on the first connection."""
    offers = (*SHORT, *MODES[mode])
    items = [item(n) for n in range(10)]
    with one_port(Script(offers=offers)) as scripted:
        assert check_true(scripted, batch(scripted, items)) == {"Receipt": 10}
    (record,) = scripted.connections
    if direction == "received":
        count, mark = len(record.after_auth), "after-auth"
    else:
        start = record.sent.index(b"\r\n", record.sent.index(b"235 "))
        count, mark = len(record.sent) - start, "sent-after-auth"
    assert count > 300
    for place in range(1, count + 1, step):
        bad = Script({f"{mark}:{place}": fault}, offers=offers)
        hit(mode, bad, Script(offers=offers), items, times)


@patiently
def hit(mode: str, bad: Script, good: Script, items: list[Any], times: Any) -> None:
    """Send a batch to a server that is bad first, and see what is reported."""
    with one_port(bad, good) as scripted:
        found = batch(scripted, items, times=times)
    try:
        check_scan(mode, scripted, found)
    except AssertionError as error:
        error.add_note(f"{bad.on}")
        raise


def check_scan(mode: str, scripted: ScriptedServer, found: list[Outcome]) -> None:
    """Unknown is what had gone out whole, and was not answered; all else arrives."""
    kinds = check_true(scripted, found)
    first = scripted.connections[0]
    assert kinds["Receipt"] + kinds["DeliveryUnknown"] + kinds["Rejected"] == 10
    # A 421 in answer to the end of a message: not taken, and no other is concerned.
    assert kinds["Rejected"] <= 1
    if mode != "window":
        assert kinds["DeliveryUnknown"] <= 1
        ends = sum(m.state == "unknown" for m in first.messages)
        assert kinds["DeliveryUnknown"] <= ends + first.sent.count(b"354 ")
    for one in found:
        if one.receipt is not None:
            assert one.receipt.reply.code == 250
        elif type(one.error) is Rejected:
            assert one.error.temporary
    scripted.assert_clean(auths=None)


@pytest.mark.scan
@pytest.mark.parametrize("direction", ["received", "said"])
@pytest.mark.parametrize("fault", GONE)
@modes
def test_loss_in_a_batch(mode: str, fault: str, direction: str) -> None:
    """Lost once, at any byte of ten: what is unknown is what may have been taken."""
    scan(mode, GONE[fault], direction, 1 if EVERY_BYTE else 59)


@pytest.mark.scan
@pytest.mark.parametrize("direction", ["received", "said"])
@modes
def test_silence_in_a_batch(mode: str, direction: str) -> None:
    """The same where the server falls silent."""
    times = {"reply_timeout": 0.3, "final_timeout": 0.3}
    scan(mode, hang(), direction, 1 if EVERY_BYTE else 313, **times)


@pytest.mark.parametrize("mode", ["chain", "window"])
def test_exactly_what_is_unknown(mode: str) -> None:
    """The server reads all, answers for three, and is gone."""
    on = {"final:4": close()}
    with one_port(Script(on, offers=(*OFFERS, *MODES[mode])), {}) as scripted:
        found = batch(scripted, [item(n) for n in range(10)], window=5)
        kinds = check_true(scripted, found)
    first, second = scripted.connections
    unknown = [one.index for one in found if type(one.error) is DeliveryUnknown]
    if mode == "chain":
        assert unknown == [3]
    else:
        # Those of the window that had gone out.
        assert len(unknown) <= 5
        assert unknown == list(range(3, 3 + len(unknown)))
    assert len(first.accepted) == 3
    assert len(second.accepted) == kinds["Receipt"] - 3


# Replies too many: whose is which?

STEPS = ["mail", "rcpt", "final", "data", "rset"]
STRAY = b"250 2.0.0 stray\r\n"
REFUSALS = {
    "mail": reply(550, "5.1.8", "no"),
    "rcpt": reply(550, "5.1.1", "no"),
    "final": reply(552, "5.2.2", "no"),
}


@pytest.mark.parametrize("mode", ["chain", "window"])
@pytest.mark.parametrize("refused", [*REFUSALS, "nothing"])
@pytest.mark.parametrize("where", ["before", "behind"])
def test_a_stray_reply(mode: str, refused: str, where: str) -> None:
    """One too many, and a refusal at another place: nothing false is said.

    The simulation tries all places; here the replies come over a socket.
    """
    for step, at, who in list(itertools.product(STEPS, (1, 2, 3, 4), (2, 3, 5)))[::7]:
        stray = say(STRAY) + normal() if where == "before" else normal() + say(STRAY)
        on = {f"{step}:{at}": stray}
        if refused != "nothing":
            on.setdefault(f"{refused}:{who}", REFUSALS[refused])
        script = Script(on, offers=(*SHORT, *MODES[mode]))
        with one_port(script, Script(offers=script.offers)) as scripted:
            times = {"reply_timeout": 2, "final_timeout": 2}
            found = batch(scripted, [item(n) for n in range(5)], times=times)
        try:
            check_true(scripted, found)
        except AssertionError as error:
            error.add_note(f"stray {where} {step}:{at}, {refused}:{who} refused: {found}")
            raise


@pytest.mark.parametrize("mode", ["chain", "window"])
@pytest.mark.parametrize("at", [2, 3, 4])
def test_a_stray_reply_before_a_refusal(mode: str, at: int) -> None:
    """The message is refused, and what comes first looks like a receipt for it.

    What stands behind it tells. (A message that goes alone, as the first and the last do,
    has nothing behind it: the first reply is the answer.)
    """
    offers = (*SHORT, *MODES[mode])
    on = {f"final:{at}": say(STRAY) + REFUSALS["final"]}
    with one_port(Script(on, offers=offers), Script(offers=offers)) as scripted:
        times = {"reply_timeout": 2, "final_timeout": 2}
        found = batch(scripted, [item(n) for n in range(5)], InLoop, times=times)
    check_true(scripted, found)


# Servers that promise more than they do.


def lose(*, say_first: bool = True) -> Action:
    """Forget what stands behind the end of a message."""

    def run(talk: Any) -> None:
        if say_first:
            talk.do_normal()
        talk.stream.buffer.clear()

    return Action("lose", run)


@both
def test_commands_after_the_dot_are_lost(face: Any) -> None:
    """Noticed once, and every message gets through exactly once."""
    script = Script({"final": lose()}, offers=(*OFFERS, "PIPELINING"))
    with one_port(script) as scripted:
        found = batch(scripted, map(item, range(6)), face)
        assert check_true(scripted, found) == {"Receipt": 6}
        assert len(scripted.connections) == 2
        # Known from now on.
        found = batch(scripted, map(item, range(6, 12)), face)
        assert all(one.receipt is not None for one in found)
    assert len(scripted.connections) == 3
    assert all(one.receipt.attempts == () for one in found if one.receipt)
    scripted.assert_clean(auths=3)


def test_commands_after_the_dot_kill_the_server() -> None:
    """What it took without an answer is unknown; it happens once."""
    on = {f"final:{n}": lose(say_first=False) + close() for n in (1,)}
    script = Script(on, offers=(*OFFERS, "PIPELINING"))
    with one_port(script, Script(offers=script.offers)) as scripted:
        kinds = check_true(scripted, batch(scripted, map(item, range(6))))
    assert kinds == {"Receipt": 5, "DeliveryUnknown": 1}
    # Nothing goes out behind a dot any more.
    assert scripted.connections[1].early == []


@both
def test_commands_after_the_dot_are_refused(face: Any) -> None:
    """A 503 there is not taken for a refusal of the message."""

    def pipelined_after(talk: Any) -> None:
        if talk.record.verbs.count("MAIL") > 1:
            talk.say(b"503 5.5.0 wait for your turn\r\n")
        else:
            talk.do_normal()

    script = Script(
        {"mail": Action("pipelined after", pipelined_after)},
        offers=(*OFFERS, "PIPELINING"),
    )
    with one_port(script) as scripted:
        found = batch(scripted, map(item, range(6)), face)
        kinds = check_true(scripted, found)
    # This server takes one message a connection.
    assert kinds == {"Receipt": 6}
    assert len(scripted.connections) == 6


def refusing_a1(line: bytes) -> Action:
    """Reply with `line` to the MAIL of the second message."""

    def run(talk: Any) -> None:
        if b"<a1@" in talk.record.commands[-1][1]:
            talk.say(line)
        else:
            talk.do_normal()

    return Action("refusing", run)


def test_a_sender_is_refused_by_503() -> None:
    """Without an earlier message on the connection, a 503 is about the message."""
    banned = refusing_a1(b"503 5.5.1 not you\r\n")
    with one_port(Script({"mail": banned})) as scripted:
        found = batch(scripted, map(item, range(4)))
        assert check_true(scripted, found) == {"Receipt": 3, "Rejected": 1}
        # In the place of the refused connection, another one sent what was left.
        assert len(scripted.connections) == 2
    assert type(found[1].error) is Rejected


def test_a_sender_is_refused_at_the_first_try() -> None:
    """The message is tried once more as the first of a group, and then it is refused."""
    banned = refusing_a1(b"550 5.1.8 you again\r\n")
    script = Script({"mail": banned}, offers=(*OFFERS, "PIPELINING"))
    with one_port(script) as scripted:
        found = batch(scripted, map(item, range(6)))
        assert check_true(scripted, found) == {"Receipt": 5, "Rejected": 1}
    assert type(found[1].error) is Rejected


@both
def test_no_bdat(face: Any) -> None:
    """CHUNKING is offered and BDAT is not known: all goes out by DATA."""

    def unknown(talk: Any) -> None:
        if talk.record.verbs[-1] == "BDAT":
            talk.say(b"502 5.5.1 what?\r\n")
            talk.record.messages.clear()
        else:
            talk.do_normal()

    on = {"final": Action("no BDAT", unknown)}
    with one_port(Script(on, offers=(*OFFERS, *MODES["window"]))) as scripted:
        found = batch(scripted, map(item, range(6)), face)
        assert check_true(scripted, found) == {"Receipt": 6}
        assert len(scripted.connections) == 2
        # Known from now on.
        found = batch(scripted, map(item, range(6, 9)), face)
    assert [type(one.receipt) for one in found] == [Receipt] * 3
    assert "BDAT" not in scripted.connections[2].verbs


@pytest.mark.parametrize("answer", [reply(503, "5.5.1", "again?"), reply(250, "", "ok")])
def test_ehlo_again_is_not_liked(answer: Action) -> None:
    """A window whose end cannot be seen is none the second time."""
    script = Script({"ehlo2:2+": answer}, offers=(*OFFERS, *MODES["window"]))
    with one_port(script) as scripted:
        found = batch(scripted, map(item, range(40)))
        assert check_true(scripted, found) == {"Receipt": 40}


def test_a_421_in_a_window_that_goes_on() -> None:
    """The server says 421 and goes on: each reply is taken for its command."""
    on = {"mail:3": reply(421, "4.3.2", "bye")}
    script = Script(on, offers=(*OFFERS, *MODES["window"]))
    with one_port(script, Script(offers=script.offers)) as scripted:
        found = batch(scripted, map(item, range(6)))
        assert check_true(scripted, found) == {"Receipt": 6}


# The login, the number of connections, the pace.


@both
@modes
def test_a_password_changed_meanwhile(mode: str, face: Any) -> None:
    """The batch ends at the first refusal, and every message is accounted for."""
    good = Script(offers=(*OFFERS, *MODES[mode]))
    bad = Script({"auth": reply(535, "5.7.8", "no")}, offers=good.offers)
    told: list[Outcome] = []
    with one_port(good, bad) as scripted:
        options = {"max_messages": 3, "told": told}
        found = batch(scripted, map(item, range(30)), face, **options)
        kinds = check_true(scripted, found)
    assert kinds == {"Receipt": 3, "AuthError": 27}
    assert sum(record.verbs.count("AUTH") for record in scripted.connections) == 2
    assert len(told) == 30
    assert len({id(one.error) for one in found if one.error}) == 27
    for one in found[3:]:
        assert type(one.error) is AuthError
        assert one.error.message_id == f"<{one.index}@a.b>"


def test_a_server_that_wants_fewer_connections() -> None:
    """The others do the work of the one that is refused."""
    good = Script(offers=(*OFFERS, "PIPELINING"))
    full = Script({"greeting": reply(421, "4.7.0", "too many connections") + close()})
    with one_port(good, good, full) as scripted:
        options = {"max_connections": 4, "max_messages": 1000}
        found = batch(scripted, map(item, range(300)), **options)
        assert check_true(scripted, found) == {"Receipt": 300}


@both
def test_slower_and_faster(face: Any) -> None:
    """A server that asks to slow down is heard, and so is one that goes well again."""
    slow = {f"final:{n}": reply(451, "4.7.28", "too fast, slow down") for n in (3, 4)}
    seen: list[bool] = []
    with one_port(Script(slow, offers=(*OFFERS, "PIPELINING"))) as scripted:
        where = server_for(scripted)
        with face(where, max_connections=1, window=8) as client:
            pace = (
                (client.client if face is InLoop else client)._servers.pools[0].throttle
            )

            def watched() -> Iterable[Any]:
                for n in range(60):
                    seen.append(pace.slowed)
                    yield item(n)

            found = sorted(client.send_many(watched()), key=lambda one: one.index)
        assert check_true(scripted, found) == {"Receipt": 58, "Rejected": 2}
        assert not pace.slowed
    assert True in seen


@both
@modes
@pytest.mark.parametrize("rate", [8, 40])
def test_max_rate(mode: str, face: Any, rate: int) -> None:
    """No more messages begin than the caller allows, in whatever way they go out."""
    # A tenth of a second may go out at once.
    burst, count = max(1, rate // 10), 6 if rate == 8 else 20
    with one_port(Script(offers=(*OFFERS, *MODES[mode]))) as scripted:
        begin = time.monotonic()
        found = batch(scripted, map(item, range(count)), face, max_rate=rate)
        spent = time.monotonic() - begin
        assert check_true(scripted, found) == {"Receipt": count}
    # A lower bound: a busy machine cannot make it shorter.
    assert spent >= (count - burst) / rate


def test_a_send_that_max_rate_lets_wait_too_long() -> None:
    """It fails before its deadline, and says which of the two to change."""
    with one_port() as scripted:
        with Client(server_for(scripted), max_rate=0.01) as client:
            client.send(content(0), sender="a@a.b", recipients=["b@a.b"])
            with pytest.raises(ConnectError, match=r"max_rate.*longer timeout") as caught:
                client.send(content(1), sender="a@a.b", recipients=["b@a.b"], timeout=5)
    assert caught.value.timed_out
    assert len(scripted.accepted) == 1


def cancelled(
    scripted: ScriptedServer,
    items: Iterable[Any],
    come: Callable[[], object],
    max_connections: int = 1,
    **options: Any,
) -> list[Outcome]:
    """What the hook is told of a batch that is cancelled when `come` returns."""
    told: list[Outcome] = []

    async def collect() -> None:
        async with AsyncClient(
            server_for(scripted), max_connections=max_connections, on_outcome=told.append
        ) as client:
            async for _ in client.send_many(items, **options):
                pass

    async def main() -> None:
        task = asyncio.create_task(collect())
        await asyncio.to_thread(come)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run(main())
    return told


def test_cancelled_with_answers_that_are_not_told_yet() -> None:
    """A window that is cancelled before its end is seen: each message is told of."""
    script = Script({"ehlo2:2": hang()}, offers=(*OFFERS, *MODES["window"]))
    with one_port(script) as scripted:
        come = partial(scripted.wait_for, lambda: scripted.accepted)
        told = cancelled(scripted, map(item, range(6)), come)
    assert sorted(one.index for one in told) == list(range(6))
    for one in told:
        begun = f"<{one.index}@a.b>" in {m.message_id for m in scripted.accepted}
        kinds = {Receipt, DeliveryUnknown} if begun else {DeliveryUnknown, ConnectError}
        assert type(one.receipt or one.error) in kinds


def test_outcomes_come_while_others_are_waited_for() -> None:
    """A sync caller has what is known, also where much is still to be sent."""
    told: list[Outcome] = []
    script = Script({"final:3": hang()}, offers=(*OFFERS, *MODES["chain"]))
    with one_port(script, Script(offers=OFFERS)) as scripted:
        where = server_for(scripted, final_timeout=3)
        with Client(where, max_connections=1, on_outcome=told.append) as client:
            outcomes = client.send_many(map(item, range(64)))
            first = [next(outcomes), next(outcomes)]
            assert len(told) == 2
            rest = list(outcomes)
    assert [one.index for one in first] == [0, 1]
    check_true(scripted, sorted([*first, *rest], key=lambda one: one.index))


@both
def test_what_is_encoded_anew_goes_by_itself(face: Any) -> None:
    """Nobody looked whether a line of it is a command: it waits for its recipients."""
    offers = ("AUTH PLAIN", *MODES["window"])  # no 8BITMIME
    mails = []
    for n in range(6):
        mail = EmailMessage()
        mail["From"], mail["To"] = "a@a.b", "b@a.b"
        mail["Message-ID"] = f"<{n}@a.b>"
        mail.set_content("\u00e4\n" if n % 2 else "a\n", cte="8bit")
        mails.append(mail)
    with one_port(Script(offers=offers)) as scripted:
        found = batch(scripted, mails, face)
        assert all(one.receipt for one in found)
    (connection,) = scripted.connections
    how = [verb for verb in connection.verbs if verb in ("DATA", "BDAT")]
    encoded = [b"base64" in message.content for message in connection.accepted]
    assert encoded.count(True) == 3
    assert all(verb == "DATA" for verb, so in zip(how, encoded, strict=True) if so)


def test_cancelled_while_it_connects() -> None:
    """Each message that was taken is told of, also the one that the connection is for."""
    with one_port(Script({"greeting": hang()}, offers=OFFERS)) as scripted:
        come = partial(scripted.wait_for, lambda: scripted.connections)
        read = list[int]()
        given = (read.append(n) or item(n) for n in range(6))  # type: ignore[func-returns-value]
        told = cancelled(scripted, given, come, 2)
    assert len(read) >= 2
    assert sorted(one.index for one in told) == read
    assert all(type(one.error) is ConnectError and one.error.temporary for one in told)


def test_the_server_is_gone() -> None:
    """Each message has its error, and it is safe to send each again."""
    with one_port() as scripted:
        where = server_for(scripted)
    with Client(where, max_connections=2) as client:
        found = list(client.send_many(map(item, range(5))))
    assert [type(one.error) for one in found] == [ConnectError] * 5
    assert all(one.error.temporary for one in found if one.error)


@pytest.mark.parametrize("mode", ["chain", "window"])
@both
def test_a_kept_connection_that_died(mode: str, face: Any) -> None:
    """It costs nothing: no message is unknown, and nothing is said of it."""
    offers = (*OFFERS, *MODES[mode])
    dead = Script({"mail:2": close(), "ehlo2:2": close()}, offers=offers)
    with one_port(dead, Script(offers=offers)) as scripted:
        with face(server_for(scripted), max_connections=1) as client:
            client.send(*item(0)[:1], sender="a0@a.b", recipients=["b0@a.b"])
            found = list(client.send_many(item(n) for n in range(1, 11)))
    assert [type(one.receipt) for one in found] == [Receipt] * 10
    assert all(one.receipt.attempts == () for one in found if one.receipt)
    assert len(scripted.connections) == 2
    assert len(scripted.accepted) == 11


def test_lost_for_ever() -> None:
    """A server that hangs up at every second message: no message is lost by it."""
    script = Script({"mail:2": close()}, offers=(*OFFERS, "PIPELINING"))
    with one_port(script) as scripted:
        found = batch(scripted, map(item, range(10)))
        assert check_true(scripted, found) == {"Receipt": 10}


def test_lost_at_once_for_ever() -> None:
    """One that hangs up at every message: each is tried twice, by the table."""
    script = Script({"mail": close()}, offers=(*OFFERS, "PIPELINING"))
    with one_port(script) as scripted:
        found = batch(scripted, map(item, range(4)))
    assert [type(one.error) for one in found] == [ConnectionLost] * 4
    assert [len(one.error.attempts) for one in found if one.error] == [2] * 4


FAILS = {
    "loss": {"mail": close()},
    "reset": {"mail": rst()},
    "greeting": {"greeting": reply(421, "4.3.2", "bye")},
    "handshake": {"tls": close()},
    "refused": {"rcpt": reply(550, "5.1.1", "no")},
}


@pytest.mark.parametrize("fail", FAILS)
def test_errors_that_are_kept(fail: str) -> None:
    """Who collects errors collects no connections: nothing of one, or no buffers."""
    script = Script(FAILS[fail], offers=OFFERS)
    with one_port(script) as scripted:
        found = batch(scripted, map(item, range(10)))
        assert all(one.error is not None for one in found)
        eventually(lambda: not alive(Channel, SSLProtocol))
        with Client(server_for(scripted)) as client:
            kept = []
            for n in range(10):
                with pytest.raises(SendError) as caught:
                    client.send(content(n), sender="a@a.b", recipients=["b@a.b"])
                kept.append(caught.value)
        scripted.wait_for(lambda: all(c.closed for c in scripted.connections))
        assert len(kept) == 10
        eventually(lambda: not alive(SSLProtocol))


def alive(*kinds: type) -> int:
    """How many objects of these types there are, garbage apart where it is collected."""
    if gc.isenabled():
        gc.collect()
    return sum(issubclass(type(x), kinds) for x in gc.get_objects())


@pytest.mark.parametrize("mode", MODES)
def test_a_connection_that_ended_is_gone(mode: str) -> None:
    """Its buffers do not wait for the garbage collector."""
    with one_port(Script(offers=(*OFFERS, *MODES[mode]))) as scripted:
        gc.collect()
        gc.disable()
        try:
            batch(scripted, map(item, range(10)), max_messages=1)
            eventually(lambda: alive(Channel, SSLProtocol) <= 1)
        finally:
            gc.enable()
    assert len(scripted.connections) == 10


# Cancelled while a message is on its way, by each way that there is.

MANY = reply(452, "4.5.3", "too many")


class Stop:
    """A place in a script that tells when it is reached, and there the server hangs."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self.here = Action("here", lambda _: self._reached.set()) + hang()

    def wait(self) -> None:
        """Wait until a server is there."""
        assert self._reached.wait(20)

    def scripts(self, *steps: dict[str, Action | None]) -> list[Script]:
        """A script for each connection in turn; None stands for the place."""
        offers = (*SHORT, *MODES["chain"])
        ons = [{k: v or self.here for k, v in on.items()} for on in steps]
        return [Script(on, offers=offers) for on in ons]


STOPS: dict[str, tuple[dict[str, Any], dict[str, Any], type, tuple[str, ...]]] = {
    "mail": ({"mail:1": None}, {}, ConnectError, ()),
    "end": ({"final:1": None}, {}, DeliveryUnknown, ()),
    "again": ({"mail:1": close()}, {"greeting": None}, ConnectError, ()),
    "part": ({"rcpt:2": MANY, "mail:2": None}, {}, ConnectError, ("x@a.b",)),
    "part end": ({"rcpt:2": MANY, "final:2": None}, {}, DeliveryUnknown, ("x@a.b",)),
}
# With require_all a message goes by itself, to all at once or to nobody.
ALONE = [(stop, True) for stop in STOPS if "part" not in stop]


@pytest.mark.parametrize(
    ("stop", "require_all"), [*((stop, False) for stop in STOPS), *ALONE]
)
def test_cancelled_on_its_way(stop: str, require_all: bool) -> None:
    """Whichever way a message goes out, the hook is told what became of it."""
    first, second, kind, accepted = STOPS[stop]
    here, items = Stop(), [item(0, "x@a.b", "y@a.b")]
    with one_port(*here.scripts(first, second)) as scripted:
        (one,) = cancelled(scripted, items, here.wait, require_all=require_all)
    assert one.error is not None
    assert (type(one.error), one.error.accepted) == (kind, accepted)
    assert one.error.temporary is (kind is ConnectError and not accepted)


PARTLY: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "in the batch": ({"rcpt:2": MANY, "final:2": None}, {}, 1),
    "behind it": (
        {"rcpt:2": MANY, "rcpt:4": MANY, "mail:3": close()},
        {"greeting": None},
        2,
    ),
}


@pytest.mark.parametrize("case", PARTLY)
def test_cancelled_with_parts_left(case: str) -> None:
    """What some have, and others are still to get, is told of with who has it."""
    first, second, count = PARTLY[case]
    here = Stop()
    items = [item(n, f"x{n}@a.b", f"y{n}@a.b") for n in range(count)]
    with one_port(*here.scripts(first, second)) as scripted:
        told = cancelled(scripted, [*items, item(8), item(9)], here.wait)
    errors = {one.index: one.error for one in told}
    assert len(errors) == len(told)
    for n in range(count):
        error = errors[n]
        assert type(error) is ConnectError
        assert (error.accepted, error.temporary) == ((f"x{n}@a.b",), False)
