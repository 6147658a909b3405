"""The common forms of an address, of which one match tells all."""

from __future__ import annotations

import re
from typing import NamedTuple


__all__ = ["Plain", "plain_boxes"]

# No "=" and "?": what has none holds no encoded word (RFC 2047).
_ATEXT = r"A-Za-z0-9!#$%&'*+/^_`{|}~-"
_WORD = rf"[.{_ATEXT}]++"
_BOX = re.compile(
    rf"""(?:({_WORD}(?:\ {_WORD})*+)\ (?=<) | "([ !#-\[\]-~]*+)"\ (?=<))?+
        (<)?+
        ([{_ATEXT}]++(?:\.[{_ATEXT}]++)*+)@([A-Za-z0-9.-]++)
        (?(3)>)
        (?:,\ (?!\Z)|\Z)""",
    re.VERBOSE,
)


class Plain(NamedTuple):
    """One mailbox; its local part is a dot-atom of ASCII, its domain not yet checked."""

    display: str
    local: str
    domain: str


def plain_boxes(text: str) -> list[Plain]:
    """The mailboxes of a list, if each has one of the common forms; else none.

    These are ``user@host``, ``<user@host>``, ``Some Name <user@host>`` and
    ``"Name, Some" <user@host>``, with ", " between them.
    """
    found: list[Plain] = []
    at = 0
    while at < len(text):
        match = _BOX.match(text, at)
        if match is None:
            return []
        words, quoted, _, local, domain = match.groups()
        found.append(Plain(words or (quoted or "").strip(), local, domain))
        at = match.end()
    return found
