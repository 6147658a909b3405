"""Many messages over the connections of a client: what is taken, sent, and given back.

The first connection is opened alone: it shows what the server can do, and whether the
login is right. Others follow when there has been more to send for as long as it took to
open it; where the server refuses one, the others do its work.
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

# Bytes of messages that are held, beyond one message for each connection.
_MOST_BYTES = 1 << 23
# Seconds after which another connection is opened, at least.
_LEAST_SETUP = 0.005
# What part of it the caller has to give more than one message for each connection.
_PART = 8
# How many times as long it takes until one is tried again that the server refused.
_REFUSED_BACKOFF = 20


Work = Callable[["Dispatcher", asyncio.Future[None]], Coroutine[Any, Any, None]]


class Dispatcher:
    """What `send_many` has taken and not yet given back; belongs to one event loop.

    What stands before `run` may be used in another thread.

    Args:
        work: sends the messages of the inbox until it is empty, or a future is done.
        ring: called when there is something new: an outcome, room, the end.
    """

    def __init__(self, pool: Pool, work: Work, ring: Callable[[], None]) -> None:
        self.pool = pool
        self.inbox: deque[Submission] = deque()
        self.outcomes: deque[Outcome] = deque()
        self.ended = False  # nothing more will be put
        self.gate = LoginGate()
        self.connected = 0  # workers that have a connection
        self._work = work
        self._ring = ring
        self._held = 0  # taken, and not given back as an outcome
        # Two numbers, since two threads count: what is in memory is the difference.
        self._bytes_in = self._bytes_out = 0
        self._unit = 0  # what a connection takes at once; 0 before there is one
        self._width = pool.limits.max_connections
        self._workers: set[asyncio.Task[None]] = set()
        self._setup = 0.0  # seconds that the first connection took
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: list[asyncio.Future[None]] = []  # workers, for messages
        # Done when the caller has given as much as there is room for.
        self._first_window: asyncio.Future[None] | None = None
        self._stop: asyncio.Future[None] | None = None
        self._left = False  # early
        self._change = asyncio.Event()

    @property
    def room(self) -> bool:
        """Whether one more message may be taken."""
        width = self.pool.limits.max_connections
        return self._held < width or (
            self._unit > 1
            and self._held < 2 * self._unit * width
            and self._bytes_in - self._bytes_out < _MOST_BYTES
        )

    @property
    def nearly_empty(self) -> bool:
        """Whether what is left does not keep all connections at work for long."""
        width = self.pool.limits.max_connections
        return self.ended or len(self.inbox) <= self._unit * width

    def put(self, submission: Submission | Outcome) -> None:
        """Accept a message, or an outcome that is known already.

        If a worker waited for messages (`has_idle_worker`), `wake` must follow, in the
        event loop.
        """
        self._held += 1
        if isinstance(submission, Outcome):
            self.outcomes.append(submission)
            self._ring()
            return
        self._bytes_in += len(submission.envelope.content)
        self.inbox.append(submission)

    def get(self) -> Outcome:
        """Give an outcome back; there has to be one."""
        self._held -= 1
        return self.outcomes.popleft()

    @property
    def has_idle_worker(self) -> bool:
        """Whether somebody waits for messages."""
        return not self._workers or bool(self._waiting) or self._first_window is not None

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._workers and not self.inbox

    async def run(self) -> None:
        """See to all that is put, until nothing more will be."""
        self.wake()
        try:
            while not (self.ended and self.idle):
                self._change.clear()
                await self._change.wait()
        except BaseException:
            self.cancel()
            await self.finished()
            raise

    def wake(self) -> None:
        """See to what was put."""
        while self._waiting:
            _release(self._waiting.pop())
        first_window = self._first_window
        if first_window is not None and (self.ended or not self.room):
            _release(first_window)
        if self.inbox and not self._workers:
            self._start()

    def end(self) -> None:
        """Nothing more will be put."""
        self.ended = True
        self._change.set()
        self.wake()

    def leave(self) -> None:
        """Begin nothing more; what is on its way goes on."""
        self._left = True
        while self.inbox:
            self.not_sent(self.inbox.popleft())
        if self._stop is not None:
            _release(self._stop)
        self.end()

    def cancel(self) -> None:
        """End what is on its way."""
        self.leave()
        for worker in self._workers:
            worker.cancel()

    async def finished(self) -> None:
        """Wait until nothing is on its way."""
        while self._workers:
            await asyncio.wait(self._workers)

    # the workers

    def _start(self) -> None:
        if self._stop is None:
            self._stop = asyncio.get_running_loop().create_future()
        worker = asyncio.create_task(self._work(self, self._stop))
        self._workers.add(worker)
        worker.add_done_callback(self._ended)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not self._workers and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif self._workers and self._timer is None and self._setup:
            self._grow_in(self._setup)
        if self.inbox and not self._workers:
            self._start()
        self._change.set()
        self._ring()

    def opened(self, seconds: float) -> None:
        """A connection was opened, in so many seconds."""
        if not self._setup:
            self._setup = max(seconds, _LEAST_SETUP)
        if self._timer is None:
            self._grow_in(self._setup)

    def refused_one(self, patience: float) -> None:
        """A connection was refused while others go on: try none for a while."""
        self._width = max(1, len(self._workers) - 1)
        self._grow_in(max(_REFUSED_BACKOFF * self._setup, patience))

    def _grow_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._grow)

    def _grow(self) -> None:
        """Open further connections, if there is more to send than those there are can."""
        if self.inbox and not self.pool.throttle.slowed:
            free = self._width - len(self._workers)
            for _ in range(min(free, -(-len(self.inbox) // max(1, self._unit)))):
                self._start()
        most = self.pool.limits.max_connections
        self._width = min(self._width + 1, most)
        self._timer = None
        if len(self._workers) < most:
            self._grow_in(self._setup)

    def set_unit(self, unit: int) -> bool:
        """Note what a connection takes at once; whether it is the first that does."""
        before, self._unit = self._unit, unit
        if unit != before:
            self._ring()
        return unit > 1 and not before

    def put_back(self, submissions: list[Submission]) -> None:
        """Send these next; unless the caller left early: they are not begun again."""
        if self._left:
            for submission in submissions:
                self.not_sent(submission)
        else:
            self.inbox.extendleft(reversed(submissions))

    async def wait_for_many(self) -> None:
        """Let the caller give as much as a first connection takes at once.

        So far no more was taken than without it; what is to be had in a part of the time
        that it took to connect goes out in one window, not in two.
        """
        self._first_window = asyncio.get_running_loop().create_future()
        try:
            if self.room and not self.ended:
                await asyncio.wait([self._first_window], timeout=self._setup / _PART)
        finally:
            self._first_window = None

    async def wait_for_more(self, seconds: float) -> bool:
        """Wait until a message is there; whether one is."""
        if self.inbox or self.pool.has_waiters or self.ended:
            return bool(self.inbox)
        loop = asyncio.get_running_loop()
        more: asyncio.Future[None] = loop.create_future()
        self._waiting.append(more)
        timer = loop.call_later(seconds, _release, more)
        try:
            # What was put before this one could be seen to wait.
            if not self.inbox:
                await more
        finally:
            timer.cancel()
            if more in self._waiting:
                self._waiting.remove(more)
        return bool(self.inbox)

    def refuse_all(self) -> None:
        """Account for each message that nobody tries to send any more."""
        while self.inbox and self.gate.refused is not None:
            submission = self.inbox.popleft()
            delivery = Delivery(submission.envelope, submission.require_all)
            self.failed(submission, delivery, copy.copy(self.gate.refused))

    # outcomes

    def taken(self, submission: Submission, receipt: Receipt) -> None:
        """The server took a message."""
        self.pool.throttle.taken()
        self._tell(
            submission, conclude(self.pool.server, submission, receipt, self.pool.hooks)
        )

    def failed(
        self, submission: Submission, delivery: Delivery, error: Exception
    ) -> None:
        """A message was not taken, or may have been."""
        pool = self.pool
        typed = conclude_failure(pool.server, submission, delivery, pool.hooks, error)
        if typed is error:
            # It was raised for ourselves only, and would keep what was at work then.
            typed.__traceback__ = typed.__context__ = None
        pool.throttle.failed(typed)
        self._tell(submission, Outcome(submission.index, submission.message, None, typed))

    def not_sent(self, submission: Submission) -> None:
        """The caller left: nobody asks for the outcome, but the hook is told."""
        self.cancelled(submission, Delivery(submission.envelope, submission.require_all))

    def cancelled(self, submission: Submission, delivery: Delivery) -> None:
        """The same of a message that was on its way, perhaps."""
        if delivery.unknown is not None:
            conclude_cancelled(submission, delivery, self.pool.hooks)
            return
        error = log.left(to_some=bool(delivery.accepted))
        conclude_failure(self.pool.server, submission, delivery, self.pool.hooks, error)

    def _tell(self, submission: Submission, outcome: Outcome) -> None:
        self._bytes_out += len(submission.envelope.content)
        self.outcomes.append(outcome)
        self._ring()


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
