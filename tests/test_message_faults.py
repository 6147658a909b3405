"""Messages as the world writes them: sent, made right, or refused with a reason."""

from __future__ import annotations

import email
import random
import re
import smtplib
import ssl
from email import policy
from email.header import Header, decode_header, make_header
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import formataddr, getaddresses

import pytest
from folding import texts
from scripted import Script, ScriptedServer
from sending import server_for

from smtpsend import ConfigError, Rejected, compose, send
from smtpsend._model.message.envelope import envelope, redirected


A, B, C = "ann@example.org", "bob@example.net", "carol@example.net"


def old(*headers: tuple[str, str]) -> Message:
    """A message of the old classes, which take any header any number of times."""
    message = MIMEText("x")
    message["From"] = A
    for name, value in headers:
        message[name] = value
    return message


def lines(content: bytes, name: str) -> list[str]:
    """The headers of this name in the content."""
    parsed = email.message_from_bytes(content)
    return [re.sub(r"\r\n", "", value) for value in parsed.get_all(name, [])]


# ------------------------------------------------------------ headers that occur twice


@pytest.mark.parametrize("name", ["To", "Cc", "Reply-To"])
def test_repeated_address_headers_are_joined(name: str) -> None:
    """Two lines of addresses become one, and all of them get the mail."""
    message = old(
        ("To", "x@example.net"), (name, B), ("Subject", "s"), (name.lower(), f"Ü <{C}>")
    )
    before = message.items()
    found = envelope(message, None, None)
    (line,) = lines(found.content, name)
    assert line.count(B) == line.count(C) == 1
    if name != "Reply-To":
        assert set(found.recipients) == {"x@example.net", B, C}
    assert message.items() == before


def test_repeated_headers_that_say_the_same_are_one() -> None:
    """A second MIME-Version or Subject with the same value does no harm."""
    message = old(("To", B), ("MIME-Version", "1.0"), ("Subject", "s"), ("Subject", "s"))
    content = envelope(message, None, None).content
    assert lines(content, "MIME-Version") == ["1.0"]
    assert lines(content, "Subject") == ["s"]


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("Subject", "a", "b"),
        ("From", A, B),
        ("Date", "today", "tomorrow"),
        ("Message-ID", "<1@x>", "<2@x>"),
        ("References", "<1@x>", "<2@x>"),
        ("Content-Type", "text/plain", "text/html"),
        ("Content-Transfer-Encoding", "7bit", "8bit"),
    ],
)
def test_repeated_headers_that_differ_are_refused(
    name: str, first: str, second: str
) -> None:
    """Which of two subjects was meant is not known, so the message is not sent."""
    message = old(("To", B), (name, first), (name, second))
    with pytest.raises(ConfigError, match=f"headers {name} that differ"):
        envelope(message, A, [B])


def test_repeated_headers_of_others_are_passed_on() -> None:
    """A message that was delivered before, or is signed, is sent as it is."""
    for mark in ("Received: from x", "DKIM-Signature: v=1"):
        source = f"{mark}\r\nFrom: {A}\r\nTo: {B}\r\nTo: {C}\r\nDate: x\r\n"
        source += "Message-ID: <1@x>\r\n\r\nx\r\n"
        message = email.message_from_string(source)
        assert envelope(message, None, None).content == source.encode()


# --------------------------------------------------------------- what parsers repair


@pytest.mark.parametrize("rules", [policy.default, policy.compat32])
@pytest.mark.parametrize(
    "value", ["<[b378@microsoft.example]>", "<a@b@c>", "a", "<>", "<a b@c>", "[x]", "<@>"]
)
def test_strange_message_ids(value: str, rules: policy.Policy) -> None:  # type: ignore[type-arg]
    """A message is sent, even if no parser understands its Message-ID."""
    source = f"From: {A}\r\nTo: {B}\r\nDate: x\r\nMessage-ID: {value}\r\n\r\nx\r\n"
    found = envelope(email.message_from_string(source, policy=rules), None, None)
    assert found.content == source.encode()


