"""The output of the commands: in colour on a terminal (extra ``cli``), else without."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO, cast

from smtpsend.cli.terminal.output import OUT, printable


if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


Part = str | tuple[str, str]
"""Some text, or a text and its style: one of `STYLES`."""

STYLES = {
    "good": "green",
    "bad": "bold red",
    "warn": "yellow",
    "dim": "dim",
    "head": "bold",
}
_WIDEST = 100

NO_BREAK = "\0"
"""A space in a text for `Screen.block` at which the text is not wrapped."""


def is_terminal() -> bool:
    """Whether standard output is a terminal that can move its cursor."""
    return OUT.isatty() and os.environ.get("TERM") != "dumb"


def terminal_columns() -> int:
    """Return the width of the terminal, or what COLUMNS says; 0 if neither is known.

    `shutil.get_terminal_size` does the same, but shutil imports all kinds of archives.
    """
    with suppress(KeyError, ValueError):
        if (columns := int(os.environ["COLUMNS"])) > 0:
            return columns
    with suppress(AttributeError, ValueError, OSError):  # no standard output, or no tty
        return os.get_terminal_size(sys.__stdout__.fileno()).columns  # type: ignore[union-attr]
    return 0


def _console() -> Console | None:
    if not is_terminal() or os.environ.get("NO_COLOR"):
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    file = cast("TextIO", OUT)  # all that Rich asks of a file
    return Console(file=file, highlight=False, soft_wrap=True, emoji=False)


class Screen:
    """Standard output, line by line."""

    def __init__(self) -> None:
        self._rich = _console()
        columns = terminal_columns() or _WIDEST
        # The last column of some terminals wraps.
        self.width: int = max(40, min(_WIDEST, columns - is_terminal()))
        self._drawn = 0

    def line(self, *parts: Part) -> None:
        """Print a line, as wide as it is."""
        self._clear()
        if self._rich is not None:
            self._rich.print(_text(parts))
        else:
            OUT.line("".join(_plain(parts)))

    def block(self, *parts: Part, indent: str = "", first: str | None = None) -> None:
        """Print a text over as many lines as it needs.

        Args:
            parts: the text; its style is that of the first part.
            indent: what each line begins with.
            first: what the first line begins with, in place of `indent`.
        """
        style = next((part[1] for part in parts if isinstance(part, tuple)), "")
        head = indent if first is None else first
        text = " ".join("".join(map(_glued, parts)).split())
        room = self.width - len(indent)
        # A long word, such as a fingerprint, stays whole: people copy it.
        wrapper = textwrap.TextWrapper(
            room, break_on_hyphens=False, break_long_words=False
        )
        for line in wrapper.wrap(text) or [""]:
            self.line(head, (line.replace(NO_BREAK, " "), style))
            head = indent

    @contextmanager
    def live(self) -> Iterator[Callable[[list[Part]], None]]:
        """Give a function that redraws the last line; off a terminal it does nothing."""
        if not is_terminal():
            yield lambda _: None
        elif self._rich is None:
            try:
                yield self._redraw
            finally:
                self._clear()
        else:
            from rich.live import Live

            with Live(console=self._rich, auto_refresh=False, transient=True) as live:
                yield lambda parts: live.update(_text(parts), refresh=True)

    def _redraw(self, parts: list[Part]) -> None:
        text = "".join(_plain(parts))
        OUT.write("\r" + text.ljust(self._drawn))
        self._drawn = len(text)

    def _clear(self) -> None:
        if self._drawn:
            OUT.write("\r" + " " * self.width + "\r")
            self._drawn = 0


def _plain(parts: tuple[Part, ...] | list[Part]) -> list[str]:
    return [printable(part if isinstance(part, str) else part[0]) for part in parts]


def _glued(part: Part) -> str:
    """A part as printable text, but for `NO_BREAK`; other white space is a blank."""
    text = part if isinstance(part, str) else part[0]
    return NO_BREAK.join(map(printable, re.sub(r"\s", " ", text).split(NO_BREAK)))


def _text(parts: tuple[Part, ...] | list[Part]) -> Text:
    from rich.text import Text

    # Not parsed as markup, so that a server's "[red]" is printed as it is.
    text = Text(no_wrap=True)
    for part in parts:
        words, style = (part, "") if isinstance(part, str) else part
        text.append(printable(words), STYLES.get(style, ""))
    return text


def seconds(value: float) -> str:
    """Format a time in seconds for people."""
    if value < 0.01:
        return f"{value * 1000:.1f} ms"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
