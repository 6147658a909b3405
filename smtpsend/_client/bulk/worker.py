"""A worker of a batch: it sends queued messages over one connection at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from smtpsend._client import log, submit, transport
from smtpsend._client.bulk.connection_batch import ConnectionBatch
from smtpsend._client.delivery import Delivery
from smtpsend._client.submit import (
    authenticated_session,
    deliver,
    race_for,
)
from smtpsend._wire.callers_code import passes
from smtpsend._wire.deadline import Deadline
from smtpsend.errors import ConnectError, Phase, SendError


if TYPE_CHECKING:
    from smtpsend._client.bulk.dispatcher import Dispatcher
    from smtpsend._client.race import Race
    from smtpsend._client.submission import Submission
    from smtpsend._wire.connection import Session
    from smtpsend._wire.transactions.transaction import BatchTransaction


async def work(dispatcher: Dispatcher, stop: asyncio.Future[None]) -> None:
    """Send the messages of the queue until it is empty, or `stop` is done."""
    await Worker(dispatcher, stop).run()


class Worker:
    """Sends the messages in the queue of a `Dispatcher` until it is empty.

    Args:
        stop: a future that is done when no further message is to be started.
    """

    def __init__(self, dispatcher: Dispatcher, stop: asyncio.Future[None]) -> None:
        self._dispatcher = dispatcher
        self._pool = dispatcher.pool
        self._stop = stop
        # Whether the message has its outcome, or a `ConnectionBatch` will report it.
        self._reported = False

    async def run(self) -> None:
        """Send messages; each message that is started gets its outcome."""
        dispatcher, pool = self._dispatcher, self._pool
        while dispatcher.queue:
            if dispatcher.login_gate.refused is not None:
                dispatcher.fail_queue()
                return
            await pool.throttle.wait_turn(stop=self._stop)
            if not dispatcher.queue:
                return
            submission, self._reported = dispatcher.queue.popleft(), False
            deadline = Deadline(submission.timeout)
            delivery = Delivery(submission.envelope, submission.require_all)
            try:
                async with pool.slot(deadline):
                    if not await self._send(submission, deadline, delivery):
                        return
            except BaseException as error:  # P3: nothing untyped escapes
                if passes(error):
                    if not self._reported:
                        dispatcher.cancelled(submission, delivery)
                    raise
                if self._reported:
                    log.unexpected(error, Phase.CONNECT)
                else:
                    dispatcher.failed(submission, delivery, error)

    async def _send(
        self, submission: Submission, deadline: Deadline, delivery: Delivery
    ) -> bool:
        """Send a message, and those that follow it over the same connection.

        Returns:
            Whether this worker may go on with the next message.
        """
        dispatcher, pool = self._dispatcher, self._pool
        if transport.replacement is not None:
            receipt = await transport.replacement.send(
                pool.server, submission, pool.hooks
            )
            self._reported = True
            dispatcher.accepted(submission, receipt)
            return True
        race = race_for(pool.server, deadline, pool.hooks)
        # `submit.deliver` says why.
        await asyncio.sleep(0)
        session = pool.take_idle(deadline)
        if session is None:
            try:
                session = await authenticated_session(race, dispatcher.login_gate)
            except ConnectError as error:
                if not dispatcher.connected_workers:
                    raise
                # The server probably accepts no more connections: a worker that has one
                # sends this message.
                dispatcher.requeue([submission])
                self._reported = True
                timeout = pool.server.policy.connect_timeout
                dispatcher.connection_refused(timeout if error.timed_out else 0.0)
                return False
            finally:
                await race.settle()
            dispatcher.connection_opened(deadline.elapsed)
        dispatcher.connected_workers += 1
        try:
            await self._send_over(session, race, submission, delivery)
        finally:
            dispatcher.connected_workers -= 1
        return True

    async def _send_over(
        self, session: Session, race: Race, submission: Submission, delivery: Delivery
    ) -> None:
        """Send messages over `session`, and resume those that it did not complete."""
        dispatcher, pool = self._dispatcher, self._pool
        batch = ConnectionBatch(dispatcher, session, race)
        if not batch.can_send(submission):
            receipt = await deliver(race, delivery, pool, session)
            self._reported = True
            dispatcher.accepted(submission, receipt)
            return
        try:
            if dispatcher.set_window(batch.window):
                await dispatcher.wait_for_first_window()
            self._reported = True
            unsent = await batch.run(submission)
        finally:
            pool.give_back(session)
        incomplete: deque[tuple[BatchTransaction, SendError | None]]
        incomplete = deque((transaction, None) for transaction in batch.partly_accepted)
        cause, transactions = unsent.cause, unsent.transactions
        if cause is not None and not (session.reused and submit.lost_before_mail(cause)):
            incomplete.append((transactions.pop(0), cause))
        dispatcher.requeue([transaction.submission for transaction in transactions])
        try:
            while incomplete:
                transaction, cause = incomplete.popleft()
                await self._resume(transaction, session, cause)
        finally:
            for transaction, _ in incomplete:
                dispatcher.cancelled(
                    transaction.submission, Delivery.after_batch(transaction)
                )

    async def _resume(
        self, transaction: BatchTransaction, session: Session, cause: SendError | None
    ) -> None:
        """Send a message to its remaining recipients over a connection of the policy.

        Args:
            cause: the error that ended its transaction; None if the server accepted the
                message for some recipients and deferred the others.
        """
        submission, pool, delivery = (
            transaction.submission,
            self._pool,
            Delivery.after_batch(transaction),
        )
        try:
            race = race_for(pool.server, transaction.deadline, pool.hooks)
            if cause is not None:
                race.record(cause, session.track)
            receipt = await deliver(race, delivery, pool)
        except BaseException as error:  # P3: nothing untyped escapes
            if passes(error):
                self._dispatcher.cancelled(submission, delivery)
                raise
            self._dispatcher.failed(submission, delivery, error)
        else:
            self._dispatcher.accepted(submission, receipt)
