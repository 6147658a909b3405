"""A mail transaction (RFC 5321 section 3.3): its recipients, replies and outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from smtpsend._protocol.failures import (
    closing,
    positive,
    recipients_refused,
    refusal,
    too_many_recipients,
)
from smtpsend._protocol.negotiation import Negotiated
from smtpsend._protocol.ordering import RSET, rcpt
from smtpsend._wire.deadline import Deadline
from smtpsend.errors import DeliveryUnknown, Event, Phase, Reply, SendError


@dataclass(slots=True, kw_only=True)
class Transaction:
    """The recipients of one transaction, and what the server replied to each.

    Attributes:
        recipients: the addresses, in the order of their RCPT commands.
        require_all: the message is for all recipients or for none.
        accepted: the recipients with a positive reply.
        refused: the negative reply to each refused recipient.
        deferred: the recipients beyond the server's limit, for another transaction.
        mail_refused: the error of a refused MAIL; None if it was not refused.
    """

    recipients: Sequence[str]
    require_all: bool = False
    accepted: list[str] = field(default_factory=list)
    refused: dict[str, Reply] = field(default_factory=dict)
    deferred: list[str] = field(default_factory=list)
    mail_refused: SendError | None = None

    def recipient_reply(self, address: str, reply: Reply) -> None:
        """Record the reply to a RCPT."""
        if positive(reply):
            self.accepted.append(address)
        elif too_many_recipients(reply, len(self.accepted)) and not self.require_all:
            self.deferred.append(address)
        else:
            self.refused[address] = reply

    def refusal(self) -> SendError | None:
        """The error if no recipient is to get the message; every RCPT has its reply."""
        if self.mail_refused is not None:
            return self.mail_refused
        if self.accepted and not (self.refused and self.require_all):
            return None
        return recipients_refused(self.refused, len(self.accepted))

    def certain_refusal(self) -> SendError | None:
        """The same where the connection broke; None unless the replies so far decide."""
        replies = len(self.accepted) + len(self.refused) + len(self.deferred)
        if self.mail_refused is None and replies < len(self.recipients):
            return None
        return self.refusal()


@dataclass(slots=True, kw_only=True, eq=False)
class BatchTransaction(Transaction):
    """One message of a batch: what is sent for it, and its outcome.

    Attributes:
        message: the MAIL command and the content.
        deadline: when the message must have its outcome.
        submission: what the caller submitted; only the caller of the batch reads it.
        end_sent: the end of the content was sent, so that the server may accept it.
        reply: the reply to the end of the content; None if there is none.
        error: why the server did not accept the message, or why this is unknown. None
            beside a positive `reply` means that it was accepted for `accepted`.
    """

    message: Negotiated
    deadline: Deadline
    submission: Any = None
    end_sent: bool = False
    reply: Reply | None = None
    error: SendError | None = None

    def commands(self, *, reset: bool, last: bytes) -> bytes:
        """RSET if `reset`, MAIL, the RCPT commands, and `last`, which is DATA or BDAT."""
        lines = [RSET, self.message.mail] if reset else [self.message.mail]
        lines += map(rcpt, self.recipients)
        lines.append(last)
        return b"".join(lines)

    def mark_unknown(self) -> None:
        """Record that the replies cannot be paired with this transaction."""
        self.error = DeliveryUnknown(
            "the server's replies cannot be told apart: the message may have been "
            "delivered",
            phase=Phase.FINAL,
            event=Event.UNKNOWN,
        )

    def mail_reply(self, reply: Reply) -> None:
        """Record the reply to MAIL."""
        if reply.code == 421:
            self.mail_refused = closing(Phase.MAIL, reply)
        elif not positive(reply):
            self.mail_refused = refusal(Phase.MAIL, reply)


@dataclass(slots=True)
class Unsent:
    """The messages of an interrupted batch that the server cannot have accepted.

    Attributes:
        transactions: the messages, in order.
        cause: the error of the first message; None if it did not cause the interruption.
    """

    transactions: list[BatchTransaction] = field(default_factory=list)
    cause: SendError | None = None
