"""Lists of mailboxes of the usual forms, recognised in one match each.

Most addresses have one of these forms, and `mailbox` parses any other in several steps.
"""

from __future__ import annotations

import re

from smtpsend._patterns import pattern
from smtpsend._values import NamedTuple


__all__ = ["PlainMailbox", "plain_mailboxes"]

# "=" and "?" are not among these characters, so a match holds no encoded word (RFC 2047).
_ATEXT = r"A-Za-z0-9!#$%&'*+/^_`{|}~-"
_PLAIN_WORD = rf"[.{_ATEXT}]++"
_PLAIN_MAILBOX = pattern(
    rf"""(?:({_PLAIN_WORD}(?:\ {_PLAIN_WORD})*+)\ (?=<) | "([ !#-\[\]-~]*+)"\ (?=<))?+
        (<)?+
        ([{_ATEXT}]++(?:\.[{_ATEXT}]++)*+)@([A-Za-z0-9.-]++)
        (?(3)>)
        (?:,\ (?!\Z)|\Z)""",
    re.VERBOSE,
)


class PlainMailbox(NamedTuple):
    """One mailbox of a usual form: the local part is an ASCII dot-atom.

    The domain and the lengths are not checked yet.
    """

    display: str
    local: str
    domain: str


def plain_mailboxes(text: str) -> list[PlainMailbox]:
    """Parse a list in which each mailbox has a usual form.

    The usual forms are ``user@host``, ``<user@host>``, ``Some Name <user@host>`` and
    ``"Name, Some" <user@host>``, with ", " between them.

    Returns:
        The mailboxes; an empty list if any has another form.
    """
    found: list[PlainMailbox] = []
    at = 0
    while at < len(text):
        match = _PLAIN_MAILBOX.match(text, at)
        if match is None:
            return []
        words, quoted, _, local, domain = match.groups()
        found.append(PlainMailbox(words or (quoted or "").strip(), local, domain))
        at = match.end()
    return found
