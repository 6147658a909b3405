"""The messages of a call of Django: when they are read, and what goes out."""

from __future__ import annotations

import email
from collections.abc import Callable, Iterator
from email import policy
from email.message import EmailMessage as Parsed
from typing import Any, cast

import django
import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.message import SafeMIMEText
from leaks import eventually, one_port
from scripted import ScriptedServer
from sending import server_for

from smtpsend._model.message.envelope import envelope
from smtpsend.contrib._django_messages import built
from smtpsend.contrib.django import EmailBackend, mail_outcome


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*deprecated:PendingDeprecationWarning"),
]
FIXED = {"Date": "Thu, 01 Jan 2026 00:00:00 +0000", "Message-ID": "<1@example.org>"}


def backend(scripted: ScriptedServer) -> EmailBackend:
    """A backend that sends to a scripted server."""
    options: dict[str, Any] = {"alias": "default"} if django.VERSION >= (6, 1) else {}
    return EmailBackend(server=server_for(scripted), **options)


def note(n: int) -> EmailMessage:
    """A message as Django has it."""
    return EmailMessage(f"note {n}", "Grüße\n", "ann@example.org", ["bob@example.net"])


@pytest.mark.usefixtures("no_leaks")
def test_the_next_message_goes_out_while_a_receiver_runs() -> None:
    """A server without PIPELINING has the next message before the receiver returns."""
    notes, seen = [note(n) for n in range(3)], list[Any]()

    def listen(message: object, **_: object) -> None:
        wanted = min(len(seen) + 2, len(notes))
        eventually(lambda: len(scripted.accepted) >= wanted)
        seen.append(message)  # the signal would not report that it was not sent

    with one_port() as scripted:
        mail_outcome.connect(listen)
        try:
            assert backend(scripted).send_messages(notes) == 3
        finally:
            mail_outcome.disconnect(listen)
    assert seen == notes
    assert len(scripted.accepted) == 3


class Unreadable(EmailMessage):
    """A message whose sender cannot be read."""

    def message(self, *args: Any, **options: Any) -> Any:
        made = super().message(*args, **options)
        self.from_email = _Raises()
        return made


class _Raises:
    def __str__(self) -> str:
        raise IndexError("no such sender")


@pytest.mark.usefixtures("no_leaks")
def test_an_error_of_a_message_is_no_end() -> None:
    """An IndexError, which ends the loop over some sequences, is raised."""
    bad = Unreadable("bad", "x", "ann@example.org", ["bob@example.net"])
    with one_port() as scripted:
        with pytest.raises(IndexError, match="no such sender"):
            backend(scripted).send_messages([note(1), bad, note(2)])
    assert len(scripted.accepted) == 1


def with_parts() -> EmailMessage:
    """HTML beside the text, and two attachments."""
    message = EmailMultiAlternatives(
        "parts", "text\n", "ann@example.org", ["bob@example.net"], headers=FIXED
    )
    message.attach_alternative("<p>text</p>", "text/html")
    message.attach("a.pdf", bytes(range(256)), "application/pdf")
    message.attach("a.txt", "more text\n", "text/plain")
    return message


def plain(subject: str = "hello", body: str = "Hello.\n", **options: Any) -> EmailMessage:
    """A message with one part."""
    options = {"to": ["bob@example.net"], "headers": FIXED, **options}
    return EmailMessage(subject, body, "Jürgen <ann@example.org>", **options)


MESSAGES: dict[str, Callable[[], EmailMessage]] = {
    "plain": plain,
    "empty": lambda: plain("", ""),
    "long subject": lambda: plain("word " * 40 + "end"),
    "encoded subject": lambda: plain("Grüße an alle " * 12),
    "body beyond ASCII": lambda: plain(body="Grüße\n" * 3),
    "long line": lambda: plain(body="x" * 1500 + "\n"),
    "lines of mbox and dots": lambda: plain(body="From here\n.dot\n\nend"),
    "many recipients": lambda: plain(
        to=[f"Bob {n} <user{n}@example.net>" for n in range(30)], cc=["c@example.net"]
    ),
    "other headers": lambda: plain(headers={**FIXED, "X-Long": "y" * 200, "X-A": "a  b"}),
    "parts": with_parts,
}


def facts(content: bytes) -> Iterator[Any]:
    """What a reader finds in a message."""
    parsed = cast("Parsed", email.message_from_bytes(content, policy=policy.default))
    yield [
        (n, " ".join(str(v).split())) for n, v in parsed.items() if n[:8] != "Content-"
    ]
    for part in parsed.walk():
        yield part.get_content_type(), part.get_content_charset(), part.get_filename()
        yield part["Content-Transfer-Encoding"]
        if not part.is_multipart():
            body = part.get_payload(decode=True)
            yield cast("bytes", body).replace(b"\r\n", b"\n").rstrip(b"\n")


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_reader_finds_what_django_writes(kind: str) -> None:
    """Headers, types, encodings and bodies are those of Django's own bytes."""
    made = envelope(built(MESSAGES[kind]()), "ann@example.org", ["bob@example.net"])
    assert list(facts(made.content)) == list(facts(MESSAGES[kind]().message().as_bytes()))


def test_bytes_that_a_project_makes_itself_are_sent() -> None:
    """A message object with a method `as_bytes` of its own is asked."""
    message, made = plain(), SafeMIMEText("x", "plain", "utf-8")
    made["Date"], made["Message-ID"] = FIXED.values()
    made.as_bytes = lambda *_, **__: b"Date: x\n\nits own\n"
    message.message = lambda *_, **__: made
    assert built(message) == b"Date: x\n\nits own\n"
