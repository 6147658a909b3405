"""Each row of the table over servers, over real sockets: what happens, what follows."""

from __future__ import annotations

import logging
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from leaks import InLoop, numbered
from scripted import OFFERS, Script, close, garbage, hang, reply, rst, say
from sending import MESSAGE, QUICK, WAYS, Send, envelope, patiently, server_for
from two_servers import FIRST, SECOND, check_true, two_servers

from smtpsend import Client, Outcome, Password, Receipt, SendError, Server, compose, send
from smtpsend._client.servers import retries
from smtpsend.errors import (
    Attempt,
    AuthError,
    CertificateError,
    ConfigError,
    ConnectError,
    ConnectionLost,
    DeliveryUnknown,
    Event,
    Phase,
    RecipientsRefused,
    Rejected,
)
from smtpsend.testing import capture


pytestmark = pytest.mark.usefixtures("no_leaks")
faces = pytest.mark.parametrize("face", [Client, InLoop], ids=["sync", "async"])

NO_AUTH = tuple(offer for offer in OFFERS if not offer.startswith("AUTH"))
SMALL = ("SIZE 20", *(offer for offer in OFFERS if not offer.startswith("SIZE")))
LATER, BYE = reply(451, "4.3.0", "later"), reply(421, "4.3.2", "bye") + close()
NEVER = reply(550, "5.7.1", "no")


def bad(moment: str, action: object, **options: Any) -> Script:
    """A script with one fault."""
    return Script({moment: action}, **options)  # type: ignore[dict-item]


# What happens at the first server, and the event of its attempts. The second is good.
NEXT: dict[str, tuple[Any, Event, int]] = {
    "no greeting": (bad("greeting", close()), Event.NO_GREETING, 1),
    "greeting 421": (bad("greeting", BYE), Event.NO_GREETING, 1),
    "greeting 554": (bad("greeting", reply(554, "", "no")), Event.NO_GREETING, 1),
    "EHLO refused": (bad("ehlo", reply(550, "", "no")), Event.EHLO_REFUSED, 1),
    "no STARTTLS": (Script(offers_in_clear=("SIZE 9",)), Event.NO_STARTTLS, 1),
    "handshake": (bad("tls", close()), Event.HANDSHAKE, 1),
    "no mechanism": (Script(offers=NO_AUTH), Event.NO_MECHANISM, 1),
    "535": (bad("auth", reply(535, "5.7.8", "no")), Event.AUTH_REFUSED, 1),
    "454": (bad("auth", reply(454, "4.7.0", "no")), Event.AUTH_REFUSED, 1),
    "login lost": (bad("auth", close()), Event.AUTH_LOST, 1),
    "login 421": (bad("auth", BYE), Event.AUTH_LOST, 1),
    "lost at MAIL": (bad("mail", rst()), Event.LOST, 2),
    "421 at MAIL": (bad("mail", BYE), Event.LOST, 2),
    "lost at RCPT": (bad("rcpt", close()), Event.LOST, 2),
    "lost at DATA": (bad("data", close()), Event.LOST, 2),
    "garbage at DATA": (bad("data", garbage()), Event.LOST, 2),
    "451 at MAIL": (bad("mail", LATER), Event.REFUSED, 1),
    "450 at RCPT": (bad("rcpt", reply(450, "4.2.0", "grey")), Event.REFUSED, 1),
    "451 at DATA": (bad("data", LATER), Event.REFUSED, 1),
    "452 at the end": (bad("final", reply(452, "4.3.1", "full")), Event.REFUSED, 1),
    "421 at the end": (bad("final", BYE), Event.CLOSING_AT_END, 1),
    "too large by EHLO": (Script(offers=SMALL), Event.REFUSED, 1),
}

# What happens at the first server, where nothing follows: the error.
STOP: dict[str, tuple[Any, type[SendError]]] = {
    "certificate": (Script(certificate="wrong_host"), CertificateError),
    "550 at MAIL": (bad("mail", NEVER), Rejected),
    "550 at RCPT": (bad("rcpt", NEVER), RecipientsRefused),
    "554 at DATA": (bad("data", reply(554, "5.0.0", "no")), Rejected),
    "552 at the end": (bad("final", reply(552, "5.3.4", "large")), Rejected),
    "250 to DATA": (bad("data", say(b"250 ok\r\n")), Rejected),
    "lost after the end": (bad("final", close()), DeliveryUnknown),
    "reset after the end": (bad("final", rst()), DeliveryUnknown),
    "garbage after the end": (bad("final", garbage()), DeliveryUnknown),
    "354 after the end": (bad("final", say(b"354 go on\r\n")), DeliveryUnknown),
}


