"""Set headers and bodies of a new message without a parse.

The standard library parses a header when it is set, which costs more than all other work
on a small message. If folding and printing would leave a value unchanged, it is stored
unparsed, as the standard library's own message parser stores it; it is parsed when it is
read.
"""

from __future__ import annotations

from email import policy
from email.contentmanager import raw_data_manager
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage, Message, MIMEPart
from typing import cast

from smtpsend._model.address.plain import plain_mailboxes
from smtpsend._model.message.folding.content_type import simple_type
from smtpsend._model.message.folding.encoded_words import fold_text, reads_otherwise
from smtpsend._model.message.folding.field import folds_to_itself
from smtpsend._model.message.headers import FREE_TEXT
from smtpsend._model.message.identification import usual_id
from smtpsend._patterns import pattern
from smtpsend._values import NamedTuple


__all__ = [
    "AttachedMessage",
    "File",
    "add_calendar",
    "add_file",
    "add_message",
    "set_addresses",
    "set_alternative",
    "set_date",
    "set_id",
    "set_line",
    "set_related",
    "set_text",
]

_WIDTH = policy.default.max_line_length or 0
# Structured headers, whose parse may change the value.
_STRUCTURED = HeaderRegistry().registry.keys() - {"subject"}


# File names that folding leaves unchanged as quoted strings.
_FILENAME = pattern(r"[A-Za-z0-9_-](?:[A-Za-z0-9._ -]*+(?<! ))")


class File(NamedTuple):
    """A file to attach: its name, its content in base64, its type and subtype."""

    name: str
    text: str
    type: tuple[str, str]


class AttachedMessage(NamedTuple):
    """A message to attach: the name of its file, and its object."""

    name: str
    message: Message


def set_line(message: EmailMessage, name: str, value: str) -> None:
    """Add a header of any name, as ``message[name] = value`` does.

    That would decode what a person typed in a subject and looks like an encoded word, so
    such a text is stored encoded.
    """
    if name.lower() in FREE_TEXT and reads_otherwise(value):
        folded = fold_text(name, value, _WIDTH, free=True)
        message.set_raw(name, folded.partition(": ")[2].removesuffix("\r\n"))
        return
    unstructured = name.lower() not in _STRUCTURED
    _set(message, name, value, unparsed=unstructured and folds_to_itself(value))


def set_addresses(message: EmailMessage, name: str, value: str) -> None:
    """Add an address header to a message without it."""
    one_line = folds_to_itself(value) and "  " not in value
    _set(message, name, value, unparsed=one_line and bool(plain_mailboxes(value)))


def set_date(message: EmailMessage, value: str) -> None:
    """Add the header Date, with a value of `date_now`, to a message without it."""
    _set(message, "Date", value, unparsed=True)


def set_id(message: EmailMessage, value: str) -> None:
    """Add the header Message-ID to a message without it."""
    _set(message, "Message-ID", value, unparsed=usual_id(value))


def _set(message: EmailMessage, name: str, value: str, *, unparsed: bool) -> None:
    if unparsed and _fits(name, value):
        message.set_raw(name, value)
    else:
        message[name] = value


def _fits(name: str, value: str) -> bool:
    return len(name) + 2 + len(value) <= _WIDTH


def set_text(part: EmailMessage, text: str, subtype: str) -> None:
    """Do ``part.set_content(text, subtype=subtype)`` for a part without MIME headers."""
    encoding, payload = _encoded(text)
    part.set_payload(payload)
    part.set_raw("Content-Type", f'text/{subtype}; charset="utf-8"')
    part.set_raw("Content-Transfer-Encoding", encoding)
    part.set_raw("MIME-Version", "1.0")


def set_alternative(part: EmailMessage, text: str, html: str) -> None:
    """Do `set_text` with `text`, and then ``add_alternative(html, subtype="html")``."""
    first, second = EmailMessage(part.policy), EmailMessage(part.policy)
    set_text(first, text, "plain")
    del first["MIME-Version"]  # the standard library sets it on the message only
    set_text(second, html, "html")
    part.set_raw("MIME-Version", "1.0")
    part.set_raw("Content-Type", "multipart/alternative")
    part.set_payload([first, second])


