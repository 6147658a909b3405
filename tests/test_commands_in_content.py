"""Content that a server could read as commands is found before it is pipelined."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from smtpsend._protocol.ordering import cannot_be_commands


VERBS = (
    *("MAIL", "RCPT", "DATA", "BDAT", "SEND", "SOML", "SAML", "RSET", "NOOP", "HELP"),
    *("VRFY", "EXPN", "QUIT", "EHLO", "HELO", "LHLO", "AUTH", "ETRN", "ATRN", "TURN"),
    *("BURL", "STARTTLS", "XCLIENT", "XFORWARD"),
)


BEFORE = ("", "A: b\r\n", "A: b\r\n\r\n \t\v")


@pytest.mark.parametrize("change", [str.upper, str.lower, str.title, str.swapcase])
def test_a_line_that_begins_with_a_verb(change: Callable[[str], str]) -> None:
    """It could be a command; a longer word, or one in the middle, could not."""
    for before, verb in itertools.product(BEFORE, map(change, VERBS)):
        for line in (verb, f"{verb} x", f"{verb}:x"):
            content = f"{before}{line}\r\nx\r\n".encode()
            assert not cannot_be_commands(content), content
        for line in (f"{verb}x", f"x{verb}", f"x {verb}", verb[:-1]):
            content = f"{before}{line}\r\nx\r\n".encode()
            assert cannot_be_commands(content), content
