"""The text of an iTIP message, checked for what iMIP requires (RFC 5546, RFC 6047)."""

from __future__ import annotations

import re

from smtpsend._model.address.domain import shown
from smtpsend._patterns import pattern
from smtpsend._values import NamedTuple
from smtpsend.errors import ConfigError


__all__ = ["CalendarText", "calendar_text"]

_FOLD = pattern(r"\r?\n[ \t]")  # RFC 5545 section 3.1
_METHOD = pattern(r"^METHOD((?:;[^:\r\n]*)?):(.*)$", re.IGNORECASE | re.MULTILINE)
_TOKEN = pattern(r"[A-Za-z0-9-]{1,40}")
_FORM = "give the text of one iCalendar object, BEGIN:VCALENDAR to END:VCALENDAR"


class CalendarText(NamedTuple):
    """An iCalendar object, and the value of its METHOD, such as REQUEST."""

    text: str
    method: str


def calendar_text(value: object) -> CalendarText:
    """Check the text of an iTIP message.

    Args:
        value: the text, as str or as UTF-8.

    Raises:
        ConfigError: it is no iCalendar object, or has no METHOD, by which a calendar
            program knows what to do with it.
    """
    text = _text(value)
    lines = _FOLD.sub("", text).strip().splitlines()
    if (
        not lines
        or lines[0].strip().upper() != "BEGIN:VCALENDAR"
        or lines[-1].strip().upper() != "END:VCALENDAR"
    ):
        raise ConfigError("calendar is no iCalendar object", hint=_FORM)
    found = {match[2].strip().upper() for match in _METHOD.finditer("\n".join(lines))}
    if not found:
        raise ConfigError(
            "calendar has no METHOD, which an invitation needs (RFC 6047 section 2.4)",
            hint="add the line METHOD:REQUEST, or attach the text as a file: "
            "attachments=[('event.ics', data)]",
        )
    method = found.pop()
    if found or not _TOKEN.fullmatch(method):
        raise ConfigError(
            f"calendar does not have one METHOD: {shown(', '.join({method, *found}))}",
            hint="give one METHOD, such as REQUEST, CANCEL or REPLY (RFC 5546)",
        )
    return CalendarText(text, method)


def _text(value: object) -> str:
    if isinstance(value, (bytes, bytearray)):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            raise ConfigError(
                "calendar is not in UTF-8", hint="decode it, and give a str"
            ) from None
    if not isinstance(value, str):
        raise ConfigError(f"calendar must be a str, not {shown(value)}", hint=_FORM)
    if "\0" in value:
        raise ConfigError("calendar holds a NUL", hint=_FORM)
    return value.removeprefix("\ufeff")
