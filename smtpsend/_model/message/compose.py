"""Make an `EmailMessage` from keyword arguments: text, HTML, attachments, images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from email.message import EmailMessage, Message
from typing import IO, TYPE_CHECKING

from smtpsend._model.address.argument import AddressLike, mailbox_of, mailboxes_of
from smtpsend._model.address.domain import is_unicode, shown
from smtpsend._model.address.mailbox import Mailbox, holds_several
from smtpsend._model.message.headers import check_header, mailbox_text
from smtpsend._model.message.identification import date_now, new_id
from smtpsend._model.message.parts import (
    AttachedMessage,
    add_calendar,
    add_file,
    add_message,
    set_addresses,
    set_alternative,
    set_date,
    set_id,
    set_line,
    set_related,
    set_text,
)
from smtpsend._model.message.serialize import typed
from smtpsend._patterns import pattern
from smtpsend.errors import ConfigError


if TYPE_CHECKING:
    from smtpsend._model.message.composition.calendar_text import CalendarText


_Data = bytes | bytearray | memoryview | IO[bytes]
Attachment = (
    str
    | os.PathLike[str]
    | IO[bytes]
    | Message
    | tuple[str, _Data]
    | tuple[str, _Data, str]
    | tuple[str, Message]
)

_CONTENT_ID = pattern(r"[!-;=?-~]{1,200}")
_OWN = frozenset(
    {"from", "sender", "to", "cc", "bcc", "reply-to", "subject", "mime-version"}
)
_OWN_PREFIXES = ("content-", "resent-")


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
    calendar: str | bytes | None = None,
    in_reply_to: str | Message | Iterable[str] | None = None,
    references: str | Message | Iterable[str] = (),
    unsubscribe: str | Iterable[str] = (),
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
        attachments: a sequence of paths, of open binary files (anything with ``read()``,
            such as an upload of Django), of message objects, and of tuples ``(filename,
            data)`` or ``(filename, data, "type/subtype")``. ``data`` is bytes, a
            bytearray, a memoryview, a file, or, without a type, a message object. A file
            is read from its position, and not closed. The bytes are attached unchanged;
            a type that is not given is that of the upload, else guessed from the name. A
            message object is attached as message/rfc822, without its Bcc.
        inline: images and other files that the HTML shows, by content id:
            ``{"logo": "logo.png"}`` for ``<img src="cid:logo">``.
        headers: further headers, Date and Message-ID included. Headers that an argument
            sets, Resent- headers and MIME headers are refused.
        calendar: an invitation or another iTIP message (RFC 5546), as iCalendar text with
            a METHOD. It becomes an alternative to the text (RFC 6047).
        in_reply_to: the message that this one answers, as a message object or as its
            Message-ID. In-Reply-To is set, and References (RFC 5322 section 3.6.4): the
            ids of the thread, which a message object names, and the id of the message.
        references: the ids of the thread so far, oldest first, or a message object of the
            thread, in place of those that `in_reply_to` names. At most 100 ids are
            written, the first and the last ones.
        unsubscribe: an https: URL, a mailto: URL, or both in the order of preference, for
            List-Unsubscribe. With an https: URL mail programs unsubscribe by one click
            (RFC 8058): they POST to it, without a login.

    Returns:
        mixed(related(alternative(text, html, calendar), inline), attachments), by
        RFC 2046 and RFC 2387; a layer with a single part is left out.

    Raises:
        ConfigError: an address, a header, an attachment or another argument is wrong, or
            a file cannot be read.
        ConnectError: this machine has no file descriptor left to read it; temporary.
    """
    author = _author(sender)
    message = EmailMessage()
    with typed():
        event = None if calendar is None else _event(calendar)
        _add_addresses(message, "From", [author])
        for name, value in (("To", to), ("Cc", cc), ("Bcc", bcc), ("Reply-To", reply_to)):
            _add_addresses(message, name, mailboxes_of(value))
        _add(message, "Subject", subject)
        own = _thread_headers(in_reply_to, references) + _list_headers(unsubscribe)
        _add_headers(message, headers or {}, {name.lower() for name, _ in own})
        given = {name.lower() for name in headers or ()}
        if "date" not in given:
            set_date(message, date_now())
        if "message-id" not in given:
            set_id(message, new_id(author.domain))
        for name, line in own:
            _add(message, name, line)
        _add_body(message, text, html, event, inline or {})
        if attachments not in ((), []):
            _attach(message, attachments)
    return message


