"""How fast messages may begin: by the caller's word, and by the server's.

What the caller allows (`max_rate`) is kept to always. Where a server asks to slow down,
messages begin half as often as they did; each one that it takes lets the next begin a
little sooner, until it is as before.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from smtpsend._protocol.failures import lost
from smtpsend.errors import ConfigError, ConnectError, Phase, SendError


if TYPE_CHECKING:
    from smtpsend._wire.deadline import Deadline

# Seconds between two messages, at most, however often the server asks.
_SLOWEST = 5.0
# And at least, where it asks.
_LEAST = 0.02
# What a message that was taken does to that time.
_EASE = 0.93

# RFC 3463 sections 3.4 and 3.5: the system takes no messages now (X.3.2), or is
# congested (X.4.5); X.7.28, "mail flood detected", is of the registry of RFC 5248.
_BUSY = {"4.3.2", "4.4.5", "4.7.28"}
_WORDS = re.compile(
    r"\b(too (many|much|fast|quick|frequent)|slow down|throttl|(rate|sending) limit|"
    r"(limit|rate|quota) exceeded|(server|system|service)[a-z ]* busy|overload|"
    r"high load)",
    re.IGNORECASE,
)


def check_rate(rate: float) -> None:
    """Refuse what is no rate.

    Raises:
        ConfigError: it is not a number above 0.
    """
    number = isinstance(rate, int | float) and not isinstance(rate, bool)
    if not number or not 0 < rate < float("inf"):
        raise ConfigError(
            "max_rate must be a number of messages a second, above 0, or None"
        )


def asks_to_slow_down(error: SendError) -> bool:
    """Whether a server said that this is too much, or too fast."""
    reply = error.reply
    # How many connections there are is another matter.
    if reply is None or isinstance(error, ConnectError) or not 400 <= reply.code < 500:
        return False
    return (
        reply.code in (421, 432)
        or reply.enhanced in _BUSY
        or _WORDS.search(reply.text) is not None
    )


class Throttle:
    """When the next message may begin."""

    def __init__(self, max_rate: float | None) -> None:
        self._gap = 1 / max_rate if max_rate else 0.0
        self._extra = 0.0  # the same, as the server wants it
        self._before = 0.0  # how it was before the server asked
        self._usual = 0.0  # between the last messages, on average
        self._next = self._braked = float("-inf")
        self._last: float | None = None  # when a message was taken

    @property
    def slowed(self) -> bool:
        """Whether the server asked to slow down, and all is not well again."""
        return self._extra > 0

    def allowed(self, count: int) -> int:
        """How many of `count` messages may begin at once."""
        if self.slowed:
            return 1
        return max(1, min(count, int(0.1 / self._gap))) if self._gap else count

    async def wait_turn(
        self, deadline: Deadline | None = None, stop: asyncio.Future[None] | None = None
    ) -> None:
        """Wait until a message may begin, or `stop` is done.

        Raises:
            ConnectError: that is not before the deadline.
        """
        now = asyncio.get_running_loop().time()
        wait = self._next - now
        if deadline is not None and wait > deadline.left:
            by_server = self._extra > self._gap
            whose = "the server asked to slow down, which" if by_server else "max_rate"
            why = f"{whose} allows no message before the deadline"
            late = lost(Phase.CONNECT, why, timed_out=True)
            advice = "give the send a longer timeout"
            late.hint = advice if by_server else f"raise max_rate, or {advice}"
            raise late
        self.started(1)
        if wait > 0 and stop is not None:
            await asyncio.wait([stop], timeout=wait)
        elif wait > 0:
            await asyncio.sleep(wait)

    @property
    def ready(self) -> bool:
        """Whether a message may begin now."""
        return self._next <= asyncio.get_running_loop().time()

    def started(self, count: int) -> None:
        """Note that so many messages begin, now or when it is their turn."""
        now = asyncio.get_running_loop().time()
        self._next = max(now, self._next) + count * max(self._gap, self._extra)

    def taken(self) -> None:
        """A message was taken."""
        now = asyncio.get_running_loop().time()
        if self._last is not None:
            self._usual = 0.9 * self._usual + 0.1 * min(1.0, now - self._last)
        self._last = now
        if self._extra:
            self._extra *= _EASE
            if self._extra < self._before:
                self._extra = 0.0

    def failed(self, error: SendError) -> None:
        """A message was not taken; slow down if the server asks to."""
        if not asks_to_slow_down(error):
            return
        now = asyncio.get_running_loop().time()
        if now - self._braked < self._extra:
            return  # the answers to what was on its way already
        self._braked = now
        if not self._extra:
            self._before = max(_LEAST / 4, self._usual)
        self._extra = min(_SLOWEST, 2 * max(self._extra, self._usual, _LEAST / 2))
        self._next = max(self._next, now + self._extra)
