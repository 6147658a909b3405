"""The public functions `send` and `send_async`: one message, and a connection for it.

Nothing of a client or a batch is imported here, since a process may send one message and
end.
"""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage, Message
from typing import Any

from smtpsend._client.background import portal
from smtpsend._client.background.ending import refuse_at_end
from smtpsend._client.servers.servers import Servers
from smtpsend._client.submission import Submission
from smtpsend._model.address.argument import AddressLike
from smtpsend._model.delivery import Delivery
from smtpsend._model.diagnosis.hints import identify
from smtpsend._model.message.prepared import Prepared
from smtpsend._model.receipt import Receipt
from smtpsend._model.server.server import Server
from smtpsend._model.server.several import servers_of
from smtpsend.errors import SendError


def send(
    message: EmailMessage | Message[Any, Any] | Prepared | bytes | str,
    server: Server | str | Sequence[Server | str],
    *,
    sender: AddressLike | None = None,
    recipients: AddressLike | Sequence[AddressLike] | None = None,
    require_all: bool = False,
    timeout: float | None = None,
    delivery: Delivery | None = None,
) -> Receipt:
    """Send one message to a submission server (RFC 6409), then close the connection.

    The methods of the server's policy are tried until one gives a verified session. The
    message is sent at most once. In a thread that runs an event loop, this function
    works but blocks the loop: use `send_async` there. Ctrl-C aborts the send.

    Args:
        message: an `EmailMessage`, a `Message` or a `Prepared`, which is sent with a
            Message-ID and a Date even if it has none; or bytes or an ASCII str, to which
            nothing is added, and which need `sender` and `recipients`. A Bcc field is
            never sent.
        server: a `Server`, a host name, or a URL (see `Server.from_url`). Or a sequence
            of these: the next is tried where the message cannot have been accepted.
        sender: the envelope sender; by default the Sender field, else From. ``""`` is
            the null reverse-path (RFC 5321 section 4.5.5). It is an address as for
            `compose`; its name is not used.
        recipients: the envelope recipients, as for `compose`; by default those of To,
            Cc and Bcc.
        require_all: if True, send to no recipient unless the server accepts all of them.
        timeout: seconds for the whole call; by default ``policy.deadline`` (900), or the
            sum of those of all servers.
        delivery: the notifications that are asked for (DSN, RFC 3461), and whether all of
            the way needs TLS (REQUIRETLS, RFC 8689); by default what a `Prepared` asks
            for, else nothing.

    Returns:
        The recipients that the server accepted the message for, its reply, and the
        attempts that failed before. If the server refused only some of the recipients,
        these are in ``refused``.

    Raises:
        ConfigError: a message, address or server cannot be used; no connection was
            opened.
        ConnectError: no method gave a verified session. `CertificateError` and
            `TLSError` are kinds of it.
        AuthError: the server refused the login, or offers no mechanism that fits the
            credentials (RFC 4954).
        Rejected: the server refused the sender or the message, lacks an extension that
            the message needs, or refused every recipient (`RecipientsRefused`).
        ConnectionLost: the connection ended before the end of the message was sent; the
            message cannot have been delivered.
        DeliveryUnknown: the end of the message was sent, and no valid reply to it came;
            the message may have been delivered.
    """
    refuse_at_end()
    try:
        servers = Servers(servers_of(server))
    finally:
        del server  # a URL holds a password, and an error keeps this frame
    submission = servers.submission(
        message,
        sender,
        recipients,
        require_all=require_all,
        timeout=timeout,
        delivery=delivery,
    )
    return submitted(servers, submission)


async def send_async(
    message: EmailMessage | Message[Any, Any] | Prepared | bytes | str,
    server: Server | str | Sequence[Server | str],
    *,
    sender: AddressLike | None = None,
    recipients: AddressLike | Sequence[AddressLike] | None = None,
    require_all: bool = False,
    timeout: float | None = None,
    delivery: Delivery | None = None,
) -> Receipt:
    """Send one message to a submission server (RFC 6409), then close the connection.

    This coroutine function does what `send` does. A cancellation ends the send at once.
    If the end of the message has been sent by then without a reply, a warning in the log
    names the Message-ID and says that delivery is unknown.

    Args:
        message: an `EmailMessage`, a `Message` or a `Prepared`; or bytes or an ASCII str,
            which need `sender` and `recipients`.
        server: a `Server`, a host name, or a URL (see `Server.from_url`). Or a sequence
            of these: the next is tried where the message cannot have been accepted.
        sender: the envelope sender; by default the Sender field, else From. ``""`` is
            the null reverse-path (RFC 5321 section 4.5.5). It is an address as for
            `compose`; its name is not used.
        recipients: the envelope recipients, as for `compose`; by default those of To,
            Cc and Bcc.
        require_all: if True, send to no recipient unless the server accepts all of them.
        timeout: seconds for the whole call; by default ``policy.deadline`` (900), or the
            sum of those of all servers.
        delivery: the notifications that are asked for (DSN, RFC 3461), and whether all of
            the way needs TLS (REQUIRETLS, RFC 8689); by default what a `Prepared` asks
            for, else nothing.

    Returns:
        The recipients that the server accepted and refused, its reply, and the
        attempts that failed before.

    Raises:
        ConfigError: a message, address or server cannot be used; no connection was
            opened.
        ConnectError: no method gave a verified session. `CertificateError` and
            `TLSError` are kinds of it.
        AuthError: the server refused the login, or offers no mechanism that fits the
            credentials (RFC 4954).
        Rejected: the server refused the sender or the message, lacks an extension that
            the message needs, or refused every recipient (`RecipientsRefused`).
        ConnectionLost: the connection ended before the end of the message was sent; the
            message cannot have been delivered.
        DeliveryUnknown: the end of the message was sent, and no valid reply to it came;
            the message may have been delivered.
    """
    try:
        servers = Servers(servers_of(server))
    finally:
        del server  # a URL holds a password, and an error keeps this frame
    submission = servers.submission(
        message,
        sender,
        recipients,
        require_all=require_all,
        timeout=timeout,
        delivery=delivery,
    )
    return await servers.submit(submission)


def submitted(servers: Servers, submission: Submission) -> Receipt:
    """Send a submission for a sync caller."""
    try:
        return portal.run(
            lambda: servers.submit(submission),
            submission.timeout,
            submission,
            here=not servers.runs_callers_code,
            closes=not servers.pools,
        )
    except SendError as error:
        # Where not even the event loop could be started, nobody has noted it.
        identify(error, error.message_id or submission.envelope.message_id)
        raise
