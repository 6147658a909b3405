"""A worker of a batch: it opens a connection, and sends pending messages over it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from smtpsend._client import log, transport
from smtpsend._client.bulk.connection_batch import ConnectionBatch
from smtpsend._client.race import Race
from smtpsend._client.submit import (
    authenticated_session,
    deliver,
    lost_before_mail,
)
from smtpsend._client.transactions import Transactions
from smtpsend._wire.callers.code import passes
from smtpsend._wire.deadline import Deadline
from smtpsend.errors import AuthError, Phase, SendError


if TYPE_CHECKING:
    from smtpsend._client.bulk.dispatcher import Dispatcher
    from smtpsend._client.submission import Submission
    from smtpsend._model.receipt import Receipt
    from smtpsend._protocol.transaction import Transaction
    from smtpsend._wire.connection import Session


class Worker:
    """Sends the messages in the queue of a `Dispatcher` until none is pending.

    Args:
        stop: a future that is done when no further message is to be begun.

    Attributes:
        connected: whether it has a connection, or is between two that worked.
    """

    def __init__(self, dispatcher: Dispatcher, stop: asyncio.Future[None]) -> None:
        self.connected = False
        self._dispatcher = dispatcher
        self._queue = dispatcher.queue
        self._pool = dispatcher.pool
        self._stop = stop

    async def run(self) -> None:
        """Send messages; each message that is begun gets its outcome."""
        queue, pool = self._queue, self._pool
        while queue.pending:
            if self._dispatcher.login_refused is not None:
                self._dispatcher.fail_pending()
                return
            await pool.throttle.wait_ready(stop=self._stop)
            if not queue.pending:
                return
            first = queue.pending[0]
            deadline = Deadline(first.timeout, first.elapsed)
            try:
                async with pool.slot(deadline):
                    if not await self._send(deadline):
                        return
            except BaseException as error:  # P3: nothing untyped escapes
                if passes(error):
                    raise
                if not isinstance(error, SendError):
                    error = log.unexpected(error, Phase.CONNECT)
                if not self._goes_on_after(error):
                    return

    def _goes_on_after(self, error: SendError) -> bool:
        """Report that no connection could be opened; return whether to try another."""
        dispatcher = self._dispatcher
        if dispatcher.others_connected(self):
            dispatcher.connection_failed()
            return False
        refused = isinstance(error, AuthError) and not error.temporary
        if dispatcher.others_opening(self) and not refused:
            # Another one may still be opened. If not, it carries its own error.
            dispatcher.connection_failed()
            return False
        dispatcher.no_connection(error, self)
        return True

    async def _send(self, deadline: Deadline) -> bool:
        """Send messages over one connection.

        Returns:
            Whether this worker may go on with another connection.
        """
        dispatcher, pool, queue = self._dispatcher, self._pool, self._queue
        if transport.replacement is not None:
            await self._send_by(transport.replacement)
            return True
        race = Race(pool.server, deadline, pool.hooks, dispatcher.connection_begun)
        # `submit.deliver` says why.
        await asyncio.sleep(0)
        session = pool.take_idle(deadline)
        if session is None:
            self.connected = False
            try:
                session = await self._open(race)
            finally:
                await race.settle()
            pool.connect_time = deadline.elapsed
        self.connected = True
        dispatcher.connection_opened(pool.connect_time)
        if not queue.pending or not pool.throttle.ready:
            # Other connections have sent the messages meanwhile.
            pool.give_back(session)
            return bool(queue.pending)
        return await self._send_over(session, race)

    async def _open(self, race: Race) -> Session:
        """Open a connection; the first one of a batch is the first to log in.

        Raises:
            SendError: no connection can be opened.
        """
        first_login = self._dispatcher.first_login
        if first_login.begun:
            return await authenticated_session(race, self._pool, first_login.turn)
        async with first_login.turn(race.deadline):
            return await authenticated_session(race, self._pool)

    async def _send_by(self, replacement: transport.Transport) -> None:
        """Send one message by what a test has put in the place of the network."""
        self.connected = True
        submission, transactions = self._take_one()
        await self._conclude(
            submission,
            transactions,
            lambda: replacement.send(self._pool.server, submission, self._pool.hooks),
        )

    def _take_one(self) -> tuple[Submission, Transactions]:
        """Begin the next message outside of a batch."""
        submission = self._queue.pending.popleft()
        self._pool.throttle.started(1)
        return submission, Transactions.of(submission)

    async def _send_over(self, session: Session, race: Race) -> bool:
        """Send messages over `session`, and resume those that it did not complete.

        Returns:
            Whether this worker may go on with another connection.
        """
        dispatcher, pool, queue = self._dispatcher, self._pool, self._queue
        batch = ConnectionBatch(queue, session, race)
        if not batch.can_send(queue.pending[0]):
            # It needs transactions of its own.
            submission, transactions = self._take_one()
            await self._conclude(
                submission,
                transactions,
                lambda: deliver(race, transactions, pool, session),
            )
            return True
        try:
            if dispatcher.set_window(batch.window):
                await dispatcher.wait_for_first_window()
            await batch.run()
        finally:
            pool.give_back(session)
        if session.state.served:
            dispatcher.connection_worked()
        return await self._resume_rest(batch)

    async def _conclude(
        self,
        submission: Submission,
        transactions: Transactions,
        send: Callable[[], Awaitable[Receipt]],
    ) -> None:
        """Send one message, and report its outcome."""
        try:
            receipt = await send()
        except BaseException as error:  # P3: nothing untyped escapes
            if passes(error):
                self._queue.cancelled(submission, transactions)
                raise
            self._queue.failed(submission, transactions, error)
        else:
            self._queue.accepted(submission, receipt)

    async def _resume_rest(self, batch: ConnectionBatch) -> bool:
        """Send again what the connection left, and return whether to go on."""
        dispatcher, queue, session = self._dispatcher, self._queue, batch.session
        rest, goes_on = list(batch.lost), True
        blamed: list[Transaction] = []
        if rest:
            error = rest[0].error
            assert error is not None  # noqa: S101  # it is lost
            if lost_before_mail(error) and not session.state.reused:
                # The server may accept no more connections, and says so late.
                if dispatcher.others_connected(self):
                    dispatcher.connection_failed()
                    goes_on = False
                else:
                    blamed = [rest.pop(0)]
            elif not (lost_before_mail(error) and session.state.reused):
                blamed = [rest.pop(0)]
        queue.requeue([x.submission for x in (*rest, *batch.unsent)])
        incomplete = [*batch.partly_accepted, *blamed]
        try:
            while incomplete:
                await self._resume(incomplete.pop(0), session)
        finally:
            for transaction in incomplete:
                queue.cancelled(
                    transaction.submission, Transactions.after_batch(transaction)
                )
        return goes_on

    async def _resume(self, transaction: Transaction, session: Session) -> None:
        """Send a message to its remaining recipients over a connection of the policy."""
        pool, transactions = self._pool, Transactions.after_batch(transaction)

        async def send() -> Receipt:
            race = Race(pool.server, transaction.deadline, pool.hooks)
            if transaction.error is not None:
                race.record(transaction.error, session.track)
            return await deliver(race, transactions, pool)

        await self._conclude(transaction.submission, transactions, send)
