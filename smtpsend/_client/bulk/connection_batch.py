"""Several messages over one connection: a window, a chain, window after window."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from smtpsend._client import log as report
from smtpsend._client.delivery import Delivery
from smtpsend._client.submission import Order
from smtpsend._model.receipt import Receipt
from smtpsend._protocol.negotiation import fit
from smtpsend._protocol.ordering import harmless
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.transactions.batched import Letter, Rest
from smtpsend._wire.transactions.chain import Chain
from smtpsend._wire.transactions.window import LARGEST, Window
from smtpsend.errors import Attempt, Event, Phase, SendError


if TYPE_CHECKING:
    from smtpsend._client.bulk.dispatcher import Bulk
    from smtpsend._client.race import Race
    from smtpsend._wire.connection import Session

# RFC 5321 section 4.5.3.1.8: a server takes at least as many recipients at once.
_MOST_RECIPIENTS = 100
# Seconds that a connection is held back for the next message of a batch.
_PATIENCE = 0.05


class Batch:
    """What one worker sends over one connection, as long as there is something."""

    def __init__(self, bulk: Bulk, session: Session, race: Race) -> None:
        self.partly: list[Letter] = []  # taken for some; the others did not fit in
        self._bulk = bulk
        self._session = session
        self._race = race  # of the first message, which opened the connection
        self._first: Order | None = None
        self._open: list[Letter] = []
        pool = bulk.pool
        said = session.message_limit or sys.maxsize
        self._limit = min(pool.limits.max_messages, said)
        self._most = min(_MOST_RECIPIENTS, session.recipient_limit or _MOST_RECIPIENTS)

    @property
    def unit(self) -> int:
        """How many messages the connection takes at once."""
        return self._bulk.pool.limits.window if self._session.pipelining else 1

    def takes(self, order: Order) -> bool:
        """Whether a message can go with others."""
        count = len(order.envelope.recipients)
        if order.require_all and count > 1 and self._session.pipelining:
            return False
        return count <= self._most

    async def run(self, first: Order) -> Rest:
        """Send it and those that follow, until none does or the connection is done for.

        Returns:
            Messages that nobody can have taken.
        """
        bulk, session = self._bulk, self._session
        order: Order | None = first
        self._first = first
        try:
            while order is not None:
                rest = await self._some(order)
                self._open = [x for x in self._open if x in rest.letters]
                if rest.letters or not session.channel.fit or session.spent:
                    return rest
                order = None
                more = not self._full and await bulk.wait_for_more(_PATIENCE)
                # Where the pace has to be waited for, no connection is held meanwhile.
                if more and not bulk.pool.crowded and bulk.pool.pace.ready:
                    order = self._next()
                    if order is not None:
                        bulk.pool.pace.begun(1)
        except Exception as error:  # noqa: BLE001  # P3: nothing untyped escapes
            session.channel.abort()
            for letter in self._open[:]:
                self._ended_by(letter, error)
            return Rest()
        except BaseException:
            session.channel.abort()
            for letter in self._open[:]:
                self._cancelled(letter)
            for letter in self.partly:
                bulk.cancelled(letter.order, Delivery.of(letter))
            raise
        return Rest()

    @property
    def _full(self) -> bool:
        return self._session.messages >= self._limit

    def _next(self) -> Order | None:
        """The next message, if it can go over this connection now."""
        bulk = self._bulk
        if self._full or not bulk.inbox or not self.takes(bulk.inbox[0]):
            return None
        return bulk.inbox.popleft()

    async def _some(self, order: Order) -> Rest:
        """A window, or a chain."""
        bulk, session = self._bulk, self._session
        opened = order is self._first
        session.deadline = self._race.deadline if opened else Deadline(order.timeout)
        letter = self._letter(order, session.deadline)
        if letter is None:
            return Rest()
        if self._windows(order) and not session.alive and bulk.inbox:
            try:
                await session.see_alive()
            except SendError as error:
                session.channel.abort()
                return Rest([letter], error)
        if session.alive and self._windows(order):
            letters = self._fill(letter)
            bulk.pool.pace.begun(len(letters) - 1)
            return await Window(session, letters, self._settle).run()
        return await Chain(session, self._more, self._settle).run(letter)

    def _windows(self, order: Order) -> bool:
        """Whether a message may go out before the server answers, if it is alive."""
        return self._session.takes_windows and self._harmless(order)

    def _harmless(self, order: Order) -> bool:
        """Whether the content of a message does no harm if it is taken for commands."""
        if order.envelope.eight_bit and not self._session.offers("8bitmime"):
            # It is encoded anew, and nobody has looked at what that gives.
            return False
        if order.shares is None:
            order.shares = harmless(order.envelope.content)
        return order.shares

    def _fill(self, letter: Letter) -> list[Letter]:
        """A window that begins with a message."""
        bulk, session = self._bulk, self._session
        letters, size = [letter], len(letter.message.content)
        most = bulk.pool.pace.most(bulk.pool.limits.window)
        most = min(most, self._limit - session.messages)
        inbox, deadline = bulk.inbox, session.deadline
        while len(letters) < most and inbox and self.takes(order := inbox[0]):
            size += len(order.envelope.content)
            if size > LARGEST or not self._harmless(order):
                break
            another = self._letter(inbox.popleft(), deadline)
            if another is not None:
                letters.append(another)
        return letters

    def _more(self) -> Letter | None:
        """The next message of a chain."""
        bulk, pace = self._bulk, self._bulk.pool.pace
        while bulk.inbox and not bulk.pool.crowded and pace.ready:
            if self._windows(bulk.inbox[0]):
                return None
            order = self._next()
            if order is None:
                return None
            letter = self._letter(order, Deadline(order.timeout))
            if letter is not None:
                pace.begun(1)
                return letter
        return None

    def _letter(self, order: Order, deadline: Deadline) -> Letter | None:
        """A message as it goes out; None if the server cannot carry it."""
        envelope = order.envelope
        try:
            message = fit(envelope, self._session)
        except SendError as error:
            self._attempted(order, error, deadline)
            delivery = Delivery(envelope, order.require_all)
            self._bulk.failed(order, delivery, error)
            return None
        letter = Letter(
            message=message,
            recipients=envelope.recipients,
            require_all=order.require_all,
            deadline=deadline,
            order=order,
        )
        self._open.append(letter)
        return letter

    def _settle(self, letter: Letter) -> None:
        """Tell what became of a message."""
        self._open.remove(letter)
        order = letter.order
        if letter.error is not None:
            self._attempted(order, letter.error, letter.deadline)
            self._bulk.failed(order, Delivery.of(letter), letter.error)
        elif letter.put_off:
            self.partly.append(letter)
        else:
            self._bulk.taken(order, self._receipt(letter))

    def _attempted(self, order: Order, error: SendError, deadline: Deadline) -> None:
        """Note in the error, and tell, what was tried for a message."""
        session, opened = self._session, order is self._first
        started = session.track.started if opened else 0.0
        attempt = Attempt(
            session.method,
            session.track.address,
            error.phase,
            error.said(),
            started,
            deadline.elapsed - started,
            error.event or Event.REFUSED,
        )
        before = self._race.attempts if opened else ()
        error.attempts = (*before, attempt)
        self._bulk.pool.hooks.attempt(attempt)

    def _receipt(self, letter: Letter) -> Receipt:
        session, opened = self._session, letter.order is self._first
        assert letter.answer is not None  # noqa: S101  # it was taken
        return Receipt(
            message_id=letter.order.envelope.message_id,
            method=session.method,
            address=str(session.track.address),
            tls=session.tls,
            reply=letter.answer,
            accepted=tuple(letter.accepted),
            refused=letter.refused,
            attempts=tuple(self._race.attempts) if opened else (),
            elapsed=letter.deadline.elapsed,
            started=session.track.started if opened else 0.0,
        )

    def _ended_by(self, letter: Letter, error: Exception) -> None:
        """Tell what became of a message where a defect ended the connection."""
        if letter.answer is None:
            phase = Phase.FINAL if letter.ended else Phase.MAIL
            letter.error = report.unexpected(error, phase)
        self._settle(letter)

    def _cancelled(self, letter: Letter) -> None:
        """Tell what became of a message that was on its way when all was cancelled."""
        if not letter.ended:
            self._bulk.not_sent(letter.order)
        elif letter.answer is None:
            delivery = Delivery.of(letter)
            delivery.unknown = report.left_open(letter.order.envelope.message_id)
            self._bulk.cancelled(letter.order, delivery)
        else:
            self._settle(letter)
