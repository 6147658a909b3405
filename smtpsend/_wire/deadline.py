"""How long a call may take, and what ends a connection."""

from __future__ import annotations

import asyncio

from smtpsend._protocol.replies import Garbage


__all__ = ["ENDED", "FAULTS", "Deadline", "Garbage", "Lost", "TimedOut"]


class Lost(Exception):
    """The connection ended."""


class TimedOut(Exception):
    """One of our timers ran out."""


class _Ended(asyncio.Transport):
    """What is left of a connection that ended: it takes everything, and holds nothing."""

    def is_closing(self) -> bool:
        return True

    def write(self, data: object) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


ENDED: asyncio.Transport = _Ended()
"""The transport of every connection that ended."""

FAULTS = (Lost, TimedOut, Garbage)
"""Everything that can end a connection."""


class Deadline:
    """Until when the whole call may run."""

    def __init__(self, seconds: float) -> None:
        self._clock = asyncio.get_running_loop().time
        self.start = self._clock()
        self._end = self.start + seconds

    @property
    def elapsed(self) -> float:
        """Seconds since the start of the call."""
        return self._clock() - self.start

    @property
    def left(self) -> float:
        """Seconds that are left; 0 when it is over."""
        return max(0.0, self._end - self._clock())

    def check(self) -> None:
        """Raise if it is over.

        Raises:
            TimedOut: nothing is left.
        """
        if not self.left:
            raise TimedOut("the deadline ran out")

    def within(self, seconds: float) -> float:
        """`seconds`, or what is left where that is less."""
        return min(seconds, self.left)
