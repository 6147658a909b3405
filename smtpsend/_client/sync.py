"""The sync face: `send`."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage, Message
from typing import Any

from smtpsend._client import portal
from smtpsend._client.submit import order_of, submit
from smtpsend._model.receipt import Receipt
from smtpsend._model.server import Server, server_of


def send(
    message: EmailMessage | Message[Any, Any] | bytes | str,
    server: Server | str,
    *,
    sender: str | None = None,
    recipients: Sequence[str] | None = None,
    require_all: bool = False,
    timeout: float | None = None,
) -> Receipt:
    """Send one message to a submission server (RFC 6409), and hang up.

    The methods of the server's policy are tried until one gives a verified session; the
    message goes out once at most. Works inside a running event loop, too, but blocks it:
    use `send_async` there. Ctrl-C aborts the send.

    Args:
        message: an `EmailMessage` or `Message`; or bytes or an ASCII str, which go out
            as they are and need `sender` and `recipients`. Missing Message-ID and Date
            are added on the wire; Bcc never leaves.
        server: a `Server`, a host name, or a URL (see `Server.from_url`).
        sender: the envelope sender, by default Sender, else From. ``""`` is the null
            sender.
        recipients: the envelope recipients, by default To, Cc and Bcc.
        require_all: send to nobody unless the server accepts every recipient.
        timeout: seconds for the whole call, in place of ``policy.deadline``.

    Returns:
        What the server took, for whom, and what was tried before. Refused recipients
        are in ``refused``, if at least one was accepted.

    Raises:
        ConfigError: message, address or server cannot be used; nothing was connected.
        ConnectError: no method gave a session (`CertificateError`, `TLSError`).
        AuthError: the login was refused, or is not offered.
        Rejected: the server refused the sender or the message, or (`RecipientsRefused`)
            every recipient.
        ConnectionLost: the connection ended before the end of the message.
        DeliveryUnknown: it ended after that; the message may have been delivered.
    """
    where = server_of(server)
    order = order_of(
        where, message, sender, recipients, require_all=require_all, timeout=timeout
    )
    return portal.run(lambda: submit(where, order))
