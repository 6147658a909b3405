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


# Seconds for which outcomes are collected before the caller is woken.
_COLLECT_OUTCOMES = 0.002


class Handoff:
    """The caller's side of a `Dispatcher` that runs on the background thread.

    Attributes:
        call: the run of the dispatcher.
        raised: the exception that the caller's iterable raised, if any.
    """

    def __init__(self, source: Iterator[tuple[int, Any]], terms: Terms) -> None:
        self._source = source
        self._terms = terms
        self._has_input = True  # the iterable has not ended
        self._waiter: concurrent.futures.Future[None] | None = None
        self._wake_handle: asyncio.Handle | None = None  # a scheduled `_wake_caller`
        self._wake_scheduled = False  # `_wake_workers` will run soon
        self._dispatcher = Dispatcher(terms.pool, work, self._notify)
        self.call = portal.Call(self._dispatcher.run)
        self.call.future.add_done_callback(lambda _: self._wake_caller())
        self.raised: Exception | None = None

    def next(self) -> Outcome | None:
        """Return the next outcome, and read messages until there is one.

        Returns:
            None after the last outcome.
        """
        dispatcher = self._dispatcher
        while True:
            if dispatcher.outcomes:
                return dispatcher.get()
            if self._has_input and dispatcher.has_room:
                self._put_next()
            elif self.call.future.done():
                # The dispatcher may have added an outcome just before it ended.
                if not dispatcher.outcomes:
                    self.call.future.result()
                    return None
            else:
                self._wait()

    def _put_next(self) -> None:
        """Read one message from the iterable and give it to the dispatcher."""
        try:
            pair = next(self._source, None)
        except Exception as error:  # noqa: BLE001  # raised after the last outcome
            pair, self.raised = None, error
        if pair is None:
            self._has_input = False
            self.call.call_soon(self._dispatcher.end_input)
            return
        self._dispatcher.put(self._terms.submission(*pair))
        if self._dispatcher.needs_wake and not self._wake_scheduled:
            self._wake_scheduled = True
            self.call.call_soon(self._wake_workers)

    def _wake_workers(self) -> None:
        """Let the workers see the new messages; runs on the background thread."""
        # This comes first, so that a message that is put from now on schedules a wake-up
        # again.
        self._wake_scheduled = False
        self._dispatcher.wake()

    def _wait(self) -> None:
        """Wait for an outcome, for room for a message, or for the end."""
        waiter = self._waiter = concurrent.futures.Future()
        dispatcher = self._dispatcher
        try:
            # The change may have come before `_notify` could see the waiter.
            changed = dispatcher.outcomes or (self._has_input and dispatcher.has_room)
            if not (changed or self.call.future.done()):
                waiter.result()
        finally:
            self._waiter = None

    def _notify(self) -> None:
        """Wake the waiting caller, if any; runs on the background thread.

        A wake-up costs more than sending a message, so outcomes are collected for 2 ms,
        unless a connection may be idle until the caller supplies the next message.
        """
        if self._waiter is None or self._wake_handle is not None:
            return
        loop = asyncio.get_running_loop()
        if self._dispatcher.queue_is_short:
            # Not at once: the callbacks that are ready now write to their connections
            # before the caller's thread competes for the interpreter.
            self._wake_handle = loop.call_soon(self._wake_caller)
        else:
            self._wake_handle = loop.call_later(_COLLECT_OUTCOMES, self._wake_caller)

    def _wake_caller(self) -> None:
        self._wake_handle = None
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def stop(self, *, wait: bool) -> None:
        """Start no further message.

        Args:
            wait: whether to wait until the messages in flight are finished.
        """
        self.call.call_soon(self._dispatcher.stop)
        if not wait:
            return
        try:
            concurrent.futures.wait([self.call.future])
        except BaseException:
            self.call.cancel()
            raise
