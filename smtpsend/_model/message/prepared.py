"""A message as it goes out, fixed and serialisable."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from smtpsend.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message made ready by `prepare`: `send` takes it like any other.

    Attributes:
        sender: the envelope sender.
        recipients: the envelope recipients.
        content: the bytes, with Date and Message-ID.
        message_id: the Message-ID, the same at each try; None if it has none.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes = field(repr=False)
    message_id: str | None

    def to_dict(self) -> dict[str, Any]:
        """What JSON, or any other serialiser of plain values, can carry."""
        return {
            "sender": self.sender,
            "recipients": list(self.recipients),
            "content": base64.b64encode(self.content).decode(),
            "message_id": self.message_id,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The message that `to_dict` was called on.

        Args:
            data: what `to_dict` gave.

        Raises:
            ConfigError: `data` is not what `to_dict` gives.
        """
        with contextlib.suppress(KeyError, TypeError, ValueError):
            content = base64.b64decode(data["content"], validate=True)
            sender, recipients = data["sender"], tuple(data["recipients"])
            if recipients and all(isinstance(r, str) for r in (sender, *recipients)):
                return cls(sender, recipients, content, data["message_id"])
        raise ConfigError(
            "not a prepared message", hint="give what Prepared.to_dict() returned"
        )
