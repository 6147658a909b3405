"""The sync caller's side of `send_many`: passes messages to the background thread.

The caller's iterable runs in the caller's thread; the connections belong to the event
loop of the background thread. A `Handoff` passes submissions one way and outcomes the
other.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from smtpsend._client.background import portal
from smtpsend._client.background.ending import (
    Unfinished,
    ending,
    not_begun,
    unknown,
)
from smtpsend._client.servers.dispatching import dispatcher_for
from smtpsend._client.servers.servers import Terms
from smtpsend._client.submission import RAISED_WHILE_READING, Submission
from smtpsend._model.receipt import Outcome
from smtpsend.errors import SendError


# Seconds for which outcomes are collected before the caller is woken.
_COLLECT_OUTCOMES = 0.002
# The messages in flight are waited for until this many seconds after their deadline.
_GRACE = 5.0
_AT_END = "the interpreter is ending, and nothing can be sent any more"


class Handoff:
    """The caller's side of a `Dispatcher` that runs on the background thread.

    Args:
        source: the messages that are left, with their numbers.
        items: the iterable that they come from.

    Attributes:
        call: the run of the dispatcher.
        has_input: whether the iterable may have more messages.
        raised: the exception that the caller's iterable raised, if any.
        rest: messages that were read and that no connection has begun, with their
            numbers, when the background thread has ended.
    """

    def __init__(
        self, source: Iterator[tuple[int, Any]], terms: Terms, items: object
    ) -> None:
        self.has_input = True
        self._source = source
        self._terms = terms
        # Put, but without an outcome yet, each with its item of the iterable.
        self._pending: dict[int, tuple[Submission, Any]] = {}
        self.rest: list[tuple[int, Any]] = []
        # Locked while the caller waits for it. Each wait has a lock of its own, because
        # what was meant for one wait must not end the next.
        self._waiter: threading.Lock | None = None
        self._wake_handle: asyncio.Handle | None = None  # a scheduled `_wake_caller`
        self._wake_scheduled = False  # `_wake_workers` will run soon
        self._dispatcher = dispatcher_for(terms.servers, items, self._notify)
        self._queue = self._dispatcher.queue
        self.call = portal.Call(self._dispatcher.run)
        self.call.future.add_done_callback(lambda _: self._wake_caller())
        self.raised: BaseException | None = None

    def next(self) -> Outcome | None:
        """Return the next outcome, and read messages until there is one.

        Returns:
            None after the last outcome.
        """
        queue = self._queue
        while True:
            if queue.outcomes:
                # Many a caller stops at an error, so it gets that first.
                if queue.ahead and queue.outcomes[0].error is None:
                    self._read_ahead()
                outcome = queue.get()
                self._pending.pop(outcome.index, None)
                return outcome
            if ending():
                return self._unaccounted(_AT_END)
            if self.call.future.done():
                # The dispatcher may have added an outcome just before it ended.
                if not queue.outcomes:
                    return self._after_the_end()
            elif self.has_input and queue.has_room:
                self._put_next()
            else:
                self._wait()

    def _read_ahead(self) -> None:
        """Read what the connections go on with while the caller uses an outcome."""
        queue = self._queue
        while (
            self.has_input
            and queue.is_short
            and queue.has_room
            and not (self.call.future.done() or ending())
        ):
            self._put_next()

    def _after_the_end(self) -> Outcome | None:
        """Return an outcome for a message that the dispatcher left without one."""
        why = "the send was cancelled in the background thread"
        try:
            self.call.future.result()
        except Unfinished as error:
            why = str(error)
            if self.raised is None:
                self._keep_rest()
        return self._unaccounted(why)

    def _keep_rest(self) -> None:
        """Keep what no connection has begun, which another thread can send."""
        for submission in self._queue.pending:
            kept = self._pending.pop(submission.index, None)
            if kept is not None:
                self.rest.append((submission.index, kept[1]))

    def _unaccounted(self, why: str) -> Outcome | None:
        """Return the outcome of a message for which the dispatcher will make none.

        Returns:
            None if there is no such message.
        """
        if not self._pending:
            return None
        index = next(iter(self._pending))
        submission, _ = self._pending.pop(index)
        error: SendError
        if submission in self._queue.pending:
            error = not_begun(why)
            error.message_id = submission.envelope.message_id
        else:
            error = unknown(why, submission.envelope.message_id)
        return Outcome(index, submission.message, None, error)

    def _put_next(self) -> None:
        """Read one message from the iterable and give it to the dispatcher."""
        try:
            pair = next(self._source, None)
        except RAISED_WHILE_READING as error:
            # It is raised after the last outcome. A CancelledError is treated like any
            # other error, because a thread cannot be cancelled.
            pair, self.raised = None, error
        if pair is None:
            self.has_input = False
            self.call.call_soon(self._dispatcher.end_input)
            return
        submission = self._terms.submission(*pair)
        if isinstance(submission, Submission):
            self._pending[submission.index] = submission, pair[1]
        self._queue.put(submission)
        if self._dispatcher.needs_wake and not self._wake_scheduled:
            self._wake_scheduled = True
            self.call.call_soon(self._wake_workers)

    def _wake_workers(self) -> None:
        """Let the workers see the new messages; runs on the background thread."""
        # The flag is reset first, so that a message put after this line schedules another
        # wake-up.
        self._wake_scheduled = False
        self._dispatcher.wake()

    def _wait(self) -> None:
        """Wait for an outcome, for room for a message, or for the end."""
        waiter, queue = threading.Lock(), self._queue
        waiter.acquire()
        self._waiter = waiter
        try:
            # An outcome or room may have arrived before the waiter was set, in which case
            # `_notify` has not woken it.
            changed = queue.outcomes or (self.has_input and queue.has_room)
            if not (changed or self.call.future.done()):
                waiter.acquire()
        finally:
            self._waiter = None

    def _notify(self) -> None:
        """Wake the waiting caller, if any; runs on the background thread.

        A wake-up costs more than sending a message, so outcomes are collected for 2 ms,
        unless a connection may be idle until the caller supplies the next message.
        """
        if self._waiter is None:
            return
        handle, loop = self._wake_handle, asyncio.get_running_loop()
        if self._queue.is_short:
            if isinstance(handle, asyncio.TimerHandle):
                handle.cancel()
            elif handle is not None:
                return
            # The wake-up is scheduled, so that the callbacks that are ready now write to
            # their connections before the caller's thread competes for the interpreter.
            self._wake_handle = loop.call_soon(self._wake_caller)
        elif handle is None:
            self._wake_handle = loop.call_later(_COLLECT_OUTCOMES, self._wake_caller)

    def _wake_caller(self) -> None:
        self._wake_handle = None
        waiter = self._waiter
        if waiter is not None and waiter.locked():
            # Another thread may release it at the same time.
            with contextlib.suppress(RuntimeError):
                waiter.release()

    def stop(self, *, wait: bool) -> None:
        """Start no further message.

        Args:
            wait: whether to wait until the messages in flight are finished.
        """
        # If this was the last reference to the caller's generator, this closes it.
        self._source = iter(())
        self.call.call_soon(self._dispatcher.stop)
        if not wait:
            return
        seconds = self._terms.servers.seconds(self._terms.timeout)
        try:
            if not self.call.wait(seconds + _GRACE):
                self.call.cancel()
        except BaseException:
            self.call.cancel()
            raise
