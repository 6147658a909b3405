"""The center of a `send_many`: its queue, its outcomes, and its number of connections.

One connection is opened first: it shows what the server offers, and whether the server
accepts the login. Further connections are opened when the queue has held messages for as
long as the first one took to open. If the server refuses a further connection, the open
ones send its messages.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from smtpsend._client import log
from smtpsend._client.bulk.login_gate import LoginGate
from smtpsend._client.delivery import Delivery
from smtpsend._client.outcomes import conclude, conclude_cancelled, conclude_failure
from smtpsend._client.submission import Submission
from smtpsend._model.receipt import Outcome, Receipt


if TYPE_CHECKING:
    from smtpsend._client.pool import Pool

# Octets of content that may be held, beyond one message for each connection.
_MAX_BYTES = 1 << 23
# Seconds after which a further connection is opened, at least.
_MIN_CONNECT_TIME = 0.005
# The caller has this part of the connect time (1/8) to fill the first window.
_FIRST_WINDOW_PART = 8
# After a refused connection, wait this many connect times before trying another.
_REFUSED_BACKOFF = 20


Work = Callable[["Dispatcher", asyncio.Future[None]], Coroutine[Any, Any, None]]


class Dispatcher:
    """The messages that `send_many` holds, and the workers that send them.

    A dispatcher belongs to one event loop. Another thread may use the methods that stand
    before `run`.

    Args:
        work: sends the messages of the queue until it is empty, or its future is done.
        notify: called after a change that the caller may wait for: a new outcome, room
            for a message, the end of a worker.

    Attributes:
        queue: the messages that no worker has started yet.
        outcomes: the outcomes that the caller has not got yet.
        input_ended: whether no further message will be put.
        connected_workers: how many workers have a connection.
    """

    def __init__(self, pool: Pool, work: Work, notify: Callable[[], None]) -> None:
        self.pool = pool
        self.queue: deque[Submission] = deque()
        self.outcomes: deque[Outcome] = deque()
        self.input_ended = False
        self.login_gate = LoginGate()
        self.connected_workers = 0
        self._work = work
        self._notify = notify
        self._held = 0  # messages that were put and whose outcome was not got yet
        # Two threads count octets, each in a number of its own; the difference is held.
        self._bytes_put = self._bytes_settled = 0
        self._window = 0  # messages that a connection sends at once; 0 before the first
        self._max_workers = pool.limits.max_connections  # lowered after a refusal
        self._workers: set[asyncio.Task[None]] = set()
        self._connect_time = 0.0  # seconds that the first connection took
        self._growth_timer: asyncio.TimerHandle | None = None
        self._idle_workers: list[asyncio.Future[None]] = []  # they wait for a message
        # A worker waits for this future while the caller fills the first window.
        self._first_window: asyncio.Future[None] | None = None
        self._stop: asyncio.Future[None] | None = None  # done when `stop` was called
        self._stopped = False
        self._changed = asyncio.Event()

    @property
    def has_room(self) -> bool:
        """Whether one more message may be put."""
        connections = self.pool.limits.max_connections
        return self._held < connections or (
            self._window > 1
            and self._held < 2 * self._window * connections
            and self._bytes_put - self._bytes_settled < _MAX_BYTES
        )

    @property
    def queue_is_short(self) -> bool:
        """Whether some connections may soon have no message to send."""
        connections = self.pool.limits.max_connections
        return self.input_ended or len(self.queue) <= self._window * connections

    def put(self, submission: Submission | Outcome) -> None:
        """Add a message, or the outcome of one that cannot be sent.

        If `needs_wake` is true after this, `wake` must be called in the event loop.
        """
        self._held += 1
        if isinstance(submission, Outcome):
            self.outcomes.append(submission)
            self._notify()
            return
        self._bytes_put += len(submission.envelope.content)
        self.queue.append(submission)

    def get(self) -> Outcome:
        """Remove and return the first outcome; there must be one."""
        self._held -= 1
        return self.outcomes.popleft()

    @property
    def needs_wake(self) -> bool:
        """Whether no worker runs, or a worker waits for a message."""
        waiting = bool(self._idle_workers) or self._first_window is not None
        return not self._workers or waiting

    @property
    def is_idle(self) -> bool:
        """Whether no message is queued or in flight."""
        return not self._workers and not self.queue

    async def run(self) -> None:
        """Send everything that is put, until `end_input` was called."""
        self.wake()
        try:
            while not (self.input_ended and self.is_idle):
                self._changed.clear()
                await self._changed.wait()
        except BaseException:
            self.cancel()
            await self.wait_finished()
            raise

    def wake(self) -> None:
        """Wake the workers that wait for a message, or start the first worker."""
        while self._idle_workers:
            _release(self._idle_workers.pop())
        first_window = self._first_window
        if first_window is not None and (self.input_ended or not self.has_room):
            _release(first_window)
        if self.queue and not self._workers:
            self._start_worker()

    def end_input(self) -> None:
        """Note that no further message will be put."""
        self.input_ended = True
        self._changed.set()
        self.wake()

    def stop(self) -> None:
        """Start no further message; those in flight are finished."""
        self._stopped = True
        while self.queue:
            self.not_sent(self.queue.popleft())
        if self._stop is not None:
            _release(self._stop)
        self.end_input()

    def cancel(self) -> None:
        """Start no further message, and cancel those in flight."""
        self.stop()
        for worker in self._workers:
            worker.cancel()

    async def wait_finished(self) -> None:
        """Wait until no message is in flight."""
        while self._workers:
            await asyncio.wait(self._workers)

    # the workers

    def _start_worker(self) -> None:
        if self._stop is None:
            self._stop = asyncio.get_running_loop().create_future()
        worker = asyncio.create_task(self._work(self, self._stop))
        self._workers.add(worker)
        worker.add_done_callback(self._worker_done)

    def _worker_done(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not self._workers and self._growth_timer is not None:
            self._growth_timer.cancel()
            self._growth_timer = None
        elif self._workers and self._growth_timer is None and self._connect_time:
            self._add_workers_in(self._connect_time)
        if self.queue and not self._workers:
            self._start_worker()
        self._changed.set()
        self._notify()

    def connection_opened(self, seconds: float) -> None:
        """Note that a connection was opened, and how many seconds it took."""
        if not self._connect_time:
            self._connect_time = max(seconds, _MIN_CONNECT_TIME)
        if self._growth_timer is None:
            self._add_workers_in(self._connect_time)

    def connection_refused(self, min_pause: float) -> None:
        """Note that a connection was refused while others are open.

        Args:
            min_pause: seconds for which no other connection is tried, at least.
        """
        self._max_workers = max(1, len(self._workers) - 1)
        self._add_workers_in(max(_REFUSED_BACKOFF * self._connect_time, min_pause))

    def _add_workers_in(self, seconds: float) -> None:
        if self._growth_timer is not None:
            self._growth_timer.cancel()
        loop = asyncio.get_running_loop()
        self._growth_timer = loop.call_later(seconds, self._add_workers)

    def _add_workers(self) -> None:
        """Start a worker for each window in the queue, as far as the limit allows."""
        if self.queue and not self.pool.throttle.slowed:
            free = self._max_workers - len(self._workers)
            windows = -(-len(self.queue) // max(1, self._window))
            for _ in range(min(free, windows)):
                self._start_worker()
        limit = self.pool.limits.max_connections
        self._max_workers = min(self._max_workers + 1, limit)
        self._growth_timer = None
        if len(self._workers) < limit:
            self._add_workers_in(self._connect_time)

    def set_window(self, window: int) -> bool:
        """Note how many messages a connection sends at once.

        Returns:
            Whether this is the first connection, and it sends more than one.
        """
        before, self._window = self._window, window
        if window != before:
            self._notify()
        return window > 1 and not before

    def requeue(self, submissions: list[Submission]) -> None:
        """Send these messages next; after `stop`, report them as not sent."""
        if self._stopped:
            for submission in submissions:
                self.not_sent(submission)
        else:
            self.queue.extendleft(reversed(submissions))

    async def wait_for_first_window(self) -> None:
        """Wait until the caller has filled the first window, or for a short time.

        Before the first connection is open, only one message for each connection is read
        from the caller. The messages that the caller gives in a part of the connect time
        are sent in one window instead of two.
        """
        self._first_window = asyncio.get_running_loop().create_future()
        try:
            if self.has_room and not self.input_ended:
                part = self._connect_time / _FIRST_WINDOW_PART
                await asyncio.wait([self._first_window], timeout=part)
        finally:
            self._first_window = None

    async def wait_for_message(self, seconds: float) -> bool:
        """Wait at most `seconds` for a message; return whether the queue has one."""
        if self.queue or self.pool.has_waiters or self.input_ended:
            return bool(self.queue)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._idle_workers.append(waiter)
        timer = loop.call_later(seconds, _release, waiter)
        try:
            # Another thread may have put a message before it could see this waiter.
            if not self.queue:
                await waiter
        finally:
            timer.cancel()
            if waiter in self._idle_workers:
                self._idle_workers.remove(waiter)
        return bool(self.queue)

    def fail_queue(self) -> None:
        """Report the refused login as the error of each queued message."""
        while self.queue and self.login_gate.refused is not None:
            submission = self.queue.popleft()
            delivery = Delivery(submission.envelope, submission.require_all)
            self.failed(submission, delivery, copy.copy(self.login_gate.refused))

    # outcomes

    def accepted(self, submission: Submission, receipt: Receipt) -> None:
        """Report that the server accepted a message."""
        self.pool.throttle.accepted()
        self._add_outcome(
            submission, conclude(self.pool.server, submission, receipt, self.pool.hooks)
        )

    def failed(
        self, submission: Submission, delivery: Delivery, error: BaseException
    ) -> None:
        """Report that a message was not accepted, or may have been."""
        pool = self.pool
        typed = conclude_failure(pool.server, submission, delivery, pool.hooks, error)
        if typed is error:
            # The caller never sees it raised; its traceback would keep the frames of the
            # worker alive.
            typed.__traceback__ = typed.__context__ = None
        pool.throttle.failed(typed)
        self._add_outcome(
            submission, Outcome(submission.index, submission.message, None, typed)
        )

    def not_sent(self, submission: Submission) -> None:
        """Report to the hook a message that was not started before `stop`.

        The caller has stopped iterating and gets no outcome.
        """
        self.cancelled(submission, Delivery(submission.envelope, submission.require_all))

    def cancelled(self, submission: Submission, delivery: Delivery) -> None:
        """Report to the hook a message whose send was cancelled."""
        if delivery.unknown is not None:
            conclude_cancelled(submission, delivery, self.pool.hooks)
            return
        error = log.stopped(partly_sent=bool(delivery.accepted))
        conclude_failure(self.pool.server, submission, delivery, self.pool.hooks, error)

    def _add_outcome(self, submission: Submission, outcome: Outcome) -> None:
        self._bytes_settled += len(submission.envelope.content)
        self.outcomes.append(outcome)
        self._notify()


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
