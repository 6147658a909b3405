"""Headers are folded alike on every Python, and mean what was meant."""

from __future__ import annotations

import email
import hashlib
import random
import re
from email import policy
from email.header import Header, decode_header, make_header
from email.message import EmailMessage, Message
from email.mime.text import MIMEText

import pytest
from folding import texts

from smtpsend import ConfigError, compose
from smtpsend._model.message.envelope import envelope


A, B = "ann@example.org", "bob@example.net"
LONG_URL = f"<https://list.example.org/unsubscribe?id={'0123456789' * 12}>"


def sent(message: Message) -> bytes:
    """The content that is sent."""
    return envelope(message, A, [B]).content


def field(content: bytes, name: str) -> str:
    """A header of the content, as it was folded, without its last line end."""
    match = re.search(
        rf"^{name}:.*?(?=\r\n[^ \t])", content.decode(), re.MULTILINE | re.DOTALL
    )
    assert match
    return match[0]


def with_header(name: str, value: str, kind: type[Message] = EmailMessage) -> Message:
    """A message with one more header."""
    message: Message = MIMEText("x") if kind is MIMEText else EmailMessage()
    message["From"], message["To"] = A, B
    message["Date"], message["Message-ID"] = "today", "<1@example.org>"
    if isinstance(message, EmailMessage):
        message.set_content("x")
    message[name] = value
    return message


def read(folded: str) -> str:
    """What the standard library reads in a header."""
    name, _, value = folded.partition(":")
    unfolded = value.replace("\r\n", "").strip(" \t")
    return str(policy.default.header_factory(name, unfolded))


MACHINE = {
    "List-Unsubscribe": LONG_URL,
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    "List-Id": f"A list <{'x' * 90}.example.org>",
    "References": " ".join(f"<{'a' * 60}.{n}@mail.example.org>" for n in range(12)),
    "In-Reply-To": f"<{'b' * 200}@mail.example.org>",
    "Feedback-ID": ":".join(["c" * 30] * 4),
    "X-SES-Message-Tags": "d" * 400,
    "Autocrypt": f"addr={A}; keydata={'e' * 700}",
}


@pytest.mark.parametrize("kind", [EmailMessage, MIMEText])
@pytest.mark.parametrize("name", MACHINE)
def test_words_that_machines_read_are_whole(name: str, kind: type[Message]) -> None:
    """ASCII is folded at white space only, and never encoded."""
    folded = field(sent(with_header(name, MACHINE[name], kind)), name)
    assert folded.replace("\r\n", "") == f"{name}: {MACHINE[name]}"
    for line in folded.split("\r\n"):
        assert len(line) <= 78 or " " not in line.strip().removeprefix(f"{name}: ")


@pytest.mark.parametrize("kind", [EmailMessage, MIMEText])
def test_a_word_too_long_for_a_line(kind: type[Message]) -> None:
    """A word that no line can hold is refused, with the name of the header."""
    value = f"one {'x' * 990} two"
    assert sent(with_header("X-Word", value, kind)).count(b"x" * 990)
    with pytest.raises(ConfigError, match="X-Word"):
        sent(with_header("X-Word", "x" * 1000, kind))


@pytest.mark.parametrize(
    ("subject", "line"),
    [
        ("Hello", "Subject: Hello"),
        ("Grüße", "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?="),
        ("Invoice 17 \u2013 thanks", "Subject: Invoice 17 =?utf-8?b?4oCT?= thanks"),
        (" a", "Subject: =?utf-8?q?_a?="),
        ("a ", "Subject: =?utf-8?q?a_?="),
        ("a  b", "Subject: a  b"),
        ("=?utf-8?q?x?=", "Subject: =?utf-8?b?PT91dGYtOD9xP3g/PQ==?="),
        ("ü a ü", "Subject: =?utf-8?q?=C3=BC_a_=C3=BC?="),
        (f"{'x' * 69} ü", f"Subject: {'x' * 69}\r\n =?utf-8?q?=C3=BC?="),
        (f"a  {'b' * 70}", f"Subject: a \r\n {'b' * 70}"),
        ("x" * 100, f"Subject: {'x' * 100}"),
    ],
)
def test_subjects(subject: str, line: str) -> None:
    """A subject is written so that all of it can be read."""
    message = compose(sender=A, to=B, subject=subject, text="x")
    assert field(sent(message), "Subject") == line
    assert message["Subject"] == subject


def right(name: str, text: str, folded: str) -> bool:
    """Whether the standard library folded `text` without one of its known defects."""
    words = re.findall(r"=\?[^?]*\?[bq]\?[^?]*\?=", folded)
    encoded_ascii = any(len(w) > 60 and w.isascii() for w in text.split())
    return (
        read(folded) == text
        and all(len(word) <= 75 for word in words)
        and "?==?" not in folded  # nothing between two encoded words
        and "?q??=" not in folded  # nothing in one
        and not re.search(r"\r\n[ \t]{2}|[ \t]\r\n", folded)  # readers make it one blank
        and not folded.startswith(f"{name}:\r\n")  # some readers read a blank
        and not encoded_ascii
        and not re.search(r"\r\n =\?utf-8\?(?:q\?_|b\?I)", folded)  # 3.13 and later
    )


