"""Write a usual message object as bytes, without a copy and without the generator.

The result is the same, byte for byte, as that of `serialize` for a `wire_copy`. A message
that is unusual or wrong in any way is left to `serialize`.
"""

from __future__ import annotations

import random
import sys
from email.headerregistry import BaseHeader
from email.message import EmailMessage, Message, MIMEPart
from functools import lru_cache
from typing import Any

from smtpsend._model.address.mailbox import Group
from smtpsend._model.message.content import ended, message_id_of
from smtpsend._model.message.folding.content_type import boundary_line, simple_type
from smtpsend._model.message.folding.field import (
    WirePolicy,
    address_field,
    field,
    folds_to_itself,
    is_built,
    wire_policy,
)
from smtpsend._model.message.headers import ADDRESS_HEADERS, NEVER_SENT, check_header
from smtpsend._model.message.identification import date_now, new_id, usual_id
from smtpsend._model.message.once import SIGNATURES, repeated
from smtpsend._model.message.originator import HeaderAddresses
from smtpsend._values import NamedTuple
from smtpsend.errors import ConfigError


__all__ = ["Serialized", "serialize_fast"]

# Larger texts are left to `serialize`, which writes in pieces and needs less memory.
_LARGE_TEXT, _LARGE = 1 << 18, 1 << 20
_LONGEST_NAME = 78
_OWN = frozenset({EmailMessage, Message, MIMEPart})
# The classes of these modules override nothing that is used here.
_OF_MODULES = ("email.mime.", "django.core.mail.message")
_LEAVES = frozenset({"text", "image", "audio", "video", "application", "font", "model"})
_BOUNDARY = f"{'=' * 15}%0{len(str(sys.maxsize - 1))}d=="


class _UnusualError(Exception):
    """The message is unusual, and left to `serialize`."""


class Serialized(NamedTuple):
    """A message object, written as bytes.

    Attributes:
        addresses: the addresses that its headers name.
        head: the header block, without the empty line.
        content: the whole content, header block included.
        added: the headers that the object lacks, and that were added to the content.
        message_id: the Message-ID, or None if it cannot be shown.
    """

    addresses: HeaderAddresses
    head: bytes
    content: bytes
    added: list[tuple[str, str]]
    message_id: str | None


def serialize_fast(message: Message, sender: str | None) -> Serialized | None:
    """Write `message`, with Date and Message-ID added where they are missing.

    Args:
        message: the object, which is not changed.
        sender: the address for MAIL; None if it is to be read from the headers.

    Returns:
        None if the message is unusual; `serialize` handles it then.
    """
    try:
        return _serialized(message, sender)
    except Exception:  # noqa: BLE001 - `serialize` fails in the same way, and reports it
        return None


def _serialized(message: Message, sender: str | None) -> Serialized:
    to, built = wire_policy(message.policy), is_built(message)
    headers = _headers(to, message)
    names = [lower for lower, _, _ in headers]
    if len(names) != len({*names}) and repeated(names):
        raise _UnusualError
    if not SIGNATURES.isdisjoint(names):
        raise _UnusualError
    body, typed = _body(to, message, headers)
    read: list[tuple[str, list[Group] | ConfigError | None]] = []
    lines: list[bytes] = []
    message_id: object = None
    for lower, name, value in headers:
        found = None
        if lower in ADDRESS_HEADERS:
            found, folded = address_field(to, name, value, built=built)
        elif lower == "content-type" and typed:
            folded = typed
        else:
            folded = field(to, name, value, built=built)
            if lower == "message-id" and message_id is None:
                message_id = value
        read.append((lower, found))
        if lower not in NEVER_SENT:
            lines.append(_required(folded))
    addresses = HeaderAddresses(tuple(read))
    added = _missing(addresses, sender)
    for name, text in added:
        lines.append(_required(_own_line(to, message, name, text)))
        message_id = text if name == "Message-ID" else message_id
    head = b"".join(lines)
    content = ended(head + b"\r\n" + body)
    if b"\0" in content:
        raise _UnusualError
    return Serialized(addresses, head, content, added, message_id_of(message_id))


def _headers(to: WirePolicy, part: Message) -> list[tuple[str, str, Any]]:
    """Check each header; list its name in lower case, its name and its value."""
    if type(part) not in _OWN and not type(part).__module__.startswith(_OF_MODULES):
        raise _UnusualError  # a subclass may override anything
    headers = [(_lower(name), name, value) for name, value in part.raw_items()]
    for _, name, value in headers:
        if not (isinstance(value, str) and value.isascii() and value.isprintable()):
            check_header(name, value)
            if to.utf8 and not str(value).isascii():
                raise _UnusualError  # SMTPUTF8 may be needed for it
    return headers


