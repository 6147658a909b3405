"""A message as one server can carry it, by what its EHLO offers; or why it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpsend.errors import Event, Phase, Rejected


if TYPE_CHECKING:
    from smtpsend._model.message.envelope import Envelope
    from smtpsend._wire.connection import Session


@dataclass(frozen=True, slots=True)
class Fitted:
    """What goes to one server.

    Attributes:
        mail: the MAIL command, with its parameters.
        content: what follows, not dot-stuffed.
    """

    mail: bytes
    content: bytes


def fit(envelope: Envelope, session: Session) -> Fitted:
    """The message as the server can carry it.

    Raises:
        Rejected: it cannot (`reply` is None: the server was not asked).
    """
    content, eight_bit = envelope.content, envelope.eight_bit
    if envelope.utf8 and not session.offers("smtputf8"):
        # RFC 6531 section 3.2
        raise ruled_out(
            "an address is not ASCII, and the server does not offer SMTPUTF8",
            "write the address in ASCII, or use a server with SMTPUTF8",
        )
    if eight_bit and not session.offers("8bitmime"):
        # RFC 6152 section 3: what is not offered must be encoded, or not sent.
        encoded = envelope.seven_bit() if envelope.seven_bit else None
        if encoded is None:
            raise ruled_out(
                "the message holds 8-bit bytes, and the server does not offer 8BITMIME",
                "give an EmailMessage, which can be encoded anew, or encode the "
                "message as quoted-printable or base64",
            )
        content, eight_bit = encoded, False
    limit = session.size_limit
    if limit is not None and len(content) > limit:
        # RFC 1870 section 6.1
        raise ruled_out(
            f"the message has {len(content):,} bytes, and the server takes at most "
            f"{limit:,}",
            "send a link in place of the attachment, or use another server",
        )
    line = f"MAIL FROM:<{envelope.sender}>"
    if session.offers("size"):
        line += f" SIZE={len(content)}"
    if eight_bit:
        line += " BODY=8BITMIME"
    if envelope.utf8:
        line += " SMTPUTF8"
    return Fitted(f"{line}\r\n".encode(), content)


def ruled_out(text: str, hint: str) -> Rejected:
    """The error where EHLO says that the server cannot do what is asked."""
    return Rejected(text, phase=Phase.MAIL, event=Event.REFUSED, hint=hint)
