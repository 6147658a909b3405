"""The pool: how many connections, how long each is kept, and dead ones replaced."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from leaks import InLoop, eventually, ids, numbered, one_port
from scripted import (
    Script,
    ScriptedServer,
    close,
    cut,
    garbage,
    hang,
    normal,
    reply,
    rst,
    say,
)
from scripted.actions import Action
from sending import CALM, RECIPIENT, SENDER, envelope, patiently, server_for

from smtpsend import Client, Receipt
from smtpsend.errors import (
    ConfigError,
    ConnectError,
    Event,
    Phase,
    RecipientsRefused,
    SendError,
)


Face = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("no_leaks")
both = pytest.mark.parametrize("face", [Client, InLoop])

BYE = reply(421, "4.3.2", "bye")
PASS = Action("nothing more", lambda talk: None)


def wait_until(event: threading.Event) -> Action:
    """Go on when the test says so."""
    return Action("wait_until()", lambda talk: event.wait(20))


def tell(event: threading.Event) -> Action:
    """Say to the test that we have come here."""
    return Action("tell()", lambda talk: event.set())


# How many, how often, how long.


def test_no_more_connections_than_allowed_and_no_fewer() -> None:
    """Twelve senders, three connections: three at once, and all twelve come through."""
    gate = threading.Barrier(3)
    script = {"final": Action("all three", lambda talk: gate.wait(20)) + normal()}
    with one_port(script) as scripted, ThreadPoolExecutor(12) as threads:
        with Client(server_for(scripted), max_connections=3) as client:
            send = client.send
            sends = [threads.submit(send, numbered(n), **envelope()) for n in range(12)]
            assert all(one.result(40).attempts == () for one in sends)
    scripted.assert_clean(auths=3)
    assert ids(scripted) == list(range(12))
    assert len(scripted.connections) == 3


@both
def test_a_connection_serves_no_more_messages_than_allowed(face: Face) -> None:
    """Seven messages at three a connection: three connections, each ended by QUIT."""
    with one_port() as scripted:
        with face(server_for(scripted), max_messages=3) as client:
            for n in range(7):
                assert client.send(numbered(n), **envelope()).attempts == ()
    scripted.assert_clean(auths=3)
    assert [len(c.accepted) for c in scripted.connections] == [3, 3, 1]
    assert all(c.verbs[-1] == "QUIT" for c in scripted.connections)


@pytest.mark.parametrize(
    "limits",
    [{"idle_timeout": 0.1}, {"max_age": 0.4}, {"idle_timeout": 0}, {"max_messages": 1}],
    ids=str,
)
def test_a_connection_is_kept_no_longer_than_allowed(limits: dict[str, float]) -> None:
    """It is ended by QUIT while the client is idle, and the next send opens another."""
    with one_port() as scripted:
        with Client(server_for(scripted), **limits) as client:
            client.send(numbered(1), **envelope())
            scripted.wait_closed(1)
            assert scripted.connections[0].verbs[-1] == "QUIT"
            assert client.send(numbered(2), **envelope()).attempts == ()
    scripted.assert_clean(auths=2)
    assert [len(c.accepted) for c in scripted.connections] == [1, 1]


def test_a_connection_too_old_after_its_message_is_not_kept() -> None:
    """The age runs out while the server thinks about the message."""
    release = threading.Event()
    with one_port({"final": wait_until(release) + normal()}) as scripted:
        with Client(server_for(scripted), max_age=0.05) as client:
            with ThreadPoolExecutor(1) as threads:
                send = threads.submit(client.send, numbered(1), **envelope())
                scripted.wait_for(lambda: any(c.messages for c in scripted.connections))
                threading.Event().wait(0.1)  # what the test is about: time passes
                release.set()
                send.result(20)
            scripted.wait_closed(1)
    assert scripted.connections[0].verbs[-1] == "QUIT"


def test_a_full_pool_waits_no_longer_than_the_deadline() -> None:
    """Then it is a typed, temporary, timed-out error; the others are not disturbed."""
    release = threading.Event()
    script = {"final:1": wait_until(release) + normal()}
    with one_port(script) as scripted, ThreadPoolExecutor(2) as threads:
        with Client(server_for(scripted), max_connections=1) as client:
            first = threads.submit(client.send, numbered(1), **envelope())
            scripted.wait_for(lambda: any(c.messages for c in scripted.connections))
            patient = threads.submit(client.send, numbered(2), **envelope())
            eventually(lambda: client._servers.pools[0]._waiting)
            for call in (
                lambda: client.send(numbered(3), **envelope(), timeout=0.2),
                lambda: client.check(timeout=0.2),
            ):
                with pytest.raises(ConnectError) as caught:
                    call()
                assert caught.value.timed_out
                assert caught.value.temporary
                assert caught.value.phase is Phase.CONNECT
                assert "in use" in str(caught.value)
                assert "max_connections" in caught.value.hint
            release.set()
            assert first.result(20).attempts == patient.result(20).attempts == ()
            client.send(numbered(3), **envelope())
    scripted.assert_clean()
    assert ids(scripted) == [1, 2, 3]
    assert len(scripted.connections) == 1


@both
@pytest.mark.parametrize(
    "limits",
    [
        {"max_connections": 0},
        {"max_connections": True},
        {"max_messages": 1.5},
        {"idle_timeout": -1},
        {"max_age": 0},
        {"max_age": float("nan")},
        {"idle_timeout": "30"},
    ],
    ids=str,
)
def test_limits_that_cannot_be(face: Face, limits: dict[str, Any]) -> None:
    """They are refused before anything is opened."""
    with pytest.raises(ConfigError, match=next(iter(limits))):
        face("mail.example.org", **limits)


# Found dead.

IDLE: dict[str, tuple[Action, Action]] = {
    "421 and closed": (BYE, close()),
    "421 and open": (BYE, PASS),
    "closed": (PASS, close()),
    "cut": (PASS, cut()),
    "reset": (PASS, rst()),
    "garbage": (garbage(), PASS),
    "a stray 250": (say(b"250 stray\r\n"), PASS),
    "half a reply": (say(b"250-more to"), PASS),
}


@both
@pytest.mark.parametrize("end", IDLE)
def test_dead_while_idle(face: Face, end: str) -> None:
    """The server ends or spoils an idle connection: the next send uses a new one."""
    go, said = threading.Event(), threading.Event()
    spoil, leave = IDLE[end]
    script = {"final:1": normal() + wait_until(go) + spoil + tell(said) + leave}
    with one_port(script, {}) as scripted:
        with face(server_for(scripted)) as client:
            client.send(numbered(1), **envelope())
            go.set()
            assert said.wait(20)
            receipt = client.send(numbered(2), **envelope())
    replaced(scripted, receipt)
    assert receipt.elapsed < CALM["reply_timeout"] / 2


def replaced(scripted: ScriptedServer, receipt: Receipt) -> None:
    """No attempt is on record, and the second message went out over a second one."""
    scripted.assert_clean(auths=2)
    assert receipt.attempts == ()
    assert ids(scripted) == [1, 2]
    assert [len(c.accepted) for c in scripted.connections] == [1, 1]


AT_MAIL: dict[str, Action] = {
    "421": BYE,
    "421 and closed": BYE + close(),
    "closed": close(),
    "reset": rst(),
    "garbage": garbage(),
    "silence": hang(),
    "of two minds": say(b"250-yes\r\n550 no\r\n"),
}


@both
@pytest.mark.parametrize("end", AT_MAIL)
@patiently
def test_dead_at_mail(face: Face, end: str) -> None:
    """The connection looked healthy and was not: replaced in silence."""
    with one_port({"mail:2": AT_MAIL[end]}, {}) as scripted:
        with face(server_for(scripted, reply_timeout=0.5)) as client:
            client.send(numbered(1), **envelope())
            receipt = client.send(numbered(2), **envelope())
    replaced(scripted, receipt)


@both
@pytest.mark.parametrize("end", ["421", "closed", "silence", "refused"])
@patiently
def test_dead_at_rset(face: Face, end: str) -> None:
    """RSET after a refusal finds the connection dead: replaced in silence, too."""
    at_rset = {**AT_MAIL, "refused": reply(500, "5.5.1", "what?")}
    script = {"rcpt:1": reply(550, "5.1.1", "who?"), "rset": at_rset[end]}
    with one_port(script, {}) as scripted:
        with face(server_for(scripted, reply_timeout=0.5)) as client:
            with pytest.raises(RecipientsRefused):
                client.send(numbered(1), **envelope())
            receipt = client.send(numbered(2), **envelope())
    scripted.assert_clean(auths=2)
    assert receipt.attempts == ()
    assert [len(c.accepted) for c in scripted.connections] == [0, 1]


def test_many_dead_connections_at_once() -> None:
    """Four idle ones that all end at MAIL: one send goes through them to a fresh one."""
    gate = threading.Barrier(4)
    meet = Action("meet", lambda talk: gate.wait(20)) + normal()
    dying = {"final:1": meet, "mail:2": BYE + close()}
    with one_port(*[dying] * 4, {}) as scripted, ThreadPoolExecutor(4) as threads:
        with Client(server_for(scripted)) as client:
            send = client.send
            first = [threads.submit(send, numbered(n), **envelope()) for n in range(4)]
            assert all(one.result(40).attempts == () for one in first)
            receipt = send(numbered(4), **envelope())
    scripted.assert_clean(auths=5)
    assert receipt.attempts == ()
    assert ids(scripted) == list(range(5))


THREE_EACH = {
    "421 at the fourth": {"mail:4": BYE + close()},
    "closed at the fourth": {"mail:4": close()},
    "closed after the third": {"final:3": normal() + close()},
    "421 after the third": {"final:3": normal() + BYE + close()},
    "reset at the fourth": {"mail:4": rst()},
}


@both
@pytest.mark.parametrize("many", [False, True], ids=["send", "send_many"])
@pytest.mark.parametrize("script", THREE_EACH)
def test_three_messages_a_connection(face: Face, many: bool, script: str) -> None:
    """The server allows three; eleven messages come through, and nobody notices."""
    with one_port(Script(THREE_EACH[script])) as scripted:
        with face(server_for(scripted), max_connections=2 if many else 1) as client:
            if many:
                batch = [(numbered(n), SENDER, [RECIPIENT]) for n in range(11)]
                outcomes = list(client.send_many(batch))
                assert [o.error for o in outcomes] == [None] * 11
                receipts = [o.receipt for o in outcomes]
            else:
                receipts = [client.send(numbered(n), **envelope()) for n in range(11)]
    scripted.assert_clean(auths=None)
    assert all(one.attempts == () for one in receipts)
    assert ids(scripted) == list(range(11))
    assert all(len(c.accepted) <= 3 for c in scripted.connections)
    assert len(scripted.connections) in (4, 5)


FULL = {"greeting": reply(421, "4.3.2", "too many connections") + close()}
SLOW_RCPT = {"rcpt": Action("slow", lambda talk: (talk.pause(0.02), talk.do_normal()))}


def test_a_connection_too_many_waits_for_a_busy_one() -> None:
    """Sends beyond the connections of the server use one of the client that is busy."""
    few = [Script(SLOW_RCPT), Script(SLOW_RCPT), Script(FULL)]
    with one_port(*few) as scripted:
        server = server_for(scripted)
        with (
            Client(server, max_connections=4) as client,
            ThreadPoolExecutor(4) as threads,
        ):
            to, send = envelope(), client.send
            sends = [threads.submit(send, numbered(n), **to) for n in range(12)]
            receipts = [one.result() for one in sends]
        assert all(receipt.attempts == () for receipt in receipts)
        assert len(scripted.accepted) == 12


def test_a_connection_too_many_and_none_of_ours() -> None:
    """If the client has no connection, the refusal is the error."""
    with one_port(Script(FULL)) as scripted, Client(server_for(scripted)) as client:
        with pytest.raises(ConnectError) as caught:
            client.send(numbered(1), **envelope())
    assert caught.value.reply is not None
    assert caught.value.reply.code == 421


def test_a_421_at_the_end_is_not_sent_again() -> None:
    """A message that was refused at its end by a 421 waits for no other connection."""
    busy, over = threading.Event(), threading.Event()
    held = Script({"rcpt": tell(busy) + wait_until(over) + normal()})
    closing = Script({"final": reply(421, "4.3.2", "bye") + tell(over) + close()})
    with one_port(held, closing, Script()) as scripted, ThreadPoolExecutor(1) as threads:
        with Client(server_for(scripted), max_connections=2) as client:
            first = threads.submit(client.send, numbered(1), **envelope())
            assert busy.wait(20)
            with pytest.raises(SendError) as caught:
                client.send(numbered(2), **envelope())
            assert isinstance(first.result(), Receipt)
        assert caught.value.event is Event.CLOSING_AT_END
        assert ids(scripted) == [1]
