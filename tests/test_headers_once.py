"""A header that a message has at most once is not sent twice (RFC 5322 section 3.6)."""

from __future__ import annotations

from email import message_from_string, policy
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest

from smtpsend import ConfigError, prepare


A, B = "a@example.org", "b@example.org"
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


def message(body: Message | None = None) -> Message:
    """A message of the older kind, to which headers are added."""
    made = MIMEText("Hello.") if body is None else body
    if "From" not in made:
        made["From"], made["To"] = A, B
    return made


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("lower", [False, True])
def test_twice(name: str, lower: bool) -> None:
    """The error names the header, and says what to do."""
    made = message()
    if name not in made:
        made[name] = VALUES[name]
    made[name.lower() if lower else name] = VALUES[name]
    with pytest.raises(ConfigError, match=f"2 headers {name}, ") as caught:
        prepare(made, sender=A, recipients=B)
    assert f"del message['{name}']" in caught.value.hint


def test_by_the_slow_way() -> None:
    """The same holds for a message that the standard library serialises."""

    class Own(MIMEText):
        pass

    made = message(Own("Hello."))
    made["To"] = "c@example.org"
    with pytest.raises(ConfigError, match="2 headers To"):
        prepare(made)


def test_a_loop_over_recipients() -> None:
    """An object that is used for several recipients in turn reaches none by mistake."""
    made = MIMEText("Hello.")
    made["From"] = A
    made["To"] = B
    assert prepare(made).recipients == (B,)
    made["To"] = "c@example.org"
    with pytest.raises(ConfigError):
        prepare(made)
    del made["To"]
    made["To"] = "c@example.org"
    assert prepare(made).recipients == ("c@example.org",)


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
    """An object that was parsed from a text with two To headers is refused, too."""
    text = f"From: {A}\nTo: {A}\nTo: {B}\n\nHello.\n"
    parsed = message_from_string(text, _class=EmailMessage, policy=policy.default)
    with pytest.raises(ConfigError, match="2 headers To"):
        prepare(parsed)