@pytest.mark.parametrize("kind", [EmailMessage, MIMEText])
@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f'"=?utf-8?q?M=C3=BCller?=" <{B}>', "Müller"),
        (f'"=?utf-8?q?M=C3=BCller=2C_J=2E?=" <{B}>', "Müller, J."),
        (formataddr(("René rene@x", B)), "René rene@x"),
        (f"=?utf-8?q?a=2C_b?= <{B}>", "a, b"),
        (f"=?utf-8?q?a=3A?= =?utf-8?q?b=3B?= <{B}>", "a:b;"),
    ],
)
def test_encoded_names(text: str, name: str, kind: type[Message]) -> None:
    """Names that other mailers have encoded are accepted, with any character in them."""
    message = old(("To", text)) if kind is MIMEText else EmailMessage()
    if kind is EmailMessage:
        message["From"], message["To"] = A, text
        message.set_content("x")  # type: ignore[attr-defined]
    found = envelope(message, None, None)
    assert found.recipients == (B,)
    # Not by the header registry: older ones read a blank between two encoded words.
    (line,) = lines(found.content, "To")
    ((shown, address),) = getaddresses([line])
    assert (str(make_header(decode_header(shown))), address) == (name, B)


def test_a_name_in_latin_1_keeps_its_bytes() -> None:
    """The bytes of a raw header that is not UTF-8 go out as they are, or encoded."""
    source = f"From: Jos\xe9 <{A}>\r\nTo: Ren\xe9 <{B}>\r\n\r\nx\r\n".encode("latin-1")
    for rules in (policy.default, policy.compat32):
        found = envelope(email.message_from_bytes(source, policy=rules), None, None)
        assert found.content.startswith(source.partition(b"\r\n\r\n")[0])
        assert found.seven_bit is not None
        assert b"=?unknown-8bit?q?Ren=E9?=" in (found.seven_bit() or b"")


# ---------------------------------------------------------- servers without extensions


def modern() -> Message:
    """A message whose policy writes headers in UTF-8."""
    message = EmailMessage(policy=policy.SMTPUTF8)
    message["From"], message["To"] = f"Jörg <{A}>", B
    message["Subject"] = "Grüße"
    message.set_content("Grüße")
    return message


def raw() -> Message:
    """A stored message with raw UTF-8 in its headers."""
    source = f"From: Jörg <{A}>\r\nTo: {B}\r\nSubject: Grüße\r\n\r\nGrüße\r\n"
    return email.message_from_bytes(source.encode())


@pytest.mark.parametrize("offers", [(), ("8BITMIME",), ("8BITMIME", "SMTPUTF8")])
@pytest.mark.parametrize("make", [modern, raw])
def test_utf8_in_headers_is_encoded_where_it_has_to_be(make, offers) -> None:  # type: ignore[no-untyped-def]
    """A server without SMTPUTF8 gets the same headers in encoded words."""
    with ScriptedServer(Script(offers=(*offers, "AUTH PLAIN"))) as server:
        send(make(), server_for(server, "starttls"))
        (mail,) = server.accepted
    assert mail.content.isascii() is ("SMTPUTF8" not in offers)
    parsed = email.message_from_bytes(mail.content, policy=policy.default)
    assert parsed["Subject"] == "Grüße"


def test_utf8_in_bytes_is_refused_with_the_reason() -> None:
    """Bytes cannot be encoded anew, and the hint says what can."""
    content = "Subject: Grüße\r\n\r\nx\r\n".encode()
    with ScriptedServer(Script(offers=("8BITMIME", "AUTH PLAIN"))) as server:
        with pytest.raises(Rejected, match="headers hold UTF-8") as caught:
            send(content, server_for(server, "starttls"), sender=A, recipients=[B])
        assert "message object" in str(caught.value.hint)


def test_redirection_takes_the_need_for_smtputf8_away() -> None:
    """Of the recipients that are replaced, no address is given to the server."""
    given = envelope(compose(sender=A, to=B, text="x"), None, [B, "ü@x.y"])
    assert given.utf8
    assert not redirected(given, C).utf8


