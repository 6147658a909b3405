"""Content that a server could read as commands is found before it is pipelined."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from smtpsend._protocol.ordering import cannot_be_commands


VERBS = (
    *("MAIL", "RCPT", "DATA", "BDAT", "SEND", "SOML", "SAML", "RSET", "NOOP", "HELP"),
    *("VRFY", "EXPN", "QUIT", "EHLO", "HELO", "LHLO", "AUTH", "ETRN", "ATRN", "TURN"),
    *("BURL", "STARTTLS", "XCLIENT", "XFORWARD"),
)


@pytest.mark.parametrize("before", ["", "A: b\r\n", "A: b\r\n\r\n \t\v"])
@pytest.mark.parametrize("change", [str.upper, str.lower, str.title, str.swapcase])
@pytest.mark.parametrize("verb", VERBS)
def test_a_line_that_begins_with_a_verb(
    verb: str, change: Callable[[str], str], before: str
) -> None:
    """It could be a command; a longer word, or one in the middle, could not."""
    verb = change(verb)
    for line in (verb, f"{verb} x", f"{verb}:x"):
        assert not cannot_be_commands(f"{before}{line}\r\nx\r\n".encode())
    for line in (f"{verb}x", f"x{verb}", f"x {verb}", verb[:-1]):
        assert cannot_be_commands(f"{before}{line}\r\nx\r\n".encode())
