"""Make an `EmailMessage` from keyword arguments: text, HTML, attachments, images."""

from __future__ import annotations

import binascii
import mimetypes
import os
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from smtpsend._model.address.argument import AddressLike, mailbox_of, mailboxes_of
from smtpsend._model.address.domain import is_unicode, shown
from smtpsend._model.address.mailbox import Mailbox
from smtpsend._model.message.headers import check_header, mailbox_text
from smtpsend._model.message.identification import date_now, new_id
from smtpsend._model.message.parts import (
    File,
    add_file,
    set_addresses,
    set_alternative,
    set_date,
    set_id,
    set_line,
    set_related,
    set_text,
)
from smtpsend._model.message.serialize import typed
from smtpsend._model.shortage import raise_if_short
from smtpsend.errors import ConfigError, Phase


__all__ = ["Attachment", "compose"]

Attachment = str | os.PathLike[str] | tuple[str, bytes] | tuple[str, bytes, str]

_TYPE = re.compile(r"([A-Za-z0-9!#$&^_.+-]+)/([A-Za-z0-9!#$&^_.+-]+)")
_CONTENT_ID = re.compile(r"[!-;=?-~]{1,200}")
_OWN = frozenset(
    {"from", "sender", "to", "cc", "bcc", "reply-to", "subject", "mime-version"}
)
_OWN_PREFIXES = ("content-", "resent-")
_OCTET_STREAM = ("application", "octet-stream")


def compose(
    *,
    sender: AddressLike,
    to: AddressLike | Iterable[AddressLike] = (),
    cc: AddressLike | Iterable[AddressLike] = (),
    bcc: AddressLike | Iterable[AddressLike] = (),
    reply_to: AddressLike | Iterable[AddressLike] = (),
    subject: str = "",
    text: str | None = None,
    html: str | None = None,
    attachments: Iterable[Attachment] = (),
    inline: Mapping[str, Attachment] | None = None,
    headers: Mapping[str, str] | None = None,
) -> EmailMessage:
    """Make a message, with Date and Message-ID, for `send`.

    Args:
        sender: From: one address, as ``"user@host"``, as ``"Name <user@host>"``, as a
            pair ``("Name", "user@host")``, or as an `email.headerregistry.Address`. In a
            str, a name that holds any of ``<>[]:;@,`` must be in quotes (RFC 5322
            section 3.4), and text in parentheses is part of the name; a pair takes any
            name as it is.
        to, cc, bcc, reply_to: addresses of the same forms, one or several. A tuple of two
            str is a pair if the first has no @, else two addresses. The Bcc header is
            never sent.
        subject: one line of text.
        text: the text/plain body; empty by default if there is no `html` either.
        html: the text/html body; mail programs that can show it prefer it to `text`.
        attachments: paths, or tuples ``(filename, bytes)`` or
            ``(filename, bytes, "type/subtype")``. The bytes are attached unchanged; a
            type that is not given is guessed from the name.
        inline: images and other files that the HTML shows, by content id:
            ``{"logo": "logo.png"}`` for ``<img src="cid:logo">``.
        headers: further headers, Date and Message-ID included. Headers that an argument
            sets, Resent- headers and MIME headers are refused.

    Returns:
        mixed(related(alternative(text, html), inline), attachments), by RFC 2046 and
        RFC 2387; a layer with a single part is left out.

    Raises:
        ConfigError: an address, a header or an attachment is wrong, or a file cannot be
            read.
        ConnectError: this machine has no file descriptor left to read it; temporary.
    """
    author = mailbox_of(sender)
    message = EmailMessage()
    with typed():
        _add_addresses(message, "From", [author])
        for name, value in (("To", to), ("Cc", cc), ("Bcc", bcc), ("Reply-To", reply_to)):
            _add_addresses(message, name, mailboxes_of(value))
        _add(message, "Subject", subject)
        _add_headers(message, headers or {})
        given = {name.lower() for name in headers or ()}
        if "date" not in given:
            set_date(message, date_now())
        if "message-id" not in given:
            set_id(message, new_id(author.domain))
        _add_body(message, text, html, inline or {})
        for attachment in _attachments(attachments):
            file = _file(attachment)
            add_file(message, file)
            del file
    return message


# How many bytes one line of base64 holds, and how many lines are encoded at once.
_LINE, _LINES = 57, 1024


def _base64(file: BinaryIO) -> str:
    """Encode `file` in lines of base64, as `add_attachment` does."""
    pieces = []
    while data := file.read(_LINE * _LINES):
        text = binascii.b2a_base64(data, newline=False)
        whole, rest = divmod(len(text), 76)
        lines = struct.unpack("76s" * whole + f"{rest}s" * bool(rest), text)
        pieces.append(b"\n".join(lines).decode("ascii"))
    return "\n".join([*pieces, ""])


