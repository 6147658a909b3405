"""The bytes of a message: its header block, its line ends, its dots.

All of it is linear in the size, and works on the whole with the methods of `bytes`:
a body is never walked line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from smtpsend.errors import ConfigError


__all__ = [
    "Field",
    "common",
    "crlf",
    "dot_stuff",
    "ended",
    "fields",
    "from_bytes",
    "message_id_of",
    "unfolded",
]

# RFC 5322 sections 2.2 and 4.5: white space before the colon is obsolete, but read.
_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)(?:\n|\Z)")
# All the fields, with the line ends of RFC 5322, and the empty line behind them.
_HEAD = re.compile(
    rb"(?:[!-9;-~]++[ \t]*+:[^\r\n]*+\r\n(?:[ \t][^\r\n]*+\r\n)*+)++(?=\r\n)"
)
_MBOX_LINE = re.compile(rb">?From [^\n]*+\n")
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_BARE_CR = re.compile(rb"\r(?!\n)")
_BCC_LINE = re.compile(rb"^(?:resent-)?bcc[ \t]*:", re.MULTILINE | re.IGNORECASE)
_MESSAGE_ID = re.compile(r"[!-~]{1,255}")
_NEVER_SENT = frozenset({b"bcc", b"resent-bcc"})


class Field(NamedTuple):
    """One header field: its name, its value with all folds, and where it stands."""

    name: bytes
    value: bytes
    start: int
    end: int


def fields(content: bytes, start: int = 0) -> Iterator[Field]:
    """The header fields from `start` to the first line that is neither field nor fold."""
    while match := _FIELD.match(content, start):
        yield Field(match[1], match[2], start, match.end())
        start = match.end()
        if start == len(content):
            return


def common(content: bytes) -> tuple[bytes, bytes, bytes] | None:
    """What `from_bytes` gives, and the value of Message-ID; None if that must look.

    One look at the whole is enough where the header block is as it should be, an empty
    line ends it, nothing in it can be a Bcc, and there is one kind of line end.
    """
    if b"\r" not in content:
        content = content.replace(b"\n", b"\r\n")
    match = _HEAD.match(content)
    if match is None or b"\0" in content or content.startswith((b"From ", b">From ")):
        return None
    if crlf(content) is not content:
        return None
    head = match[0]
    lower = head.lower()
    if b"bcc" in lower:
        return None
    value = b""
    if b"message-id" in lower:
        at = 0 if lower.startswith(b"message-id:") else lower.find(b"\nmessage-id:") + 1
        end = head.find(b"\r\n", at)
        folded = head[end + 2 : end + 3] in (b" ", b"\t")
        if folded or not lower.startswith(b"message-id:", at):
            return None
        if lower.count(b"message-id") > 1:
            return None
        value = head[at + len(b"message-id:") : end]
    return ended(content), head, value


def from_bytes(content: bytes) -> tuple[bytes, bytes]:
    """What goes on the wire for a message given as bytes, and its header block
    (without the "From " line of an mbox, which may stand before it).

    Line ends are made CRLF and the Bcc and Resent-Bcc fields are left out, with their
    continuation lines; nothing is added but a last line end. Empty content stays empty.

    Raises:
        ConfigError: a NUL, a bare CR in the header block, or a Bcc line that a broken
            header line before it would make part of the text.
    """
    if b"\0" in content:
        raise ConfigError(
            "the message holds a NUL byte", hint="remove it: no mail server takes one"
        )
    mbox = _MBOX_LINE.match(content)
    start = mbox.end() if mbox else 0
    found = list(fields(content, start))
    end = found[-1].end if found else start
    if _BARE_CR.search(content, 0, end):
        raise ConfigError(
            "a header of the message holds a bare carriage return",
            hint="end header lines with CRLF or LF; a CR in a value may be an attack",
        )
    kept = [content[f.start : f.end] for f in found if f.name.lower() not in _NEVER_SENT]
    head = crlf(b"".join(kept))
    body = crlf(content[end:])
    _check_first_paragraph(body)
    return ended(b"".join((crlf(content[:start]), head, body))), head


def _check_first_paragraph(body: bytes) -> None:
    end = 0 if body.startswith(b"\r\n") else body.find(b"\r\n\r\n")
    paragraph = body if end < 0 else body[:end]
    if b"bcc" in paragraph.lower() and _BCC_LINE.search(paragraph):
        raise ConfigError(
            "a Bcc line stands behind a line that is no header, before any empty line",
            hint="correct the header before it, or put an empty line before the text; "
            "Bcc never leaves",
        )


def crlf(content: bytes) -> bytes:
    """`content` with every bare CR and bare LF made CRLF; itself if there is none."""
    pairs = content.count(b"\r\n")
    if content.count(b"\n") == pairs and content.count(b"\r") == pairs:
        return content
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return lines.replace(b"\n", b"\r\n")


def ended(content: bytes) -> bytes:
    """`content` with a line end at its end; empty content stays empty."""
    return content if not content or content.endswith(b"\r\n") else content + b"\r\n"


def dot_stuff(content: bytes) -> bytes:
    """`content` (CRLF line ends only) as DATA wants it (RFC 5321 section 4.5.2).

    The line with the dot that ends it is not added.
    """
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def message_id_of(value: object) -> str | None:
    """A Message-ID as it can be shown and logged: bounded and printable, else None."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    text = str(value).strip() if value is not None else ""
    return text if _MESSAGE_ID.fullmatch(text) else None


def unfolded(value: bytes) -> str:
    """A field's value on one line; what is not UTF-8 becomes U+FFFD."""
    return _FOLD.sub(b"", value).strip().decode("utf-8", "replace")
