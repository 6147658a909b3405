"""Make an `Envelope` from a message of any kind: the object, Prepared, bytes or str."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from email.message import Message

from smtpsend._model.address.argument import AddressLike, mailbox_of, mailboxes_of
from smtpsend._model.address.domain import shown
from smtpsend._model.address.mailbox import Mailbox
from smtpsend._model.delivery import Delivery
from smtpsend._model.message.content import (
    dot_stuff,
    fields,
    from_bytes,
    from_usual_bytes,
    message_id_of,
    unfolded,
)
from smtpsend._model.message.headers import check_headers
from smtpsend._model.message.identification import date_now, new_id, written_id
from smtpsend._model.message.originator import HeaderAddresses
from smtpsend._model.message.prepared import Prepared
from smtpsend._model.message.serialize import (
    own_copy,
    serialize,
    seven_bit,
    typed,
    wire_copy,
)
from smtpsend._model.message.serialize_fast import serialize_fast
from smtpsend._values import dataclass, field
from smtpsend.errors import ConfigError


__all__ = ["Envelope", "dot_stuff", "envelope", "redirected"]


@dataclass(slots=True)
class Envelope:
    """One message as a mail transaction needs it (RFC 5321 section 3.3).

    Attributes:
        sender: the address for MAIL; empty for the null sender.
        recipients: the addresses for RCPT, each once, in order; never empty.
        content: the bytes, with CRLF line ends only, the last line ended, not
            dot-stuffed. Empty only for empty bytes or an empty str.
        message_id: the Message-ID, or None if there is none that can be shown.
        eight_bit: the content holds bytes above 127 (needs 8BITMIME, RFC 6152).
        utf8: an address is not ASCII, or the headers hold UTF-8 (needs SMTPUTF8,
            RFC 6531).
        seven_bit: a function that encodes the content in ASCII, for a server without
            8BITMIME; it returns None if that is not possible. This content needs no
            SMTPUTF8 either, though an address still may. None unless the message is an
            object and `eight_bit` is True.
        utf8_headers: the headers, those of parts included, hold UTF-8.
        delivery: the notifications and the TLS that are asked for; None for nothing.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes = field(repr=False)
    message_id: str | None
    eight_bit: bool
    utf8: bool
    seven_bit: Callable[[], bytes | None] | None = field(
        default=None, repr=False, compare=False
    )
    utf8_headers: bool = field(default=False, repr=False, compare=False)
    delivery: Delivery | None = None


def envelope(
    message: object,
    sender: AddressLike | None,
    recipients: AddressLike | Sequence[AddressLike] | None,
    delivery: Delivery | None = None,
) -> Envelope:
    """Make the envelope of a message.

    Args:
        message: an `EmailMessage` or other `Message`, a `Prepared`, bytes, or an ASCII
            str.
        sender: the address for MAIL, ``""`` for the null sender; by default the address
            in Sender, else in From.
        recipients: the addresses for RCPT; by default those in To, Cc and Bcc.
        delivery: what is asked for; by default what a `Prepared` asks for.

    If a message has Resent- headers, their addresses count, as in
    `smtplib.SMTP.send_message`.

    Raises:
        ConfigError: the message, a header of it or an address cannot be sent.
    """
    if delivery is None and isinstance(message, Prepared):
        delivery = message.delivery
    made = _envelope(message, sender, recipients)
    return made if delivery is None else replace(made, delivery=_fit(delivery, made))


_FORMS = (
    "send_many has tuples of (message, sender, recipients) or (message, sender, "
    "recipients, delivery), with None for what the headers say"
)


def _fit(delivery: Delivery, made: Envelope) -> Delivery:
    """Return what is asked for, if it can be asked for this message.

    Raises:
        ConfigError: it cannot.
    """
    if not isinstance(delivery, Delivery):
        raise ConfigError(
            f"delivery must be a Delivery, not {shown(delivery)}",
            hint='such as smtpsend.Delivery(notify=("failure", "delay"))',
        )
    if made.sender == "" and delivery.asks_for_mail:
        raise ConfigError(
            "a notification is asked for, and the sender is the null sender",
            hint="notifications are sent to the sender: give sender=, or no notify",
        )
    return delivery


def _envelope(
    message: object,
    sender: AddressLike | None,
    recipients: AddressLike | Sequence[AddressLike] | None,
) -> Envelope:
    given = None if sender is None else _sender(sender)
    listed = None if recipients is None else _recipients(recipients)
    if isinstance(message, Prepared):
        # Its addresses are checked again: it may come from a queue that others write to.
        given = _sender(message.sender) if given is None else given
        listed = mailboxes_of(message.recipients) if listed is None else listed
        message = message.content
    if isinstance(message, Message):
        return _of_object(message, given, listed)
    if isinstance(message, str):
        message = _ascii(message)
    if not isinstance(message, bytes):
        raise ConfigError(
            "a message must be an EmailMessage, a Message, a Prepared, bytes or str, "
            f"not {shown(message)}",
            hint=_FORMS if isinstance(message, tuple) else "",
        )
    if type(message) is not bytes:
        # A subclass could do anything when it is used, long after it was read.
        message = bytes(memoryview(message))
    if given is None or listed is None:
        raise ConfigError(
            "a message given as bytes or str needs sender= and recipients=",
            hint="its headers are sent as they are and not read for addresses",
        )
    return _of_bytes(message, given, listed)


def _sender(sender: AddressLike) -> str:
    return "" if sender == "" else mailbox_of(sender).address


