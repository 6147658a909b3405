"""Which MAIL and RCPT a correct server accepts, by the extensions that it offered."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Mapping

    from scripted.sasl import Answer


_PATH = r'<((?:"(?:\\.|[^"\\])*"@)?[^<>\s]*)>((?: +[^ ]+)*) *'
MAIL = re.compile(r"FROM: *" + _PATH, re.IGNORECASE)
RCPT = re.compile(r"TO: *" + _PATH, re.IGNORECASE)

_NEEDS = {"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "AUTH": "AUTH"}
"""The EHLO keyword that a parameter of MAIL requires."""


def split(pattern: re.Pattern[str], argument: str) -> tuple[str | None, str]:
    """The path (None if it is malformed) and the parameters of MAIL or RCPT."""
    match = pattern.fullmatch(argument)
    return (match[1], match[2].strip()) if match else (None, "")


def limit(offers: Mapping[str, str]) -> float:
    """The largest message, by the SIZE offered."""
    return int(offers.get("SIZE") or 0) or float("inf")


def mail(path: str | None, parameters: str, offers: Mapping[str, str]) -> Answer:
    """The reply to a MAIL that the sequence of commands allows."""
    if path is None:
        return 501, "5.1.7", "Bad sender"
    given = parameters.upper().split()
    for key, _, value in (parameter.partition("=") for parameter in given):
        if _NEEDS.get(key) not in offers:
            return 555, "5.5.4", f"Unknown parameter {key}"
        if key == "SIZE" and not value.isdecimal():
            return 501, "5.5.4", "Bad SIZE"
        if key == "SIZE" and int(value) > limit(offers):
            return 552, "5.3.4", "Message too big"
    if not path.isascii() and "SMTPUTF8" not in given:
        return 553, "5.6.7", "Non-ASCII address without SMTPUTF8"
    return 250, "2.1.0", "Sender ok"


def rcpt(path: str | None, parameters: str, mail_parameters: str) -> Answer:
    """The reply to a RCPT after MAIL."""
    if not path:
        return 501, "5.1.3", "Bad recipient"
    if parameters:
        return 555, "5.5.4", "Unknown parameter"
    if not path.isascii() and "SMTPUTF8" not in mail_parameters.upper().split():
        return 553, "5.6.7", "Non-ASCII address without SMTPUTF8"
    return 250, "2.1.5", "Recipient ok"
