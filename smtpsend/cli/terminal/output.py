"""Writes to standard output and standard error, escapes text, and ignores failures."""

from __future__ import annotations

import errno
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TextIO


class Output:
    """Standard output or standard error; the stream is looked up at each write.

    The exit code of a command reports the outcome of the mail. A reader that has ended
    (``smtpsend send ... | head -0``), or a full disk, does not change that outcome, so
    this class raises no error of the stream.

    Args:
        name: ``"stdout"`` or ``"stderr"``.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def stream(self) -> TextIO | None:
        """The stream; None if the process was started without it (``>&-``)."""
        stream = getattr(sys, self._name)
        # While Rich redraws a line, it replaces the stream by a proxy that writes to this
        # class.
        found: TextIO | None = getattr(stream, "rich_proxied_file", stream)
        return found

    @property
    def encoding(self) -> str:
        """The encoding of the stream; Rich chooses characters by it."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self.stream is not None and self.stream.isatty()

    def line(self, text: str = "") -> None:
        """Write a line of text from any source; its control characters are escaped."""
        self.write(printable(text) + "\n")

    def json(self, facts: Mapping[str, Any], *, indent: int | None = None) -> None:
        """Write an object as JSON, in ASCII without any control character."""
        # DEL is the only ASCII control character that JSON does not escape in a string.
        text = json.dumps(facts, indent=indent).replace("\x7f", "\\u007f")
        self.write(text + "\n")

    def write(self, text: str) -> int:
        """Write text of this program unchanged, and flush the stream."""

        def at_once(stream: TextIO) -> None:
            stream.write(text)
            stream.flush()

        self._try(at_once)
        return len(text)

    def flush(self) -> None:
        """Write the text that other code has left in the buffer of the stream."""
        self._try(lambda stream: stream.flush())

    def _try(self, action: Callable[[TextIO], object]) -> None:
        stream = self.stream
        if stream is None:
            return
        try:
            action(stream)
        except OSError as error:
            _abandon(stream)
            if error.errno != errno.EPIPE and self is OUT:
                why = error.strerror or type(error).__name__
                ERR.line(f"smtpsend: standard output cannot be written: {why}")
        except ValueError:
            # The stream is closed already.
            pass


def _abandon(stream: TextIO) -> None:
    """Redirect the stream to the null device.

    When the interpreter ends, it flushes the buffer of the stream. If that failed again,
    Python would end with exit code 120.
    """
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


OUT = Output("stdout")
ERR = Output("stderr")


def printable(text: str) -> str:
    """Return `text` on one line, with each character escaped that controls a terminal.

    File names, arguments and replies may hold control characters (C0, C1), characters
    that change the direction of the text after them, or lone surrogates, which stand for
    bytes that are not UTF-8. They are escaped as in a Python literal.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    if char == "\t" or unicodedata.category(char) == "Zs":
        return " "
    return char.encode("unicode_escape").decode("ascii")
