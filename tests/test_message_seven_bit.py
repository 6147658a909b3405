"""The form of a message for a server without 8BITMIME (RFC 6152)."""

from __future__ import annotations

import email
from collections.abc import Callable
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart

import pytest
from made_messages import A, B, compat, plain

from smtpsend._model.message.envelope import envelope


@pytest.mark.parametrize("make", [plain, compat])
def test_seven_bit(make: Callable[..., Message]) -> None:
    """For a server without 8BITMIME the same text comes in ASCII."""
    inner = EmailMessage()
    inner.set_content("Grüße\n.\n", cte="8bit")
    message = MIMEMultipart(_subparts=[inner, make("x\n")])
    message["From"], message["To"], message["Bcc"] = A, B, "secret@x.y"
    found = envelope(message, None, None)
    assert found.eight_bit
    assert not found.utf8
    assert found.seven_bit is not None
    again = found.seven_bit()
    assert again is not None
    assert again.isascii()
    assert b"secret" not in again
    first, second = (email.message_from_bytes(c) for c in (found.content, again))
    assert first["Message-ID"] == second["Message-ID"] == found.message_id
    for left, right in zip(first.walk(), second.walk(), strict=True):
        if not left.is_multipart():
            texts = [
                p.get_payload(decode=True).replace(b"\r\n", b"\n") for p in (left, right)
            ]
            assert texts[0] == texts[1]


def test_seven_bit_adds_the_encoding_header() -> None:
    """A text without a Content-Transfer-Encoding gets one when it is made ASCII."""
    source = (
        f"From: {A}\r\nTo: {B}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\xfc\r\n"
    )
    found = envelope(email.message_from_bytes(source.encode()), None, None)
    assert found.seven_bit is not None
    parsed = email.message_from_bytes(found.seven_bit() or b"")
    assert parsed["Content-Transfer-Encoding"] == "base64"
    assert parsed.get_payload(decode=True) == b"\xc3\xbc\r\n"


def test_seven_bit_impossible() -> None:
    """Where 8-bit content has no charset, or is signed, there is no ASCII form."""
    source = f"From: {A}\r\nTo: {B}\r\n".encode()
    unknown = source + b"Content-Type: application/x\r\n\r\n\xff\r\n"
    signed = source + (
        b"Content-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\n\xc3\xbc\r\n--x--\r\n"
    )
    for content in (unknown, signed):
        found = envelope(email.message_from_bytes(content), None, None)
        assert found.eight_bit
        assert found.seven_bit is not None
        assert found.seven_bit() is None


def test_seven_bit_is_for_eight_bit_objects_only() -> None:
    """ASCII content needs no such function, and bytes would have to change."""
    assert envelope(plain(), None, None).seven_bit is None
    found = envelope("Grüße".encode(), A, [B])
    assert found.eight_bit
    assert found.seven_bit is None
