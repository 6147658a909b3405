"""One message to each of the real servers: what arrives, and what is refused how."""

from __future__ import annotations

import copy
import email.policy
import os
from email.message import EmailMessage
from typing import Any

import pytest
from sending import WAYS, Send
from servers import Delivery, RealServer

from smtpsend import Method, OAuth2, Password, Policy, SendError, Server, compose
from smtpsend._protocol import sasl
from smtpsend.errors import AuthError, Phase, RecipientsRefused, Rejected, Reply


sending = pytest.mark.parametrize("send", WAYS)

PORTS = {"starttls": "starttls", "implicit": "implicit", "starttls2": "starttls"}
DOTS = "Grüße\n.\n..\n.x\n...\n\n.\n"
BIG = os.urandom(3_000_000)

# The enhanced codes that each server gives for an unknown recipient, a deferred one and
# a refused sender. chasquid defers nobody, and gives no enhanced code after DATA.
ENHANCED = {
    "postfix": ("5.1.1", "4.2.0", "5.7.1"),
    "dovecot": ("5.0.0", "4.0.0", "5.0.0"),
    "chasquid": ("5.1.1", None, None),
    "smtp-server": ("5.1.1", "4.2.1", "5.1.1"),
    "aiosmtpd": ("5.1.1", "4.2.0", "5.7.1"),
}


def server_on(
    real: RealServer, port: str = "starttls", auth: Any = None, **options: Any
) -> Server:
    """A real server, by one method only."""
    method = Method(getattr(real, port), PORTS[port])  # type: ignore[arg-type]
    auth = auth or Password(real.user, real.password)
    policy = Policy(methods=(method,), **options)
    return Server(real.host, auth, policy=policy, cafile=real.ca)


def message_for(real: RealServer, *to: str, **options: Any) -> EmailMessage:
    """A message for some local parts of the server's domain."""
    options = {"subject": "Grüße aus Köln", "text": DOTS, **options}
    return compose(sender=real.user, to=[real.address(one) for one in to], **options)


def on_the_wire(message: EmailMessage, **options: Any) -> bytes:
    """What should go out: the message as it is, but for Bcc."""
    message = copy.deepcopy(message)
    del message["Bcc"]
    return message.as_bytes(policy=email.policy.SMTP.clone(**options))


def arrived(real: RealServer, message_id: str, *to: str) -> list[Delivery]:
    """The deliveries of a message, once they are there: for just these recipients."""
    # chasquid delivers once for each recipient.
    count = len(to) if real.name == "chasquid" else 1
    found = real.delivered(message_id, count, timeout=60)
    assert len(found) == count
    assert sorted(one for d in found for one in d.recipients) == sorted(to)
    return found


def refusal(real: RealServer, send: Send, *to: str, **options: Any) -> SendError:
    """The error of a send to the server, once it is sure that nothing was delivered."""
    message = options.pop("message", None) or message_for(real, *to)
    server = server_on(real, auth=options.pop("auth", None))
    with pytest.raises(SendError) as caught:
        send(message, server, **options)
    error = caught.value
    assert error.message_id == message["Message-ID"]
    assert [a.method for a in error.attempts] == list(server.policy.methods)
    # What is sent later arrives later: then the first one would be there, too.
    after = message_for(real, "after")
    send(after, server_on(real))
    arrived(real, after["Message-ID"], real.address("after"))
    assert real.delivered(error.message_id, 0) == []
    return error


def codes(reply: Reply | None) -> tuple[int, str | None] | None:
    """The two codes of a reply."""
    return reply and (reply.code, reply.enhanced)


# Each server meets each port, and both ways; what arrives depends on no pair of them.
@pytest.mark.parametrize(("port", "send"), [*zip(PORTS, [*WAYS, WAYS[0]], strict=True)])
def test_byte_for_byte(real_server: RealServer, port: str, send: Send) -> None:
    """A large message arrives as it is by each method, and the receipt says how."""
    real = real_server
    files = [("Anhang ä.pdf", b"%PDF\r\n.\r\n"), ("big.bin", BIG)]
    bcc = real.address("hidden")
    message = message_for(real, "bob", "unknown1", attachments=files, bcc=bcc)
    message.set_boundary("=_a")  # else the generator makes one each time
    before = message.items()
    server = server_on(real, port)
    receipt = send(message, server)
    bob, unknown, *_ = (real.address(one) for one in ("bob", "unknown1"))
    wanted = on_the_wire(message)
    for one in arrived(real, message["Message-ID"], bob, bcc):
        assert one.sender == real.user
        assert one.difference(wanted) is None
        assert b"\nbcc" not in one.header.lower()
    assert (receipt.method,) == server.policy.methods
    assert receipt.tls in ("TLSv1.2", "TLSv1.3")
    assert (receipt.reply.code, receipt.address) == (250, real.host)
    assert (receipt.message_id, receipt.attempts) == (message["Message-ID"], ())
    assert receipt.accepted == (bob, bcc)
    refused = {to: codes(reply) for to, reply in receipt.refused.items()}
    assert refused == {unknown: (550, ENHANCED[real.name][0])}
    assert message.items() == before