def by_batch(message: Any, servers: Any, **options: Any) -> Receipt:
    """One message by `send_many`."""
    item = (message, options["sender"], options["recipients"])
    with Client(servers) as client:
        (outcome,) = client.send_many([item])
    return outcome.result()


def by_client(message: Any, servers: Any, **options: Any) -> Receipt:
    """One message by `Client.send`."""
    with Client(servers) as client:
        return client.send(message, **options)


each_way = pytest.mark.parametrize("way", [*WAYS, by_client, by_batch])


def offering(script: Script, *more: str) -> Script:
    """The same script, where the server offers more."""
    return replace(script, offers=(*script.offers, *more))


@each_way
@pytest.mark.parametrize("more", [(), ("PIPELINING",)])
@pytest.mark.parametrize("case", NEXT)
def test_the_next_server(way: Send, case: str, more: tuple[str, ...]) -> None:
    """The message goes out by the second server, once, and the receipt tells all."""
    script, event, count = NEXT[case]
    script = offering(script, *more)
    with two_servers(script) as pair:
        receipt = way(MESSAGE, pair.servers(), **envelope())
        pair.wait_closed()
    assert pair.accepted == (0, 1)
    assert receipt.server == SECOND
    assert [(a.server, a.event) for a in receipt.attempts] == [(FIRST, event)] * count
    assert receipt.elapsed >= receipt.started >= receipt.attempts[-1].started
    for server in (pair.first, pair.second):
        server.assert_clean(auths=None)


@each_way
@pytest.mark.parametrize("more", [(), ("PIPELINING",)])
@pytest.mark.parametrize("case", STOP)
def test_the_send_stops(way: Send, case: str, more: tuple[str, ...]) -> None:
    """The second server never hears of the message."""
    script, kind = STOP[case]
    script = offering(script, *more)
    with two_servers(script) as pair:
        with pytest.raises(kind) as caught:
            way(MESSAGE, pair.servers(), **envelope())
        assert pair.connections[1] == 0
    assert type(caught.value) is kind
    assert caught.value.server == FIRST
    assert {a.server for a in caught.value.attempts} == {FIRST}
    assert not caught.value.temporary


@patiently
def test_silence_after_the_end() -> None:
    """No reply to the end of the message: unknown, and nothing follows."""
    with two_servers(bad("final", hang())) as pair:
        with pytest.raises(DeliveryUnknown) as caught:
            send(MESSAGE, pair.servers(**QUICK), **envelope())
        assert pair.connections == (1, 0)
    assert caught.value.timed_out
    assert caught.value.server == FIRST


@each_way
def test_a_host_that_does_not_resolve(way: Send) -> None:
    """The name of the first server is unknown; its attempt is in the receipt."""
    with two_servers({}) as pair:
        first, second = pair.servers()
        unknown = replace(first, host="nowhere.invalid")
        receipt = way(MESSAGE, [unknown, second], **envelope())
    (attempt,) = receipt.attempts
    assert (attempt.server, attempt.event) == ("nowhere.invalid", Event.UNRESOLVED)
    assert attempt.phase is Phase.RESOLVE
    assert receipt.server == SECOND


@each_way
def test_a_certificate_by_choice(way: Send) -> None:
    """on_certificate_error="next" of the first server: the next one, verified as well."""
    lenient = {"on_certificate_error": "next"}
    with two_servers(Script(certificate="expired")) as pair:
        receipt = way(MESSAGE, pair.servers(lenient), **envelope())
        assert receipt.server == SECOND
    wrong = Script(certificate="unknown_ca")
    with two_servers(wrong, wrong) as pair:
        with pytest.raises(CertificateError) as caught:
            way(MESSAGE, pair.servers(lenient, lenient), **envelope())
        assert not pair.accepted[1]
    assert {a.server for a in caught.value.attempts} == {FIRST, SECOND}


