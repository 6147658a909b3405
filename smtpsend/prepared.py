"""Messages for jobs that are tried more than once: prepared once, each time the same."""

from __future__ import annotations

from collections.abc import Sequence

from smtpsend._model.message.envelope import envelope
from smtpsend._model.message.prepared import Prepared


__all__ = ["Prepared", "prepare"]


def prepare(
    message: object,
    *,
    sender: str | None = None,
    recipients: Sequence[str] | None = None,
) -> Prepared:
    """Fix a message, so that each try of a job sends the same one.

    Date and Message-ID are set now if they are missing; the content is made 7-bit where
    that is possible, so that any server can take it.

    Args:
        message, sender, recipients: as for `send`.

    Raises:
        ConfigError: as for `send`.
    """
    made = envelope(message, sender, recipients)
    content = made.seven_bit() if made.seven_bit is not None else None
    return Prepared(
        sender=made.sender,
        recipients=made.recipients,
        content=made.content if content is None else content,
        message_id=made.message_id,
    )
