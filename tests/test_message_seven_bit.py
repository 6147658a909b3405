"""The form of a message for a server without 8BITMIME (RFC 6152)."""

from __future__ import annotations

import email
from collections.abc import Callable
from email import policy
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
    """What is signed has no ASCII form: neither a part, nor a whole message by DKIM."""
    source = f"From: {A}\r\nTo: {B}\r\n".encode()
    part = source + (
        b"Content-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\n\xc3\xbc\r\n--x--\r\n"
    )
    whole = b"DKIM-Signature: v=1\r\n" + source + b"\r\n\xc3\xbc\r\n"
    for content in (part, whole):
        found = envelope(email.message_from_bytes(content), None, None)
        assert found.eight_bit
        assert found.seven_bit is not None
        assert found.seven_bit() is None


@pytest.mark.parametrize("kind", ["", "text/plain", "text/plain; charset=x", "image/x"])
def test_seven_bit_without_a_charset(kind: str) -> None:
    """Where no charset is known, the bytes are encoded as they are."""
    head = f"From: {A}\r\nTo: {B}\r\n" + (f"Content-Type: {kind}\r\n" if kind else "")
    source = f"{head}\r\ncaf\xe9\r\n".encode("latin-1")
    for rules in (policy.default, policy.compat32):
        found = envelope(email.message_from_bytes(source, policy=rules), None, None)
        assert found.seven_bit is not None
        again = found.seven_bit()
        assert again is not None
        assert again.isascii()
        body = email.message_from_bytes(again).get_payload(decode=True)
        assert body.replace(b"\r\n", b"\n") == b"caf\xe9\n"  # type: ignore[union-attr]


def test_seven_bit_is_for_eight_bit_objects_only() -> None:
    """ASCII content needs no such function, and bytes would have to change."""
    assert envelope(plain(), None, None).seven_bit is None
    found = envelope("Grüße".encode(), A, [B])
    assert found.eight_bit
    assert found.seven_bit is None
