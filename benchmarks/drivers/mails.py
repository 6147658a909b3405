"""The messages of a bulk, as programs make them: a text of some 2 KB to one recipient.

A module of its own because it takes `email` in, which what sends bytes does without.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from email import policy
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

from benchmarks.drivers.jobs import SENDER, Job


# Bytes that every driver's headers have at least.
_HEAD = 200


@functools.cache
def _body(size: int) -> str:
    line = "The quick brown fox jumps over the lazy dog, again and again and again.\n"
    # Each line end becomes two bytes.
    return line * -(-(size - _HEAD) // (len(line) + 1))


def fields(number: int, size: int) -> dict[str, str]:
    """What a message says; no two are the same."""
    return {
        "sender": SENDER,
        "to": f"bob{number}@example.test",
        "subject": f"Your order {number} is on its way",
        "text": f"Dear customer {number},\n\n{_body(size)}",
    }


def built(number: int, size: int) -> EmailMessage:
    """A message made with the standard library."""
    said = fields(number, size)
    message = EmailMessage()
    message["From"] = said["sender"]
    message["To"] = said["to"]
    message["Subject"] = said["subject"]
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain="example.test")
    message.set_content(said["text"])
    return message


def prepare(job: Job) -> None:
    """Make what has to be there before the clock starts."""
    if job["made"] == "before":
        job["ready"] = [built(number, job["size"]) for number in range(job["count"])]


def messages(job: Job, lane: int = 0) -> Iterator[EmailMessage]:
    """The messages of one of the connections."""
    for number in range(lane, job["count"], job["connections"]):
        yield job["ready"][number] if "ready" in job else built(number, job["size"])


class Flatten:
    """No client: makes the messages that are not there yet, and then bytes of them.

    What a client that sends the same messages takes beyond that is its own.
    """

    def __init__(self, _: str) -> None:
        pass

    def many(self, job: Job) -> None:
        """The messages as bytes, sent to nobody."""
        smtp: Any = policy.SMTP
        size = sum(len(message.as_bytes(policy=smtp)) for message in messages(job))
        if size < job["count"] * job["size"]:
            raise ValueError(f"{size} bytes")
