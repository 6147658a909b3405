"""A common message object to bytes, without a copy of it and without the generator.

What is done here gives the same bytes as `flatten.to_bytes` of a `wire_copy`, or it is
left to that: whatever is unusual, and whatever is wrong.
"""

from __future__ import annotations

import random
import sys
from email.headerregistry import BaseHeader
from email.message import EmailMessage, Message, MIMEPart
from functools import lru_cache
from typing import Any, NamedTuple

from smtpsend._model.address.mailbox import Group
from smtpsend._model.message.content import ended, message_id_of
from smtpsend._model.message.folding import (
    Wire,
    address_line,
    boundary_line,
    form,
    line,
    plain,
    wire,
)
from smtpsend._model.message.headers import (
    ADDRESS_HEADERS,
    NEVER_SENT,
    address_list,
    check_header,
    foldable,
    meant,
    meant_and_written,
    says,
)
from smtpsend._model.message.identification import date_now, new_id, usual_id
from smtpsend._model.message.originator import HeaderAddresses
from smtpsend.errors import ConfigError


__all__ = ["Serialized", "serialize_fast"]

# What is larger is written in pieces by `writer`, which takes less memory.
_LARGE_TEXT, _LARGE = 1 << 18, 1 << 20
_LONGEST_NAME = 78
_OWN = frozenset({EmailMessage, Message, MIMEPart})
_LEAVES = frozenset({"text", "image", "audio", "video", "application", "font", "model"})
_BOUNDARY = f"{'=' * 15}%0{len(str(sys.maxsize - 1))}d=="


class _UnusualError(Exception):
    """Left to `flatten`."""


class Serialized(NamedTuple):
    """What a message object comes to.

    Attributes:
        addresses: what its headers say.
        head: its header block, without the empty line.
        content: all of it.
        added: the headers that it lacks, which are in the content.
        message_id: the Message-ID, as it can be shown.
    """

    addresses: HeaderAddresses
    head: bytes
    content: bytes
    added: list[tuple[str, str]]
    message_id: str | None


def serialize_fast(message: Message, sender: str | None) -> Serialized | None:
    """`message` with Date and Message-ID; None if it is not for this module to say.

    Args:
        message: the object, which is not changed.
        sender: the address for MAIL, as far as it is known.
    """
    try:
        return _quick(message, sender)
    except Exception:  # noqa: BLE001 - `flatten` meets it again, and says what it is
        return None


def _quick(message: Message, sender: str | None) -> Serialized:
    to = wire(message.policy)
    headers = _headers(to, message)
    body, typed = _body(to, message, headers)
    read: list[tuple[str, list[Group] | ConfigError | None]] = []
    lines: list[bytes] = []
    message_id: object = None
    for lower, name, value in headers:
        found = None
        if lower in ADDRESS_HEADERS:
            found, folded = _address(to, name, value)
        elif lower == "content-type" and typed:
            folded = typed
        else:
            folded = line(to, name, value)
            if lower == "message-id" and message_id is None:
                message_id = _id(message, name, value)
        read.append((lower, found))
        if lower not in NEVER_SENT:
            lines.append(_one(folded))
    addresses = HeaderAddresses(tuple(read))
    added = _missing(addresses, sender)
    for name, text in added:
        lines.append(_one(_own_line(to, message, name, text)))
        message_id = text if name == "Message-ID" else message_id
    head = b"".join(lines)
    content = ended(head + b"\r\n" + body)
    if b"\0" in content:
        raise _UnusualError
    return Serialized(addresses, head, content, added, message_id_of(message_id))


def _headers(to: Wire, part: Message) -> list[tuple[str, str, Any]]:
    """Name in lower case, name and value of each header, all of them safe."""
    if type(part) not in _OWN and not type(part).__module__.startswith("email.mime."):
        raise _UnusualError  # a subclass may do anything
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
        raise _UnusualError  # nothing to keep in a cache
    return name.lower()


def _one(folded: bytes | None) -> bytes:
    if folded is None:
        raise _UnusualError  # it would not be one header
    return folded


