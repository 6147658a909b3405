"""QUIT, pipelined after the content, as the synchronisation point of a transaction.

Replies are paired with commands by counting. In a group with DATA, the 354 proves that
the count is right. With BDAT every reply is a 250, so that one extra reply would make the
reply to a recipient look like the reply to the content. The 221 to QUIT (RFC 5321 section
4.1.1.10), or the end of the connection, proves in the same round trip that the reply
before it was the reply to the content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpsend._protocol.failures import Garbage, Lost, TimedOut, positive
from smtpsend.errors import Reply


if TYPE_CHECKING:
    from smtpsend._wire.connection import Session

QUIT = b"QUIT\r\n"

# Seconds to wait for the 221, which a server sends right after the reply to the content.
_QUIT_TIMEOUT = 1.0
# How many replies to read until the 221.
_MOST_REPLIES = 8


async def synchronise(session: Session, final: Reply, *, all_positive: bool) -> Reply:
    """Read up to the 221 to QUIT, and return the reply to the end of the message.

    Extra replies do no harm if all replies are positive: then the server accepted
    everything, whichever reply belongs to which command. Nor do negative replies after a
    negative reply: the server may read the chunk that it refused as commands.

    Args:
        session: the session, over which QUIT was sent.
        final: the reply that was paired with the end of the message.
        all_positive: no reply so far was negative.

    Raises:
        Garbage: the replies do not show what the server accepted.
    """
    session.used_up = True
    try:
        for _ in range(_MOST_REPLIES):
            reply = await session.channel.reply(session.deadline.within(_QUIT_TIMEOUT))
            if reply.code == 221:
                return final
            if positive(reply) != positive(final) or (
                positive(reply) and not all_positive
            ):
                raise Garbage(f"an extra reply, and not all are positive: {reply}")
            final = reply if positive(reply) else final
        raise Garbage("replies without end")
    except (Lost, TimedOut):
        # No more replies will come, or the deadline leaves no time to synchronise.
        return final
