"""A worker of a batch: one connection at a time, and what the server takes over it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from smtpsend._client import log as report
from smtpsend._client import submit
from smtpsend._client.bulk.connection_batch import Batch
from smtpsend._client.delivery import Delivery
from smtpsend._client.submit import carry, logged_in, race_for
from smtpsend._wire.deadline import Deadline
from smtpsend.errors import ConnectError, Phase, SendError


if TYPE_CHECKING:
    from smtpsend._client.bulk.dispatcher import Bulk
    from smtpsend._client.race import Race
    from smtpsend._client.submission import Order
    from smtpsend._wire.connection import Session
    from smtpsend._wire.transactions.batched import Letter


class Worker:
    """Sends what is in the inbox of a `Bulk`, until it is empty.

    Args:
        stop: done when nothing more is to begin.
    """

    def __init__(self, bulk: Bulk, stop: asyncio.Future[None]) -> None:
        self._bulk = bulk
        self._pool = bulk.pool
        self._stop = stop
        self._told = False  # the message has its outcome, or who sends it sees to that

    async def run(self) -> None:
        """Work; each message that is begun has its outcome."""
        bulk, pool = self._bulk, self._pool
        while bulk.inbox:
            if bulk.door.refused is not None:
                bulk.refuse_all()
                return
            await pool.pace.turn(stop=self._stop)
            if not bulk.inbox:
                return
            order, self._told = bulk.inbox.popleft(), False
            deadline = Deadline(order.timeout)
            delivery = Delivery(order.envelope, order.require_all)
            try:
                async with pool.slot(deadline):
                    if not await self._serve(order, deadline, delivery):
                        return
            except Exception as error:  # noqa: BLE001  # P3: nothing untyped escapes
                if self._told:
                    report.unexpected(error, Phase.CONNECT)
                else:
                    bulk.failed(order, delivery, error)
            except BaseException:
                if not self._told:
                    bulk.cancelled(order, delivery)
                raise

    async def _serve(self, order: Order, deadline: Deadline, delivery: Delivery) -> bool:
        """See to one message, and those that go with it; whether to go on."""
        bulk, pool = self._bulk, self._pool
        if submit.transport is not None:
            sent = await submit.transport.send(pool.server, order, pool.hooks)
            self._told = True
            bulk.taken(order, sent)
            return True
        race = race_for(pool.server, deadline, pool.hooks)
        # See `submit.carry`.
        await asyncio.sleep(0)
        session = pool.take(deadline)
        if session is None:
            try:
                session = await logged_in(race, bulk.door)
            except ConnectError as error:
                if not bulk.connected:
                    raise
                # The server wants no more connections, it seems: another does the work.
                bulk.put_back([order])
                self._told = True
                policy = pool.server.policy
                bulk.refused_one(policy.connect_timeout if error.timed_out else 0.0)
                return False
            finally:
                await race.settle()
            bulk.opened(deadline.elapsed)
        bulk.connected += 1
        try:
            await self._over(session, race, order, delivery)
        finally:
            bulk.connected -= 1
        return True

    async def _over(
        self, session: Session, race: Race, order: Order, delivery: Delivery
    ) -> None:
        """Send over a connection what it takes, and see to what is left of it."""
        bulk, pool = self._bulk, self._pool
        batch = Batch(bulk, session, race)
        if not batch.takes(order):
            receipt = await carry(race, delivery, pool, session)
            self._told = True
            bulk.taken(order, receipt)
            return
        try:
            if bulk.set_unit(batch.unit):
                await bulk.wait_for_many()
            self._told = True
            rest = await batch.run(order)
        finally:
            pool.give(session)
        again: deque[tuple[Letter, SendError | None]]
        again = deque((letter, None) for letter in batch.partly)
        blame, letters = rest.blame, rest.letters
        if blame is not None and not (session.kept and submit.is_dead(blame)):
            again.append((letters.pop(0), blame))
        bulk.put_back([letter.order for letter in letters])
        try:
            while again:
                letter, blame = again.popleft()
                await self._go_on(letter, session, blame)
        finally:
            for letter, _ in again:
                bulk.cancelled(letter.order, Delivery.of(letter))

    async def _go_on(
        self, letter: Letter, session: Session, blame: SendError | None
    ) -> None:
        """Send a message to those who do not have it yet, as the policy says."""
        order, pool, delivery = letter.order, self._pool, Delivery.of(letter)
        try:
            race = race_for(pool.server, letter.deadline, pool.hooks)
            if blame is not None:
                race.record(blame, session.track)
            receipt = await carry(race, delivery, pool)
        except Exception as error:  # noqa: BLE001  # P3: nothing untyped escapes
            self._bulk.failed(order, delivery, error)
        except BaseException:
            self._bulk.cancelled(order, delivery)
            raise
        else:
            self._bulk.taken(order, receipt)
