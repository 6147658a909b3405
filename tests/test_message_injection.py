"""No header of a message becomes two, and no header ends the headers."""

from __future__ import annotations

import email
from email import policy
from email.header import Header
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_messages import A, B, compat, head

from smtpsend._model.message.envelope import envelope
from smtpsend.errors import ConfigError


EVIL = [
    "x\nBcc: evil@x.y",
    "x\r\nBcc: evil@x.y",
    "x\rBcc: evil@x.y",
    "x\r\n\r\nbody",
    "x\n",
    "x\r",
    "x\n \n\nbody",
    "x\n ",
    "x\n\t\r\n y",
    "x\0",
    *[f"x{c}Bcc: evil@x.y" for c in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"],
]


@pytest.mark.parametrize("value", EVIL)
@pytest.mark.parametrize("name", ["Subject", "X-Other", "To", "Message-ID"])
def test_injection_by_value(value: str, name: str) -> None:
    """No value of a header makes a second header, ends the headers, or holds a NUL."""
    headers: list[object] = [value]
    if "\0" not in value:
        headers.append(Header(value, "utf-8"))
    for header in headers:
        with pytest.raises(ConfigError):
            envelope(compat(**{name: header}), A, [B])


@pytest.mark.parametrize("value", EVIL)
def test_injection_in_a_part(value: str) -> None:
    """The headers of parts are held to the same."""
    part = MIMEText("x")
    part["X-Note"] = value
    message = MIMEMultipart(_subparts=[part])
    with pytest.raises(ConfigError):
        envelope(message, A, [B])


@pytest.mark.parametrize(
    "name",
    [
        *("", "X Y", "X:Y", "Bcc ", "X\nBcc", "X\r\n", "X\n", "Ü", "X\0", "\u2028"),
        *(" X", "X\t"),
    ],
)
def test_injection_by_name(name: str) -> None:
    """A header's name is printable ASCII without a colon or a space."""
    message = compat()
    # From Python 3.14 on `message[name] = "x"` refuses all of them but "X\n".
    message.set_raw(name, "x")
    with pytest.raises(ConfigError, match="header name"):
        envelope(message, A, [B])


@pytest.mark.parametrize(
    "encoded", ["a=0D=0ABcc:_evil", "a=0ABcc:_evil", "a=0D=0A=0D=0Abody"]
)
@pytest.mark.parametrize("long", [0, 100])
def test_injection_by_encoded_word(encoded: str, long: int) -> None:
    """Encoded words are not decoded to line breaks (CVE-2024-6923), refolded or not."""
    value = f"=?utf-8?q?{encoded}?= " + "word " * long
    source = f"From: {A}\nTo: {B}\nSubject: {value.strip()}\n\nhi\n"
    sources: list[Message] = [
        email.message_from_string(source, policy=policy.default),
        email.message_from_string(source),
    ]
    outer = EmailMessage()
    outer.make_mixed()
    outer.attach(email.message_from_string(source, policy=policy.default))
    for message in [*sources, outer]:
        try:
            content = envelope(message, A, [B]).content
        except ConfigError:
            continue
        for part in email.message_from_bytes(content).walk():
            assert "Bcc" not in part
            assert "body" not in str(part.get_payload())


def test_folded_values_pass() -> None:
    """A value that is already folded, with text on each line, is sent as it is."""
    for fold in ("\n ", "\r\n ", "\n\t", "\n  "):
        found = envelope(compat(Subject=f"one{fold}two"), A, [B])
        assert email.message_from_bytes(found.content)["Subject"].split() == [
            "one",
            "two",
        ]


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.text(alphabet="aB: ü\r\n\t\0\x0b\x0c\x1c\x85\u2028=?@<>,", max_size=30),
    st.sampled_from(["Subject", "X-A", "To", "Reply-To"]),
    st.booleans(),
)
@example("\n Bcc: x@y", "Subject", True)
def test_injection_property(value: str, name: str, as_object: bool) -> None:
    """Whatever the value, it is refused or the headers are exactly the ones given."""
    message: Message = EmailMessage() if as_object else Message()
    message["From"] = A
    try:
        message[name] = value
        message["X-End"] = "end"
    except (ValueError, IndexError):  # IndexError: the standard library's own, in To
        return
    try:
        found = envelope(message, A, [B])
    except ConfigError:
        return
    lines = head(found.content).split(b"\r\n")[:-1]
    names = [
        line.partition(b":")[0].decode()
        for line in lines
        if line[:1] not in (b" ", b"\t")
    ]
    assert names == ["From", name, "X-End", "Date", "Message-ID"]
    assert b"\r" not in found.content.replace(b"\r\n", b"")
    assert b"\n" not in found.content.replace(b"\r\n", b"")
