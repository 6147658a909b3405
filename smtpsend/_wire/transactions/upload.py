"""The content on its way: in pieces, at the server's pace, watching for early answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpsend._protocol.failures import closing, positive, refusal
from smtpsend._wire.progress import step
from smtpsend.errors import DeliveryUnknown, Event, Phase, Reply


if TYPE_CHECKING:
    from smtpsend._wire.connection import Session


LONGEST_WRITE = 65536


async def upload(
    session: Session, content: bytes, end: bytes, behind: bytes = b""
) -> Reply:
    """Write `content` and `end`, and commands `behind` it, and wait for the answer.

    The last write is the one after which the message may have been taken; nothing is
    waited for between the last look for an early answer and it.

    Raises:
        Rejected: the server refused in the middle.
        ConnectionLost: the end of the message never went out.
        DeliveryUnknown: it did, and no answer came, or one came before it.
    """
    channel, deadline = session.channel, session.deadline
    with step(session.track, Phase.CONTENT):
        if len(content) < LONGEST_WRITE:
            # One write, one TLS record, often one packet.
            last = content + end
        else:
            view = memoryview(content)
            starts = range(0, len(view), LONGEST_WRITE)
            last = bytes(view[starts[-1] :]) + end
            for start in starts[:-1]:
                _stop_if_answered(session)
                channel.write(view[start : start + LONGEST_WRITE])
                await channel.drained(session.target.policy.reply_timeout, deadline)
        _stop_if_answered(session)
        deadline.raise_if_over()
        channel.write(last, behind)
    with step(session.track, Phase.FINAL):
        return await channel.reply(session.final_timeout())


def _stop_if_answered(session: Session) -> None:
    """Raise if the server answered before the end of the message."""
    reply = session.channel.early()
    if reply is None:
        return
    if positive(reply):
        raise DeliveryUnknown(
            "the server accepted the message before its end went out",
            phase=Phase.CONTENT,
            event=Event.ACCEPTED_EARLY,
            reply=reply,
        )
    if reply.code == 421:
        raise closing(Phase.CONTENT, reply)
    raise refusal(Phase.CONTENT, reply)
