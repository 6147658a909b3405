"""Headers and texts put into a new message without being parsed first.

The standard library parses a header when it is set, which takes longer than all else
about a small message. A value that it would print and fold as it is can be stored the way
its own parser of messages does, and is parsed by whoever reads it.
"""

from __future__ import annotations

import re
from email import policy
from email.contentmanager import raw_data_manager
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage, MIMEPart
from typing import NamedTuple, cast

from smtpsend._model.address.mailbox import plain_boxes
from smtpsend._model.message.folding import form, plain
from smtpsend._model.message.identification import usual_id


__all__ = [
    "File",
    "add_file",
    "set_addresses",
    "set_alternative",
    "set_date",
    "set_id",
    "set_line",
    "set_related",
    "set_text",
]

_WIDTH = policy.default.max_line_length or 0
# They are known to be of a certain form, and are parsed for it.
_FORMED = HeaderRegistry().registry.keys() - {"subject"}


# Quoted, they stay as they are.
_FILENAME = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9._ -]*+(?<! ))")


class File(NamedTuple):
    """Something to attach: its name, its content in base64, its type in two parts."""

    name: str
    text: str
    type: tuple[str, str]


def set_line(message: EmailMessage, name: str, value: str) -> None:
    """Add a header of any name, as ``message[name] = value`` does."""
    _set(message, name, value, same=name.lower() not in _FORMED and plain(value))


def set_addresses(message: EmailMessage, name: str, value: str) -> None:
    """Add a header of addresses, which is not there yet."""
    same = plain(value) and "  " not in value and bool(plain_boxes(value))
    _set(message, name, value, same=same)


def set_date(message: EmailMessage, value: str) -> None:
    """Add the header Date, which is not there yet, with a value of `stamp`."""
    _set(message, "Date", value, same=True)


def set_id(message: EmailMessage, value: str) -> None:
    """Add the header Message-ID, which is not there yet."""
    _set(message, "Message-ID", value, same=usual_id(value))


def _set(message: EmailMessage, name: str, value: str, *, same: bool) -> None:
    if same and _fits(name, value):
        message.set_raw(name, value)
    else:
        message[name] = value


def _fits(name: str, value: str) -> bool:
    return len(name) + 2 + len(value) <= _WIDTH


def set_text(part: EmailMessage, text: str, subtype: str) -> None:
    """``part.set_content(text, subtype=subtype)`` for a part without MIME headers."""
    encoding, payload = _encoded(text)
    part.set_payload(payload)
    part.set_raw("Content-Type", f'text/{subtype}; charset="utf-8"')
    part.set_raw("Content-Transfer-Encoding", encoding)
    part.set_raw("MIME-Version", "1.0")


def set_alternative(part: EmailMessage, text: str, html: str) -> None:
    """`set_text` with `text`, and ``add_alternative(html, subtype="html")``."""
    first, second = EmailMessage(part.policy), EmailMessage(part.policy)
    set_text(first, text, "plain")
    del first["MIME-Version"]  # the standard library leaves it to the whole
    set_text(second, html, "html")
    part.set_raw("MIME-Version", "1.0")
    part.set_raw("Content-Type", "multipart/alternative")
    part.set_payload([first, second])


def set_related(message: EmailMessage, body: EmailMessage) -> None:
    """``make_related()`` of a message without content, with `body` as the root."""
    root = body.get_content_type()
    message.set_raw("Content-Type", f'multipart/related; type="{root}"')
    message.set_raw("MIME-Version", "1.0")
    del body["MIME-Version"]
    message.set_payload([body])


def add_file(message: EmailMessage, file: File, content_id: str | None = None) -> None:
    """``add_attachment`` of `file`, or ``add_related`` if it has a content id."""
    if content_id is None:
        _make_mixed(message)
    disposition = "attachment" if content_id is None else "inline"
    part = EmailMessage(message.policy)
    kind = "/".join(file.type)
    shows = f'{disposition}; filename="{file.name}"'
    if form(kind) and _fits("Content-Type", kind) and _FILENAME.fullmatch(file.name):
        part.set_raw("Content-Type", kind)
        part.set_raw("Content-Transfer-Encoding", "base64")
        _set(part, "Content-Disposition", shows, same=True)
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


def _make_mixed(message: EmailMessage) -> None:
    """``make_mixed()``, unless it is so already."""
    if any(item == ("Content-Type", "multipart/mixed") for item in message.raw_items()):
        return
    first = EmailMessage(message.policy)
    for name, value in list(message.raw_items()):
        if name.lower().startswith("content-"):
            first.set_raw(name, value)
            del message[name]
    first.set_payload(vars(message)["_payload"])
    message.set_raw("Content-Type", "multipart/mixed")
    message.set_payload([first])


def _encoded(text: str) -> tuple[str, str]:
    """The transfer encoding that the standard library chooses, and the text in it."""
    lines = text.encode().splitlines()
    if max(map(len, lines), default=0) <= _WIDTH:
        body = b"\n".join(lines) + b"\n"
        if body.isascii():
            return "7bit", body.decode("ascii")
        return "8bit", body.decode("ascii", "surrogateescape")
    # With this policy headers are kept as they are; what counts for a text is the same.
    carrier = MIMEPart(policy=policy.compat32)
    raw_data_manager.set_content(carrier, text)
    return carrier["Content-Transfer-Encoding"], cast("str", carrier.get_payload())
