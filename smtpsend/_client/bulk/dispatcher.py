"""How many connections a `send_many` has, and when it opens another.

A message belongs to a connection only once that connection is logged in. One connection
is opened first. As soon as the server has accepted it, one more is opened beside it for
each further window that is to be sent; they log in when the server accepted the first
login. Later, further connections are opened when messages have been pending for as long
as the first one took to open. Whatever a further connection meets costs nothing but that
connection: another is tried later, after a pause that doubles with each failure. Only
when no connection is left, and none can be opened, does a message carry the error.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from smtpsend._client.bulk.first_login import FirstLogin
from smtpsend._client.bulk.queue import FIRST_WINDOW
from smtpsend._client.transactions import Transactions
from smtpsend.errors import AuthError, SendError


if TYPE_CHECKING:
    from smtpsend._client.bulk.queue import Queue

# Seconds after which a further connection is opened, at least.
_MIN_CONNECT_TIME = 0.005
# The caller has this part of the connect time (1/8) to fill the first window.
_FIRST_WINDOW_PART = 8
# Pauses after a further connection failed: the first, in connect times and in seconds at
# least, and the longest, in seconds.
_PAUSE, _MIN_PAUSE, _MAX_PAUSE = 20, 0.1, 60.0


class Worker(Protocol):
    """Sends pending messages over one connection at a time.

    Attributes:
        connected: whether it has a connection, or is between two that worked.
    """

    connected: bool

    async def run(self) -> None:
        """Send messages until none is pending."""


Work = Callable[["Dispatcher", asyncio.Future[None]], Worker]


class Dispatcher:
    """Opens and ends the connections that send the messages of a `Queue`.

    A dispatcher belongs to one event loop. Another thread may use `needs_wake`.

    Args:
        queue: the messages. Its `notify` is called at the end of a worker, too.
        work: builds a worker, which sends the messages of the queue over one connection
            at a time until none is pending, or its future is done.

    Attributes:
        first_login: lets one connection log in before the others.
        login_refused: the permanent `AuthError` after which no login is tried, or None.
    """

    def __init__(self, queue: Queue, work: Work) -> None:
        self.pool, self.queue = queue.pool, queue
        self.first_login = FirstLogin()
        self.login_refused: AuthError | None = None
        self._work = work
        self._workers: dict[asyncio.Task[None], Worker] = {}
        self._connect_time = 0.0  # seconds; 0 before the first connection
        # Messages that are put now decide how many connections the batch begins with.
        self._adds_at_once = False
        self._growth_timer: asyncio.TimerHandle | None = None
        self._last_pending = -1  # the last message that was pending when it was set
        self._failures = 0  # of further connections, one after the other
        # A worker waits for this future while the caller fills the first window.
        self._first_window: asyncio.Future[None] | None = None
        self._stop: asyncio.Future[None] | None = None  # done when `stop` was called
        self._changed = asyncio.Event()

    @property
    def needs_wake(self) -> bool:
        """Whether `wake` must be called after a message was put."""
        waiting = self.queue.has_waiters or self._first_window is not None
        return not self._workers or waiting or self._adds_at_once

    @property
    def is_idle(self) -> bool:
        """Whether no message is pending or in flight."""
        return not self._workers and not self.queue.pending

    async def run(self) -> None:
        """Send everything that is put, until `end_input` was called."""
        self.wake()
        try:
            while not (self.queue.input_ended and self.is_idle):
                self._changed.clear()
                await self._changed.wait()
        except BaseException:
            self.cancel()
            await self.wait_finished()
            raise

    def wake(self) -> None:
        """Wake the workers that wait for a message, or start the first worker."""
        queue = self.queue
        queue.wake()
        if self._first_window is not None and self._has_first_window:
            _release(self._first_window)
        if queue.pending and not self._workers:
            self._start_worker()
        if self._adds_at_once:
            self._add_for_windows()

    def end_input(self) -> None:
        """Note that no further message will be put."""
        self.queue.input_ended, self.queue.expected = True, 0
        self._changed.set()
        self.wake()
        self.end_openings()

    def stop(self) -> None:
        """Begin no further message; those in flight are finished."""
        self.queue.stop()
        if self._stop is not None:
            _release(self._stop)
        self.end_input()

    def cancel(self) -> None:
        """Begin no further message, and cancel those in flight."""
        self.stop()
        for task in self._workers:
            task.cancel()

    async def wait_finished(self) -> None:
        """Wait until no message is in flight."""
        while self._workers:
            await asyncio.wait(self._workers)

    def end_openings(self) -> None:
        """Cancel the connections that are being opened, if nothing is left for them."""
        queue = self.queue
        if queue.pending or not queue.input_ended:
            return
        for task, worker in self._workers.items():
            if not worker.connected:
                task.cancel()

    # The number of connections.

    def _start_worker(self) -> None:
        if self._stop is None:
            self._stop = asyncio.get_running_loop().create_future()
        worker = self._work(self, self._stop)
        task = asyncio.create_task(worker.run())
        self._workers[task] = worker
        task.add_done_callback(self._worker_done)

    def _worker_done(self, task: asyncio.Task[None]) -> None:
        self._workers.pop(task)
        self.end_openings()
        if not self._workers:
            self._end_growth()
            self._adds_at_once = False
            if self.queue.pending:
                self._start_worker()
        elif self._growth_timer is None and self._connect_time:
            self._add_workers_in(self._connect_time)
        self._changed.set()
        self.queue.notify()

    def others_connected(self, worker: Worker) -> bool:
        """Whether another worker has a connection, and so can send what is pending."""
        return any(x.connected for x in self._workers.values() if x is not worker)

    def others_opening(self, worker: Worker) -> bool:
        """Whether another worker is opening a connection."""
        return any(not x.connected for x in self._workers.values() if x is not worker)

    def connection_begun(self) -> None:
        """Open further connections, because the server has accepted the first one."""
        if not self._connect_time:
            self._adds_at_once = True
            self._add_for_windows()

    def connection_opened(self, seconds: float) -> None:
        """Note that a connection is ready, and how many seconds it took to open."""
        self.first_login.accepted = True
        if not self._connect_time:
            self._connect_time = max(seconds, _MIN_CONNECT_TIME)
            self._adds_at_once = True
            self._add_for_windows()
        if self._growth_timer is None:
            pause = self._pause if self._failures else self._connect_time
            self._add_workers_in(pause)

    def connection_worked(self) -> None:
        """Note that the server replied to the end of a message on a connection."""
        self._failures = 0

    def connection_failed(self) -> None:
        """Note that a further connection failed before the server accepted a message."""
        self._failures = min(self._failures + 1, 20)
        if self._connect_time:
            self._add_workers_in(self._pause)

    @property
    def _pause(self) -> float:
        """Seconds until a further connection is tried after the last ones failed."""
        first = max(_MIN_PAUSE, _PAUSE * self._connect_time)
        return float(min(first * 2 ** (self._failures - 1), _MAX_PAUSE))

    def _add_workers_in(self, seconds: float) -> None:
        self._end_growth()
        pending = self.queue.pending
        self._last_pending = pending[-1].index if pending else -1
        loop = asyncio.get_running_loop()
        self._growth_timer = loop.call_later(seconds, self._add_workers)

    def _end_growth(self) -> None:
        if self._growth_timer is not None:
            self._growth_timer.cancel()
            self._growth_timer = None

    def _add_workers(self) -> None:
        """Start a worker for each window that is pending, and try again later."""
        self._growth_timer, self._adds_at_once = None, False
        if self._failures or not self._keeps_up:
            pending, window = len(self.queue.pending), self.queue.window
            opening = sum(not x.connected for x in self._workers.values())
            self._start_workers(-(-pending // max(1, window)) - opening)
        if len(self._workers) < self.pool.limits.max_connections:
            self._add_workers_in(self._connect_time)

    @property
    def _keeps_up(self) -> bool:
        """Whether the connections send messages as fast as the caller gives them.

        Then only a few are pending, which the caller gave since the timer was set.
        """
        queue = self.queue
        if not queue.has_room or len(queue.pending) > queue.window:
            return False
        return not queue.pending or queue.pending[0].index > self._last_pending

    def _add_for_windows(self) -> None:
        """Start workers until there is one for each first window that is to be sent.

        Before a connection is open, only a few messages for each are read. So the
        messages are counted that the caller's iterable is known to have.
        """
        if not self._failures:
            count = len(self.queue.pending) + self.queue.expected
            windows = -(-count // FIRST_WINDOW)
            self._start_workers(windows - len(self._workers))

    def _start_workers(self, count: int) -> None:
        """Start so many workers, as far as the limits allow."""
        queue, pool = self.queue, self.pool
        if queue.stopped or pool.throttle.slowed:
            return
        free = min(pool.limits.max_connections - len(self._workers), pool.free_slots)
        # After a failure, one connection finds out whether more are accepted.
        free = min(free, 1) if self._failures else free
        for _ in range(min(free, count)):
            self._start_worker()

    # What the first connection shows.

    def set_window(self, window: int) -> bool:
        """Note how many messages a connection sends at once.

        Returns:
            Whether this is the first connection, and it sends more than one.
        """
        queue = self.queue
        before, queue.window = queue.window, window
        if window != before:
            queue.notify()
        return window > 1 and not before

    async def wait_for_first_window(self) -> None:
        """Wait until the caller has filled the first window, or for a short time.

        The messages that the caller gives in a part of the connect time are sent in one
        window instead of two.
        """
        if self._has_first_window:
            return
        self._first_window = asyncio.get_running_loop().create_future()
        try:
            part = self._connect_time / _FIRST_WINDOW_PART
            await asyncio.wait([self._first_window], timeout=part)
        finally:
            self._first_window = None

    @property
    def _has_first_window(self) -> bool:
        """Whether the first window is full, or the caller cannot add to it."""
        queue = self.queue
        full = len(queue.pending) >= queue.window
        return full or queue.input_ended or not queue.has_room

    def no_connection(self, error: SendError, worker: Worker) -> None:
        """Report the error of a connection of `worker`, because there is no other.

        The next pending message gets it, or each one if the login was refused for good.
        In that case, connections that are being opened do not try it again.
        """
        if isinstance(error, AuthError) and not error.temporary:
            # The error of the next message also gets the attempts at other servers.
            self.login_refused = copy.copy(error)
            for task, other in self._workers.items():
                if other is not worker:
                    task.cancel()
        queue = self.queue
        if queue.pending:
            submission = queue.pending.popleft()
            queue.failed(submission, Transactions.of(submission), error)
        self.fail_pending()

    def fail_pending(self) -> None:
        """Report the refused login as the error of each pending message."""
        queue = self.queue
        while queue.pending and self.login_refused is not None:
            submission = queue.pending.popleft()
            error = copy.copy(self.login_refused)
            queue.failed(submission, Transactions.of(submission), error)


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
