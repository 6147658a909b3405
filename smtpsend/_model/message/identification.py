"""Date and Message-ID for a message that has none (RFC 6409 section 8)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import formatdate, make_msgid
from functools import lru_cache


__all__ = ["date_now", "new_id", "usual_id"]

# What the standard library takes for a msg-id without a defect, and folds to itself.
_ID = re.compile(r"<[A-Za-z0-9_+$-]++(?:\.[A-Za-z0-9_+$-]++)*+@([A-Za-z0-9.-]++)>")
_DOMAIN = re.compile(r"[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)*+")

# The time of a second is written once. Where the zone changes within it, the offset is
# still the one of before, and the date the same moment.
_written = lru_cache(maxsize=4)(formatdate)


def date_now() -> str:
    """The value of a Date header, in local time."""
    return _written(int(datetime.now(UTC).timestamp()), localtime=True)


def new_id(domain: str) -> str:
    """A Message-ID that nothing else has."""
    return make_msgid(domain=domain)


def usual_id(text: str) -> bool:
    """Whether `text` is a Message-ID in the usual form, which no parser changes."""
    match = _ID.fullmatch(text)
    return match is not None and _DOMAIN.fullmatch(match[1]) is not None
