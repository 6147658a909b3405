"""Fits the parameters and the content of a message to what a server offers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpsend._model.delivery import original_recipient, xtext
from smtpsend._values import NamedTuple
from smtpsend.errors import Event, Phase, Rejected


if TYPE_CHECKING:
    from smtpsend._model.delivery import Delivery
    from smtpsend._model.message.envelope import Envelope
    from smtpsend._protocol.extensions import Extensions


class Negotiated(NamedTuple):
    """The MAIL command and the content of a message, fitted to one server.

    Attributes:
        mail: the MAIL command, with its parameters.
        content: the content, before dot-stuffing.
    """

    mail: bytes
    content: bytes


def negotiate(
    envelope: Envelope, extensions: Extensions, *, secure: bool = True
) -> Negotiated:
    """Fit a message to the extensions that the server offers.

    Args:
        secure: whether the connection has TLS.

    Raises:
        Rejected: the server lacks an extension that the message needs, or the message is
            larger than its SIZE; `reply` is None, because no command was sent.
    """
    content, eight_bit, utf8 = envelope.content, envelope.eight_bit, envelope.utf8
    if utf8 and "SMTPUTF8" not in extensions:
        # RFC 6531 section 3.2
        content = _without_utf8(envelope)
        eight_bit = utf8 = False
    elif eight_bit and "8BITMIME" not in extensions:
        # RFC 6152 section 3: without 8BITMIME, 8-bit content is encoded or not sent.
        content = _without_eight_bit(envelope)
        eight_bit = False
    limit = extensions.size_limit
    if limit is not None and len(content) > limit:
        # RFC 1870 section 6.1
        raise unsupported(
            f"the message has {len(content):,} bytes, and the server accepts at most "
            f"{limit:,}",
            "send a link in place of the attachment, or use another server",
        )
    line = f"MAIL FROM:<{envelope.sender}>"
    if "SIZE" in extensions:
        line += f" SIZE={len(content)}"
    if eight_bit:
        line += " BODY=8BITMIME"
    if utf8:
        line += " SMTPUTF8"
    if envelope.delivery is not None:
        line += _mail_parameters(envelope.delivery, extensions, secure=secure)
    return Negotiated(f"{line}\r\n".encode(), content)


_RET = {"headers": "HDRS", "full": "FULL"}


def _mail_parameters(delivery: Delivery, extensions: Extensions, *, secure: bool) -> str:
    """The parameters of MAIL that the caller asked for.

    Raises:
        Rejected: the server does not offer the extension. The message is not sent without
            the parameters, because the caller relies on them.
    """
    asked = ""
    if delivery.asks_for_dsn:
        if "DSN" not in extensions:
            raise unsupported(
                "the message asks for delivery status notifications, and the server does "
                "not offer DSN (RFC 3461)",
                "send it without notify, ret and envid, or use a server with DSN",
            )
        asked += f" RET={_RET[delivery.ret]}" if delivery.ret is not None else ""
        asked += f" ENVID={xtext(delivery.envid)}" if delivery.envid is not None else ""
    if delivery.require_tls:
        if not secure:
            raise unsupported(
                "the message requires TLS on all of its way, and the connection to the "
                "server has none",
                "send it without require_tls, or use a server with TLS",
            )
        if "REQUIRETLS" not in extensions:
            raise unsupported(
                "the message requires TLS on all of its way, and the server does not "
                "offer REQUIRETLS (RFC 8689)",
                "send it without require_tls, or use a server with REQUIRETLS",
            )
        asked += " REQUIRETLS"
    return asked


def recipient_parameters(delivery: Delivery, address: str) -> str:
    """The parameters of RCPT that the caller asked for (RFC 3461 section 4)."""
    if not delivery.asks_for_dsn:
        return ""
    asked = f" NOTIFY={','.join(delivery.notify).upper()}" if delivery.notify else ""
    original = original_recipient(address)
    return asked if original is None else f"{asked} ORCPT={original}"


def unsupported(text: str, hint: str) -> Rejected:
    """The error of a message that needs an extension which the server does not offer."""
    return Rejected(text, phase=Phase.MAIL, event=Event.REFUSED, hint=hint)


def _without_utf8(envelope: Envelope) -> bytes:
    """The content for a server without SMTPUTF8: only headers can be encoded."""
    if not all(map(str.isascii, (envelope.sender, *envelope.recipients))):
        raise unsupported(
            "an address is not ASCII, and the server does not offer SMTPUTF8",
            "write the address in ASCII, or use a server with SMTPUTF8",
        )
    encoded = _seven_bit(envelope)
    if encoded is None:
        raise unsupported(
            "the headers hold UTF-8, and the server does not offer SMTPUTF8",
            _SIGNED_OR_ADDRESS
            if envelope.seven_bit
            else "give a message object, whose headers can be encoded, or encode them "
            "(RFC 2047)",
        )
    return encoded


def _without_eight_bit(envelope: Envelope) -> bytes:
    """The content for a server without 8BITMIME."""
    encoded = _seven_bit(envelope)
    if encoded is None:
        raise unsupported(
            "the message holds 8-bit bytes, and the server does not offer 8BITMIME",
            _SIGNED_OR_ADDRESS
            if envelope.seven_bit
            else "give an EmailMessage, which can be encoded anew, or encode the "
            "message as quoted-printable or base64",
        )
    return encoded


_SIGNED_OR_ADDRESS = (
    "it cannot be encoded anew, because it is signed or an address in a header is not "
    "ASCII: use another server, or encode what is signed before it is signed"
)


def _seven_bit(envelope: Envelope) -> bytes | None:
    """The content in pure ASCII; None if it cannot be encoded.

    The policy of the message, which may be the caller's code, writes it anew. What it
    raises to end a task or the process must not end the event loop of other sends.
    """
    if envelope.seven_bit is None:
        return None
    try:
        return envelope.seven_bit()
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException:  # noqa: BLE001  # SystemExit, and a cancellation of nobody
        return None