def _address(
    to: Wire, name: str, value: Any
) -> tuple[list[Group] | ConfigError, bytes | None]:
    """What an address header says, and its lines, which say the same."""
    written = None
    try:
        if isinstance(value, BaseHeader):
            found, written = meant_and_written(value)
        else:
            found = meant(value)
    except ConfigError as error:
        return error, line(to, name, value)
    if not foldable(value, found):
        return found, address_list(name, found)
    if written and (short := address_line(to, name, value, written)):
        return found, short
    folded = line(to, name, value)
    if folded is None or _same(folded, name, value):
        return found, folded
    if says(folded.partition(b":")[2], found):
        return found, folded
    return found, address_list(name, found)


def _same(folded: bytes, name: str, value: Any) -> bool:
    """Whether it is the text that was read for its addresses."""
    return (
        type(value) is str
        and plain(value)
        and folded[len(name) + 2 : -2] == (value.encode("ascii"))
    )


def _id(message: Message, name: str, value: Any) -> object:
    """A Message-ID as the message gives it, without parsing one in the usual form."""
    if type(value) is str and usual_id(value):
        return value
    return message.policy.header_fetch_parse(name, value)


def _missing(addresses: HeaderAddresses, sender: str | None) -> list[tuple[str, str]]:
    """Date and Message-ID (RFC 6409 section 8), if there are none."""
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


def _own_line(to: Wire, message: Message, name: str, text: str) -> bytes | None:
    if len(name) + 2 + len(text) <= to.width and (name == "Date" or usual_id(text)):
        return f"{name}: {text}\r\n".encode("ascii")
    return line(to, *message.policy.header_store_parse(name, text))


def _part(to: Wire, part: Message) -> bytes:
    """A part of a multipart, whole."""
    headers = _headers(to, part)
    body, typed = _body(to, part, headers)
    lines = [
        _one(typed if typed and lower == "content-type" else line(to, name, value))
        for lower, name, value in headers
    ]
    return b"".join([*lines, b"\r\n", body])


def _body(
    to: Wire, part: Message, headers: list[tuple[str, str, Any]]
) -> tuple[bytes, bytes | None]:
    """What follows the headers, and the Content-Type if that gets a new boundary."""
    types = [(name, value) for lower, name, value in headers if lower == "content-type"]
    if len(types) > 1:
        raise _UnusualError
    name, value = types[0] if types else ("", "")
    kind = form(value) if isinstance(value, str) else None
    if kind is None:
        if types and not isinstance(value, BaseHeader):
            raise _UnusualError
        kind = part.get_content_type()
    main = kind.partition("/")[0]
    # As the generator has it: `get_payload` decodes what is not ASCII.
    payload = vars(part)["_payload"]
    if main in _LEAVES:
        return _encoded(to, payload), None
    # Without a boundary in front, the parser leaves a str in a multipart.
    listed = type(payload) is list
    if main != "multipart" or kind == "multipart/signed" or not (form(value) and listed):
        raise _UnusualError
    parts = [_part(to, each) for each in payload]
    if "boundary" in value.lower():
        return _joined(to, part, parts, str(part.get_boundary())), None
    around = boundary_line(to.policy, name, str(value))
    boundary = _BOUNDARY % random.randrange(sys.maxsize)  # noqa: S311 - no secret
    mark = boundary.encode("ascii")
    if around is None or any(mark in each for each in parts):
        raise _UnusualError
    return _joined(to, part, parts, boundary), around[0] + mark + around[1]


def _joined(to: Wire, part: Message, parts: list[bytes], boundary: str) -> bytes:
    if not plain(boundary) or sum(map(len, parts)) > _LARGE:
        raise _UnusualError
    mark = b"--" + boundary.encode("ascii")
    between = b"\r\n" + mark + b"\r\n"
    body = b"".join((mark, b"\r\n", between.join(parts), b"\r\n", mark, b"--\r\n"))
    if part.preamble is not None:
        body = _encoded(to, part.preamble) + b"\r\n" + body
    return body + _encoded(to, part.epilogue)


def _encoded(to: Wire, text: Any) -> bytes:
    if text is None:
        return b""
    if type(text) is not str or len(text) > _LARGE_TEXT:
        raise _UnusualError
    if not text.isascii() and to.policy.cte_type != "8bit":
        raise _UnusualError  # it is encoded anew
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    content: bytes = text.replace("\n", "\r\n").encode("ascii", "surrogateescape")
    return content
