"""The progress of ``smtpsend send-many``, on one line."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from smtpsend._values import dataclass, field
from smtpsend.cli.terminal.screen import Part


_BAR = 24
_SHORT_BAR = 8
# The shortest time in seconds between two updates of the line.
_EVERY = 0.1


@dataclass(slots=True)
class Progress:
    """The number of messages in each state.

    Attributes:
        total: the number of messages to send.
        counts: the number of messages in each state.
        ending: whether the run is ending, so that no further send begins.
    """

    total: int
    update: Callable[[list[Part]], None]
    width: int
    counts: Counter[str] = field(default_factory=Counter)
    ending: bool = False
    _started: float = field(default_factory=time.monotonic)
    _drawn: float = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def count(self, state: str) -> None:
        """Count one more message in `state`."""
        self.counts[state] += 1
        self.draw()

    def draw(self) -> None:
        """Draw the line, unless it was drawn a moment ago."""
        now = time.monotonic()
        if now - self._drawn >= _EVERY:
            self._drawn = now
            state = self.counts, self.total, self.elapsed, self.width
            self.update(line(*state, ending=self.ending))


def line(
    counts: Counter[str], total: int, elapsed: float, width: int, *, ending: bool = False
) -> list[Part]:
    """Make the line, at most `width` columns wide.

    Args:
        counts: the number of messages in each state.
        total: the number of messages to send.
        elapsed: seconds since the start.
        width: columns of the terminal.
        ending: whether the run is ending.
    """
    done = counts.total()
    rate = done / elapsed if elapsed > 0 else 0.0
    left = (total - done) / rate if rate else None
    bad = counts["refused"] + counts["failed"] + counts["partial"]
    pairs = [
        ("accepted", counts["accepted"], "good"),
        ("refused", bad, "bad"),
        ("invalid", counts["invalid"], "bad"),
        ("unknown", counts["unknown"], "warn"),
        ("later", counts["deferred"], "warn"),
    ]
    speed = f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"
    shown: list[Part] = [f" {done}/{total}  {speed}/s"]
    for name, count, style in pairs:
        if count or name in ("accepted", "refused", "unknown"):
            label = name if width >= 90 else name[:3]
            shown += ["  ", (f"{count} {label}", style if count else "dim")]
    if ending:
        shown.append(("  ending", "warn"))
    elif left is not None and done < total:
        shown.append(f"  {_clock(left)} left")
    room = (
        width - 2 - sum(len(part if isinstance(part, str) else part[0]) for part in shown)
    )
    size = _BAR if room >= _BAR else _SHORT_BAR
    if room < _SHORT_BAR:
        return shown
    full = round(size * done / total) if total else size
    return ["[", ("=" * full, "good"), " " * (size - full) + "]", *shown]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