@each_way
def test_a_temporary_refusal_by_choice(way: Send) -> None:
    """on_temporary_refusal="stop" of the first server ends the call."""
    with two_servers(bad("mail", LATER)) as pair:
        with pytest.raises(Rejected) as caught:
            way(MESSAGE, pair.servers({"on_temporary_refusal": "stop"}), **envelope())
        assert pair.connections[1] == 0
    assert caught.value.temporary


def test_each_server_has_its_own_login() -> None:
    """No server sees the credentials of another."""
    with two_servers(bad("auth", reply(535, "5.7.8", "no"))) as pair:
        first, second = pair.servers()
        first = replace(first, auth=Password("other@example.org", "An0ther-Pa55"))
        send(MESSAGE, [first, second], **envelope())
    pair.second.assert_clean()
    (first_record,), (second_record,) = pair.first.connections, pair.second.connections
    secret = b64encode(b"\0other@example.org\0An0ther-Pa55")
    assert secret in first_record.received
    assert secret not in second_record.received


@each_way
def test_every_server_fails(way: Send) -> None:
    """The furthest error is raised, with all attempts; temporary if any may pass."""
    refused = bad("auth", reply(535, "5.7.8", "no"))
    with two_servers(refused, bad("greeting", BYE)) as pair:
        with pytest.raises(AuthError) as caught:
            way(MESSAGE, pair.servers(), **envelope())
    error = caught.value
    assert error.server == FIRST
    assert error.temporary
    assert [a.server for a in error.attempts] == [FIRST, SECOND]
    assert f"tried: {FIRST} " in str(error)
    assert f"; {SECOND} " in str(error)
    assert "421 4.3.2 bye" in str(error)
    assert SendError.from_dict(error.to_dict()).server == FIRST


# Recipients.

TO = ["x@a.b", "y@a.b", "z@a.b"]
MANY = reply(452, "4.5.3", "too many")


@each_way
def test_only_the_remaining_recipients_go_on(way: Send) -> None:
    """The first server accepts one recipient and is lost: the others go to the second."""
    # Once for the first recipient; the connections for the others are lost.
    first = Script({"rcpt:2": MANY, "rcpt:3": MANY, "mail:2": close()})
    with two_servers([first, bad("mail", close())]) as pair:
        receipt = way(MESSAGE, pair.servers(), **envelope(recipients=TO))
        pair.wait_closed()
    assert receipt.accepted == tuple(TO)
    assert receipt.server == SECOND
    assert [m.recipients for m in pair.first.accepted] == [("x@a.b",)]
    assert [m.recipients for m in pair.second.accepted] == [("y@a.b", "z@a.b")]
    check_true(pair.taken(), "<1@example.org>", TO, receipt)


@each_way
def test_who_has_it_where_all_fail(way: Send) -> None:
    """Where the others fail at the second server, too, the error names who has it."""
    first = Script({"rcpt:2": MANY, "rcpt:3": MANY, "mail:2": close()})
    gone = bad("mail", close())
    with two_servers([first, gone], gone) as pair:
        with pytest.raises(ConnectionLost) as caught:
            way(MESSAGE, pair.servers(), **envelope(recipients=TO))
        pair.wait_closed()
    assert caught.value.accepted == ("x@a.b",)
    assert not caught.value.temporary
    check_true(pair.taken(), "<1@example.org>", TO, caught.value)


@each_way
def test_some_refused_recipients_are_final(way: Send) -> None:
    """A receipt that names refused recipients ends the send, even with 4yz."""
    with two_servers(Script({"rcpt:2": LATER, "rcpt:3": NEVER})) as pair:
        receipt = way(MESSAGE, pair.servers(), **envelope(recipients=TO))
        assert pair.connections[1] == 0
    assert receipt.accepted == ("x@a.b",)
    assert list(receipt.refused) == ["y@a.b", "z@a.b"]


@each_way
def test_a_recipient_refused_for_good_stays_refused(way: Send) -> None:
    """A 5yz for one recipient, then 451 for the message: the next gets the others."""
    with two_servers(Script({"rcpt:2": NEVER, "final": LATER})) as pair:
        receipt = way(MESSAGE, pair.servers(), **envelope(recipients=TO))
    assert [m.recipients for m in pair.second.accepted] == [("x@a.b", "z@a.b")]
    assert receipt.accepted == ("x@a.b", "z@a.b")
    assert receipt.refused["y@a.b"].code == 550


