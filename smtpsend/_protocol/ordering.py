"""Decides which content may be pipelined after commands that have no reply yet."""

from __future__ import annotations

import re


RSET = b"RSET\r\n"

LONGEST_WRITE = 65536
"""Octets of content in one write; longer content goes out in pieces."""

# A server that does not discard the chunk of a refused BDAT reads it as commands. So
# content with a line that begins with one of these verbs waits until the recipients are
# accepted.
_VERBS = (
    rb"(?i:MAIL|RCPT|DATA|BDAT|SEND|SOML|SAML|RSET|NOOP|HELP|VRFY|EXPN|QUIT|EHLO|"
    rb"HELO|LHLO|AUTH|ETRN|TURN|STARTTLS)\b"
)
_FIRST_LINE = re.compile(rb"[ \t]*+" + _VERBS)
# The line end is spelled out, and not written as ^, so that the search jumps from line to
# line. The look-ahead has the letters that each place of a verb allows, in both cases: it
# needs a third of the time that a match of the verbs themselves needs.
_LATER_LINE = re.compile(
    rb"\n[ \t]*+(?=[ABDEHLMNQRSTVabdehlmnqrstv][ACDEHORSTUXacdehorstux]"
    rb"[AEFILMNOPRTaefilmnoprt][ADHLNOPRTYadhlnoprty])" + _VERBS
)


def rcpt(address: str) -> bytes:
    """The RCPT command for a recipient."""
    return f"RCPT TO:<{address}>\r\n".encode()


def cannot_be_commands(content: bytes) -> bool:
    """Whether no server can read a line of `content` as a command."""
    return (
        len(content) < LONGEST_WRITE
        and not _FIRST_LINE.match(content)
        and not _LATER_LINE.search(content)
    )
