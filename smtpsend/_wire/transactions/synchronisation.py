"""QUIT behind the content: its reply shows whose answer the one before it was.

Replies are paired with commands by counting. In a group with DATA the 354 shows that
the count is right; with BDAT every reply is a 250, and a server that says one too many
would make the answer to a recipient look like that to the message. The 221 to QUIT
(RFC 5321 section 4.1.1.10), or the end of the connection, closes the count, in the same
round trip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpsend._protocol.failures import Garbage, Lost, TimedOut, positive
from smtpsend.errors import Reply


if TYPE_CHECKING:
    from smtpsend._wire.connection import Session

QUIT = b"QUIT\r\n"

# How long to wait for the 221, whose place is right behind the answer to the message.
_QUIT_PATIENCE = 1.0
# How many replies too many to look at.
_MOST = 8


async def synchronise(session: Session, answer: Reply, *, sure: bool) -> Reply:
    """The answer to the end of the message, when the 221 behind it is there.

    Replies too many do no harm where all replies are positive (`sure`, so far): then
    everything was accepted, whichever belongs to what. Nor do refusals behind a refusal:
    a server may take the chunk that it refused for commands.

    Raises:
        Garbage: it cannot be told what the server accepted.
    """
    session.used_up = True
    try:
        for _ in range(_MOST):
            reply = await session.channel.reply(session.deadline.within(_QUIT_PATIENCE))
            if reply.code == 221:
                return answer
            if positive(reply) != positive(answer) or (positive(reply) and not sure):
                raise Garbage(f"a reply too many, and not all accept: {reply}")
            answer = reply if positive(reply) else answer
        raise Garbage("replies without end")
    except (Lost, TimedOut):
        # No more will come, or it is too late to count.
        return answer
