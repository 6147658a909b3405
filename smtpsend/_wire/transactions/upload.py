"""Writes the content in pieces, at the pace of the server, until an early reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpsend._protocol.failures import closing, positive, refusal
from smtpsend._protocol.ordering import LONGEST_WRITE
from smtpsend._wire.progress import step
from smtpsend.errors import DeliveryUnknown, Event, Phase, Reply


if TYPE_CHECKING:
    from smtpsend._wire.connection import Session


async def upload(
    session: Session, content: bytes, end: bytes, commands: bytes = b""
) -> Reply:
    """Write the content, its end and `commands`; return the reply to the end.

    Once the last write is made, the server may accept the message. There is no await
    between the last check for an early reply and that write.

    Args:
        session: the session, after its 354.
        content: the content, dot-stuffed.
        end: what ends the content.
        commands: the commands of the next message, pipelined after the end.

    Raises:
        Rejected: the server refused the message before its end was written.
        ConnectionLost: the connection broke before the end of the message was written.
        DeliveryUnknown: it broke after that, before the reply; or a positive reply came
            before the end was written.
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
                _raise_if_early_reply(session)
                channel.write(view[start : start + LONGEST_WRITE])
                await channel.drain(session.target.policy.reply_timeout, deadline)
        _raise_if_early_reply(session)
        deadline.raise_if_over()
        channel.write(last, commands)
    with step(session.track, Phase.FINAL):
        return await channel.reply(session.final_timeout())


def _raise_if_early_reply(session: Session) -> None:
    """Raise the error of a reply that came before the end of the message was written."""
    reply = session.channel.early_reply()
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
