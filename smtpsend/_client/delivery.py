"""One message to all its recipients, in as many transactions as the server needs."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpsend._wire.fitting import fit, ruled_out
from smtpsend._wire.refusals import recipients_refused
from smtpsend._wire.transaction import Transaction
from smtpsend.errors import DeliveryUnknown, RecipientsRefused, Reply, SendError


if TYPE_CHECKING:
    from smtpsend._model.message import Envelope
    from smtpsend._wire.session import Session


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

    def __post_init__(self) -> None:
        self._left.extend(self.envelope.recipients)

    async def run(self, session: Session, *, last: bool) -> Reply | None:
        """The server's answer to the last transaction, when no recipient is left.

        None where recipients are left that need a fresh connection: QUIT is out, or the
        server takes no more messages on this one.

        A break leaves the recipients of its transaction for the next session.

        Raises:
            SendError: what ended it.
        """
        message = fit(self.envelope, session)
        limit = session.recipient_limit
        if limit and self.require_all and len(self.envelope.recipients) > limit:
            raise ruled_out(
                f"the server takes {limit} recipients at a time, so that "
                f"require_all=True cannot be kept for {len(self.envelope.recipients)}",
                "send to fewer recipients, or without require_all",
            )
        while self._left:
            if session.messages >= (session.message_limit or session.messages + 1):
                return None
            count = min(limit or len(self._left), len(self._left))
            part = [self._left.popleft() for _ in range(count)]
            transaction = Transaction(
                session, message, part, self.require_all, last=last and not self._left
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
                self._left.extendleft(reversed(transaction.put_off))
                if self._left and session.channel.said_quit:
                    # What was to be the last was not: see to it that it is not again.
                    session.target.quirks.no_content_in_group = True
                    return None
        if self.reply is None:
            raise recipients_refused(self.refused, 0)
        return self.reply

    def close(self, error: SendError) -> SendError:
        """`error`, with who has the message all the same."""
        error.message_id = self.envelope.message_id
        if self.accepted:
            # Sending the same message again would repeat it to them.
            error.accepted, error.temporary = tuple(self.accepted), False
        return error