# Most messages have none of what the next functions are for. What they import costs a
# process that sends one message as much as all else that `compose` needs.


def _event(calendar: object) -> CalendarText:
    from smtpsend._model.message.composition.calendar_text import calendar_text

    return calendar_text(calendar)


def _thread_headers(in_reply_to: object, references: object) -> list[tuple[str, str]]:
    if in_reply_to is None and references == ():
        return []
    from smtpsend._model.message.composition.references import reply_headers

    return reply_headers(in_reply_to, references)


def _list_headers(unsubscribe: object) -> list[tuple[str, str]]:
    if unsubscribe == ():
        return []
    from smtpsend._model.message.composition.unsubscribe import unsubscribe_headers

    return unsubscribe_headers(unsubscribe)


def _attach(message: EmailMessage, attachments: object) -> None:
    from smtpsend._model.message.composition.attachments import (
        is_single,
        read_attachment,
    )

    if is_single(attachments):
        attachments = [attachments]
    if not isinstance(attachments, Iterable) or isinstance(attachments, (bytes, Mapping)):
        raise ConfigError(f"attachments must be a sequence, not {shown(attachments)}")
    for attachment in attachments:
        file = read_attachment(attachment)
        if isinstance(file, AttachedMessage):
            add_message(message, file)
        else:
            add_file(message, file)
        del file


def _author(sender: object) -> Mailbox:
    try:
        return mailbox_of(sender)
    except ConfigError:
        if not isinstance(sender, str) or not holds_several(sender):
            raise
    raise ConfigError(
        f"sender must be one address, not {shown(sender)}",
        hint="give the address that answers go to by reply_to=",
    )


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


def _add_headers(
    message: EmailMessage, headers: Mapping[str, str], given: set[str]
) -> None:
    for name, value in headers.items():
        lower = name.lower() if isinstance(name, str) else ""
        if lower in _OWN or lower in given or lower.startswith(_OWN_PREFIXES):
            raise ConfigError(
                f"the header {shown(name)} cannot be set by headers=",
                hint="use the argument of compose() for it, or set it on the message",
            )
        _add(message, name, value)


def _add_body(
    message: EmailMessage,
    text: str | None,
    html: str | None,
    event: CalendarText | None,
    inline: Mapping[str, Attachment],
) -> None:
    if not inline:
        _set_text(message, text, html, event)
        return
    if html is None:
        raise ConfigError(
            "inline= needs html=, which shows it", hint="give html=, or use attachments="
        )
    from smtpsend._model.message.composition.attachments import read_file

    body = EmailMessage(message.policy)
    _set_text(body, text, html, event)
    set_related(message, body)
    for content_id, source in inline.items():
        if not isinstance(content_id, str) or not _CONTENT_ID.fullmatch(content_id):
            raise ConfigError(
                f"not a content id: {shown(content_id)}",
                hint="use printable ASCII without spaces and angle brackets",
            )
        add_file(message, read_file(source), content_id)


def _set_text(
    part: EmailMessage, text: str | None, html: str | None, event: CalendarText | None
) -> None:
    for value in (text, html):
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"text and html must be str, not {shown(value)}")
    if html is None:
        set_text(part, text or "", "plain")
    elif text is None:
        set_text(part, html, "html")
    else:
        set_alternative(part, text, html)
    if event is not None:
        add_calendar(part, *event)