def _recipients(
    recipients: AddressLike | Iterable[AddressLike],
) -> list[Mailbox]:
    if type(recipients) is not list and isinstance(recipients, Mapping):
        # It is accepted for its keys, such as `refused` of a receipt.
        return mailboxes_of(list(recipients))
    return mailboxes_of(recipients)


def _each_once(boxes: Iterable[Mailbox]) -> tuple[str, ...]:
    seen: dict[tuple[str, str], str] = {}
    for box in boxes:
        seen.setdefault((box.local, box.domain.lower()), box.address)
    once = tuple(seen.values())
    if not once:
        raise ConfigError(
            "the message has no recipient", hint="set To, Cc or Bcc, or give recipients="
        )
    return once


def _ascii(text: str) -> bytes:
    try:
        return str.encode(text, "ascii")
    except UnicodeEncodeError:
        raise ConfigError(
            "a message given as str must be ASCII, as in smtplib",
            hint="give bytes, or an EmailMessage, which encodes what is not ASCII",
        ) from None


def _of_bytes(message: bytes, sender: str, recipients: list[Mailbox]) -> Envelope:
    content, head, message_id = from_usual_bytes(message) or _from_any_bytes(message)
    to = _each_once(recipients)
    return Envelope(
        sender=sender,
        recipients=to,
        content=content,
        message_id=message_id_of(unfolded(message_id)),
        eight_bit=not content.isascii(),
        utf8=_addressed_in_utf8(sender, to) or _holds_utf8(head),
        utf8_headers=_holds_utf8(head),
    )


def _from_any_bytes(message: bytes) -> tuple[bytes, bytes, bytes]:
    content, head = from_bytes(message)
    ids = (f.value for f in fields(head) if f.name.lower() == b"message-id")
    return content, head, next(ids, b"")


def _of_object(
    message: Message, sender: str | None, recipients: list[Mailbox] | None
) -> Envelope:
    found = serialize_fast(message, sender)
    if found is None:
        return _of_unusual_object(message, sender, recipients)
    addresses, head, content, added, message_id = found
    if sender is None:
        sender = addresses.sender()
    to = _each_once(addresses.recipients() if recipients is None else recipients)
    eight_bit = not content.isascii()
    return Envelope(
        sender=sender,
        recipients=to,
        content=content,
        message_id=message_id,
        eight_bit=eight_bit,
        utf8=_addressed_in_utf8(sender, to) or _holds_utf8(head),
        utf8_headers=_holds_utf8(head),
        seven_bit=_deferred_seven_bit(message, added) if eight_bit else None,
    )


def _deferred_seven_bit(
    message: Message, added: list[tuple[str, str]]
) -> Callable[[], bytes | None]:
    """Make `Envelope.seven_bit` for the message as it is now.

    The copy is made at once, since the caller may change the message afterwards.
    """
    kept = wire_copy(message)

    def encoded() -> bytes | None:
        clone = own_copy(kept)
        for name, text in added:
            clone[name] = text
        return seven_bit(clone)()

    return encoded


def _of_unusual_object(
    message: Message, sender: str | None, recipients: list[Mailbox] | None
) -> Envelope:
    """Like `_of_object`, by the generator of the standard library, for any message."""
    with typed():
        check_headers(message)
        addresses = HeaderAddresses.of(message)
        clone = wire_copy(message)
    if sender is None:
        sender = addresses.sender()
    to = _each_once(addresses.recipients() if recipients is None else recipients)
    with typed():
        _complete(clone, addresses.domain() or sender.rpartition("@")[2] or "localhost")
        message_id = message_id_of(written_id(clone))
    content, head = serialize(clone)
    utf8_headers = _holds_utf8(head) or _utf8_inside(clone)
    eight_bit = not content.isascii()
    return Envelope(
        sender=sender,
        recipients=to,
        content=content,
        message_id=message_id,
        eight_bit=eight_bit,
        utf8=_addressed_in_utf8(sender, to) or utf8_headers,
        utf8_headers=utf8_headers,
        seven_bit=seven_bit(clone) if eight_bit else None,
    )


def _complete(message: Message, domain: str) -> None:
    """Add Date and Message-ID (RFC 6409 section 8) where they are missing."""
    if "Date" not in message:
        message["Date"] = date_now()
    if "Message-ID" not in message:
        message["Message-ID"] = new_id(domain)


def _utf8_inside(message: Message) -> bool:
    """Whether a header of any part will be written as UTF-8."""
    return getattr(message.policy, "utf8", False) and not all(
        str(value).isascii() for part in message.walk() for _, value in part.raw_items()
    )


def _addressed_in_utf8(sender: str, recipients: tuple[str, ...]) -> bool:
    return not sender.isascii() or not all(map(str.isascii, recipients))


def _holds_utf8(head: bytes) -> bool:
    if head.isascii():
        return False
    try:
        return bool(head.decode())
    except UnicodeDecodeError:  # another charset, for which SMTPUTF8 is no help
        return False


def redirected(given: Envelope, address: str) -> Envelope:
    """Copy `given` for the one recipient `address`.

    The recipients of `given` are named in a header X-Original-Recipients at the top.
    """
    names = [r.encode("ascii", "backslashreplace") for r in given.recipients]
    header = b"X-Original-Recipients: " + b",\r\n ".join(names) + b"\r\n"
    encoded = given.seven_bit

    def seven_bit() -> bytes | None:
        content = encoded() if encoded is not None else None
        return None if content is None else header + content

    return replace(
        given,
        recipients=(address,),
        content=header + given.content,
        utf8=given.utf8_headers or _addressed_in_utf8(given.sender, (address,)),
        seven_bit=seven_bit if encoded is not None else None,
    )
