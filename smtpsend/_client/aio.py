"""The async face: `send_async`."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage, Message
from typing import Any

from smtpsend._client.submit import order_of, submit
from smtpsend._model.receipt import Receipt
from smtpsend._model.server import Server, server_of


async def send_async(
    message: EmailMessage | Message[Any, Any] | bytes | str,
    server: Server | str,
    *,
    sender: str | None = None,
    recipients: Sequence[str] | None = None,
    require_all: bool = False,
    timeout: float | None = None,
) -> Receipt:
    """Send one message to a submission server, and hang up; see `send`.

    A cancellation ends it at once. If the end of the message had gone out by then, a
    warning in the log says that delivery is unknown, with the Message-ID.
    """
    where = server_of(server)
    order = order_of(
        where, message, sender, recipients, require_all=require_all, timeout=timeout
    )
    return await submit(where, order)
