"""The deadline of a call, and the event loop whose clock it uses."""

from __future__ import annotations

import asyncio

from smtpsend._protocol.failures import TimedOut
from smtpsend.errors import ConfigError


def running_loop() -> asyncio.AbstractEventLoop:
    """The event loop of the caller.

    Raises:
        ConfigError: none is running, as under trio.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigError(
            "no asyncio event loop is running here",
            hint="await it in a coroutine that asyncio.run() runs; under trio, use "
            "trio.to_thread.run_sync with the sync functions",
        ) from None


class Deadline:
    """The time at which a whole call must have ended, or its part for one server.

    Args:
        seconds: the seconds from now to the deadline.
        elapsed: seconds that the call has lasted before, with other servers.
    """

    def __init__(self, seconds: float, elapsed: float = 0.0) -> None:
        self._clock = running_loop().time
        now = self._clock()
        self.start = now - elapsed
        self._end = now + seconds

    @property
    def elapsed(self) -> float:
        """Seconds since the start of the call."""
        return self._clock() - self.start

    @property
    def left(self) -> float:
        """Seconds that are left; 0 when the deadline has passed."""
        return max(0.0, self._end - self._clock())

    def raise_if_over(self) -> None:
        """Raise if the deadline has passed.

        Raises:
            TimedOut: nothing is left.
        """
        if self._clock() >= self._end:
            raise TimedOut("the deadline ran out")

    def within(self, seconds: float) -> float:
        """The smaller of `seconds` and the seconds that are left."""
        return min(seconds, max(0.0, self._end - self._clock()))
