"""A message that a server delivered, and its comparison with the sent one."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from pathlib import Path


# The fields that a server may put on top of a message.
_TRACE = re.compile(
    rb"(?:received|return-path|delivered-to|x-original-to)[ \t]*:"
    rb"[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*",
    re.IGNORECASE,
)


def canonical(content: bytes) -> bytes:
    """The content with CRLF line ends, the last line's included."""
    content = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return content if content.endswith(b"\r\n") or not content else content + b"\r\n"


def strip_trace(content: bytes) -> bytes:
    """The content, in canonical form, without the trace fields on top of it."""
    content = canonical(content)
    start = 0
    while found := _TRACE.match(content, start):
        start = found.end()
    return content[start:]


@dataclass(frozen=True)
class Delivery:
    """One message as the server delivered it."""

    sender: str
    recipients: tuple[str, ...]
    path: Path
    header: bytes = field(repr=False)

    @classmethod
    def load(cls, envelope: Path) -> Delivery:
        described = json.loads(envelope.read_text(encoding="utf-8"))
        path = envelope.with_suffix(".eml")
        header = re.split(rb"\r?\n\r?\n", path.read_bytes(), maxsplit=1)[0]
        sender = described["sender"]
        if sender is None:  # the server did not pass it on, but wrote it into the message
            found = re.search(rb'envelope from "([^"]*)"', header)
            sender = found[1].decode() if found and found[1] != b"<>" else ""
        return cls(sender, tuple(described["recipients"]), path, header)

    @property
    def content(self) -> bytes:
        """The stored bytes, read at each call: a session stores many large messages."""
        return self.path.read_bytes()

    @property
    def message(self) -> bytes:
        """The content with CRLF line ends and without the server's trace fields."""
        return strip_trace(self.content)

    def difference(self, sent: bytes) -> str | None:
        """None if the stored message equals `sent`, or where they differ first.

        An `assert` of the two would take minutes: pytest is slow to show how two messages
        of 5 MB differ.
        """
        wanted, stored = canonical(sent), canonical(self.content)
        # Compared from the end first, since `sent` may begin with trace fields itself.
        if stored.endswith(wanted) and not strip_trace(stored[: -len(wanted)]):
            return None
        got = strip_trace(stored)
        shorter = min(len(wanted), len(got))
        # The most bytes that are the same in both, by halving: one byte after the other
        # would take a second.
        at = bisect_left(
            range(shorter), True, key=lambda i: wanted[: i + 1] != got[: i + 1]
        )
        near = slice(max(0, at - 40), at + 40)
        return (
            f"byte {at}: sent {wanted[near]!r} (of {len(wanted)}), "
            f"stored {got[near]!r} (of {len(got)})"
        )
