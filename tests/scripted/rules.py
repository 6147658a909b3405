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
_NEEDS |= {"RET": "DSN", "ENVID": "DSN", "REQUIRETLS": "REQUIRETLS"}
"""The EHLO keyword that a parameter of MAIL requires."""

_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
_NOTIFY = r"(?:SUCCESS|FAILURE|DELAY)"
_VALUES = {
    "RET": "FULL|HDRS",
    "ENVID": f"{_XTEXT}+",
    "NOTIFY": f"NEVER|{_NOTIFY}(?:,{_NOTIFY})*",
    "ORCPT": rf"rfc822;{_XTEXT}+|utf-8;(?:[!-*,-<>-\[\]-~]|\\x\{{[0-9A-F]{{2,6}}\}})+",
}
_LONGEST = {"ENVID": 100, "NOTIFY": 28, "ORCPT": 500}
"""The values of RFC 3461 and RFC 6533, and how long they may be."""


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
    if _malformed(parameters):
        return 501, "5.5.4", "Bad parameter"
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


def _malformed(parameters: str) -> bool:
    """Whether a parameter of RFC 3461 has a value that it cannot have."""
    return any(
        key in _VALUES
        and not (
            re.fullmatch(_VALUES[key], value) and len(value) <= _LONGEST.get(key, 100)
        )
        for key, _, value in (one.partition("=") for one in parameters.split())
    )


def rcpt(
    path: str | None, parameters: str, mail_parameters: str, offers: Mapping[str, str]
) -> Answer:
    """The reply to a RCPT after MAIL."""
    if not path:
        return 501, "5.1.3", "Bad recipient"
    keys = [one.partition("=")[0] for one in parameters.split()]
    known = ("NOTIFY", "ORCPT") if "DSN" in offers else ()
    if any(key not in known for key in keys):
        return 555, "5.5.4", "Unknown parameter"
    if _malformed(parameters) or len(set(keys)) < len(keys):
        return 501, "5.5.4", "Bad parameter"
    if not path.isascii() and "SMTPUTF8" not in mail_parameters.upper().split():
        return 553, "5.6.7", "Non-ASCII address without SMTPUTF8"
    return 250, "2.1.5", "Recipient ok"
