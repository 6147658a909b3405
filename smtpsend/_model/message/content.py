"""The bytes of a message: header block, line ends, dot-stuffing.

The time is linear in the size. The functions use the methods of `bytes` on the whole
content: no loop goes over the lines of a body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from smtpsend._patterns import pattern
from smtpsend._values import NamedTuple
from smtpsend.errors import ConfigError


__all__ = [
    "Field",
    "crlf",
    "dot_stuff",
    "ended",
    "fields",
    "from_bytes",
    "from_usual_bytes",
    "message_id_of",
    "unfolded",
]

# White space before the colon is obsolete syntax, which a reader accepts (RFC 5322
# sections 2.2 and 4.5).
_FIELD = pattern(rb"([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)(?:\n|\Z)")
# All header fields, with CRLF line ends, followed by the empty line.
_HEAD = pattern(rb"(?:[!-9;-~]++[ \t]*+:[^\r\n]*+\r\n(?:[ \t][^\r\n]*+\r\n)*+)++(?=\r\n)")
_MBOX_LINE = pattern(rb">?From [^\n]*+\n")
_FOLD = pattern(rb"\r?\n(?=[ \t])")
_BARE_CR = pattern(rb"\r(?!\n)")
_BCC_LINE = pattern(rb"^(?:resent-)?bcc[ \t]*:", re.MULTILINE | re.IGNORECASE)
_MESSAGE_ID = pattern(r"[!-~]{1,255}")
_NEVER_SENT = frozenset({b"bcc", b"resent-bcc"})


class Field(NamedTuple):
    """One header field: its name, its value as folded, and its place in the content."""

    name: bytes
    value: bytes
    start: int
    end: int


def fields(content: bytes, start: int = 0) -> Iterator[Field]:
    """Yield the header fields from `start` up to the first line that belongs to none."""
    while match := _FIELD.match(content, start):
        yield Field(match[1], match[2], start, match.end())
        start = match.end()
        if start == len(content):
            return


def from_usual_bytes(content: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Like `from_bytes`, for content of the usual form, in less time.

    The usual form: a well-formed header block without Bcc, an empty line after it, and
    one kind of line end.

    Returns:
        The content to send, its header block, and the value of Message-ID (empty if there
        is none); None if the content has another form, which `from_bytes` handles.
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
    """Make the content to send from a message given as bytes.

    Line ends are made CRLF; Bcc and Resent-Bcc fields are left out, with their
    continuation lines; only a missing last line end is added. Empty content stays empty.

    Returns:
        The content, and its header block. A "From " line of an mbox before it is left
        out: it is no header, and would end the header block for a server.

    Raises:
        ConfigError: the message holds a NUL, or a bare CR in the header block, or a Bcc
            line after a malformed header line, which makes the Bcc line part of the body.
    """
    if b"\0" in content:
        raise ConfigError(
            "the message holds a NUL byte",
            hint="remove it: a message with NUL is not allowed (RFC 5322 section 4)",
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
    return ended(head + body), head


def _check_first_paragraph(body: bytes) -> None:
    end = 0 if body.startswith(b"\r\n") else body.find(b"\r\n\r\n")
    paragraph = body if end < 0 else body[:end]
    if b"bcc" in paragraph.lower() and _BCC_LINE.search(paragraph):
        raise ConfigError(
            "a Bcc line follows a line that is no header, without an empty line between",
            hint="correct the header before it, or put an empty line before the text; "
            "Bcc is never sent",
        )


def crlf(content: bytes) -> bytes:
    """Make every bare CR and bare LF CRLF; return `content` itself if there is none."""
    pairs = content.count(b"\r\n")
    if content.count(b"\n") == pairs and content.count(b"\r") == pairs:
        return content
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return lines.replace(b"\n", b"\r\n")


def ended(content: bytes) -> bytes:
    """Add the last line end if it is missing; empty content stays empty."""
    return content if not content or content.endswith(b"\r\n") else content + b"\r\n"


def dot_stuff(content: bytes) -> bytes:
    """Dot-stuff `content` for DATA (RFC 5321 section 4.5.2).

    Args:
        content: the content, with CRLF line ends only.

    Returns:
        The content, without the line with a single dot that ends it on the wire.
    """
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def message_id_of(value: object) -> str | None:
    """The value of a Message-ID to show and log; None if it is long or not printable."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    text = str(value).strip() if value is not None else ""
    return text if _MESSAGE_ID.fullmatch(text) else None


def unfolded(value: bytes) -> str:
    """Unfold a field's value; bytes that are not UTF-8 become U+FFFD."""
    return _FOLD.sub(b"", value).strip().decode("utf-8", "replace")
