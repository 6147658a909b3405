"""How often messages may be started: limits of the caller and of the server.

The caller's limit (`max_rate`) always applies. If the server asks to slow down, messages
are started half as often as before. Each accepted message shortens the interval a little,
until it is as short as before.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from smtpsend._patterns import pattern
from smtpsend._protocol.failures import lost
from smtpsend.errors import ConfigError, ConnectError, Phase, SendError


if TYPE_CHECKING:
    from smtpsend._wire.deadline import Deadline

# The longest interval between two messages, in seconds, however often the server asks to
# slow down, and the shortest after its first request.
_MAX_SERVER_INTERVAL = 5.0
_MIN_SERVER_INTERVAL = 0.02
# Each accepted message multiplies the server's interval by this.
_RECOVERY = 0.93

# RFC 3463 sections 3.4 and 3.5: the system accepts no messages now (X.3.2), or is
# congested (X.4.5). X.7.28, "mail flood detected", is in the registry of RFC 5248.
_SLOW_DOWN_CODES = {"4.3.2", "4.4.5", "4.7.28"}
_SLOW_DOWN_TEXT = pattern(
    r"\b(too (many|much|fast|quick|frequent)|slow down|throttl|(rate|sending) limit|"
    r"(limit|rate|quota) exceeded|(server|system|service)[a-z ]{0,40} busy|overload|"
    r"high load)",
    re.IGNORECASE,
)


def check_rate(rate: float) -> None:
    """Validate a number of messages per second.

    Raises:
        ConfigError: `rate` is not a finite number above 0.
    """
    number = isinstance(rate, int | float) and not isinstance(rate, bool)
    if not number or not 0 < rate < float("inf"):
        raise ConfigError(
            "max_rate must be a number of messages per second, above 0, or None"
        )


def asks_to_slow_down(error: SendError) -> bool:
    """Whether a server refused a message because messages come too often."""
    reply = error.reply
    # A `ConnectError` is about the number of connections, not of messages.
    if reply is None or isinstance(error, ConnectError) or not 400 <= reply.code < 500:
        return False
    return (
        reply.code in (421, 432)
        or reply.enhanced in _SLOW_DOWN_CODES
        or _SLOW_DOWN_TEXT.search(reply.text) is not None
    )


class Throttle:
    """Decides when the next message may be started; intervals are in seconds."""

    def __init__(self, max_rate: float | None) -> None:
        self._rate_interval = 1 / max_rate if max_rate else 0.0
        self._server_interval = 0.0  # the interval since a request to slow down
        self._normal_interval = 0.0  # the interval before that request
        self._mean_interval = 0.0  # between the last accepted messages
        # Times on the loop's clock.
        self._next_start = self._slowed_at = float("-inf")
        self._last_accepted: float | None = None

    @property
    def slowed(self) -> bool:
        """Whether messages are started less often since the server asked for it."""
        return self._server_interval > 0

    def allowed(self, count: int) -> int:
        """Return how many of `count` messages may be started at once."""
        if self.slowed:
            return 1
        return (
            max(1, min(count, int(0.1 / self._rate_interval)))
            if self._rate_interval
            else count
        )

    async def wait_turn(self, deadline: Deadline) -> None:
        """Wait until a message may be started, and note that it is.

        Raises:
            ConnectError: no message may be started before the deadline.
        """
        now = asyncio.get_running_loop().time()
        wait = self._next_start - now
        if wait > deadline.left:
            by_server = self._server_interval > self._rate_interval
            limit = "the server asked to slow down, which" if by_server else "max_rate"
            why = f"{limit} allows no message before the deadline"
            late = lost(Phase.CONNECT, why, timed_out=True)
            advice = "give the send a longer timeout"
            late.hint = advice if by_server else f"raise max_rate, or {advice}"
            raise late
        self.started(1)
        if wait > 0:
            await asyncio.sleep(wait)

    async def wait_ready(self, stop: asyncio.Future[None]) -> None:
        """Wait until a message may be started, or until `stop` is done."""
        while not self.ready and not stop.done():
            wait = self._next_start - asyncio.get_running_loop().time()
            await asyncio.wait([stop], timeout=max(wait, 0.0))

    @property
    def ready(self) -> bool:
        """Whether a message may be started now."""
        return self._next_start <= asyncio.get_running_loop().time()

    def started(self, count: int) -> None:
        """Note that `count` messages are started, now or after `wait_turn`."""
        interval = max(self._rate_interval, self._server_interval)
        if interval:
            now = asyncio.get_running_loop().time()
            self._next_start = max(now, self._next_start) + count * interval

    def accepted(self) -> None:
        """Note that the server accepted a message."""
        now = asyncio.get_running_loop().time()
        if self._last_accepted is not None:
            self._mean_interval = 0.9 * self._mean_interval + 0.1 * min(
                1.0, now - self._last_accepted
            )
        self._last_accepted = now
        if self._server_interval:
            self._server_interval *= _RECOVERY
            if self._server_interval < self._normal_interval:
                self._server_interval = 0.0

    def failed(self, error: SendError) -> None:
        """Note the error of a message; slow down if it is a request to do so."""
        if not asks_to_slow_down(error):
            return
        now = asyncio.get_running_loop().time()
        if now - self._slowed_at < self._server_interval:
            return  # a reply to a message that was sent before the last slowdown
        self._slowed_at = now
        if not self._server_interval:
            self._normal_interval = max(_MIN_SERVER_INTERVAL / 4, self._mean_interval)
        self._server_interval = min(
            _MAX_SERVER_INTERVAL,
            2 * max(self._server_interval, self._mean_interval, _MIN_SERVER_INTERVAL / 2),
        )
        self._next_start = max(self._next_start, now + self._server_interval)