@lru_cache(maxsize=256)
def _lower(name: str) -> str:
    check_header(name, "")
    if len(name) > _LONGEST_NAME:
        raise _UnusualError  # too long to cache
    return name.lower()


def _required(folded: bytes | None) -> bytes:
    if folded is None:
        raise _UnusualError  # it would not be one header
    return folded


def _missing(addresses: HeaderAddresses, sender: str | None) -> list[tuple[str, str]]:
    """Make Date and Message-ID (RFC 6409 section 8) where they are missing."""
    names = {name for name, _ in addresses.headers}
    added = []
    if "date" not in names:
        added.append(("Date", date_now()))
    if "message-id" not in names:
        domain = addresses.domain()
        if not domain:
            sender = addresses.sender() if sender is None else sender
            domain = sender.rpartition("@")[2] or "localhost"
        added.append(("Message-ID", new_id(domain)))
    return added


def _own_line(to: WirePolicy, message: Message, name: str, text: str) -> bytes | None:
    if len(name) + 2 + len(text) <= to.width and (name == "Date" or usual_id(text)):
        return f"{name}: {text}\r\n".encode("ascii")
    name, value = message.policy.header_store_parse(name, text)
    return field(to, name, value, built=is_built(message))


def _part(to: WirePolicy, part: Message) -> bytes:
    """Write one part of a multipart, headers and body."""
    headers = _headers(to, part)
    body, typed = _body(to, part, headers)
    built = is_built(part)
    lines = [
        _required(
            typed
            if typed and lower == "content-type"
            else field(to, name, value, built=built)
        )
        for lower, name, value in headers
    ]
    return b"".join([*lines, b"\r\n", body])


def _body(
    to: WirePolicy, part: Message, headers: list[tuple[str, str, Any]]
) -> tuple[bytes, bytes | None]:
    """Write the body; return the new Content-Type, too, if it gets a new boundary."""
    types = [(name, value) for lower, name, value in headers if lower == "content-type"]
    if len(types) > 1:
        raise _UnusualError
    name, value = types[0] if types else ("", "")
    kind = simple_type(value) if isinstance(value, str) else None
    if kind is None:
        if types and not isinstance(value, BaseHeader):
            raise _UnusualError
        kind = part.get_content_type()
    main = kind.partition("/")[0]
    # The generator reads this attribute, too: `get_payload` would decode non-ASCII text.
    payload = vars(part)["_payload"]
    if main in _LEAVES:
        return _encoded(to, payload), None
    # If no boundary was found, the parser leaves a str as the payload of a multipart.
    listed = type(payload) is list
    if (
        main != "multipart"
        or kind == "multipart/signed"
        or not (simple_type(value) and listed)
    ):
        raise _UnusualError
    parts = [_part(to, each) for each in payload]
    if "boundary" in value.lower():
        return _joined(to, part, parts, str(part.get_boundary())), None
    around = boundary_line(to, name, str(value), built=is_built(part))
    boundary = _BOUNDARY % random.randrange(sys.maxsize)  # noqa: S311 - no secret
    mark = boundary.encode("ascii")
    if around is None or any(mark in each for each in parts):
        raise _UnusualError
    return _joined(to, part, parts, boundary), around[0] + mark + around[1]


def _joined(to: WirePolicy, part: Message, parts: list[bytes], boundary: str) -> bytes:
    if not folds_to_itself(boundary) or sum(map(len, parts)) > _LARGE:
        raise _UnusualError
    mark = b"--" + boundary.encode("ascii")
    between = b"\r\n" + mark + b"\r\n"
    body = b"".join((mark, b"\r\n", between.join(parts), b"\r\n", mark, b"--\r\n"))
    if part.preamble is not None:
        body = _encoded(to, part.preamble) + b"\r\n" + body
    return body + _encoded(to, part.epilogue)


def _encoded(to: WirePolicy, text: Any) -> bytes:
    if text is None:
        return b""
    if type(text) is not str or len(text) > _LARGE_TEXT:
        raise _UnusualError
    if not text.isascii() and to.policy.cte_type != "8bit":
        raise _UnusualError  # the text has to be encoded again
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    content: bytes = text.replace("\n", "\r\n").encode("ascii", "surrogateescape")
    return content
