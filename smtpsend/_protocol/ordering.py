"""What may stand in one write with what: commands, and content behind them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from smtpsend._wire.transactions.upload import CHUNK


if TYPE_CHECKING:
    from smtpsend._wire.connection import Session

RSET = b"RSET\r\n"

# Content that a server could take for commands, if it does not discard the chunk of a
# BDAT that it refused: such content waits until the recipients are accepted.
_VERBS = (
    rb"(?i:MAIL|RCPT|DATA|BDAT|SEND|SOML|SAML|RSET|NOOP|HELP|VRFY|EXPN|QUIT|EHLO|"
    rb"HELO|LHLO|AUTH|ETRN|TURN|STARTTLS)\b"
)
_FIRST_LINE = re.compile(rb"[ \t]*+" + _VERBS)
# With the line end spelled out, and not as ^, the search jumps from line to line; the
# letters that may stand in each place, in both cases, take a third of the verbs' time.
_LATER_LINE = re.compile(
    rb"\n[ \t]*+(?=[ABDEHLMNQRSTVabdehlmnqrstv][ACDEHORSTUXacdehorstux]"
    rb"[AEFILMNOPRTaefilmnoprt][ADHLNOPRTYadhlnoprty])" + _VERBS
)


def rcpt(address: str) -> bytes:
    """The RCPT command for a recipient."""
    return f"RCPT TO:<{address}>\r\n".encode()


def may_share_a_group(session: Session, content: bytes) -> bool:
    """Whether `content` may go out by BDAT before MAIL and RCPT are answered."""
    return session.chunking and session.content_in_group and harmless(content)


def harmless(content: bytes) -> bool:
    """Whether nothing happens if a server takes `content` for commands."""
    return (
        len(content) < CHUNK
        and not _FIRST_LINE.match(content)
        and not _LATER_LINE.search(content)
    )