def test_require_all() -> None:
    """One 450 among several: the second server gets all of them, or nobody."""
    with two_servers(Script({"rcpt:2": LATER})) as pair:
        options = envelope(recipients=TO, require_all=True)
        receipt = send(MESSAGE, pair.servers(), **options)
        assert receipt.accepted == tuple(TO)
    assert pair.accepted == (0, 1)
    with two_servers(Script({"rcpt:2": NEVER})) as pair:
        with pytest.raises(RecipientsRefused):
            send(MESSAGE, pair.servers(), **envelope(recipients=TO, require_all=True))
        assert pair.connections[1] == 0


# A server that failed is left alone.


@faces
def test_a_failed_server_is_left_alone(face: Any) -> None:
    """The next sends begin with the second; after the pause, the first is tried once."""
    with two_servers([bad("greeting", close()), {}]) as pair:
        with face(pair.servers(retry_interval=300)) as client:
            for n in (1, 2, 3):
                assert client.send(numbered(n), **envelope()).server == SECOND
            assert pair.connections[0] == 1
            end_pauses()
            assert client.send(numbered(4), **envelope()).server == FIRST
            assert client.send(numbered(5), **envelope()).server == FIRST
    assert pair.accepted == (2, 3)


def end_pauses() -> None:
    """Let the time pass for which servers are left alone."""
    for failed in retries.in_process._failed.values():
        failed.until = 0.0


def test_one_shots_share_it() -> None:
    """`send` and clients know the same of a server that cannot be reached."""
    with two_servers(bad("greeting", close())) as pair:
        servers = pair.servers(retry_interval=300)
        assert send(MESSAGE, servers, **envelope()).server == SECOND
        assert send(MESSAGE, servers, **envelope()).attempts == ()
        with Client(servers) as client:
            assert client.send(MESSAGE, **envelope()).attempts == ()
        # Where it is the only one, it is tried whatever is known.
        with pytest.raises(ConnectError):
            send(MESSAGE, servers[0], **envelope())
    assert pair.connections[0] == 2


def test_a_refused_login_is_the_clients() -> None:
    """A client that was refused leaves the server alone; other sends log in there."""
    with two_servers(bad("auth", reply(535, "5.7.8", "no"))) as pair:
        servers = pair.servers(retry_interval=300)
        with Client(servers) as client:
            for n in (1, 2, 3):
                assert client.send(numbered(n), **envelope()).server == SECOND
        assert pair.connections[0] == 1
        assert send(MESSAGE, servers, **envelope()).attempts
    assert pair.connections[0] == 2


def test_all_are_tried_where_all_failed() -> None:
    """If every server failed lately, they are tried in order, and none is skipped."""
    gone = bad("greeting", close())
    with two_servers([gone, gone, {}], gone) as pair:
        servers = pair.servers(retry_interval=300)
        for _ in range(2):
            with pytest.raises(ConnectError):
                send(MESSAGE, servers, **envelope())
        assert pair.connections == (2, 2)
        assert send(MESSAGE, servers, **envelope()).server == FIRST


def test_no_pause_by_choice() -> None:
    """retry_interval=0: the first server is tried by each send."""
    with two_servers(bad("greeting", close())) as pair:
        servers = pair.servers(retry_interval=0)
        for _ in range(3):
            assert send(MESSAGE, servers, **envelope()).server == SECOND
    assert pair.connections[0] == 3


def test_a_refusal_is_no_failure_of_the_server() -> None:
    """After a 451 to one message, the next one begins with the first server again."""
    with two_servers(Script({"mail:1": LATER})) as pair:
        with Client(pair.servers()) as client:
            assert client.send(numbered(1), **envelope()).server == SECOND
            assert client.send(numbered(2), **envelope()).server == FIRST


# The rest of the public face.


@faces
def test_check(face: Any) -> None:
    """`check` logs in as a send would: to the next server where the first fails."""
    refused = bad("auth", reply(535, "5.7.8", "no"))
    with two_servers(refused) as pair:
        with face(pair.servers()) as client:
            client.check()
            assert client.send(MESSAGE, **envelope()).server == SECOND
        assert pair.connections == (1, 1)
    with two_servers(refused, refused) as pair, face(pair.servers()) as client:
        with pytest.raises(AuthError) as caught:
            client.check()
    assert [a.server for a in caught.value.attempts] == [FIRST, SECOND]


