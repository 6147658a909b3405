"""The result of a send: a receipt, or an outcome for each message of `send_many`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Self

from smtpsend._model.policy.policy import Method
from smtpsend._plain import number_from, plain, restore, text_from, texts_from
from smtpsend._values import dataclass
from smtpsend.errors import (
    Attempt,
    ConfigError,
    Event,
    Phase,
    RecipientsRefused,
    Reply,
    SendError,
    attempt_from,
    replies_from,
    reply_from,
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The server accepted the message for at least one recipient.

    Attributes:
        message_id: the Message-ID of the message as it was sent. None if the message was
            given as bytes or str without one, since nothing is added to those.
        method: the method by which it was sent.
        address: the server's IP address; with a proxy, ``"host:port via address:port"``,
            with the address of the proxy.
        tls: the TLS version, such as ``"TLSv1.3"``; None on a plaintext method.
        reply: the server's reply to the end of the message.
        accepted: the recipients that the server accepted.
        refused: the reply for each recipient that the server refused.
        attempts: the methods that failed or were abandoned before.
        elapsed: seconds from the start of the call to that reply.
        started: seconds from the start of the call to the start of `method`.
        server: the host of the server.
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
    server: str | None = None

    def __setstate__(self, state: Sequence[Any]) -> None:
        restore(self, state)

    def __str__(self) -> str:
        refused = f", {len(self.refused)} refused" if self.refused else ""
        name = self.message_id or "a message without Message-ID"
        return (
            f"accepted {name} for {len(self.accepted)} recipient(s){refused} by "
            f"{self.method}: {self.reply}"
        )

    def raise_for_refused(self) -> None:
        """Raise if the server refused some of the recipients.

        Raises:
            RecipientsRefused: it names the refused recipients in `refused`, and those
                that have the message in `accepted`. Its `temporary` is False: to send the
                message again would repeat it to the accepted recipients.
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
                hint="the replies to these recipients say why; "
                "those in `accepted` have the message",
            )
            error.accepted, error.attempts = self.accepted, self.attempts
            error.server = self.server
            raise error

    def to_dict(self) -> dict[str, Any]:
        """Convert to a dict for JSON, or any other serialiser of simple values.

        Returns:
            All attributes; a `Method`, a `Reply` and an `Attempt` are a dict of their
            fields.
        """
        return {name: plain(getattr(self, name)) for name in self.__slots__}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Convert back the dict that `to_dict` returned.

        Args:
            data: the dict.

        Raises:
            ConfigError: `data` is not such a dict.
        """
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            identity, tls = data["message_id"], data["tls"]
            server = data.get("server")
            return cls(
                message_id=None if identity is None else text_from(identity),
                method=Method(**data["method"]),
                address=text_from(data["address"]),
                tls=None if tls is None else text_from(tls),
                reply=reply_from(data["reply"]),
                accepted=texts_from(data["accepted"]),
                refused=replies_from(data["refused"]),
                attempts=tuple([attempt_from(one) for one in data["attempts"]]),
                elapsed=number_from(data["elapsed"]),
                started=number_from(data["started"]),
                server=None if server is None else text_from(server),
            )
        raise ConfigError(
            "not a receipt as a dict", hint="give what Receipt.to_dict() returned"
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one message of `send_many`: a receipt or an error.

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
        """Return the receipt, or raise the error.

        Returns:
            The receipt of a message that the server accepted.

        Raises:
            SendError: the error of this message.
        """
        if self.receipt is None:
            # A copy, so that raising one outcome twice does not lengthen its traceback.
            raise copy(self.error or SendError("the outcome is empty"))
        return self.receipt
