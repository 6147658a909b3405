"""The standard library's generator, without its cost for large parts.

`BytesGenerator` writes a body line by line, and copies what is nested once a level. Here
a large body is put in at the end, once, in place of a mark.
"""

from __future__ import annotations

import re
from email.generator import BytesGenerator
from email.message import Message
from email.policy import Policy
from io import BytesIO
from typing import IO, Any

from smtpsend._model.message.content import crlf, ended


_LARGE = 65536
_PIECE = 1 << 18
# No content holds a NUL: a message that has one is refused.
_MARK = re.compile(rb"\0([0-9]+)\0")


class Writer(BytesGenerator):
    """Line ends are CRLF; bodies of `_LARGE` characters or more are in `large`."""

    def __init__(
        self,
        outfp: IO[bytes],
        mangle_from_: bool = False,  # noqa: FBT001, FBT002
        maxheaderlen: int | None = None,
        *,
        policy: Policy,
    ) -> None:
        super().__init__(outfp, mangle_from_, maxheaderlen, policy=policy)
        self.large: list[str] = []
        self._own_policy = policy

    def clone(self, fp: Any) -> Writer:
        """A writer for what is nested, with the same list."""
        clone = Writer(fp, policy=self._own_policy)
        clone.large = self.large
        return clone

    def _write_lines(self, lines: str) -> None:
        if lines and len(lines) >= _LARGE and "\r" not in lines and "\0" not in lines:
            self.write(f"\0{len(self.large)}\0")
            self.large.append(lines)
        elif lines:
            self.write(_with_crlf(lines))


def _with_crlf(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.replace("\n", "\r\n")


def written(message: Message, policy: Policy[Any]) -> bytes:
    """`message` as bytes with CRLF; NULs are those of the message."""
    buffer = BytesIO()
    writer = Writer(buffer, policy=policy)
    writer.flatten(message)
    # What is large gets its CRLF below; counting in it would take longer than that.
    frame = ended(crlf(buffer.getvalue()))
    if frame.count(b"\0") != 2 * len(writer.large):
        # Never sent; the caller refuses it.
        return b"\0"
    if not writer.large:
        return frame
    out, at = BytesIO(), 0
    for mark in _MARK.finditer(frame):
        out.write(frame[at : mark.start()])
        text = writer.large[int(mark[1])]
        for start in range(0, len(text), _PIECE):
            piece = text[start : start + _PIECE].replace("\n", "\r\n")
            out.write(piece.encode("ascii", "surrogateescape"))
        at = mark.end()
    out.write(frame[at:])
    return out.getvalue()
