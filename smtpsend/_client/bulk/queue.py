"""The messages of a `send_many`: submissions in, outcomes out, each once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from smtpsend._client import log
from smtpsend._client.outcomes import conclude, conclude_cancelled, conclude_failure
from smtpsend._client.submission import Submission
from smtpsend._client.transactions import Transactions
from smtpsend._model.receipt import Outcome, Receipt


if TYPE_CHECKING:
    from smtpsend._client.pool import Limits, Pool

FIRST_WINDOW = 16
"""How many messages a connection sends at once before a window went well."""

# Octets of content that may be held, beyond one message for each connection.
_MAX_BYTES = 1 << 23


def may_read(limits: Limits, window: int, ahead: int, held: int, octets: int) -> bool:
    """Whether one more message may be read from the caller.

    Args:
        window: how many messages a connection sends at once; 0 before the first one.
        ahead: see `Queue`.
        held: how many messages were read and have not got their outcome to the caller.
        octets: the size of the content of those that have no outcome.
    """
    most = 1 + ahead  # for each connection
    if window > 1:
        # The next window may be twice as large as this one.
        most = 2 * min(2 * window, limits.window)
    return held < limits.max_connections or (
        held < most * limits.max_connections and octets < _MAX_BYTES
    )


class Queue:
    """The messages that `send_many` holds: not begun, in flight, or with an outcome.

    A queue belongs to one event loop. Another thread may use `put`, `get`, `has_room`,
    `is_short` and `outcomes`.

    Args:
        notify: called after a change that the caller may wait for: a new outcome, or room
            for a message.

    Attributes:
        pending: the messages that no connection has begun.
        outcomes: the outcomes that the caller has not got yet.
        input_ended: whether no further message will be put.
        stopped: whether no further message is begun.
        window: how many messages a connection sends at once; 0 before the first one.
        expected: how many more messages the caller's iterable has, as far as it tells.
        ahead: how many messages are read for each connection beyond the one that it
            sends, where it sends one at a time.
        senders: how many connections send messages now.
    """

    def __init__(self, pool: Pool, notify: Callable[[], None]) -> None:
        self.pool = pool
        self.pending: deque[Submission] = deque()
        self.outcomes: deque[Outcome] = deque()
        self.input_ended = False
        self.stopped = False
        self.notify = notify
        self.senders = 0
        self.window = 0
        self.expected = self.ahead = 0
        self._held = 0  # messages that were put and whose outcome was not got yet
        # Two threads count octets, each in a number of its own; the difference is held.
        self._bytes_put = self._bytes_settled = 0
        self._waiters: list[asyncio.Future[None]] = []  # of idle connections

    # The caller's side.

    @property
    def has_room(self) -> bool:
        """Whether one more message may be put."""
        octets = self._bytes_put - self._bytes_settled
        limits = self.pool.limits
        return may_read(limits, self.window, self.ahead, self._held, octets)

    def widen_window(self) -> None:
        """Let each connection send twice as many messages at once, as far as it may.

        Each window costs a round trip, and leaves its messages in doubt if the connection
        is lost. So a batch begins with a smaller one than the caller allows.
        """
        limit = self.pool.limits.window
        if self.window < limit:
            self.window = min(2 * self.window, limit)
            self.notify()

    def narrow_window(self) -> None:
        """Begin anew with the first window."""
        self.window = min(self.window, FIRST_WINDOW)

    @property
    def is_short(self) -> bool:
        """Whether some connections may soon have no message to send."""
        connections = self.pool.limits.max_connections
        return self.input_ended or len(self.pending) <= self.window * connections

    def put(self, submission: Submission | Outcome) -> None:
        """Add a message, or the outcome of one that cannot be sent."""
        self._held += 1
        self.expected = max(0, self.expected - 1)
        if isinstance(submission, Outcome):
            self.outcomes.append(submission)
            self.notify()
            return
        self._bytes_put += len(submission.envelope.content)
        self.pending.append(submission)

    def get(self) -> Outcome:
        """Remove and return the first outcome; there must be one."""
        self._held -= 1
        return self.outcomes.popleft()

    # The side of the connections.

    @property
    def share(self) -> int:
        """How many messages each sending connection has, if they are divided evenly.

        The message that a connection begins now is one of them, beside those pending.
        """
        return -(-(len(self.pending) + 1) // max(1, self.senders))

    @property
    def has_waiters(self) -> bool:
        """Whether a connection waits for a message."""
        return bool(self._waiters)

    def wake(self) -> None:
        """Wake the connections that wait for a message."""
        while self._waiters:
            _release(self._waiters.pop())

    async def wait_for_message(self, seconds: float) -> bool:
        """Wait at most `seconds` for a message; return whether there is one."""
        if self.pending or self.pool.has_waiters or self.input_ended:
            return bool(self.pending)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(seconds, _release, waiter)
        try:
            # Another thread may have put a message before it could see this waiter.
            if not self.pending:
                await waiter
        finally:
            timer.cancel()
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return bool(self.pending)

    def requeue(self, submissions: list[Submission]) -> None:
        """Send these messages next; after `stop`, report them as not sent."""
        if self.stopped:
            for submission in submissions:
                self.not_sent(submission)
        else:
            self.pending.extendleft(reversed(submissions))

    def stop(self) -> None:
        """Begin no further message."""
        self.stopped = self.input_ended = True
        while self.pending:
            self.not_sent(self.pending.popleft())

    # Outcomes.

    def accepted(self, submission: Submission, receipt: Receipt) -> None:
        """Report that the server accepted a message."""
        self.pool.throttle.accepted()
        self._add_outcome(
            submission, conclude(self.pool.server, submission, receipt, self.pool.hooks)
        )

    def failed(
        self, submission: Submission, transactions: Transactions, error: BaseException
    ) -> None:
        """Report that a message was not accepted, or may have been."""
        pool = self.pool
        typed = conclude_failure(pool.server, submission, transactions, pool.hooks, error)
        if typed is error:
            # The caller never sees it raised; its traceback would keep the frames of the
            # worker alive.
            typed.__traceback__ = typed.__context__ = None
        pool.throttle.failed(typed)
        self._add_outcome(
            submission, Outcome(submission.index, submission.message, None, typed)
        )

    def not_sent(self, submission: Submission) -> None:
        """Report to the hook a message that was not begun before `stop`.

        The caller has stopped iterating and gets no outcome.
        """
        self.cancelled(submission, Transactions.of(submission))

    def cancelled(self, submission: Submission, transactions: Transactions) -> None:
        """Report to the hook a message whose send was cancelled."""
        if transactions.unknown is not None:
            conclude_cancelled(submission, transactions, self.pool.hooks)
            return
        error = log.stopped(partly_sent=bool(transactions.accepted))
        conclude_failure(
            self.pool.server, submission, transactions, self.pool.hooks, error
        )

    def _add_outcome(self, submission: Submission, outcome: Outcome) -> None:
        self._bytes_settled += len(submission.envelope.content)
        self.outcomes.append(outcome)
        self.notify()


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
