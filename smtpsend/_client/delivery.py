"""One message to all its recipients, in as many transactions as the server needs."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpsend._protocol.failures import recipients_refused
from smtpsend._protocol.negotiation import Negotiated, negotiate, unsupported
from smtpsend._wire.transactions.single import SingleTransaction
from smtpsend.errors import DeliveryUnknown, RecipientsRefused, Reply, SendError


if TYPE_CHECKING:
    from smtpsend._model.message.envelope import Envelope
    from smtpsend._wire.connection import Session
    from smtpsend._wire.transactions.transaction import BatchTransaction


@dataclass(slots=True)
class Delivery:
    """What became of each recipient so far, whatever happened to the connections."""

    envelope: Envelope
    require_all: bool
    accepted: list[str] = field(default_factory=list)
    refused: dict[str, Reply] = field(default_factory=dict)
    reply: Reply | None = None
    unknown: DeliveryUnknown | None = None  # where a cancellation left it open
    _left: deque[str] = field(default_factory=deque)
    _limit: int = sys.maxsize  # recipients in a transaction

    def __post_init__(self) -> None:
        self._left.extend(self.envelope.recipients)

    async def run(self, session: Session, *, last: bool) -> Reply | None:
        """The server's answer to the last transaction, when no recipient is left.

        None where recipients are left that need a fresh connection: QUIT is out, or the
        server takes no more messages on this one. A break leaves the recipients of its
        transaction for the next session.

        Raises:
            SendError: what ended it.
        """
        message = negotiate(self.envelope, session.extensions)
        self._check_limit(session)
        while self._left:
            if session.at_message_limit or session.channel.quit_sent:
                return None
            await self._one_transaction(session, message, last=last)
        if self.reply is None:
            raise recipients_refused(self.refused, 0)
        return self.reply

    def _check_limit(self, session: Session) -> None:
        said, count = session.extensions.recipient_limit, len(self.envelope.recipients)
        if said and self.require_all and count > said:
            raise unsupported(
                f"the server takes at most {said} recipients in one transaction, and "
                f"require_all=True needs all {count} in one",
                "send to fewer recipients, or without require_all",
            )
        if said:
            self._limit = min(said, self._limit)

    async def _one_transaction(
        self, session: Session, message: Negotiated, *, last: bool
    ) -> None:
        count = min(self._limit, len(self._left))
        part = [self._left.popleft() for _ in range(count)]
        transaction = SingleTransaction(
            session=session,
            message=message,
            recipients=part,
            require_all=self.require_all,
            last=last and not self._left,
        )
        try:
            self.reply = await transaction.run()
        except RecipientsRefused as error:
            if self.require_all:
                raise
            self.refused |= error.refused
        except BaseException:
            self._left.extendleft(reversed(part))
            raise
        else:
            self.accepted += transaction.accepted
            self.refused |= transaction.refused
        if deferred := transaction.deferred:
            self._left.extendleft(reversed(deferred))
            # As many as it answered before the first that was too many.
            self._limit = max(1, len(part) - len(deferred))
            if session.channel.quit_sent:
                # What was to be the last was not: see to it that it is not again.
                session.target.quirks.no_content_in_group = True

    @classmethod
    def of(cls, transaction: BatchTransaction) -> Delivery:
        """What a batch came to; where it was taken, those that were put off are left."""
        delivery = cls(
            transaction.submission.envelope, transaction.submission.require_all
        )
        if transaction.reply is not None and transaction.error is None:
            delivery.accepted, delivery.refused = (
                transaction.accepted,
                transaction.refused,
            )
            delivery.reply = transaction.reply
            delivery._left = deque(transaction.deferred)
            delivery._limit = max(
                1, len(transaction.recipients) - len(transaction.deferred)
            )
        return delivery

    def close(self, error: SendError) -> SendError:
        """`error`, with who has the message all the same."""
        error.message_id = self.envelope.message_id
        if self.accepted:
            # Sending the same message again would repeat it to them.
            error.accepted, error.temporary = tuple(self.accepted), False
        return error