RAW = {
    "no end of line": b"Hello.\r\n..",
    "an end without a line": b"\r\n\r\n\r\n",
    "dots only": b".\n..\n.\r\n...\n.x",
    "8 bit": "Grüße\n.\n".encode("latin-1"),
    "no body": b"",
    "a long line of dots": b"." * 900 + b"\n" + b"x." * 450,
    "a megabyte of dots": b".\n..x\n" * 150_000,
}
# By BDAT where the server offers it, and by DATA, which has the dots doubled.
PACES = {"all extensions": {}, "plain": {"chunking": False, "pipelining": False}}


@pytest.mark.parametrize(("pace", "send"), [*zip(PACES, WAYS, strict=True)])
@pytest.mark.parametrize("case", RAW)
def test_bytes(real_server: RealServer, case: str, pace: str, send: Send) -> None:
    """Bytes go out as they are, with CRLF line ends."""
    real = real_server
    message_id = message_for(real, "bob")["Message-ID"]
    raw = f"From: {real.user}\nX-Folded: a\n\t b  \nMessage-Id:  {message_id}\n".encode()
    raw += b"\n" + RAW[case]
    bob = real.address("bob")
    server = server_on(real, **PACES[pace])
    receipt = send(raw, server, sender=real.user, recipients=[bob])
    assert (receipt.message_id, receipt.accepted) == (message_id, (bob,))
    (one,) = arrived(real, message_id, bob)
    assert one.difference(raw) is None


@sending
def test_wrong_password(real_server: RealServer, send: Send) -> None:
    """A wrong password is an AuthError with the server's own codes."""
    auth = Password(real_server.user, "wrong-pw")
    error = refusal(real_server, send, "bob", auth=auth)
    assert (type(error), error.phase) == (AuthError, Phase.AUTH)
    assert codes(error.reply) == (535, "5.7.8")
    assert not error.temporary
    assert "wrong-pw" not in str(error)


@sending
def test_unknown_recipient(real_server: RealServer, send: Send) -> None:
    """Where nobody is known, RecipientsRefused has each one's answer."""
    error = refusal(real_server, send, "unknown1", "unknown2")
    assert isinstance(error, RecipientsRefused)
    assert (error.phase, error.temporary) == (Phase.RCPT, False)
    wanted = (550, ENHANCED[real_server.name][0])
    assert {to: codes(reply) for to, reply in error.refused.items()} == {
        real_server.address(one): wanted for one in ("unknown1", "unknown2")
    }


@sending
def test_deferred_recipient(real_server: RealServer, send: Send) -> None:
    """A recipient to try again later makes it temporary."""
    if real_server.name == "chasquid":
        pytest.skip("chasquid has no way to defer one recipient")
    error = refusal(real_server, send, "later1")
    assert isinstance(error, RecipientsRefused)
    assert codes(error.refused[real_server.address("later1")]) == codes(error.reply)
    assert codes(error.reply) == (450, ENHANCED[real_server.name][1])
    assert error.temporary


@sending
def test_require_all(real_server: RealServer, send: Send) -> None:
    """With require_all nobody gets it, unless everybody does."""
    error = refusal(real_server, send, "bob", "unknown1", "carol", require_all=True)
    assert isinstance(error, RecipientsRefused)
    assert list(error.refused) == [real_server.address("unknown1")]
    assert (error.accepted, error.temporary) == ((), False)


@sending
def test_refused_sender(real_server: RealServer, send: Send) -> None:
    """A refused sender is Rejected, wherever the server says so."""
    banned = real_server.address("banned")
    error = refusal(real_server, send, "bob", sender=banned)
    at_mail = real_server.refuses_sender_at == "MAIL"
    assert type(error) is Rejected
    assert error.phase is (Phase.MAIL if at_mail else Phase.FINAL)
    code = 550 if at_mail else 554
    assert codes(error.reply) == (code, ENHANCED[real_server.name][2])
    assert not error.temporary


