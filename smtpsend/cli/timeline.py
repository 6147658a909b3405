"""The attempts of a send as a timeline: one bar a method, on one scale of time."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from smtpsend._model.receipt import Receipt
from smtpsend.errors import Attempt


@dataclass(frozen=True, slots=True)
class Bar:
    """One method: when it ran, in seconds, and how it ended."""

    label: str
    started: float
    elapsed: float
    outcome: str


def bars(attempts: Sequence[Attempt], receipt: Receipt | None = None) -> list[Bar]:
    """What to draw for a send that ended, one bar for each method that was tried."""
    found = [
        Bar(
            str(a.method),
            a.started,
            a.elapsed,
            f"failed at {a.phase}: {a.error}"
            if a.error
            else f"abandoned at {a.phase}: another was ready first",
        )
        for a in attempts
    ]
    if receipt is not None:
        ran = receipt.elapsed - receipt.started
        outcome = f"accepted: {receipt.reply}"
        found.append(Bar(str(receipt.method), receipt.started, ran, outcome))
    return found


def draw(found: Sequence[Bar], width: int | None = None) -> str:
    """The bars as text, at most `width` columns wide (by default the terminal's)."""
    width = width or shutil.get_terminal_size().columns
    label = max((len(bar.label) for bar in found), default=0)
    room = max(10, min(48, width - label - 12))
    total = max((bar.started + bar.elapsed for bar in found), default=0.0) or 1.0
    lines = [" " * (label + 3) + f"0 ms{_ms(total):>{room - 2}}"]
    for bar in found:
        before = min(round(bar.started / total * room), room - 1)
        length = max(1, min(round(bar.elapsed / total * room), room - before))
        drawn = ("." * before + "=" * length).ljust(room)
        lines.append(f"  {bar.label:<{label}} |{drawn}| {_ms(bar.elapsed)}")
        lines += [
            f"  {'':<{label}}  {part}" for part in _wrap(bar.outcome, width - label - 4)
        ]
    return "\n".join(lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(20, width))