@faces
def test_hooks_and_log(face: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Each failed method is told with its server, and each message once."""
    attempts: list[Attempt] = []
    told: list[Outcome] = []
    hooks = {"on_attempt": attempts.append, "on_outcome": told.append}
    with caplog.at_level(logging.INFO), two_servers(bad("mail", close())) as pair:
        with face(pair.servers(retry_interval=300), **hooks) as client:
            receipt = client.send(MESSAGE, **envelope())
    assert tuple(attempts) == receipt.attempts
    assert [a.server for a in attempts] == [FIRST, FIRST]
    assert [one.receipt for one in told] == [receipt]
    text = caplog.text
    assert f"{FIRST} failed: the other servers are tried first for 300 s" in text
    assert f"{SECOND}: fell back to {receipt.method} ({FIRST} " in text
    assert f"1 recipient(s) by {SECOND}:" in text


def test_one_deadline_for_all() -> None:
    """timeout= is for the whole call; by default each server has its own deadline."""

    @patiently
    def silent_first() -> None:
        with two_servers(bad("greeting", hang())) as pair:
            own = {"deadline": 0.5}
            receipt = send(MESSAGE, pair.servers(own), **envelope())
            assert receipt.server == SECOND
            assert receipt.attempts[0].event is Event.NO_GREETING
        with two_servers(bad("greeting", hang())) as pair:
            with pytest.raises(ConnectError) as caught:
                send(MESSAGE, pair.servers(), **envelope(timeout=0.5))
            assert pair.connections[1] == 0
        assert caught.value.timed_out

    silent_first()


def test_the_settings_of_every_server_are_checked_first() -> None:
    """A CA file of the second server that cannot be read: nothing is connected."""
    with two_servers({}) as pair:
        first, second = pair.servers()
        broken = [first, replace(second, cafile="/nowhere.pem")]
        with pytest.raises(ConfigError, match="nowhere"):
            send(MESSAGE, broken, **envelope())
        with Client(broken) as client:
            with pytest.raises(ConfigError, match="nowhere"):
                client.check()
            (outcome,) = client.send_many([(MESSAGE, "a@b.c", ["d@e.f"])])
            assert type(outcome.error) is ConfigError
        assert pair.connections == (0, 0)


def test_all_connections_in_use_is_no_failure() -> None:
    """A send that waits in vain for its turn goes to no other server."""
    hooks: dict[str, Any] = {"max_rate": 0.001}
    with two_servers({}) as pair, Client(pair.servers(), **hooks) as client:
        client.send(numbered(1), **envelope())
        with pytest.raises(ConnectError, match="max_rate"):
            client.send(numbered(2), **envelope(timeout=5))
        assert pair.connections == (1, 0)
        assert not retries.in_process._failed


@each_way
def test_captured(way: Send) -> None:
    """A capture plays the failures of servers in turn, and keeps nothing of them."""
    servers = [Server("a.example.org"), "b.example.org"]
    message = compose(sender="ann@example.org", to="bob@example.net", text="Hello.")
    options = {"sender": None, "recipients": None}
    with capture() as outbox:
        outbox.fail_next(ConnectError)
        receipt = way(message, servers, **options)
        assert receipt.server == "b.example.org"
        assert {a.server for a in receipt.attempts} == {"a.example.org"}
        assert [one.server.host for one in outbox] == ["b.example.org"]
        assert [one.server.host for one in outbox.failed] == ["a.example.org"]
        assert way(message, servers, **options).server == "a.example.org"
        outbox.fail_next(DeliveryUnknown)
        with pytest.raises(DeliveryUnknown) as caught:
            way(message, servers, **options)
        assert caught.value.server == "a.example.org"
        outbox.fail_next(ConnectError, times=2)
        with pytest.raises(ConnectError):
            way(message, servers, **options)
    assert len(outbox) == 2


def test_one_server_in_a_sequence() -> None:
    """A sequence of one is that server."""
    with two_servers({}) as pair:
        receipt = send(MESSAGE, [server_for(pair.first)], **envelope())
    assert receipt.server == FIRST
