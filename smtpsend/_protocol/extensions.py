"""The reply to EHLO, parsed once (RFC 5321 section 4.1.1.1)."""

from __future__ import annotations

import re
from functools import lru_cache

from smtpsend._values import dataclass, field


@dataclass(frozen=True, slots=True)
class Extensions:
    """The extensions that a server offers in its reply to EHLO.

    Attributes:
        lines: each extension as the server wrote it: the keyword and its parameters.
        keywords: the parameters of each extension, by its keyword in upper case.
        mechanisms: the SASL mechanisms in upper case, each once (RFC 4954 section 3).
            ``AUTH=PLAIN``, the form of some old servers, counts as well.
        size_limit: the largest message in octets (RFC 1870); None if it names none.
        recipient_limit: the most recipients of one transaction (RCPTMAX of RFC 9422);
            None if it names none.
        message_limit: the most transactions of one session (MAILMAX of RFC 9422); None
            if it names none.
    """

    lines: tuple[str, ...] = ()
    keywords: dict[str, str] = field(default_factory=dict, hash=False)
    mechanisms: tuple[str, ...] = ()
    size_limit: int | None = None
    recipient_limit: int | None = None
    message_limit: int | None = None

    def __contains__(self, keyword: str) -> bool:
        """Whether the server offers the extension `keyword`, given in upper case."""
        return keyword in self.keywords


@lru_cache(maxsize=64)
def parse_extensions(text: str) -> Extensions:
    """Parse the text of a reply to EHLO; its first line names the server.

    Results are cached, because a server mostly sends the same reply each time.
    """
    words = (line.split() for line in text.split("\n")[1:])
    lines = tuple(" ".join(line) for line in words if line)
    keywords: dict[str, str] = {}
    mechanisms: list[str] = []
    for line in lines:
        keyword, _, parameters = line.partition(" ")
        if keyword[:5].upper() == "AUTH=":
            keyword, parameters = "AUTH", line[5:]
        keywords[keyword.upper()] = parameters
        if keyword.upper() == "AUTH":
            mechanisms += parameters.upper().split()
    limits = keywords.get("LIMITS", "")
    return Extensions(
        lines=lines,
        keywords=keywords,
        mechanisms=tuple(dict.fromkeys(mechanisms)),
        size_limit=_size(keywords.get("SIZE", "")),
        recipient_limit=_limit("RCPTMAX", limits),
        message_limit=_limit("MAILMAX", limits),
    )


_LONGEST_SIZE = 20  # digits (RFC 1870 section 4)


def _size(value: str) -> int | None:
    # RFC 1870 section 4: 0 means that the server has no fixed limit.
    digits = value.isascii() and value.isdecimal() and len(value) <= _LONGEST_SIZE
    return int(value) or None if digits else None


def _limit(name: str, limits: str) -> int | None:
    if not limits:  # as with most servers; a pattern is compiled for the others only
        return None
    found = re.search(rf"(?<!\S){name}=([1-9][0-9]{{0,5}})(?!\S)", limits, re.IGNORECASE)
    return int(found[1]) if found else None