@sending
def test_null_sender(real_server: RealServer, send: Send) -> None:
    """The null sender arrives as such."""
    message = message_for(real_server, "bob")
    send(message, server_on(real_server), sender="")
    (one,) = arrived(real_server, message["Message-ID"], real_server.address("bob"))
    assert one.sender == ""


@sending
def test_too_large(small_server: RealServer, send: Send) -> None:
    """A message above the server's SIZE is Rejected before the server is asked."""
    message = message_for(small_server, "bob", attachments=[("x", BIG[:1_000_000])])
    with pytest.raises(Rejected, match="bytes") as caught:
        send(message, server_on(small_server))
    error = caught.value
    assert (error.reply, error.phase, error.temporary) == (None, Phase.MAIL, False)
    assert small_server.delivered(message["Message-ID"], 0) == []


@sending
def test_smtputf8(real_server: RealServer, send: Send) -> None:
    """An address beyond ASCII arrives, or is Rejected for want of SMTPUTF8."""
    message = message_for(real_server, "jürgen", subject="ASCII")
    if "SMTPUTF8" not in real_server.capabilities:
        error = refusal(real_server, send, message=message)
        assert (type(error), error.reply, error.phase) == (Rejected, None, Phase.MAIL)
        return
    receipt = send(message, server_on(real_server))
    assert receipt.accepted == (real_server.address("jürgen"),)
    (one,) = arrived(real_server, message["Message-ID"], *receipt.accepted)
    assert one.difference(on_the_wire(message, utf8=True)) is None


# The mechanism that is chosen for a token on each server that has one.
OAUTH = {"dovecot": "OAUTHBEARER", "smtp-server": "XOAUTH2"}


@pytest.mark.parametrize("name", OAUTH)
@pytest.mark.parametrize("asked", ["str", "function", "coroutine function", "second try"])
@sending
def test_oauth2(
    real_servers: Any,
    name: str,
    asked: str,
    send: Send,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A token logs in, and so does a new one after one that was refused."""
    real = real_servers.get(name)
    tokens = ["stale-token"] * (asked == "second try") + [real.oauth_token]
    left = iter(tokens)

    async def later() -> str:
        return next(left)

    token = {"str": real.oauth_token, "coroutine function": later}.get(
        asked, lambda: next(left)
    )
    caplog.set_level("DEBUG", "smtpsend")
    message = message_for(real, "bob")
    receipt = send(message, server_on(real, auth=OAuth2(real.user, token)))
    assert receipt.attempts == ()
    assert caplog.text.count(f"AUTH {OAUTH[name]}") == len(tokens)
    assert not any(token in caplog.text for token in tokens)
    arrived(real, message["Message-ID"], real.address("bob"))


@pytest.mark.parametrize("name", OAUTH)
@sending
def test_wrong_token(real_servers: Any, name: str, send: Send) -> None:
    """A refused token that stays the same is an AuthError."""
    real = real_servers.get(name)
    for token in ("stale-token", lambda: "stale-token"):
        error = refusal(real, send, "bob", auth=OAuth2(real.user, token))
        assert (type(error), error.phase) == (AuthError, Phase.AUTH)
        assert codes(error.reply) == (535, "5.7.8")
        assert not error.temporary


# Both offer PLAIN, too, which would be chosen.
SCRAM = [
    ("postfix", "SCRAM-SHA-256"),
    ("dovecot", "SCRAM-SHA-256"),
    ("dovecot", "SCRAM-SHA-1"),
]


@pytest.mark.parametrize(("name", "mechanism"), SCRAM)
@sending
def test_scram(
    real_servers: Any,
    name: str,
    mechanism: str,
    send: Send,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SCRAM logs in, as far as the server's signature, and a wrong password does not."""
    real = real_servers.get(name)
    only = {mechanism: sasl._MECHANISMS[Password][mechanism]}
    monkeypatch.setitem(sasl._MECHANISMS, Password, only)
    caplog.set_level("DEBUG", "smtpsend")
    message = message_for(real, "bob")
    send(message, server_on(real))
    assert caplog.text.count(f"AUTH {mechanism}") == 1
    arrived(real, message["Message-ID"], real.address("bob"))
    error = refusal(real, send, "bob", auth=Password(real.user, "wrong"))
    assert (type(error), error.phase) == (AuthError, Phase.AUTH)
    assert error.reply.code == 535
