"""One message of a batch on its way over a connection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from smtpsend._protocol.negotiation import Fitted
from smtpsend._protocol.ordering import RSET, rcpt
from smtpsend._protocol.refusals import refusal
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.progress import closing, positive
from smtpsend._wire.transactions.ledger import Ledger
from smtpsend.errors import DeliveryUnknown, Event, Phase, Reply, SendError


@dataclass(slots=True, kw_only=True, eq=False)
class Letter(Ledger):
    """What goes out for one message, and what came back.

    Attributes:
        order: whose it is, for the caller.
        deadline: until when it may take.
        ended: its end went out, so that it may be taken.
        answer: to its end.
        error: why it was not taken, or why nobody knows; None with a positive `answer`:
            it was taken, for `accepted`.
    """

    message: Fitted
    deadline: Deadline
    order: Any = None
    ended: bool = False
    answer: Reply | None = None
    error: SendError | None = None

    def commands(self, *, reset: bool, last: bytes) -> bytes:
        """RSET if need be, MAIL, the RCPTs, and DATA or BDAT."""
        lines = [RSET, self.message.mail] if reset else [self.message.mail]
        lines += map(rcpt, self.recipients)
        lines.append(last)
        return b"".join(lines)

    def leave_open(self) -> None:
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
class Rest:
    """What is left of a batch where it stopped: messages that nobody can have taken.

    Attributes:
        letters: in order.
        blame: what the first of them met with; None where it is none of its fault.
    """

    letters: list[Letter] = field(default_factory=list)
    blame: SendError | None = None
