"""Each row of the table over servers, over real sockets: what happens, what follows."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from leaks import InLoop
from scripted import OFFERS, Script, close, garbage, hang, reply, rst, say
from sending import MESSAGE, QUICK, Send, envelope, patiently
from two_servers import FIRST, SECOND, check_true, each_way, two_servers

from smtpsend import Client, Password, SendError, send
from smtpsend.errors import (
    AuthError,
    CertificateError,
    ConnectionLost,
    DeliveryUnknown,
    Event,
    Phase,
    RecipientsRefused,
    Rejected,
)


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
