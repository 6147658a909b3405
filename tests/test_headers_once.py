"""A header that a message has at most once is not sent twice (RFC 5322 section 3.6)."""

from __future__ import annotations

from email import message_from_bytes, message_from_string, policy
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest

from smtpsend import ConfigError, prepare


A, B, C = "a@example.org", "b@example.org", "c@example.org"
VALUES = {
    "From": A,
    "Sender": A,
    "Reply-To": A,
    "To": A,
    "Cc": A,
    "Subject": "one",
    "Date": "Fri, 27 Nov 2026 10:00:00 +0000",
    "Message-ID": "<1@example.org>",
    "In-Reply-To": "<0@example.org>",
    "References": "<0@example.org>",
    "MIME-Version": "1.0",
    "Content-Type": "text/plain",
    "Content-Transfer-Encoding": "7bit",
}
LISTS = {"To", "Cc", "Reply-To"}
OTHERS = {
    **dict.fromkeys(["From", "Sender"], C),
    **dict.fromkeys(["Message-ID", "In-Reply-To", "References"], "<2@example.org>"),
    "Date": "Sat, 28 Nov 2026 10:00:00 +0000",
    "Content-Type": "text/html",
    "Content-Transfer-Encoding": "8bit",
}


def message(body: Message | None = None) -> Message:
    """A message of the older kind, to which headers are added."""
    made = MIMEText("Hello.") if body is None else body
    if "From" not in made:
        made["From"], made["To"] = A, B
    return made


def sent(made: Message, name: str) -> list[str]:
    """The values of a header in what is sent."""
    content = prepare(made, sender=A, recipients=B).content
    found = message_from_bytes(content, policy=policy.compat32)
    return [str(value) for value in found.get_all(name, [])]


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("lower", [False, True])
def test_twice_the_same(name: str, lower: bool) -> None:
    """A header that says the same twice is sent once."""
    made = message()
    if name not in made:
        made[name] = VALUES[name]
    made[name.lower() if lower else name] = made[name]
    assert len(sent(made, name)) == 1
    assert len(made.get_all(name, [])) == 2


@pytest.mark.parametrize("name", sorted(VALUES.keys() - LISTS))
@pytest.mark.parametrize("lower", [False, True])
def test_twice_with_different_values(name: str, lower: bool) -> None:
    """The error names the header, and says what to do."""
    made = message()
    if name not in made:
        made[name] = VALUES[name]
    made[name.lower() if lower else name] = OTHERS.get(name, "other")
    with pytest.raises(ConfigError, match=f"2 headers {name} that differ") as caught:
        prepare(made, sender=A, recipients=B)
    assert f"del message[{name!r}]" in caught.value.hint


@pytest.mark.parametrize("name", sorted(LISTS))
@pytest.mark.parametrize("lower", [False, True])
def test_address_lists_are_joined(name: str, lower: bool) -> None:
    """No address of a repeated list is lost, and no name, comment or quotation mark."""
    made = message()
    del made[name]
    made[name] = f'William "Bill" Gates (CEO) <{A}>'
    made[name.lower() if lower else name] = C
    assert sent(made, name) == [f'William "Bill" Gates (CEO) <{A}>, {C}']


@pytest.mark.parametrize("kind", ["fast", "slow"])
def test_both_recipients_get_it(kind: str) -> None:
    """Two To headers are two recipients, by both ways of serialising."""

    class Own(MIMEText):
        pass

    made = message((MIMEText if kind == "fast" else Own)("Hello."))
    made["To"] = C
    prepared = prepare(made)
    assert prepared.recipients == (B, C)
    assert b"To: b@example.org, c@example.org\r\n" in prepared.content


@pytest.mark.parametrize("mark", ["Received", "Return-Path", "DKIM-Signature"])
def test_a_message_from_elsewhere_stays_as_it_is(mark: str) -> None:
    """A message that was delivered or signed keeps both headers."""
    text = f"{mark}: x\nFrom: {A}\nTo: {A}\nTo: {B}\nSubject: 1\nSubject: 2\n\nHello.\n"
    parsed = message_from_string(text, _class=EmailMessage, policy=policy.default)
    assert sent(parsed, "To") == [A, B]
    assert sent(parsed, "Subject") == ["1", "2"]


@pytest.mark.parametrize(
    "name",
    ["Received", "Bcc", "Comments", "Keywords", "X-Own", "List-Id", "DKIM-Signature"],
)
def test_more_than_one_is_allowed(name: str) -> None:
    """Other headers may stand in a message as often as they are set."""
    made = message()
    made[name], made[name] = "c@example.org", "d@example.org"
    prepared = prepare(made)
    assert len(prepared.recipients) == (3 if name == "Bcc" else 1)
    assert prepared.content.count(f"\r\n{name}: ".encode()) == (0 if name == "Bcc" else 2)


def test_parts_and_bytes_are_not_looked_at() -> None:
    """A part has its own headers, and a message given as bytes is sent as it is."""
    whole = MIMEMultipart()
    whole["From"], whole["To"], whole["Subject"] = A, B, "one"
    part = MIMEText("Hello.")
    part["Subject"] = "two"
    whole.attach(part)
    assert b"Subject: two" in prepare(whole).content
    raw = (
        b"From: a@example.org\r\nTo: b@example.org\r\nTo: c@example.org\r\n\r\nHello.\r\n"
    )
    assert prepare(raw, sender=A, recipients=B).content == raw


def test_a_parsed_object() -> None:
    """Two To headers of an object that was parsed from a text become one."""
    text = f"From: {A}\nTo: {A}\nTo: {B}\n\nHello.\n"
    parsed = message_from_string(text, _class=EmailMessage, policy=policy.default)
    assert sent(parsed, "To") == [f"{A}, {B}"]
    assert prepare(parsed).recipients == (A, B)
