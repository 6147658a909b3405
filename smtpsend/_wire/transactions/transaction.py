"""One message of a batch on its way over a connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from smtpsend._protocol.failures import (
    closing,
    positive,
    recipients_refused,
    refusal,
    too_many,
)
from smtpsend._protocol.negotiation import Negotiated
from smtpsend._protocol.ordering import RSET, rcpt
from smtpsend._wire.deadline import Deadline
from smtpsend.errors import DeliveryUnknown, Event, Phase, Reply, SendError


@dataclass(slots=True, kw_only=True)
class Transaction:
    """The recipients of one transaction, and what became of each."""

    recipients: Sequence[str]
    require_all: bool = False
    accepted: list[str] = field(default_factory=list)
    refused: dict[str, Reply] = field(default_factory=dict)
    deferred: list[str] = field(default_factory=list)  # beyond the server's limit
    mail_refused: SendError | None = None

    def take_recipient(self, address: str, reply: Reply) -> None:
        """Note the answer to a RCPT."""
        if positive(reply):
            self.accepted.append(address)
        elif too_many(reply, len(self.accepted)) and not self.require_all:
            self.deferred.append(address)
        else:
            self.refused[address] = reply

    def refusal(self) -> SendError | None:
        """Why nobody is to get the message, if so; all recipients are answered."""
        if self.mail_refused is not None:
            return self.mail_refused
        if self.accepted and not (self.refused and self.require_all):
            return None
        return recipients_refused(self.refused, len(self.accepted))

    def known_refusal(self) -> SendError | None:
        """The same where the connection broke: only what surely holds."""
        answered = len(self.accepted) + len(self.refused) + len(self.deferred)
        if self.mail_refused is None and answered < len(self.recipients):
            return None
        return self.refusal()


@dataclass(slots=True, kw_only=True, eq=False)
class BatchTransaction(Transaction):
    """What goes out for one message, and what came back.

    Attributes:
        order: whose it is, for the caller.
        deadline: until when it may take.
        ended: its end went out, so that it may be taken.
        answer: to its end.
        error: why it was not taken, or why nobody knows; None with a positive `answer`:
            it was taken, for `accepted`.
    """

    message: Negotiated
    deadline: Deadline
    submission: Any = None
    ended: bool = False
    answer: Reply | None = None
    error: SendError | None = None

    def commands(self, *, reset: bool, last: bytes) -> bytes:
        """RSET if need be, MAIL, the RCPTs, and DATA or BDAT."""
        lines = [RSET, self.message.mail] if reset else [self.message.mail]
        lines += map(rcpt, self.recipients)
        lines.append(last)
        return b"".join(lines)

    def mark_unknown(self) -> None:
        """Nobody can tell what the server said to it."""
        self.error = DeliveryUnknown(
            "the server's replies cannot be told apart: the message may have been "
            "delivered",
            phase=Phase.FINAL,
            event=Event.UNKNOWN,
        )

    def take_mail(self, reply: Reply) -> None:
        """Note the answer to MAIL."""
        if reply.code == 421:
            self.mail_refused = closing(Phase.MAIL, reply)
        elif not positive(reply):
            self.mail_refused = refusal(Phase.MAIL, reply)


@dataclass(slots=True)
class Unsent:
    """What is left of a batch where it stopped: messages that nobody can have taken.

    Attributes:
        transactions: in order.
        cause: what the first of them met with; None where it is none of its fault.
    """

    transactions: list[BatchTransaction] = field(default_factory=list)
    cause: SendError | None = None
