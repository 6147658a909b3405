"""Several messages over one connection: a window, a chain, window after window."""

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

# RFC 5321 section 4.5.3.1.8: a server takes at least as many recipients at once.
_MOST_RECIPIENTS = 100
# Seconds that a connection is held back for the next message of a batch.
_HOLD = 0.05


class ConnectionBatch:
    """What one worker sends over one connection, as long as there is something."""

    def __init__(self, dispatcher: Dispatcher, session: Session, race: Race) -> None:
        self.partial: list[
            BatchTransaction
        ] = []  # taken for some; the others did not fit in
        self._dispatcher = dispatcher
        self._session = session
        self._race = race  # of the first message, which opened the connection
        self._first: Submission | None = None
        self._open: list[BatchTransaction] = []
        pool = dispatcher.pool
        said = session.extensions.message_limit or sys.maxsize
        self._limit = min(pool.limits.max_messages, said)
        self._most = min(
            _MOST_RECIPIENTS, session.extensions.recipient_limit or _MOST_RECIPIENTS
        )

    @property
    def unit(self) -> int:
        """How many messages the connection takes at once."""
        return self._dispatcher.pool.limits.window if self._session.pipelining else 1

    def takes(self, submission: Submission) -> bool:
        """Whether a message can go with others."""
        count = len(submission.envelope.recipients)
        if submission.require_all and count > 1 and self._session.pipelining:
            return False
        return count <= self._most

    async def run(self, first: Submission) -> Unsent:
        """Send it and those that follow, until none does or the connection is done for.

        Returns:
            Messages that nobody can have taken.
        """
        dispatcher, session = self._dispatcher, self._session
        submission: Submission | None = first
        self._first = first
        try:
            while submission is not None:
                rest = await self._some(submission)
                self._open = [x for x in self._open if x in rest.transactions]
                if rest.transactions or not session.channel.usable or session.used_up:
                    return rest
                submission = None
                more = not self._full and await dispatcher.wait_for_more(_HOLD)
                # Where the pace has to be waited for, no connection is held meanwhile.
                if (
                    more
                    and not dispatcher.pool.has_waiters
                    and dispatcher.pool.throttle.ready
                ):
                    submission = self._next()
                    if submission is not None:
                        dispatcher.pool.throttle.started(1)
        except Exception as error:  # noqa: BLE001  # P3: nothing untyped escapes
            session.channel.abort()
            for transaction in self._open[:]:
                self._ended_by(transaction, error)
            return Unsent()
        except BaseException:
            session.channel.abort()
            for transaction in self._open[:]:
                self._cancelled(transaction)
            for transaction in self.partial:
                dispatcher.cancelled(transaction.submission, Delivery.of(transaction))
            raise
        return Unsent()

    @property
    def _full(self) -> bool:
        return self._session.messages >= self._limit

    def _next(self) -> Submission | None:
        """The next message, if it can go over this connection now."""
        dispatcher = self._dispatcher
        if self._full or not dispatcher.inbox or not self.takes(dispatcher.inbox[0]):
            return None
        return dispatcher.inbox.popleft()

    async def _some(self, submission: Submission) -> Unsent:
        """A window, or a chain."""
        dispatcher, session = self._dispatcher, self._session
        opened = submission is self._first
        session.deadline = self._race.deadline if opened else Deadline(submission.timeout)
        transaction = self._transaction(submission, session.deadline)
        if transaction is None:
            return Unsent()
        if self._windows(submission) and not session.probed and dispatcher.inbox:
            try:
                await session.probe()
            except SendError as error:
                session.channel.abort()
                return Unsent([transaction], error)
        if session.probed and self._windows(submission):
            transactions = self._fill(transaction)
            dispatcher.pool.throttle.started(len(transactions) - 1)
            return await Window(session, transactions, self._settle).run()
        return await Chain(session, self._more, self._settle).run(transaction)

    def _windows(self, submission: Submission) -> bool:
        """Whether a message may go out before the server answers, if it is alive."""
        return self._session.accepts_windows and self._harmless(submission)

    def _harmless(self, submission: Submission) -> bool:
        """Whether the content of a message does no harm if it is taken for commands."""
        if submission.envelope.eight_bit and "8BITMIME" not in self._session.extensions:
            # It is encoded anew, and nobody has looked at what that gives.
            return False
        if submission.shares is None:
            submission.shares = cannot_be_commands(submission.envelope.content)
        return submission.shares

    def _fill(self, transaction: BatchTransaction) -> list[BatchTransaction]:
        """A window that begins with a message."""
        dispatcher, session = self._dispatcher, self._session
        transactions, size = [transaction], len(transaction.message.content)
        most = dispatcher.pool.throttle.allowed(dispatcher.pool.limits.window)
        most = min(most, self._limit - session.messages)
        inbox, deadline = dispatcher.inbox, session.deadline
        while len(transactions) < most and inbox and self.takes(submission := inbox[0]):
            size += len(submission.envelope.content)
            if size > LARGEST_WINDOW or not self._harmless(submission):
                break
            another = self._transaction(inbox.popleft(), deadline)
            if another is not None:
                transactions.append(another)
        return transactions

    def _more(self) -> BatchTransaction | None:
        """The next message of a chain."""
        dispatcher, pace = self._dispatcher, self._dispatcher.pool.throttle
        while dispatcher.inbox and not dispatcher.pool.has_waiters and pace.ready:
            if self._windows(dispatcher.inbox[0]):
                return None
            submission = self._next()
            if submission is None:
                return None
            transaction = self._transaction(submission, Deadline(submission.timeout))
            if transaction is not None:
                pace.started(1)
                return transaction
        return None

    def _transaction(
        self, submission: Submission, deadline: Deadline
    ) -> BatchTransaction | None:
        """A message as it goes out; None if the server cannot carry it."""
        envelope = submission.envelope
        try:
            message = negotiate(envelope, self._session.extensions)
        except SendError as error:
            self._attempted(submission, error, deadline)
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
        self._open.append(transaction)
        return transaction

    def _settle(self, transaction: BatchTransaction) -> None:
        """Tell what became of a message."""
        self._open.remove(transaction)
        submission = transaction.submission
        if transaction.error is not None:
            self._attempted(submission, transaction.error, transaction.deadline)
            self._dispatcher.failed(
                submission, Delivery.of(transaction), transaction.error
            )
        elif transaction.deferred:
            self.partial.append(transaction)
        else:
            self._dispatcher.taken(submission, self._receipt(transaction))

    def _attempted(
        self, submission: Submission, error: SendError, deadline: Deadline
    ) -> None:
        """Note in the error, and tell, what was tried for a message."""
        session, opened = self._session, submission is self._first
        started = session.track.started if opened else 0.0
        track = Track(session.method, started, address=session.track.address)
        attempt = track.attempt(error, deadline.elapsed)
        before = self._race.attempts if opened else ()
        error.attempts = (*before, attempt)
        self._dispatcher.pool.hooks.attempt(attempt)

    def _receipt(self, transaction: BatchTransaction) -> Receipt:
        session, opened = self._session, transaction.submission is self._first
        return receipt_of(
            session,
            Delivery.of(transaction),
            attempts=tuple(self._race.attempts) if opened else (),
            started=session.track.started if opened else 0.0,
            elapsed=transaction.deadline.elapsed,
        )

    def _ended_by(self, transaction: BatchTransaction, error: Exception) -> None:
        """Tell what became of a message where a defect ended the connection."""
        if transaction.reply is None:
            phase = Phase.FINAL if transaction.end_sent else Phase.MAIL
            transaction.error = log.unexpected(error, phase)
        self._settle(transaction)

    def _cancelled(self, transaction: BatchTransaction) -> None:
        """Tell what became of a message that was on its way when all was cancelled."""
        if not transaction.end_sent:
            self._dispatcher.not_sent(transaction.submission)
        elif transaction.reply is None:
            delivery = Delivery.of(transaction)
            delivery.unknown = log.log_unknown(transaction.submission.envelope.message_id)
            self._dispatcher.cancelled(transaction.submission, delivery)
        else:
            self._settle(transaction)
