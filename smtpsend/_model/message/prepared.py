"""A message made ready to send: its envelope and its bytes, serialisable."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping
from typing import Any, Self

from smtpsend._model.delivery import Delivery
from smtpsend._plain import plain
from smtpsend._values import dataclass, field
from smtpsend.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message made ready by `prepare`, for `send` and all that accept a message.

    Attributes:
        sender: the envelope sender.
        recipients: the envelope recipients.
        content: the bytes to send; Date and Message-ID are set, unless the message was
            given as bytes or str without them.
        message_id: the Message-ID, the same at each try; None if there is none.
        delivery: the notifications and the TLS that are asked for; None for nothing.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes = field(repr=False)
    message_id: str | None
    delivery: Delivery | None = None

    def to_dict(self) -> dict[str, Any]:
        """Convert to a dict for JSON, or any other serialiser of simple values.

        Returns:
            str, list, dict, bool and None values; `content` in base64.
        """
        return {
            "sender": self.sender,
            "recipients": list(self.recipients),
            "content": base64.b64encode(self.content).decode(),
            "message_id": self.message_id,
            "delivery": plain(self.delivery),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Convert back the dict that `to_dict` returned.

        Args:
            data: the dict.

        Raises:
            ConfigError: `data` is not such a dict.
        """
        with contextlib.suppress(KeyError, TypeError, ValueError):
            content = base64.b64decode(data["content"], validate=True)
            sender, recipients = data["sender"], tuple(data["recipients"])
            asked = data.get("delivery")  # older versions have no such item
            delivery = None if asked is None else Delivery(**asked)
            if recipients and all(isinstance(r, str) for r in (sender, *recipients)):
                identity = data["message_id"]
                return cls(sender, recipients, content, identity, delivery)
        raise ConfigError(
            "not a prepared message", hint="give what Prepared.to_dict() returned"
        )