def test_the_standard_library_where_it_is_right() -> None:
    """The bytes of the standard library are ours, but for its known defects."""
    draw = random.Random(17)
    same = 0
    for _ in range(600):
        words = draw.choices(
            [w for w in texts.WORDS if "=?" not in w and "?=" not in w],
            k=draw.randrange(1, 12),
        )
        text = " ".join(words).strip()
        message = with_header("Subject", text)
        if message["Subject"] != text:
            continue
        folded = message["Subject"].fold(policy=policy.SMTP).removesuffix("\r\n")
        if right("Subject", text, folded):
            assert field(sent(message), "Subject") == folded
            same += 1
    assert same > 200


def everything() -> list[Message]:
    """Messages with headers of each kind, the same each time."""
    draw = random.Random(1)
    found: list[Message] = [with_header(name, value) for name, value in MACHINE.items()]
    for _ in range(300):
        name = texts.name(draw).replace("\\", "\\\\").replace('"', '\\"')
        message = compose(
            sender=f'"{name}" <{A}>',
            to=[f'"{name} {n}" <{n}@example.net>' for n in range(draw.randrange(1, 6))],
            subject=texts.text(draw),
            text="x",
            headers={"Date": "today", "Message-ID": "<1@example.org>"},
            attachments=[(texts.filename(draw), b"x")],
        )
        message.set_boundary("the-boundary")
        found.append(message)
        old = MIMEText("x")
        old["From"], old["To"] = Header(A), f"{texts.name(draw).split()[0]} <{B}>"
        old["Subject"] = texts.text(draw).strip()
        old["Date"], old["Message-ID"] = "today", "<1@example.org>"
        found.append(old)
    return found


def test_the_same_bytes_on_every_python() -> None:
    """The headers of a fixed set of messages have one hash, whatever the Python."""
    digest = hashlib.sha256()
    count = 0
    for message in everything():
        try:
            digest.update(sent(message))
            count += 1
        except ConfigError as error:
            digest.update(error.message.encode())
    assert count > 400
    assert (
        digest.hexdigest()
        == "936269ba82222ccf064ca934355f0c1877680968a21606cc1f6aeb61e5d31853"
    )


def decoded(folded: str) -> str:
    """The value of a header, with its encoded words decoded."""
    value = folded.partition(":")[2].replace("\r", "").replace("\n", "")
    return str(make_header(decode_header(value)))


ENCODED = {
    "folded": Header("Grüße an alle " * 12, "utf-8").encode(),
    "folded with CRLF": Header("Grüße an alle " * 12, "utf-8").encode(linesep="\r\n"),
    "one line": Header("Grüße an alle " * 12, "utf-8").encode(maxlinelen=0),
    "blanks between": Header("Grüße " * 30, "utf-8").encode().replace("\n", ""),
    "beside plain text": f"Re: {Header('Grüße ' * 20).encode()} and {'more ' * 30}end",
    "longer than a line may be": Header("Grüße " * 300).encode().replace("\n", ""),
}


@pytest.mark.parametrize("kind", ENCODED)
@pytest.mark.parametrize("name", ["Subject", "Comments", "X-Tag", "List-Id", "Reply-To"])
@pytest.mark.parametrize("parsed", [False, True])
def test_encoded_words_of_a_program_are_not_encoded_again(
    kind: str, name: str, parsed: bool
) -> None:
    """`Header.encode` makes a str, which a reader decodes once; lines are folded."""
    message = with_header(name, ENCODED[kind], MIMEText)
    if parsed:
        del message[name]
        head = f"{name}: {ENCODED[kind]}\n".replace("\r", "").encode()
        message = email.message_from_bytes(head + message.as_bytes())
    folded = field(sent(message), name)
    assert decoded(folded).split() == decoded(f"{name}: {ENCODED[kind]}").split()
    assert max(map(len, folded.split("\r\n"))) <= 998


def test_values_of_parameters() -> None:
    """ASCII values stay quoted strings, and others are encoded by RFC 2231."""
    message = EmailMessage()
    message.set_content(b"x", "application", "pdf", filename="a" * 90 + ".pdf")
    assert f'\r\n filename="{"a" * 90}.pdf"\r\n'.encode() in sent(message)
    message = EmailMessage()
    message.set_content(b"x", "application", "pdf", filename="ü" * 30 + ".pdf")
    assert b"\r\n filename*0*=utf-8''%C3%BC" in sent(message)
    parsed = email.message_from_bytes(sent(message), policy=policy.default)
    assert parsed.get_filename() == "ü" * 30 + ".pdf"


def test_comments_of_addresses_are_kept() -> None:
    """A comment beside an address stands on the wire, encoded if it is not ASCII."""
    message = with_header("Cc", "Jörg <j@example.org> (im Büro), b@example.org (x, y)")
    folded = field(sent(message), "Cc")
    assert folded == (
        "Cc: =?utf-8?q?J=C3=B6rg?= <j@example.org> (=?utf-8?q?im_B=C3=BCro?=),\r\n"
        " b@example.org (x, y)"
    )


@pytest.mark.parametrize("rules", [policy.default, policy.compat32])
@pytest.mark.parametrize(
    "value", ["x  y", "word " * 30 + "end", "a,\n\t b", "=?utf-8?q?x?="]
)
def test_parsed_strings_are_left_as_they_were(value: str, rules: policy.Policy) -> None:  # type: ignore[type-arg]
    """What a parser has read is not folded anew, up to the limit of a line."""
    source = f"From: {A}\nTo: {B}\nDate: x\nMessage-ID: <1@x>\nX-Any: {value}\n\nx\n"
    message = email.message_from_string(source, policy=rules)
    assert sent(message) == source.replace("\n", "\r\n").encode()