def _add_addresses(message: EmailMessage, name: str, boxes: Sequence[Mailbox]) -> None:
    if not boxes:
        return
    for box in boxes:
        check_header(name, box.display)
    set_addresses(message, name, ", ".join(map(mailbox_text, boxes)))


def _add(message: EmailMessage, name: str, value: object) -> None:
    if not isinstance(value, str):
        raise ConfigError(f"the header {shown(name)} must be a str, not {shown(value)}")
    check_header(name, value)
    if not is_unicode(value):
        # The standard library writes the bytes of most of them, labelled unknown-8bit.
        raise ConfigError(
            f"the header {shown(name)} holds a lone surrogate, which is no text",
            hint="give text that was decoded by the charset that it is in",
        )
    set_line(message, name, value)


def _add_headers(message: EmailMessage, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        lower = name.lower() if isinstance(name, str) else ""
        if lower in _OWN or lower.startswith(_OWN_PREFIXES):
            raise ConfigError(
                f"the header {shown(name)} cannot be set by headers=",
                hint="use the argument of compose() for it, or set it on the message",
            )
        _add(message, name, value)


def _add_body(
    message: EmailMessage,
    text: str | None,
    html: str | None,
    inline: Mapping[str, Attachment],
) -> None:
    if not inline:
        _set_text(message, text, html)
        return
    if html is None:
        raise ConfigError(
            "inline= needs html=, which shows it", hint="give html=, or use attachments="
        )
    body = EmailMessage(message.policy)
    _set_text(body, text, html)
    set_related(message, body)
    for content_id, source in inline.items():
        if not isinstance(content_id, str) or not _CONTENT_ID.fullmatch(content_id):
            raise ConfigError(
                f"not a content id: {shown(content_id)}",
                hint="use printable ASCII without spaces and angle brackets",
            )
        add_file(message, _file(source), content_id)


def _set_text(part: EmailMessage, text: str | None, html: str | None) -> None:
    for value in (text, html):
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"text and html must be str, not {shown(value)}")
    if html is None:
        set_text(part, text or "", "plain")
    elif text is None:
        set_text(part, html, "html")
    else:
        set_alternative(part, text, html)


def _attachments(value: object) -> Iterable[object]:
    if isinstance(value, (str, os.PathLike)):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, (bytes, Mapping)):
        raise ConfigError(f"attachments must be a sequence, not {shown(value)}")
    return value


def _file(source: object) -> File:
    match source:
        case str() | os.PathLike():
            return _read(Path(source))
        case (str(name), bytes(data)):
            return File(_filename(name), _base64(BytesIO(data)), _guessed_type(name))
        case (str(name), bytes(data), str(given)):
            return File(_filename(name), _base64(BytesIO(data)), _parsed_type(given))
    raise ConfigError(
        f"not an attachment: {shown(source)}",
        hint="give a path, (filename, bytes) or (filename, bytes, 'type/subtype')",
    )


def _read(path: Path) -> File:
    try:
        with path.open("rb") as file:
            return File(_filename(path.name), _base64(file), _guessed_type(path.name))
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise_if_short(
            error, f"cannot read the attachment {shown(str(path))}", Phase.CONFIG
        )
        reason = getattr(error, "strerror", None) or "not a path"
        raise ConfigError(
            f"cannot read the attachment {shown(str(path))}: {reason}",
            hint="check the path; a relative one starts at the current directory",
        ) from None


def _filename(name: str) -> str:
    if not name or not all(char.isprintable() or char == "\u3000" for char in name):
        raise ConfigError(f"not a file name for an attachment: {shown(name)}")
    return name


def _guessed_type(name: str) -> tuple[str, str]:
    # With "./" a name such as "data:x" is not read as a URL.
    guessed, encoding = mimetypes.guess_type(f"./{name}")
    maintype, _, subtype = (guessed or "").partition("/")
    if encoding or not subtype or maintype in ("message", "multipart"):
        return _OCTET_STREAM
    return maintype, subtype


def _parsed_type(text: str) -> tuple[str, str]:
    match = _TYPE.fullmatch(text)
    if match is None or match[1].lower() in ("message", "multipart"):
        raise ConfigError(
            f"not a type for an attachment: {shown(text)}",
            hint="write type/subtype, such as application/pdf; message/ and multipart/ "
            "cannot be attached as bytes (RFC 2046 section 5)",
        )
    return match[1], match[2]
