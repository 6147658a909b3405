"""The client's bytes, cut into lines and contents; and actions counted in bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripted.wire import Over, Wire


if TYPE_CHECKING:
    from collections.abc import Callable


_MOST = 1 << 16
_REPLY_LINE = re.compile(rb"(\d{3})([ -]|$)")


@dataclass
class Mark:
    """A function to call once `left` more bytes have been read (or sent).

    Below zero the place is in bytes that were read before the mark was made.
    """

    left: int
    do: Callable[[], None]


class Stream:
    """The client's bytes. Nothing is read beyond a mark, so that marks are exact.

    A line or a content that ends exactly at a mark is held back, so that the action of
    the mark (such as a reset) comes before the reply to it.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.buffer = bytearray()
        self.marks: list[Mark] = []

    def line(self) -> bytes:
        """Read one line, without its end; a bare LF ends it, as in lenient servers."""
        while True:
            end = self.buffer.find(b"\n") + 1
            if end and not self._held_back(end):
                return self._take(end).rstrip(b"\r\n")
            self._fill()

    def exactly(self, size: int, ended: Callable[[], None] = lambda: None) -> bytes:
        """Read `size` bytes; `ended` is called when they have arrived."""
        while True:
            if len(self.buffer) >= size:
                ended()
                if not size or not self._held_back(size):
                    return self._take(size)
            self._fill()

    def dotted(self, ended: Callable[[], None]) -> bytes:
        """Read up to CRLF.CRLF, and undo dot-stuffing; `ended`: see `exactly`."""
        start = 0
        while True:
            at_once = self.buffer.startswith(b".\r\n")
            end = 3 if at_once else self.buffer.find(b"\r\n.\r\n", start) + 5
            if at_once or end > 4:
                ended()
                if not self._held_back(end):
                    content = self._take(end)[:-3]
                    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n")[2:]
            start = max(0, len(self.buffer) - 4)
            self._fill()

    def take_all(self) -> bytes:
        """Remove and return all bytes that no method has returned yet."""
        return self._take(len(self.buffer))

    def _held_back(self, end: int) -> bool:
        at_end = end == len(self.buffer)
        return any(mark.left < 0 or (at_end and not mark.left) for mark in self.marks)

    def _take(self, end: int) -> bytes:
        taken = bytes(self.buffer[:end])
        del self.buffer[:end]
        return taken

    def _fill(self) -> None:
        for mark in [mark for mark in self.marks if mark.left <= 0]:
            self.marks.remove(mark)
            mark.do()
            return
        data = self.wire.recv(min([_MOST, *(mark.left for mark in self.marks)]))
        if not data:
            raise Over("client")
        self.buffer += data
        for mark in self.marks:
            mark.left -= len(data)


def code_of(said: bytes) -> int:
    """The code of the last whole reply in these bytes.

    0 if there is none, or if the codes of its lines differ.
    """
    lines = [line.rstrip(b"\r") for line in said.split(b"\n")[:-1]]
    matches = [_REPLY_LINE.match(line) for line in lines]
    if not matches or matches[-1] is None or matches[-1][2] == b"-":
        return 0
    code = matches[-1][1]
    for match in reversed(matches[:-1]):
        if match is None or match[2] != b"-":
            break
        if match[1] != code:
            return 0
    return int(code)
