"""Date and Message-ID for a message without them (RFC 6409 section 8)."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import Message
from email.utils import formatdate, make_msgid
from functools import lru_cache

from smtpsend._patterns import pattern


__all__ = ["date_now", "new_id", "usual_id", "written_id"]

# The standard library parses such a Message-ID without a defect, and folds it unchanged.
_ID = pattern(r"<[A-Za-z0-9_+$-]++(?:\.[A-Za-z0-9_+$-]++)*+@([A-Za-z0-9.-]++)>")
_DOMAIN = pattern(r"[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)*+")

# Each second is formatted once. If the time zone changes within the second, the text
# keeps the old offset, which still names the same moment.
_formatted = lru_cache(maxsize=4)(formatdate)


def date_now() -> str:
    """The value of a Date header for now, in local time."""
    return _formatted(int(datetime.now(UTC).timestamp()), localtime=True)


def new_id(domain: str) -> str:
    """A new, unique Message-ID in `domain`."""
    return make_msgid(domain=domain)


def usual_id(text: str) -> bool:
    """Whether `text` is a Message-ID of the usual form, which no parse changes."""
    match = _ID.fullmatch(text)
    return match is not None and _DOMAIN.fullmatch(match[1]) is not None


def written_id(message: Message) -> str | None:
    """The value of the first Message-ID, as it is written, without folds.

    The standard library's parser is not asked: it raises for some ids that Exchange makes
    (``<[a@b]>``), and such a message can be sent.
    """
    for name, value in message.raw_items():
        if name.lower() == "message-id":
            return str(value).replace("\r", "").replace("\n", "")
    return None
