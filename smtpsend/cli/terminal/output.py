"""Standard output and standard error: harmless text, and never a reason to fail."""

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
    """Standard output or standard error, whatever it is when something is written.

    The exit code of a command says what became of the mail. That its reader has gone
    (``smtpsend send ... | head -0``), or that the disk is full, does not change that: no
    error of the stream leaves this class.

    Args:
        name: ``"stdout"`` or ``"stderr"``.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def stream(self) -> TextIO | None:
        """The stream; None where the process was started without it (``>&-``)."""
        stream = getattr(sys, self._name)
        # While Rich draws a line anew, its proxy stands there, which prints by us.
        found: TextIO | None = getattr(stream, "rich_proxied_file", stream)
        return found

    @property
    def encoding(self) -> str:
        """Its encoding, by which Rich chooses characters."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.stream is not None and self.stream.isatty()

    def line(self, text: str = "") -> None:
        """Write a line of text that may come from anywhere."""
        self.write(printable(text) + "\n")

    def json(self, facts: Mapping[str, Any], *, indent: int | None = None) -> None:
        """Write an object as JSON, in ASCII without any control character."""
        # The one that JSON allows in a string as it is.
        text = json.dumps(facts, indent=indent).replace("\x7f", "\\u007f")
        self.write(text + "\n")

    def write(self, text: str) -> int:
        """Write text of ours as it is, at once."""

        def at_once(stream: TextIO) -> None:
            stream.write(text)
            stream.flush()

        self._try(at_once)
        return len(text)

    def flush(self) -> None:
        """Write what others have left in the buffer of the stream."""
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
            # A file that is closed already.
            pass


def _abandon(stream: TextIO) -> None:
    """Let the stream write to the null device from now on.

    What its buffer holds would be written again when the interpreter ends; that would
    fail again, and Python would end with exit code 120.
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
    """`text` on one line, with nothing in it that a terminal would act on.

    File names, arguments and what servers reply may hold control characters (C0, C1),
    characters that change the direction of what follows, or lone surrogates, which are
    bytes that are not UTF-8. They are written as in a literal of Python.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    if char == "\t" or unicodedata.category(char) == "Zs":
        return " "
    return char.encode("unicode_escape").decode("ascii")
