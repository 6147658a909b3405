"""What the server answered to one message so far, and what that comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from smtpsend._protocol.refusals import recipients_refused, too_many
from smtpsend._wire.progress import positive
from smtpsend.errors import Reply, SendError


@dataclass(slots=True, kw_only=True)
class Ledger:
    """The recipients of one transaction, and what became of each."""

    recipients: Sequence[str]
    require_all: bool = False
    accepted: list[str] = field(default_factory=list)
    refused: dict[str, Reply] = field(default_factory=dict)
    put_off: list[str] = field(default_factory=list)  # beyond the server's limit
    mail_refused: SendError | None = None

    def take_recipient(self, address: str, reply: Reply) -> None:
        """Note the answer to a RCPT."""
        if positive(reply):
            self.accepted.append(address)
        elif too_many(reply, len(self.accepted)) and not self.require_all:
            self.put_off.append(address)
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
        answered = len(self.accepted) + len(self.refused) + len(self.put_off)
        if self.mail_refused is None and answered < len(self.recipients):
            return None
        return self.refusal()
