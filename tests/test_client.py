"""`Client` and `AsyncClient`: kept connections, what is sent over them, and closing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from leaks import InLoop, eventually, ids, numbered, one_port
from scripted import Script, ScriptedServer, close, garbage, hang, normal, reply, rst
from scripted.actions import Action
from sending import CALM, SENDER, envelope, patiently, server_for

from smtpsend import Client, Method, Password
from smtpsend.errors import (
    AuthError,
    ConfigError,
    ConnectError,
    ConnectionLost,
    DeliveryUnknown,
    Event,
    Phase,
    RecipientsRefused,
    Rejected,
)


Face = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("no_leaks")
both = pytest.mark.parametrize("face", [Client, InLoop])


def verbs(scripted: ScriptedServer, n: int = 0) -> list[str]:
    """The commands of a connection that follow the login."""
    found = scripted.connections[n].verbs
    return found[found.index("AUTH") + 1 :]


@both
def test_one_connection_and_one_login_serve_several_sends(face: Face) -> None:
    """Five messages need one connection, one AUTH and no RSET."""
    with one_port() as scripted:
        with face(server_for(scripted)) as client:
            receipts = [client.send(numbered(n), **envelope()) for n in range(5)]
    scripted.assert_clean()
    assert ids(scripted) == list(range(5))
    assert len(scripted.connections) == 1
    assert verbs(scripted) == ["MAIL", "RCPT", "DATA"] * 5 + ["QUIT"]
    assert [r.message_id for r in receipts] == [f"<{n}@example.org>" for n in range(5)]
    assert all(r.attempts == () for r in receipts)


REFUSED = {
    "MAIL": ({"mail:1": reply(550, "5.7.1", "no")}, Rejected, ["MAIL"]),
    "RCPT": (
        {"rcpt:1": reply(450, "4.2.0", "later")},
        RecipientsRefused,
        ["MAIL", "RCPT", "RSET"],
    ),
    "DATA": (
        {"data:1": reply(554, "5.5.1", "no")},
        Rejected,
        ["MAIL", "RCPT", "DATA", "RSET"],
    ),
    "the final dot": (
        {"final:1": reply(550, "5.7.1", "spam")},
        Rejected,
        ["MAIL", "RCPT", "DATA"],
    ),
}


@both
@pytest.mark.parametrize("where", REFUSED)
def test_a_good_message_follows_a_refused_one(face: Face, where: str) -> None:
    """A refusal leaves the connection in use; RSET comes where one is needed."""
    script, kind, before = REFUSED[where]
    with one_port(script) as scripted:
        with face(server_for(scripted)) as client:
            with pytest.raises(kind) as caught:
                client.send(numbered(1), **envelope())
            receipt = client.send(numbered(2), **envelope())
    scripted.assert_clean()
    assert caught.value.attempts[-1].event is Event.REFUSED
    assert receipt.attempts == ()
    assert ids(scripted) == [2]
    assert len(scripted.connections) == 1
    assert verbs(scripted) == [*before, "MAIL", "RCPT", "DATA", "QUIT"]


@both
def test_require_all_on_a_kept_connection(face: Face) -> None:
    """One refused recipient of two: nobody gets it, and the next message goes out."""
    no = reply(550, "5.1.1", "no such user")
    two = ["bob@example.net", "eve@example.net"]
    with one_port({"rcpt:2": no, "rcpt:4": no}) as scripted:
        with face(server_for(scripted)) as client:
            with pytest.raises(RecipientsRefused) as caught:
                client.send(numbered(1), sender=SENDER, recipients=two, require_all=True)
            receipt = client.send(numbered(2), sender=SENDER, recipients=two)
    scripted.assert_clean()
    assert list(caught.value.refused) == two[1:]
    assert receipt.accepted == (two[0],)
    assert list(receipt.refused) == two[1:]
    assert ids(scripted) == [2]
    assert len(scripted.connections) == 1


@both
def test_require_all_in_a_batch(face: Face) -> None:
    """It counts for each message."""
    two = ["bob@example.net", "eve@example.net"]
    with one_port({"rcpt:2": reply(550, "5.1.1", "who?")}) as scripted:
        with face(server_for(scripted), max_connections=1) as client:
            batch = [(numbered(1), SENDER, two), (numbered(2), SENDER, two[:1])]
            first, second = client.send_many(batch, require_all=True)
    assert isinstance(first.error, RecipientsRefused)
    assert (second.error, ids(scripted)) == (None, [2])


UNKNOWN: dict[str, Action] = {
    "closed": close(),
    "reset": rst(),
    "garbage": garbage(),
    "silence": hang(),
}


@both
@pytest.mark.parametrize("action", UNKNOWN)
@patiently
def test_unknown_on_a_kept_connection_is_not_sent_again(face: Face, action: str) -> None:
    """No answer to the end of the message: an error, and the connection is given up."""
    with one_port({"final:2": UNKNOWN[action]}, {}) as scripted:
        with face(server_for(scripted, final_timeout=0.5)) as client:
            client.send(numbered(1), **envelope())
            with pytest.raises(DeliveryUnknown) as caught:
                client.send(numbered(2), **envelope())
            client.send(numbered(3), **envelope())
    scripted.assert_clean(auths=2)
    assert caught.value.message_id == "<2@example.org>"
    assert not caught.value.temporary
    assert ids(scripted) == [1, 3]
    assert [len(c.messages) for c in scripted.connections] == [2, 1]


LOSSES: dict[str, tuple[dict[str, Action], Phase]] = {
    "RCPT closed": ({"rcpt:2": close()}, Phase.RCPT),
    "RCPT 421": ({"rcpt:2": reply(421, "4.3.2", "bye") + close()}, Phase.RCPT),
    "DATA reset": ({"data:2": rst()}, Phase.DATA),
    "DATA garbage": ({"data:2": garbage()}, Phase.DATA),
}


@both
@pytest.mark.parametrize("ports", [["starttls"], ["starttls", "implicit"]])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_after_mail_is_tried_once_more_and_noted(
    face: Face, ports: list[str], loss: str
) -> None:
    """Over a fresh connection, or the next method, with the attempt in the receipt."""
    script, phase = LOSSES[loss]
    with ScriptedServer(starttls=[script, {}], starttls2=None) as scripted:
        where = server_for(scripted, *ports, **CALM)
        with face(where) as client:
            client.send(numbered(1), **envelope())
            receipt = client.send(numbered(2), **envelope())
    scripted.assert_clean(auths=2)
    assert ids(scripted) == [1, 2]
    assert [c.port_kind for c in scripted.connections] == ["starttls", ports[-1]]
    (attempt,) = receipt.attempts
    assert (attempt.event, attempt.phase) == (Event.LOST, phase)
    assert attempt.method == Method(scripted.port("starttls"), "starttls")
    assert receipt.method.port == scripted.port(ports[-1])


@both
def test_a_loss_on_every_connection_ends_in_connection_lost(face: Face) -> None:
    """A kept connection and a fresh one lost at DATA: nothing more is tried."""
    with one_port({"data:2": close()}, {"data": close()}) as scripted:
        with face(server_for(scripted)) as client:
            client.send(numbered(1), **envelope())
            with pytest.raises(ConnectionLost) as caught:
                client.send(numbered(2), **envelope())
    assert [a.phase for a in caught.value.attempts] == [Phase.DATA] * 2
    assert caught.value.temporary
    assert ids(scripted) == [1]
    assert len(scripted.connections) == 2


@both
def test_one_message_a_connection(face: Face) -> None:
    """A 503 to the second MAIL of a connection is no refusal of the message."""
    once = {"mail:2": reply(503, "5.5.1", "one message a connection")}
    with one_port(*[once] * 3) as scripted:
        with face(server_for(scripted)) as client:
            receipts = [client.send(numbered(n), **envelope()) for n in range(3)]
    assert ids(scripted) == [0, 1, 2]
    assert len(scripted.connections) == 3
    assert all(r.attempts == () for r in receipts)


@both
def test_check_logs_in_and_keeps_the_connection(face: Face) -> None:
    """Nothing is sent by it, and the next send needs no other login."""
    with one_port() as scripted:
        with face(server_for(scripted)) as client:
            client.check()
            scripted.wait_for(lambda: scripted.connections[0].authenticated)
            assert verbs(scripted) == []
            client.send(numbered(1), **envelope())
    scripted.assert_clean()
    assert len(scripted.connections) == 1


@both
def test_check_opens_no_connection_beyond_the_limit(face: Face) -> None:
    """With an idle connection and a limit of one, two are never open at once."""
    with one_port() as scripted:
        with face(server_for(scripted), max_connections=1) as client:
            client.send(numbered(1), **envelope())
            client.check()
            client.send(numbered(2), **envelope())
            opened = len(scripted.connections)
            assert len(client._servers.pools[0]._idle) == 1
            scripted.wait_closed(opened - 1)
    scripted.assert_clean(auths=2)
    assert ids(scripted) == [1, 2]


@both
def test_a_wrong_password_is_one_login_a_call(face: Face) -> None:
    """Each call fails by itself; neither keeps a connection nor a place in the pool."""
    with one_port() as scripted:
        wrong = Password(scripted.user, "wr0ng-Pa55word")
        with face(server_for(scripted, auth=wrong), max_connections=1) as client:
            with pytest.raises(AuthError) as caught:
                client.check()
            with pytest.raises(AuthError):
                client.send(numbered(1), **envelope())
        scripted.wait_closed(2)
    scripted.assert_clean(auths=2)
    assert caught.value.reply.code == 535
    assert "wr0ng" not in f"{caught.value!r}{caught.value}{vars(caught.value)}"
    assert ids(scripted) == []


@both
def test_check_raises_what_a_send_would(face: Face) -> None:
    """A refused port is a `ConnectError` of both."""
    with ScriptedServer("refused") as scripted:
        with face(server_for(scripted)) as client:
            with pytest.raises(ConnectError) as checked:
                client.check()
            with pytest.raises(ConnectError) as sent:
                client.send(numbered(1), **envelope())
    assert type(checked.value) is type(sent.value)
    assert checked.value.phase is sent.value.phase is Phase.CONNECT


@both
def test_a_closed_client_sends_nothing(face: Face) -> None:
    """After `close`, `send` and `check` are refused; a second `close` is nothing."""
    with one_port() as scripted:
        with face(server_for(scripted)) as client:
            client.send(numbered(1), **envelope())
            client.close()
            for call in (lambda: client.send(numbered(2), **envelope()), client.check):
                with pytest.raises(ConfigError, match="closed"):
                    call()
            client.close()
            (outcome,) = client.send_many([(numbered(3), SENDER, ["bob@example.net"])])
            assert isinstance(outcome.error, ConfigError)
    assert ids(scripted) == [1]


def test_close_lets_running_and_waiting_sends_finish() -> None:
    """One send is at its end, one waits for the connection: both come through."""
    release = threading.Event()
    held = Action("held", lambda talk: release.wait(20)) + normal()
    with one_port({"final:1": held}) as scripted, ThreadPoolExecutor(4) as threads:
        client = Client(server_for(scripted), max_connections=1)
        first = threads.submit(client.send, numbered(1), **envelope())
        scripted.wait_for(lambda: any(c.messages for c in scripted.connections))
        second = threads.submit(client.send, numbered(2), **envelope())
        eventually(lambda: client._servers.pools[0]._waiting)
        closing = threads.submit(client.close)
        eventually(lambda: client._servers.pools[0]._closed)
        with pytest.raises(ConfigError):
            client.send(numbered(3), **envelope())
        assert not closing.done()
        release.set()
        assert first.result(20).message_id == "<1@example.org>"
        assert second.result(20).message_id == "<2@example.org>"
        closing.result(20)
    scripted.assert_clean(auths=None)  # the one that waited may need a new connection
    assert ids(scripted) == [1, 2]
    assert verbs(scripted)[-1] == verbs(scripted, -1)[-1] == "QUIT"


@both
def test_close_is_not_held_up_by_a_server_that_is_deaf_to_quit(face: Face) -> None:
    """QUIT is said and not waited for."""
    with one_port(Script({"quit": hang()})) as scripted:
        with face(server_for(scripted)) as client:
            client.send(numbered(1), **envelope())
        scripted.wait_closed(1)
        assert verbs(scripted)[-1] == "QUIT"
