"""The sync caller's side of `send_many`: messages to the background thread, and back.

The caller's iterable runs in the caller's thread; the connections belong to the event
loop of the background thread. A `Handoff` passes submissions one way and outcomes the
other.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterator
from typing import Any

from smtpsend._client.background import portal
from smtpsend._client.bulk.dispatcher import Dispatcher
from smtpsend._client.bulk.worker import work
from smtpsend._client.submission import Terms
from smtpsend._model.receipt import Outcome


# Seconds that an outcome may wait for others before a sync caller is woken.
_TOGETHER = 0.002


class Handoff:
    """The caller's side of a `Dispatcher` that runs on the background thread."""

    def __init__(self, source: Iterator[tuple[int, Any]], terms: Terms) -> None:
        self._source = source
        self._terms = terms
        self._more = True
        self._bell: concurrent.futures.Future[None] | None = None
        self._rings: asyncio.Handle | None = None  # is about to
        self._waking = False  # the workers are told soon
        self._dispatcher = Dispatcher(terms.pool, work, self._ring)
        self.call = portal.Call(self._dispatcher.run)
        self.call.future.add_done_callback(lambda _: self._wake())
        self.raised: Exception | None = None  # by the iterable

    def next(self) -> Outcome | None:
        """The next outcome; takes messages while there is none. None: it was the last."""
        dispatcher = self._dispatcher
        while True:
            if dispatcher.outcomes:
                return dispatcher.get()
            if self._more and dispatcher.room:
                self._take()
            elif self.call.future.done():
                # Its last act was to add an outcome, perhaps.
                if not dispatcher.outcomes:
                    self.call.future.result()
                    return None
            else:
                self._wait()

    def _take(self) -> None:
        """Take one message from the caller."""
        try:
            pair = next(self._source, None)
        except Exception as error:  # noqa: BLE001  # raised when the others are done
            pair, self.raised = None, error
        if pair is None:
            self._more = False
            self.call.soon(self._dispatcher.end)
            return
        self._dispatcher.put(self._terms.submission(*pair))
        if self._dispatcher.has_idle_worker and not self._waking:
            self._waking = True
            self.call.soon(self._feed)

    def _feed(self) -> None:
        """Let the workers see what was put: called in the background thread."""
        # First: what is put from here on asks again.
        self._waking = False
        self._dispatcher.wake()

    def _wait(self) -> None:
        """Wait for what is new."""
        bell = self._bell = concurrent.futures.Future()
        dispatcher = self._dispatcher
        try:
            # It may have come before there was a bell to ring.
            come = dispatcher.outcomes or (self._more and dispatcher.room)
            if not (come or self.call.future.done()):
                bell.result()
        finally:
            self._bell = None

    def _ring(self) -> None:
        """Something is new: called in the background thread, if anybody waits.

        To wake the caller for each outcome would cost more than to send a message: where
        no connection waits for what it would do then, a few outcomes come together.
        """
        if self._bell is None or self._rings is not None:
            return
        loop = asyncio.get_running_loop()
        if self._dispatcher.nearly_empty:
            # Not before what goes on now has gone out.
            self._rings = loop.call_soon(self._wake)
        else:
            self._rings = loop.call_later(_TOGETHER, self._wake)

    def _wake(self) -> None:
        self._rings = None
        bell = self._bell
        if bell is not None and not bell.done():
            bell.set_result(None)

    def leave(self, *, wait: bool) -> None:
        """Begin nothing more; wait for what is in flight."""
        self.call.soon(self._dispatcher.leave)
        if not wait:
            return
        try:
            concurrent.futures.wait([self.call.future])
        except BaseException:
            self.call.cancel()
            raise
