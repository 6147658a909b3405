"""Waits for an event of a socket for a moment, without the event loop.

A server nearby replies within a millisecond. To poll the socket for that long saves two
turns of the loop. Only the library's own loops, which serve the sync functions, may be
held up so.
"""

from __future__ import annotations

import asyncio
import select
from typing import Any
from weakref import WeakSet


# Milliseconds for which one poll waits at most.
_LONGEST = 2

OWN_LOOPS: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
"""The event loops of the library."""


class Poller:
    """Polls one descriptor, and the selector of the event loop beside it.

    Args:
        loop: the running loop; see `poller_for`.
        descriptor: what is polled.
        writes: whether it is polled for writing, and not for reading.
    """

    def __init__(self, loop: Any, descriptor: int, *, writes: bool) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._writes = writes
        # What the loop watches without other connections: a pipe of its own, and the
        # descriptor if it is read.
        self._alone = 1 if writes else 2
        self._selector = loop._selector
        self._watched = self._selector.get_map()
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT if writes else select.POLLIN)
        # The descriptor of a selector is readable when the loop has an event.
        self._poll.register(self._selector.fileno(), select.POLLIN)

    def wait(self) -> bool:
        """Return whether the descriptor is ready, after 2 ms at most.

        The wait ends as soon as the loop has anything else to do.
        """
        loop = self._loop
        if loop._ready or loop._stopping:
            return False
        timers = loop._scheduled
        if timers and timers[0].when() - loop.time() <= _LONGEST / 1000:
            return False
        try:
            if len(self._watched) > self._alone:
                return False if self._writes else self._select()
            ready = self._poll.poll(_LONGEST)
        except (KeyboardInterrupt, SystemExit) as error:
            # Code has thrown it into this thread, and not into the task that waits. The
            # loop raises it where its own waits would.
            loop.call_soon(_raise, error)
            return False
        return self._descriptor in dict(ready)

    def _select(self) -> bool:
        """Wait where the loop has other connections, too; they may not be held up."""
        ready = self._selector.select(_LONGEST / 1000)
        return len(ready) == 1 and ready[0][0].fd == self._descriptor


def _raise(error: BaseException) -> None:
    raise error


def poller_for(loop: Any, descriptor: int, *, writes: bool = False) -> Poller | None:
    """Return what polls a descriptor; None if only the event loop may wait.

    That is so for a loop that is not the library's own, in debug mode, in which asyncio
    logs that a callback blocks the loop, and where the system has no `poll`.
    """
    if loop not in OWN_LOOPS or loop.get_debug() or not hasattr(select, "poll"):
        return None
    try:
        # `wait` needs these private attributes of asyncio's loops.
        _ = loop._ready, loop._stopping, loop._scheduled
        return Poller(loop, descriptor, writes=writes)
    except AttributeError:
        return None
