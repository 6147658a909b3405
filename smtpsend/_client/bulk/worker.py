"""A worker of a batch: one connection at a time, and what the server takes over it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from smtpsend._client import log, submit, transport
from smtpsend._client.bulk.connection_batch import ConnectionBatch
from smtpsend._client.delivery import Delivery
from smtpsend._client.submit import carry, logged_in, race_for
from smtpsend._wire.deadline import Deadline
from smtpsend.errors import ConnectError, Phase, SendError


if TYPE_CHECKING:
    from smtpsend._client.bulk.dispatcher import Dispatcher
    from smtpsend._client.race import Race
    from smtpsend._client.submission import Submission
    from smtpsend._wire.connection import Session
    from smtpsend._wire.transactions.transaction import BatchTransaction


async def work(dispatcher: Dispatcher, stop: asyncio.Future[None]) -> None:
    """Send what is in the inbox of a dispatcher, until it is empty or `stop` is done."""
    await Worker(dispatcher, stop).run()


class Worker:
    """Sends what is in the inbox of a `Dispatcher`, until it is empty.

    Args:
        stop: done when nothing more is to begin.
    """

    def __init__(self, dispatcher: Dispatcher, stop: asyncio.Future[None]) -> None:
        self._dispatcher = dispatcher
        self._pool = dispatcher.pool
        self._stop = stop
        self._told = False  # the message has its outcome, or who sends it sees to that

    async def run(self) -> None:
        """Work; each message that is begun has its outcome."""
        dispatcher, pool = self._dispatcher, self._pool
        while dispatcher.inbox:
            if dispatcher.gate.refused is not None:
                dispatcher.refuse_all()
                return
            await pool.throttle.wait_turn(stop=self._stop)
            if not dispatcher.inbox:
                return
            submission, self._told = dispatcher.inbox.popleft(), False
            deadline = Deadline(submission.timeout)
            delivery = Delivery(submission.envelope, submission.require_all)
            try:
                async with pool.slot(deadline):
                    if not await self._serve(submission, deadline, delivery):
                        return
            except Exception as error:  # noqa: BLE001  # P3: nothing untyped escapes
                if self._told:
                    log.unexpected(error, Phase.CONNECT)
                else:
                    dispatcher.failed(submission, delivery, error)
            except BaseException:
                if not self._told:
                    dispatcher.cancelled(submission, delivery)
                raise

    async def _serve(
        self, submission: Submission, deadline: Deadline, delivery: Delivery
    ) -> bool:
        """See to one message, and those that go with it; whether to go on."""
        dispatcher, pool = self._dispatcher, self._pool
        if transport.replacement is not None:
            sent = await transport.replacement.send(pool.server, submission, pool.hooks)
            self._told = True
            dispatcher.taken(submission, sent)
            return True
        race = race_for(pool.server, deadline, pool.hooks)
        # See `submit.carry`.
        await asyncio.sleep(0)
        session = pool.take(deadline)
        if session is None:
            try:
                session = await logged_in(race, dispatcher.gate)
            except ConnectError as error:
                if not dispatcher.connected:
                    raise
                # The server wants no more connections, it seems: another does the work.
                dispatcher.put_back([submission])
                self._told = True
                policy = pool.server.policy
                dispatcher.refused_one(policy.connect_timeout if error.timed_out else 0.0)
                return False
            finally:
                await race.settle()
            dispatcher.opened(deadline.elapsed)
        dispatcher.connected += 1
        try:
            await self._over(session, race, submission, delivery)
        finally:
            dispatcher.connected -= 1
        return True

    async def _over(
        self, session: Session, race: Race, submission: Submission, delivery: Delivery
    ) -> None:
        """Send over a connection what it takes, and see to what is left of it."""
        dispatcher, pool = self._dispatcher, self._pool
        batch = ConnectionBatch(dispatcher, session, race)
        if not batch.takes(submission):
            receipt = await carry(race, delivery, pool, session)
            self._told = True
            dispatcher.taken(submission, receipt)
            return
        try:
            if dispatcher.set_unit(batch.unit):
                await dispatcher.wait_for_many()
            self._told = True
            rest = await batch.run(submission)
        finally:
            pool.give(session)
        again: deque[tuple[BatchTransaction, SendError | None]]
        again = deque((transaction, None) for transaction in batch.partial)
        cause, transactions = rest.cause, rest.transactions
        if cause is not None and not (session.reused and submit.is_dead(cause)):
            again.append((transactions.pop(0), cause))
        dispatcher.put_back([transaction.submission for transaction in transactions])
        try:
            while again:
                transaction, cause = again.popleft()
                await self._go_on(transaction, session, cause)
        finally:
            for transaction, _ in again:
                dispatcher.cancelled(transaction.submission, Delivery.of(transaction))

    async def _go_on(
        self, transaction: BatchTransaction, session: Session, cause: SendError | None
    ) -> None:
        """Send a message to those who do not have it yet, as the policy says."""
        submission, pool, delivery = (
            transaction.submission,
            self._pool,
            Delivery.of(transaction),
        )
        try:
            race = race_for(pool.server, transaction.deadline, pool.hooks)
            if cause is not None:
                race.record(cause, session.track)
            receipt = await carry(race, delivery, pool)
        except Exception as error:  # noqa: BLE001  # P3: nothing untyped escapes
            self._dispatcher.failed(submission, delivery, error)
        except BaseException:
            self._dispatcher.cancelled(submission, delivery)
            raise
        else:
            self._dispatcher.taken(submission, receipt)
