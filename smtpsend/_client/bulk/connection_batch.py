"""Messages over one connection of a batch: in windows where possible, else in chains."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from smtpsend._client import log
from smtpsend._client.delivery import Delivery
from smtpsend._client.outcomes import receipt_of
from smtpsend._client.submission import Submission
from smtpsend._model.receipt import Receipt
from smtpsend._protocol.negotiation import negotiate
from smtpsend._protocol.ordering import cannot_be_commands
from smtpsend._wire.callers_code import passes
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.progress import Track
from smtpsend._wire.transactions.chain import Chain
from smtpsend._wire.transactions.transaction import BatchTransaction, Unsent
from smtpsend._wire.transactions.window import LARGEST_WINDOW, Window
from smtpsend.errors import Phase, SendError


if TYPE_CHECKING:
    from smtpsend._client.bulk.dispatcher import Dispatcher
    from smtpsend._client.race import Race
    from smtpsend._wire.connection import Session

# RFC 5321 section 4.5.3.1.8: a server accepts at least this many recipients.
_MAX_RECIPIENTS = 100
# Seconds for which a connection is held for the next message of the batch.
_MESSAGE_WAIT = 0.05


class ConnectionBatch:
    """The messages that one worker sends over one connection.

    Args:
        race: the race of the first message.

    Attributes:
        partly_accepted: transactions that the server accepted for some recipients, while
            it deferred the others as too many.
    """

    def __init__(self, dispatcher: Dispatcher, session: Session, race: Race) -> None:
        self.partly_accepted: list[BatchTransaction] = []
        self._dispatcher = dispatcher
        self._session = session
        self._race = race
        self._first: Submission | None = None
        self._unsettled: list[BatchTransaction] = []
        pool = dispatcher.pool
        announced = session.extensions.message_limit or sys.maxsize
        self._max_messages = min(pool.limits.max_messages, announced)
        self._max_recipients = min(
            _MAX_RECIPIENTS, session.extensions.recipient_limit or _MAX_RECIPIENTS
        )

    @property
    def window(self) -> int:
        """How many messages may be in flight over the connection."""
        return self._dispatcher.pool.limits.window if self._session.pipelining else 1

    def can_send(self, submission: Submission) -> bool:
        """Whether one transaction of a window or a chain can carry a message."""
        count = len(submission.envelope.recipients)
        if submission.require_all and count > 1 and self._session.pipelining:
            return False
        return count <= self._max_recipients

    async def run(self, first: Submission) -> Unsent:
        """Send `first` and further messages of the queue over the connection.

        This ends when no message follows in time, or when the connection cannot be used
        any more.

        Returns:
            The messages that the server cannot have accepted.
        """
        dispatcher, session = self._dispatcher, self._session
        submission: Submission | None = first
        self._first = first
        try:
            while submission is not None:
                unsent = await self._send(submission)
                self._unsettled = [x for x in self._unsettled if x in unsent.transactions]
                if unsent.transactions or not session.channel.usable or session.used_up:
                    return unsent
                submission = None
                more = not self._at_limit and await dispatcher.wait_for_message(
                    _MESSAGE_WAIT
                )
                # If the throttle demands a wait, no connection is held meanwhile.
                if (
                    more
                    and not dispatcher.pool.has_waiters
                    and dispatcher.pool.throttle.ready
                ):
                    submission = self._next_submission()
                    if submission is not None:
                        dispatcher.pool.throttle.started(1)
        except BaseException as error:  # P3: nothing untyped escapes
            session.channel.abort()
            if not passes(error):
                for transaction in self._unsettled[:]:
                    self._settle_defect(transaction, error)
                return Unsent()
            for transaction in self._unsettled[:]:
                self._settle_cancelled(transaction)
            for transaction in self.partly_accepted:
                dispatcher.cancelled(
                    transaction.submission, Delivery.after_batch(transaction)
                )
            raise
        return Unsent()

    @property
    def _at_limit(self) -> bool:
        return self._session.messages >= self._max_messages

    def _next_submission(self) -> Submission | None:
        """Remove and return the next message, if this connection can send it now."""
        dispatcher = self._dispatcher
        if (
            self._at_limit
            or not dispatcher.queue
            or not self.can_send(dispatcher.queue[0])
        ):
            return None
        return dispatcher.queue.popleft()

    async def _send(self, submission: Submission) -> Unsent:
        """Send a window or a chain that begins with a message.

        Returns:
            The messages that the server cannot have accepted.
        """
        dispatcher, session = self._dispatcher, self._session
        is_first = submission is self._first
        session.deadline = (
            self._race.deadline if is_first else Deadline(submission.timeout)
        )
        transaction = self._transaction(submission, session.deadline)
        if transaction is None:
            return Unsent()
        if self._may_join_window(submission) and not session.probed and dispatcher.queue:
            try:
                await session.probe()
            except SendError as error:
                session.channel.abort()
                return Unsent([transaction], error)
        if session.probed and self._may_join_window(submission):
            transactions = self._fill_window(transaction)
            dispatcher.pool.throttle.started(len(transactions) - 1)
            return await Window(session, transactions, self._settle).run()
        return await Chain(session, self._next_in_chain, self._settle).run(transaction)

    def _may_join_window(self, submission: Submission) -> bool:
        """Whether a message may be part of a window, once the server has been probed."""
        return self._session.accepts_windows and self._not_commands(submission)

    def _not_commands(self, submission: Submission) -> bool:
        """Whether no server can read a line of the content as a command."""
        if submission.envelope.eight_bit and "8BITMIME" not in self._session.extensions:
            # The content will be encoded anew, and its new lines have not been checked.
            return False
        if submission.not_commands is None:
            submission.not_commands = cannot_be_commands(submission.envelope.content)
        return submission.not_commands

    def _fill_window(self, transaction: BatchTransaction) -> list[BatchTransaction]:
        """Collect the messages of a window that begins with `transaction`."""
        dispatcher, session = self._dispatcher, self._session
        transactions, size = [transaction], len(transaction.message.content)
        limit = dispatcher.pool.throttle.allowed(dispatcher.pool.limits.window)
        limit = min(limit, self._max_messages - session.messages)
        queue, deadline = dispatcher.queue, session.deadline
        while (
            len(transactions) < limit and queue and self.can_send(submission := queue[0])
        ):
            size += len(submission.envelope.content)
            if size > LARGEST_WINDOW or not self._not_commands(submission):
                break
            another = self._transaction(queue.popleft(), deadline)
            if another is not None:
                transactions.append(another)
        return transactions

    def _next_in_chain(self) -> BatchTransaction | None:
        """Return the next transaction of a chain, or None if the chain ends."""
        dispatcher, throttle = self._dispatcher, self._dispatcher.pool.throttle
        while dispatcher.queue and not dispatcher.pool.has_waiters and throttle.ready:
            if self._may_join_window(dispatcher.queue[0]):
                return None
            submission = self._next_submission()
            if submission is None:
                return None
            transaction = self._transaction(submission, Deadline(submission.timeout))
            if transaction is not None:
                throttle.started(1)
                return transaction
        return None

    def _transaction(
        self, submission: Submission, deadline: Deadline
    ) -> BatchTransaction | None:
        """Build the transaction of a message.

        Returns:
            None if the server lacks an extension that the message needs; this error has
            been reported.
        """
        envelope = submission.envelope
        try:
            message = negotiate(envelope, self._session.extensions)
        except SendError as error:
            self._add_attempt(submission, error, deadline)
            delivery = Delivery(envelope, submission.require_all)
            self._dispatcher.failed(submission, delivery, error)
            return None
        transaction = BatchTransaction(
            message=message,
            recipients=envelope.recipients,
            require_all=submission.require_all,
            deadline=deadline,
            submission=submission,
        )
        self._unsettled.append(transaction)
        return transaction

    def _settle(self, transaction: BatchTransaction) -> None:
        """Report the result of a transaction."""
        self._unsettled.remove(transaction)
        submission = transaction.submission
        if transaction.error is not None:
            self._add_attempt(submission, transaction.error, transaction.deadline)
            self._dispatcher.failed(
                submission, Delivery.after_batch(transaction), transaction.error
            )
        elif transaction.deferred:
            self.partly_accepted.append(transaction)
        else:
            self._dispatcher.accepted(submission, self._receipt(transaction))

    def _add_attempt(
        self, submission: Submission, error: SendError, deadline: Deadline
    ) -> None:
        """Add this attempt to `error`, and report it to the hook."""
        session, is_first = self._session, submission is self._first
        started = session.track.started if is_first else 0.0
        track = Track(session.method, started, address=session.track.address)
        attempt = track.attempt(error, deadline.elapsed)
        before = self._race.attempts if is_first else ()
        error.attempts = (*before, attempt)
        self._dispatcher.pool.hooks.attempt(attempt)

    def _receipt(self, transaction: BatchTransaction) -> Receipt:
        session, is_first = self._session, transaction.submission is self._first
        return receipt_of(
            session,
            Delivery.after_batch(transaction),
            attempts=tuple(self._race.attempts) if is_first else (),
            started=session.track.started if is_first else 0.0,
            elapsed=transaction.deadline.elapsed,
        )

    def _settle_defect(self, transaction: BatchTransaction, error: BaseException) -> None:
        """Report the result of a transaction that a defect interrupted."""
        if transaction.reply is None:
            phase = Phase.FINAL if transaction.end_sent else Phase.MAIL
            transaction.error = log.unexpected(error, phase)
        self._settle(transaction)

    def _settle_cancelled(self, transaction: BatchTransaction) -> None:
        """Report the result of a transaction that was cancelled."""
        if not transaction.end_sent:
            self._dispatcher.not_sent(transaction.submission)
        elif transaction.reply is None:
            delivery = Delivery.after_batch(transaction)
            delivery.unknown = log.log_unknown(transaction.submission.envelope.message_id)
            self._dispatcher.cancelled(transaction.submission, delivery)
        else:
            self._settle(transaction)
