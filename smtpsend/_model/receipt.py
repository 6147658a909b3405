"""What became of a message: a receipt, or an outcome among many."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

from smtpsend._model.policy.policy import Method
from smtpsend.errors import Attempt, Event, Phase, RecipientsRefused, Reply, SendError


@dataclass(frozen=True, slots=True)
class Receipt:
    """The server took the message, for at least one recipient.

    Attributes:
        message_id: the Message-ID that went out, or None if there was none.
        method: the method that worked.
        address: the server's IP address.
        tls: the TLS version, such as ``"TLSv1.3"``; None on a plaintext method.
        reply: the server's answer to the end of the message.
        accepted: the recipients that the server took the message for.
        refused: the reply for each recipient that it refused.
        attempts: what was tried before and failed, or was abandoned.
        elapsed: seconds from the start of the call to the answer.
        started: seconds from the start of the call to the start of `method`.
    """

    message_id: str | None
    method: Method
    address: str
    tls: str | None
    reply: Reply
    accepted: tuple[str, ...]
    refused: dict[str, Reply]
    attempts: tuple[Attempt, ...]
    elapsed: float
    started: float = 0.0

    def raise_for_refused(self) -> None:
        """Raise if the server refused some of the recipients.

        Raises:
            RecipientsRefused: with the refused ones; `accepted` names who has the
                message, and `temporary` is False, since sending it again would
                repeat it to them.
        """
        if self.refused:
            error = RecipientsRefused(
                f"{len(self.refused)} of {len(self.refused) + len(self.accepted)} "
                "recipients were refused",
                refused=dict(self.refused),
                phase=Phase.RCPT,
                event=Event.REFUSED,
                message_id=self.message_id,
                reply=next(iter(self.refused.values())),
            )
            error.accepted, error.attempts = self.accepted, self.attempts
            raise error


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message of `send_many`: a receipt or an error.

    Attributes:
        index: the position of the message in the iterable, from 0.
        message: the message, as it was given.
        receipt: the receipt, or None.
        error: the error, or None.
    """

    index: int
    message: Any
    receipt: Receipt | None
    error: SendError | None

    def result(self) -> Receipt:
        """The receipt, or the error raised.

        Returns:
            The receipt of a message that the server accepted.

        Raises:
            SendError: what ended the send of this message.
        """
        if self.receipt is None:
            # A copy, so that raising one outcome twice does not lengthen its traceback.
            raise copy(self.error or SendError("the outcome is empty"))
        return self.receipt