def set_related(message: EmailMessage, body: EmailMessage) -> None:
    """Do ``make_related()`` for a message without content; `body` is the root part."""
    root = body.get_content_type()
    message.set_raw("Content-Type", f'multipart/related; type="{root}"')
    message.set_raw("MIME-Version", "1.0")
    del body["MIME-Version"]
    message.set_payload([body])


def add_calendar(part: EmailMessage, text: str, method: str) -> None:
    """Add an iTIP message to a part with a text, as the last alternative (RFC 6047)."""
    _make(part, "multipart/alternative")
    event = EmailMessage(part.policy)
    set_text(event, text, "calendar")
    del event["Content-Type"], event["MIME-Version"]
    kind = f'text/calendar; charset="utf-8"; method={method}'
    event.set_raw("Content-Type", kind)
    part.attach(event)


def add_message(message: EmailMessage, attached: AttachedMessage) -> None:
    """Do ``add_attachment`` for a message object."""
    _make(message, "multipart/mixed")
    part = EmailMessage(message.policy)
    part.set_raw("Content-Type", "message/rfc822")
    # The encoding of the parts inside is not known here (RFC 2046 section 5.2.1).
    part.set_raw("Content-Transfer-Encoding", "8bit")
    part.set_raw("Content-Disposition", "attachment")
    part.set_param("filename", attached.name, header="Content-Disposition", replace=True)
    part.set_raw("MIME-Version", "1.0")
    part.set_payload([attached.message])
    message.attach(part)


def add_file(message: EmailMessage, file: File, content_id: str | None = None) -> None:
    """Do ``add_attachment`` for `file`, or ``add_related`` if it has a content id."""
    if content_id is None:
        _make(message, "multipart/mixed")
    disposition = "attachment" if content_id is None else "inline"
    part = EmailMessage(message.policy)
    kind = "/".join(file.type)
    value = f'{disposition}; filename="{file.name}"'
    if (
        simple_type(kind)
        and _fits("Content-Type", kind)
        and _FILENAME.fullmatch(file.name)
    ):
        part.set_raw("Content-Type", kind)
        part.set_raw("Content-Transfer-Encoding", "base64")
        _set(part, "Content-Disposition", value, unparsed=True)
        if content_id is not None:
            set_line(part, "Content-ID", f"<{content_id}>")
        part.set_raw("MIME-Version", "1.0")
    else:
        part.set_content(
            b"",
            *file.type,
            filename=file.name,
            disposition=disposition,
            cid=None if content_id is None else f"<{content_id}>",
        )
    part.set_payload(file.text)
    message.attach(part)


def _make(message: EmailMessage, kind: str) -> None:
    """Make a message the multipart `kind`, with its content as the first part.

    It does ``make_mixed()`` or ``make_alternative()``; nothing if it is `kind` already.
    """
    if any(item == ("Content-Type", kind) for item in message.raw_items()):
        return
    first = EmailMessage(message.policy)
    for name, value in list(message.raw_items()):
        if name.lower().startswith("content-"):
            first.set_raw(name, value)
            del message[name]
    first.set_payload(vars(message)["_payload"])
    message.set_raw("Content-Type", kind)
    message.set_payload([first])


def _encoded(text: str) -> tuple[str, str]:
    """Encode a text by the transfer encoding that the standard library would choose.

    Returns:
        The name of the encoding, and the encoded text.
    """
    lines = text.encode().splitlines()
    if max(map(len, lines), default=0) <= _WIDTH:
        body = b"\n".join(lines) + b"\n"
        if body.isascii():
            return "7bit", body.decode("ascii")
        return "8bit", body.decode("ascii", "surrogateescape")
    # With `compat32` the header stays a str; for a text this policy changes nothing else.
    carrier = MIMEPart(policy=policy.compat32)
    raw_data_manager.set_content(carrier, text)
    return carrier["Content-Transfer-Encoding"], cast("str", carrier.get_payload())
