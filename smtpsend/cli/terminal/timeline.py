"""A timeline of the attempts of a send: one bar for each method, on one scale."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from smtpsend._model.receipt import Receipt
from smtpsend._values import dataclass
from smtpsend.cli.terminal.screen import terminal_columns
from smtpsend.errors import Attempt


if TYPE_CHECKING:
    from smtpsend.cli.terminal.screen import Part, Screen


@dataclass(frozen=True, slots=True)
class Bar:
    """One method: its start and duration in seconds, its outcome, and the style."""

    label: str
    started: float
    elapsed: float
    outcome: str
    style: str


def bars(attempts: Sequence[Attempt], receipt: Receipt | None = None) -> list[Bar]:
    """Make one bar for each method that a finished send tried."""
    found = [_bar(attempt) for attempt in attempts]
    if receipt is not None:
        ran = receipt.elapsed - receipt.started
        outcome = f"accepted: {receipt.reply}"
        found.append(Bar(str(receipt.method), receipt.started, ran, outcome, "good"))
    return found


def _bar(attempt: Attempt) -> Bar:
    if attempt.error:
        outcome, style = f"failed at {attempt.phase}: {attempt.error}", "bad"
    else:
        outcome = f"abandoned at {attempt.phase}: another was ready first"
        style = "dim"
    method = str(attempt.method)
    return Bar(method, attempt.started, attempt.elapsed, outcome, style)


def show(found: Sequence[Bar], screen: Screen) -> None:
    """Print the bars."""
    for row in rows(found, screen.width):
        screen.line(*row)


def draw(found: Sequence[Bar], width: int | None = None) -> str:
    """Draw the bars as text, at most `width` columns wide (by default the terminal's)."""
    width = width or terminal_columns() or 80
    lines = (
        "".join(part if isinstance(part, str) else part[0] for part in row)
        for row in rows(found, width)
    )
    return "\n".join(line.rstrip() for line in lines)


def rows(found: Sequence[Bar], width: int) -> list[list[Part]]:
    """Draw the bars: a list of lines, each in parts with their styles."""
    label = max((len(bar.label) for bar in found), default=0)
    room = max(10, min(48, width - label - 12))
    total = max((bar.started + bar.elapsed for bar in found), default=0.0) or 1.0
    drawn: list[list[Part]] = [[" " * (label + 3) + f"0 ms{_ms(total):>{room - 2}}"]]
    for bar in found:
        before = min(round(bar.started / total * room), room - 1)
        length = max(1, min(round(bar.elapsed / total * room), room - before))
        drawn.append(
            [
                f"  {bar.label:<{label}} |",
                ("." * before, "dim"),
                ("=" * length, bar.style),
                " " * (room - before - length) + f"| {_ms(bar.elapsed)}",
            ]
        )
        texts = _wrap(bar.outcome, width - label - 4)
        drawn.extend([f"  {'':<{label}}  {text}"] for text in texts)
    return drawn


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(20, width))
