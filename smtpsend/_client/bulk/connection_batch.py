"""The messages that a worker sends over one connection of a batch.

They are sent in windows where the server and the messages allow it, else one after the
other, with the commands of the next message pipelined after the content.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from smtpsend._client import log
from smtpsend._client.bulk.queue import FIRST_WINDOW
from smtpsend._client.outcomes import receipt_of
from smtpsend._client.submission import Submission
from smtpsend._client.transactions import Transactions
from smtpsend._model.receipt import Receipt
from smtpsend._protocol.connection_state import State
from smtpsend._protocol.negotiation import negotiate
from smtpsend._protocol.ordering import Verb, cannot_be_commands
from smtpsend._protocol.pipeline import Pipeline
from smtpsend._protocol.transaction import Stage, Transaction
from smtpsend._wire import exchange
from smtpsend._wire.callers.code import passes
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.progress import Track
from smtpsend.errors import Phase, Rejected, SendError


if TYPE_CHECKING:
    from smtpsend._client.bulk.queue import Queue
    from smtpsend._client.race import Race
    from smtpsend._wire.connection import Session

# RFC 5321 section 4.5.3.1.8: a server accepts at least this many recipients.
_MAX_RECIPIENTS = 100
# Seconds for which a connection is held for the next message of the batch.
_MESSAGE_WAIT = 0.05
# Octets of content in one window. More would wait in the transport, and what waits there
# already counts as sent.
_LARGEST_WINDOW = 131072
# A window may have so many messages, however few are left for each connection.
_MIN_SHARE = 2
# Opening a connection takes so many round trips, with STARTTLS and a login.
_CONNECT_ROUND_TRIPS = 8


class ConnectionBatch:
    """The messages of one connection.

    Args:
        race: the race that opened the connection.

    Attributes:
        session: the connection.
        partly_accepted: transactions that the server accepted for some recipients, while
            it deferred the others as too many.
        lost: transactions that ended with the connection, and that the server cannot have
            accepted. The first one may be to blame for the end.
        unsent: transactions that are not to blame, and whose content was not sent.
    """

    def __init__(self, queue: Queue, session: Session, race: Race) -> None:
        self.session = session
        self.partly_accepted: list[Transaction] = []
        self.lost: list[Transaction] = []
        self.unsent: list[Transaction] = []
        self._pool = queue.pool
        self._queue = queue
        self._race = race
        self._first: Submission | None = None
        # Of the window that is being filled.
        self._count = self._size = self._limit = 0
        self._last_count, self._began = 0, 0.0  # of the window before it
        self._deadline = race.deadline
        announced = session.extensions.message_limit or sys.maxsize
        self._max_messages = min(self._pool.limits.max_messages, announced)
        self._max_recipients = min(
            _MAX_RECIPIENTS, session.extensions.recipient_limit or _MAX_RECIPIENTS
        )

    @property
    def window(self) -> int:
        """How many messages may be in flight over the connection."""
        if not self.session.pipelining:
            return 1
        # It is 1 after a connection that did not pipeline.
        known = self._queue.window if self._queue.window > 1 else FIRST_WINDOW
        return min(known, self._pool.limits.window)

    def can_send(self, submission: Submission) -> bool:
        """Whether one transaction can carry a message to all of its recipients."""
        transactions = submission.transactions
        if transactions is not None and transactions.begun:
            return False
        return len(submission.envelope.recipients) <= self._max_recipients

    async def run(self) -> None:
        """Send pending messages over the connection.

        This ends when no message follows in time, or when the connection cannot be used
        any more.
        """
        session, queue = self.session, self._queue
        # No attribute, because a cycle of references would keep the buffers of TLS.
        pipeline = session.pipeline(self._next, windows=True)
        queue.senders += 1
        try:
            await self._run(pipeline)
        except BaseException as error:  # P3: nothing untyped escapes
            session.channel.abort()
            session.state.state = State.CLOSED
            if not passes(error):
                for transaction in pipeline.unsettled:
                    self._settle_defect(transaction, error)
                return
            for transaction in (*pipeline.unsettled, *self.unsent, *self.lost):
                self._settle_cancelled(transaction)
            for transaction in self.partly_accepted:
                queue.cancelled(
                    transaction.submission, Transactions.after_batch(transaction)
                )
            raise
        finally:
            queue.senders -= 1

    async def _run(self, pipeline: Pipeline) -> None:
        session, queue = self.session, self._queue
        while True:
            if self._needs_probe():
                try:
                    await session.probe()
                except SendError:
                    session.state.state = State.CLOSED
            if not session.state.closed:
                await exchange.run(session, pipeline, self._settle)
            if session.state.closed:
                session.channel.abort()
                return
            if self._at_limit or not session.channel.usable:
                return
            more = self._needs_probe() or await queue.wait_for_message(_MESSAGE_WAIT)
            if not more or not self._may_go_on() or not self.can_send(queue.pending[0]):
                return

    @property
    def _at_limit(self) -> bool:
        return self.session.state.transactions >= self._max_messages

    def _may_go_on(self) -> bool:
        """Whether the next message may be sent over this connection now.

        If the throttle demands a wait, or a call waits for a connection, the batch gives
        it back.
        """
        pool = self._pool
        return not self._at_limit and not pool.has_waiters and pool.throttle.ready

    def _needs_probe(self) -> bool:
        """Whether a window is pending, and the server may have closed the connection."""
        pending = self._queue.pending
        return (
            len(pending) > 1
            and self.session.state.state is State.READY
            and self._may_join_window(pending[0])
            and self.can_send(pending[0])
            and (self._first is None or self._may_go_on())
        )

    def _may_join_window(self, submission: Submission) -> bool:
        """Whether a message may be part of a window, once the server has been probed."""
        return self.session.accepts_windows and self._fits_window(submission)

    def _fits_window(self, submission: Submission) -> bool:
        """Whether the content may be sent before the recipients are accepted."""
        if submission.require_all and len(submission.envelope.recipients) > 1:
            return False
        if submission.envelope.eight_bit and "8BITMIME" not in self.session.extensions:
            # The content will be encoded anew, and its new lines have not been checked.
            return False
        if submission.not_commands is None:
            submission.not_commands = cannot_be_commands(submission.envelope.content)
        return submission.not_commands

    def _next(self, after: Verb | None) -> Transaction | None:
        """Return the next transaction, to be sent after a command; see `Pipeline`."""
        pending = self._queue.pending
        while pending and self._may_follow(pending[0], after):
            submission = pending.popleft()
            self._pool.throttle.started(1)
            transaction = self._transaction(submission, after)
            if transaction is not None:
                return transaction
        return None

    def _may_follow(self, submission: Submission, after: Verb | None) -> bool:
        if not self.can_send(submission):
            return False
        if after is Verb.BDAT:
            size = self._size + len(submission.envelope.content)
            return (
                self._count < self._limit
                and size <= _LARGEST_WINDOW
                and self._fits_window(submission)
            )
        if self._first is not None and not self._may_go_on():
            return False
        if after is Verb.CONTENT:
            # A window follows the reply to this content, once the server was probed.
            return not self._may_join_window(submission)
        return not (self._first is not None and self._needs_probe())

    def _window_limit(self) -> int:
        """How many messages the window may have."""
        now = asyncio.get_running_loop().time()
        seconds, self._began = now - self._began, now
        most, share = self.window, self._queue.share
        if share < most:
            most = min(most, max(share, self._count_in_round_trip(seconds)))
        left = self._max_messages - self.session.state.transactions
        return min(self._pool.throttle.allowed(most), left)

    def _count_in_round_trip(self, seconds: float) -> int:
        """Return how many messages the connection sends in the time of a round trip.

        A window that leaves some of them to another connection gains nothing, because
        each window takes at least a round trip.

        Args:
            seconds: how long the last window took.
        """
        round_trip = self._pool.connect_time / _CONNECT_ROUND_TRIPS
        count = self._last_count * round_trip / seconds if seconds else 0
        return max(_MIN_SHARE, int(count))

    def _transaction(
        self, submission: Submission, after: Verb | None
    ) -> Transaction | None:
        """Build the transaction of a message.

        Returns:
            None if the server lacks an extension that the message needs; this error has
            been reported.
        """
        envelope, session = submission.envelope, self.session
        if after is Verb.BDAT:
            by_bdat = True
            self._count += 1
            self._size += len(envelope.content)
        else:
            confirmed = session.state.state is State.CONFIRMED
            by_bdat = after is None and confirmed and self._may_join_window(submission)
            # A window that went badly has set the count to 0.
            if self._count >= self.window > 1:
                self._queue.widen_window()
            self._last_count = self._count
            self._count, self._size = 1, len(envelope.content)
            self._limit = self._window_limit()
            if self._first is not None:
                self._deadline = Deadline(submission.timeout, submission.elapsed)
        if self._first is None:
            self._first = submission
        deadline = self._deadline
        try:
            secure = session.tls is not None
            message = negotiate(envelope, session.extensions, secure=secure)
        except SendError as error:
            self._add_attempt(submission, error, deadline)
            self._queue.failed(submission, Transactions.of(submission), error)
            return None
        return Transaction(
            mail=message.mail,
            recipients=envelope.recipients,
            content=message.content,
            require_all=submission.require_all and len(envelope.recipients) > 1,
            by_bdat=by_bdat,
            delivery=envelope.delivery,
            end_note=submission.end_note,
            deadline=deadline,
            submission=submission,
        )

    def _settle(self, transaction: Transaction) -> None:
        """Report the outcome of a transaction, or keep it for another connection."""
        submission, error = transaction.submission, transaction.error
        final = error is None or (isinstance(error, Rejected) and not error.temporary)
        if not final or transaction.deferred:
            # Its window does not count as one that went well.
            self._count = 0
            self._queue.narrow_window()
        if transaction.unsent:
            self.unsent.append(transaction)
        elif transaction.lost:
            self.lost.append(transaction)
        elif error is not None:
            self._add_attempt(submission, error, transaction.deadline)
            self._queue.failed(submission, Transactions.after_batch(transaction), error)
        elif transaction.deferred:
            self.partly_accepted.append(transaction)
        else:
            self._queue.accepted(submission, self._receipt(transaction))

    def _add_attempt(
        self, submission: Submission, error: SendError, deadline: Deadline
    ) -> None:
        """Add this attempt to `error`, and report it to the hook."""
        session, is_first = self.session, submission is self._first
        started = session.track.started if is_first else submission.elapsed
        track = Track(
            session.method,
            started,
            address=session.track.address,
            server=self._pool.server.host,
        )
        attempt = track.attempt(error, deadline.elapsed)
        before = self._race.attempts if is_first else ()
        error.attempts = (*before, attempt)
        self._pool.hooks.attempt(attempt)

    def _receipt(self, transaction: Transaction) -> Receipt:
        session, submission = self.session, transaction.submission
        is_first = submission is self._first
        return receipt_of(
            session,
            submission.envelope.message_id,
            transaction,
            attempts=tuple(self._race.attempts) if is_first else (),
            started=session.track.started if is_first else submission.elapsed,
            elapsed=transaction.deadline.elapsed,
        )

    def _settle_defect(self, transaction: Transaction, error: BaseException) -> None:
        """Report the result of a transaction that a defect interrupted."""
        if transaction.reply is None:
            ended = transaction.stage >= Stage.ENDED
            transaction.error = log.unexpected(
                error, Phase.FINAL if ended else Phase.MAIL
            )
        submission = transaction.submission
        if transaction.error is not None:
            self._add_attempt(submission, transaction.error, transaction.deadline)
            transactions = Transactions.after_batch(transaction)
            self._queue.failed(submission, transactions, transaction.error)
        else:
            self._settle(transaction)

    def _settle_cancelled(self, transaction: Transaction) -> None:
        """Report the result of a transaction that was cancelled."""
        if transaction.stage < Stage.ENDED or transaction in (*self.unsent, *self.lost):
            self._queue.not_sent(transaction.submission)
        elif transaction.reply is None:
            transactions = Transactions.after_batch(transaction)
            transactions.unknown = log.log_unknown(
                transaction.submission.envelope.message_id
            )
            self._queue.cancelled(transaction.submission, transactions)
        else:
            self._settle(transaction)