def test_long_local_parts() -> None:
    """The server decides on addresses with more than 64 octets before the @."""
    to = f"reply+{'0a1b2c3d' * 10}@reply.example.com"
    assert envelope(compose(sender=A, to=to, text="x"), None, None).recipients == (to,)
    with pytest.raises(ConfigError, match="too long"):
        compose(sender=A, to=f"{'x' * 900}@x.y", text="x")


def test_surrogates_are_named() -> None:
    """Text that is no text has a hint of its own."""
    with pytest.raises(ConfigError) as caught:
        compose(sender=A, to=B, text="\ud800")
    assert "decoded" in str(caught.value.hint)


# ------------------------------------------------------------------ smtplib beside us


def at_random(draw: random.Random) -> Message:
    """A message as programs build them with the standard library."""
    kind = draw.choice(["modern", "old", "mixed", "parsed"])
    name = draw.choice(["Ann", "Jörg Müller", "Doe, J.", "日本 太郎"])
    subject = texts.text(draw).strip()
    subject = "Hello" if "=?" in subject or "?=" in subject else subject
    body = draw.choice(["Hello\n", "Grüße\n.\n..x\n", "x" * 200 + "\n"])
    message: Message
    if kind == "modern":
        message = EmailMessage()
        message.set_content(body)  # type: ignore[attr-defined]
    elif kind == "mixed":
        message = MIMEMultipart("mixed", _subparts=[MIMEText(body, "plain", "utf-8")])
    else:
        message = MIMEText(body, "plain", "utf-8")
    message["From"] = formataddr((name, A))
    message["To"] = ", ".join(formataddr((name, one)) for one in (B, C))
    message["Subject"] = Header(subject, "utf-8") if kind == "old" else subject
    message["Message-ID"], message["Date"] = (
        "<1@example.org>",
        "Tue, 24 Nov 2026 10:00:00 +0000",
    )
    message["List-Unsubscribe"] = f"<https://example.org/{'0' * draw.randrange(90)}>"
    if kind == "parsed":
        source = message.as_bytes()
        rules = draw.choice([policy.default, policy.compat32])
        return email.message_from_bytes(source, policy=rules)
    return message


def meaning(content: bytes) -> dict[str, object]:
    """What a reader finds in a message."""
    parsed = email.message_from_bytes(content, policy=policy.default)
    texts_ = [
        part.get_content()
        for part in parsed.walk()
        if part.get_content_maintype() == "text"
    ]
    return {
        "subject": str(parsed["Subject"]),
        "to": [(a.display_name, a.addr_spec) for a in parsed["To"].addresses],
        "from": [(a.display_name, a.addr_spec) for a in parsed["From"].addresses],
        "unsubscribe": re.sub(r"[\r\n]", "", parsed["List-Unsubscribe"]),
        "id": parsed["Message-ID"],
        "texts": texts_,
    }


def test_smtplib_beside_us() -> None:
    """Of messages at random, we lose nothing that smtplib keeps, to the same server."""
    draw = random.Random(4)
    messages = [at_random(draw) for _ in range(60)]
    with ScriptedServer(Script(offers=("8BITMIME", "AUTH PLAIN"))) as server:
        ours = server_for(server, "starttls")
        for message in messages:
            send(message, ours)
        mine = [meaning(mail.content) for mail in server.accepted]
        context = ssl.create_default_context(cafile=ours.cafile)
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
        with smtplib.SMTP(server.host, server.port("starttls")) as client:
            client.starttls(context=context)
            client.login(server.user, server.password)
            for message in messages:
                client.send_message(message)
        theirs = [meaning(mail.content) for mail in server.accepted[len(messages) :]]
    better = 0
    for message, one, other in zip(messages, mine, theirs, strict=True):
        for key, meant in meant_by(message).items():
            assert one[key] == meant or other[key] != meant, (key, one[key], meant)
            better += one[key] == meant != other[key]
    assert better


def meant_by(message: Message) -> dict[str, object]:
    """What the caller has put into a message."""
    found = envelope(message, None, None)
    return {
        "subject": str(message["Subject"]),
        "to": [("", to) for to in found.recipients],
        "unsubscribe": str(message["List-Unsubscribe"]),
        "id": str(message["Message-ID"]),
    }
