"""The hint of an error says what to do, and nothing that is known not to help."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from typing import Any

import pytest
from failed_sends import failed
from scripted import Script, ScriptedServer, close, garbage, hang, reply
from sending import MESSAGE, WAYS, Send, envelope, policy_for, server_for

from smtpsend import Client, Method, Policy, SendError, Server, compose
from smtpsend._client.background.ending import unknown
from smtpsend.check import check
from smtpsend.errors import (
    ConnectError,
    ConnectionLost,
    DeliveryUnknown,
    Phase,
    Rejected,
)
from smtpsend.testing import capture


pytestmark = pytest.mark.parametrize("send", WAYS)

ADVISE_ON_THE_MESSAGE = ("change the sender", "other recipient", "change the message")


WANTED = reply(530, "5.7.0", "Authentication required")


@pytest.mark.parametrize("moment", ["mail", "rcpt", "data"])
@pytest.mark.parametrize(
    "answer",
    [
        WANTED,
        reply(530, "", "no"),
        reply(550, "5.7.1", "Authentication is required to send mail"),
        reply(554, "5.7.1", "Relay access denied"),
        reply(503, "", "AUTH first"),
    ],
)
def test_login_wanted_and_none_given(moment: str, answer: Any, send: Send) -> None:
    """A server that wants a login, where none was given, is told apart by its reply."""
    error = failed(send, Script({moment: answer}, require_auth=False), auth=None)
    assert isinstance(error, Rejected)
    assert "no credentials were given" in error.hint
    assert "Server(host, (username, password))" in error.hint
    assert not any(words in error.hint for words in ADVISE_ON_THE_MESSAGE)


def test_login_wanted_in_a_batch(send: Send) -> None:
    """The same for send_many."""
    script = Script({"mail": WANTED}, require_auth=False)
    message = compose(
        sender="ann@example.org", to="bob@example.net", subject="Hi", text="Hello."
    )
    with ScriptedServer(script) as scripted:
        with Client(server_for(scripted, "implicit", auth=None)) as client:
            (outcome,) = client.send_many([message])
    assert outcome.error is not None
    assert "no credentials were given" in outcome.error.hint


def test_login_given(send: Send) -> None:
    """After a login, nothing is said about credentials that are missing."""
    error = failed(send, Script({"mail": WANTED}))
    assert "no credentials" not in error.hint


def test_login_wanted_in_plaintext(send: Send) -> None:
    """A sink in plaintext that wants a login, or TLS, cannot be given credentials."""
    script = Script({"mail": WANTED}, require_auth=False, require_tls=False)
    for wanted, words in (
        (script, "credentials are never sent by a plaintext method"),
        (
            Script({"mail": reply(530, "5.7.0", "Must issue a STARTTLS command first")}),
            "'starttls'",
        ),
    ):
        with ScriptedServer(wanted) as scripted:
            method = Method(scripted.port("starttls"), "plaintext")
            with pytest.raises(Rejected) as caught:
                send(
                    MESSAGE,
                    Server(scripted.host, policy=Policy(methods=(method,))),
                    **envelope(),
                )
        assert words in caught.value.hint
        assert "Server(host, (" not in caught.value.hint


REFUSED = {
    "sender": ("mail", reply(550, "5.7.1", "not you"), "the sender", "change the sender"),
    "size": ("mail", reply(552, "5.3.4", "too big"), "the message", "smaller message"),
    "busy": ("mail", reply(451, "4.3.2", "busy"), "accept mail", "later"),
    "recipient": ("rcpt", reply(550, "5.1.1", "unknown"), "the recipient", "recipient"),
    "full": ("rcpt", reply(452, "4.2.2", "full"), "the recipient", "later"),
    "data": ("data", reply(554, "5.7.1", "spam"), "the message", "change the message"),
    "final": ("final", reply(554, "5.6.0", "spam"), "the message", "change the message"),
    "final, later": ("final", reply(451, "4.7.1", "greylisted"), "the message", "later"),
}


# A server may reply to one command with what it has against another thing.
ELSEWHERE = {
    "sender at RCPT": (
        "rcpt",
        reply(
            553, "5.7.1", "<ann@example.org>: Sender address rejected: not owned by bob"
        ),
        "change the sender",
    ),
    "sender at the end": (
        "final",
        reply(554, "5.2.252", "SendAsDenied; b@example.org not allowed"),
        "change the sender",
    ),
    "permission": ("final", reply(550, "5.7.60", "no permissions"), "change the sender"),
    "client at RCPT": (
        "rcpt",
        reply(
            554, "5.7.1", "Service unavailable; Client host [192.0.2.1] blocked using x"
        ),
        "IP address",
    ),
    "client at MAIL": ("mail", reply(550, "5.7.1", "your IP is listed"), "IP address"),
    "relay": ("rcpt", reply(554, "5.7.1", "Relay access denied"), "this account"),
    "login": (
        "mail",
        reply(530, "5.7.57", "Client not authenticated"),
        "login succeeded",
    ),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_what_the_reply_is_about(case: str, send: Send) -> None:
    """The hint follows the reply, and not the command that it came to."""
    moment, answer, hint = ELSEWHERE[case]
    error = failed(send, Script({moment: answer}))
    assert hint in error.hint
    assert "correct the recipient" not in error.hint
    assert "change the message" not in error.hint


@pytest.mark.parametrize("case", REFUSED)
def test_what_was_refused(case: str, send: Send) -> None:
    """The text and the hint of a refusal name the one thing that was refused."""
    moment, answer, text, hint = REFUSED[case]
    error = failed(send, Script({moment: answer}))
    assert text in error.message
    assert hint in error.hint
    assert ("later" in error.hint) is error.temporary
    assert sum(words in error.hint for words in ADVISE_ON_THE_MESSAGE) <= 1
    for other in {"sender", "recipient", "message"} - {text.rpartition(" ")[2]}:
        assert other not in error.message


GREETINGS = {
    "busy": (reply(421, "4.3.2", "too busy") + close(), "later", "host and port"),
    "listed": (reply(554, "", "you are on a list") + close(), "address", "later"),
    "no SMTP": (garbage(), "no mail server", "later"),
}


@pytest.mark.parametrize("case", GREETINGS)
def test_greeting(case: str, send: Send) -> None:
    """A server that greets with a refusal is not said to be silent."""
    answer, words, beside = GREETINGS[case]
    error = failed(send, Script({"greeting": answer}))
    assert error.phase is Phase.GREETING
    assert words in error.hint
    assert beside not in error.hint


def test_ehlo_lost_or_refused_for_now(send: Send) -> None:
    """The EHLO name is named where the refusal is permanent, not for a lost session."""
    for answer in (close(), reply(421, "4.3.2", "bye") + close()):
        error = failed(send, Script({"ehlo": answer}))
        assert error.phase is Phase.EHLO
        assert "ehlo_name" not in error.hint
    refused = failed(send, Script({"ehlo": reply(550, "5.7.1", "bad name")}))
    assert "ehlo_name" in refused.hint


def test_ehlo_replied_to_by_something_else(send: Send) -> None:
    """What speaks no SMTP after its greeting has not ended the connection."""
    error = failed(send, Script({"ehlo": garbage()}))
    assert error.phase is Phase.EHLO
    assert "does not speak SMTP" in error.hint
    assert "IP address" not in error.hint


def test_a_handshake_without_end(send: Send) -> None:
    """A server that is silent in the handshake is not said to expect STARTTLS."""
    for name in ("implicit", "starttls"):
        error = failed(send, Script({"tls": hang()}), name, reply_timeout=1)
        assert error.timed_out
        assert "try again later" in error.hint
        assert "'starttls'" not in error.hint


def test_starttls_refused_for_now(send: Send) -> None:
    """A server that offers STARTTLS, and refuses it for now, is not said to lack it."""
    answer = reply(454, "4.7.0", "TLS not available")
    error = failed(send, Script({"starttls": answer}), "starttls")
    assert "later" in error.hint
    assert "offers no TLS" not in error.hint


def test_handshake_names_the_other_method(send: Send) -> None:
    """After STARTTLS was accepted, nothing is said about TLS from the first byte."""
    error = failed(send, Script({"tls": close()}), "starttls")
    assert "first byte" not in error.hint
    with ScriptedServer() as scripted:
        port = scripted.port("starttls")
        policy = policy_for(scripted, "starttls")
        policy = Policy(
            methods=(Method(port, "implicit"),), reply_timeout=policy.reply_timeout
        )
        server = Server(scripted.host, policy=policy, cafile=scripted.ca)
        with pytest.raises(SendError) as caught:
            send(MESSAGE, server, **envelope())
    assert f"Method({port}, 'starttls')" in caught.value.hint
    assert "'implicit'" not in caught.value.hint


def test_partly_delivered(send: Send) -> None:
    """Where some recipients have the message, the hint says not to send it to all."""
    everybody = [f"r{n}@example.net" for n in range(3)]
    many = {"rcpt:3": reply(452, "4.5.3", "too many"), "data:2": close()}
    with ScriptedServer(implicit=[Script(many), Script({"mail": close()})]) as scripted:
        with pytest.raises(ConnectionLost) as caught:
            send(
                MESSAGE,
                server_for(scripted, "implicit"),
                **envelope(recipients=everybody),
            )
    error = caught.value
    assert error.accepted == tuple(everybody[:2])
    assert "nothing was delivered" not in error.hint
    assert "`accepted`" in error.hint


def test_unknown_with_a_message_id(send: Send) -> None:
    """The hint never says that a message has no Message-ID, where the error names it."""
    error = failed(send, Script({"final": close()}))
    assert isinstance(error, DeliveryUnknown)
    assert error.message_id == "<1@example.org>"
    assert "look for its Message-ID" in error.hint
    message = {"sender": "ann@example.org", "recipients": "bob@example.net"}
    with capture() as outbox:
        outbox.fail_next(DeliveryUnknown)
        with pytest.raises(DeliveryUnknown) as caught:
            send(MESSAGE, Server("mail.example.org"), **message)
    assert caught.value.message_id == "<1@example.org>"
    assert "look for its Message-ID" in caught.value.hint
    bare = MESSAGE.replace(b"Message-ID: <1@example.org>\r\n", b"")
    with capture() as outbox:
        outbox.fail_next(DeliveryUnknown)
        with pytest.raises(DeliveryUnknown) as caught:
            send(bare, Server("mail.example.org"), **message)
    assert "has no Message-ID" in caught.value.hint
    assert "has no Message-ID" in unknown("the thread ended", None).hint
    assert "look for its Message-ID" in unknown("the thread ended", "<1@a>").hint


def test_unknown_without_a_message_id(send: Send) -> None:
    """A message without a Message-ID cannot be looked for by it."""
    bare = b"From: ann@example.org\r\nSubject: hello\r\n\r\nHello.\r\n"
    with ScriptedServer(Script({"final": close()})) as scripted:
        with pytest.raises(DeliveryUnknown) as caught:
            send(bare, server_for(scripted, "implicit"), **envelope())
    assert caught.value.message_id is None
    assert "has no Message-ID" in caught.value.hint
    assert isinstance(caught.value, smtplib.SMTPException)


NAMED: dict[str, tuple[Any, str]] = {
    "refused": ("refused", "no connection to 127.0.0.1 (connection refused)"),
    "no greeting": ({"greeting": close()}, "no greeting from 127.0.0.1 ("),
    "turned away": (
        {"greeting": reply(554, "", "no")},
        "the server 127.0.0.1 does not accept mail now: 554 no",
    ),
    "EHLO lost": ({"ehlo": close()}, "no reply from 127.0.0.1 to EHLO ("),
    "EHLO": ({"ehlo": reply(550, "", "no")}, "the server 127.0.0.1 refused EHLO: 550"),
    "no STARTTLS": (
        Script(offers_in_clear=()),
        "the server 127.0.0.1 does not offer STARTTLS",
    ),
    "STARTTLS lost": (
        {"starttls": close()},
        "no reply from 127.0.0.1 to STARTTLS (",
    ),
    "handshake": (
        {"tls": close()},
        "the TLS handshake with 127.0.0.1 failed (",
    ),
    "certificate": (
        Script(certificate="wrong_host"),
        "the certificate of 127.0.0.1 was refused",
    ),
    "client certificate": (
        Script(certificate="old_tls"),
        "the TLS handshake with 127.0.0.1 failed",
    ),
}


def sent(server: Server, send: Send) -> SendError | None:
    """The error of a send."""
    with pytest.raises(SendError) as caught:
        send(MESSAGE, server, **envelope())
    return caught.value


def checked(server: Server, _: Send) -> SendError | None:
    """The error of the check of a client."""
    with Client(server) as client, pytest.raises(SendError) as caught:
        client.check()
    return caught.value


FACES: dict[str, Callable[[Server, Send], SendError | None]] = {
    "send": sent,
    "check": checked,
    "diagnose": lambda server, _: check(server).error,
}


@pytest.mark.parametrize("case", NAMED)
@pytest.mark.parametrize("face", FACES)
def test_the_host_is_named(case: str, face: str, send: Send) -> None:
    """Every text of a ConnectError names the host, and the hint points to a check."""
    script, words = NAMED[case]
    with ScriptedServer(script) as scripted:
        server = server_for(scripted, "starttls")
        error = FACES[face](server, send)
        where = f"`smtpsend check smtp://127.0.0.1:{scripted.port('starttls')}`"
    assert isinstance(error, ConnectError)
    assert words in str(error)
    assert str(error).count("127.0.0.1 ") >= 1
    assert (where in error.hint) is ("certificate" not in case)
    if case == "certificate":
        assert "the certificate is for wrong.example.org" in error.hint


def test_the_command_of_a_check(send: Send) -> None:
    """The command that a hint names tries what the send tried."""
    ways: dict[tuple[tuple[int, str], ...], str] = {
        ((587, "starttls"), (465, "implicit")): "h.example",
        ((587, "starttls"),): "smtp://h.example:587",
        ((587, "implicit"),): "smtps://h.example:587",
        ((465, "starttls"),): "'smtp://h.example:465?security=starttls'",
        ((1025, "plaintext"),): "'smtp://h.example:1025?security=plaintext'",
    }
    for pairs, argument in ways.items():
        methods = tuple(Method(*pair) for pair in pairs)  # type: ignore[arg-type]
        server = Server("h.example", policy=Policy(methods=methods))
        with capture() as box:
            box.fail_next(ConnectError)
            with pytest.raises(ConnectError) as caught:
                send(MESSAGE, server, **envelope())
        assert f"`smtpsend check {argument}`" in caught.value.hint
        assert "h.example" in caught.value.message
        if "://" in argument:
            assert Server.from_url(argument.strip("'")) == server
