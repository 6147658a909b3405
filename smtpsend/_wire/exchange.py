"""Drives a pipeline over a session: the only code that sends mail transactions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from smtpsend._model.message.content import dot_stuff
from smtpsend._protocol.failures import FAULTS, ExtraReply, TimedOut
from smtpsend._protocol.negotiation import recipient_parameters
from smtpsend._protocol.ordering import LONGEST_WRITE, Command, Verb
from smtpsend._protocol.pipeline import Pipeline
from smtpsend._protocol.transaction import Transaction
from smtpsend.errors import Phase


if TYPE_CHECKING:
    from smtpsend._wire.connection import Session


# Seconds to wait for the reply to EHLO after a window, and for any further reply until
# then. A server sends both right after the reply to the last message.
_EHLO_TIMEOUT, _NEXT_REPLY_TIMEOUT = 10.0, 1.0
# Seconds to wait for the 221, which a server sends right after the reply to the content.
# Some servers lose what follows the final dot, and a process that sends one message would
# wait each time. So after a dot the wait is the second of these and two round trips, and
# never longer than the first.
_QUIT_TIMEOUT, _QUIT_AFTER_DOT = 1.0, 0.25

_FIXED = {Verb.RSET: b"RSET\r\n", Verb.DATA: b"DATA\r\n", Verb.QUIT: b"QUIT\r\n"}


async def run(
    session: Session, pipeline: Pipeline, settle: Callable[[Transaction], None]
) -> None:
    """Write and read until the pipeline has nothing more to send.

    If this is cancelled, or a defect is raised, `pipeline.unsettled` has the transactions
    without an outcome.

    Args:
        session: the session; nothing else uses it meanwhile.
        pipeline: what is sent.
        settle: called with each transaction when its outcome is known.
    """
    try:
        await _run(session, pipeline, settle)
    except BaseException:
        # The outcome of a cancelled message is known if its reply has arrived.
        _read_received(session, pipeline)
        for transaction in pipeline.take_settled():
            settle(transaction)
        raise


def _read_received(session: Session, pipeline: Pipeline) -> None:
    """Read the replies that have arrived."""
    with contextlib.suppress(Exception):
        session.channel.read_received(pipeline.receive_all)


async def _run(
    session: Session, pipeline: Pipeline, settle: Callable[[Transaction], None]
) -> None:
    channel, clock = session.channel, asyncio.get_running_loop().time
    awaiting = pipeline.awaiting
    while group := pipeline.next_group():
        try:
            first = group[0]
            if first.transaction is not None:
                session.deadline = first.transaction.deadline
            if first.verb is Verb.CONTENT:
                await _write_content(session, pipeline, group)
            else:
                _write_commands(session, pipeline, group)
            began = clock()
            while awaiting:
                await channel.wait_reply(_timeout(session, pipeline, awaiting[0]))
                channel.read_received(pipeline.receive_all)
            pipeline.trial.group_seconds = channel.last_received - began
        except FAULTS as fault:
            pipeline.connection_lost(
                str(fault),
                timed_out=isinstance(fault, TimedOut),
                extra_reply=isinstance(fault, ExtraReply),
            )
        for transaction in pipeline.take_settled():
            settle(transaction)
    pipeline.finish(unread=channel.unread)
    for transaction in pipeline.take_settled():
        settle(transaction)


def _timeout(session: Session, pipeline: Pipeline, command: Command) -> float:
    """The seconds to wait for the reply to a command."""
    verb, transaction, _ = command
    session.track.phase = verb.phase
    if transaction is not None:
        session.deadline = transaction.deadline
    if verb.phase is not Phase.FINAL:
        timeout = session.timeout()
        return pipeline.trial.within(timeout) if pipeline.after_content else timeout
    if verb is Verb.QUIT:
        limit = _QUIT_TIMEOUT
        if not pipeline.unsettled[-1].by_bdat:
            limit = min(limit, _QUIT_AFTER_DOT + 2 * pipeline.trial.group_seconds)
        return session.deadline.within(limit)
    if verb is Verb.EHLO:
        limit = _NEXT_REPLY_TIMEOUT if pipeline.extra_replies else _EHLO_TIMEOUT
        return min(limit, session.timeout())
    return session.final_timeout()


def _write_commands(session: Session, pipeline: Pipeline, group: list[Command]) -> None:
    """Write a group, or call `pipeline.early_reply` with a reply that came before it.

    There is no await between the last check for an early reply and the last write, after
    which the server may accept the message. The same holds for `_write_content`.
    """
    channel = session.channel
    session.track.phase = group[0].verb.phase
    session.deadline.raise_if_over()
    pieces = _octets(session, group)
    _note_ends(group)
    # A 421 may come at any time (RFC 5321 section 3.8).
    if (reply := channel.unread_421()) is not None:
        pipeline.early_reply(reply)
        return
    pipeline.written()
    channel.write_commands(pieces)
    if group[-1].verb is Verb.QUIT:
        channel.quit_sent = True


def _note_ends(group: list[Command]) -> None:
    """Call who has to know of the ends in a group before they are written.

    Raises:
        Lost: they must not be written.
    """
    first = group[0].transaction
    if first is None or first.end_note is None:
        return  # either all messages of a batch have a note, or none has
    notes = [
        transaction.end_note
        for verb, transaction, _ in group
        if transaction is not None
        and transaction.end_note is not None
        and (verb is Verb.BDAT or verb is Verb.CONTENT)
    ]
    if notes:
        notes[0].note([note.number for note in notes])


def _octets(session: Session, group: list[Command]) -> list[tuple[bytes, bytes]]:
    """The octets of commands, each with its content."""
    pieces, lines = [], []
    for verb, transaction, address in group:
        if transaction is None:
            lines.append(session.ehlo_line if verb is Verb.EHLO else _FIXED[verb])
        elif verb is Verb.RCPT:
            delivery = transaction.delivery
            asked = "" if delivery is None else recipient_parameters(delivery, address)
            lines.append(f"RCPT TO:<{address}>{asked}\r\n".encode())
        elif verb is Verb.MAIL:
            lines.append(transaction.mail)
        elif verb is Verb.BDAT:
            # RFC 3030 section 2: the content is sent without dot-stuffing.
            lines.append(b"BDAT %d LAST\r\n" % len(transaction.content))
            pieces.append((b"".join(lines), transaction.content))
            lines = []
        else:
            lines.append(_FIXED[verb])
    if lines:
        pieces.append((b"".join(lines), b""))
    return pieces


async def _write_content(
    session: Session, pipeline: Pipeline, group: list[Command]
) -> None:
    """Write the content in pieces, at the pace of the server, until an early reply."""
    channel, deadline = session.channel, session.deadline
    transaction = group[0].transaction
    content = b"" if transaction is None else dot_stuff(transaction.content)
    commands = b"".join([line for line, _ in _octets(session, group[1:])])
    session.track.phase = Phase.CONTENT
    last = content
    if len(content) >= LONGEST_WRITE:
        view = memoryview(content)
        starts = range(0, len(view), LONGEST_WRITE)
        last = bytes(view[starts[-1] :])
        for start in starts[:-1]:
            if (reply := channel.early_reply()) is not None:
                pipeline.early_reply(reply)
                return
            channel.write(view[start : start + LONGEST_WRITE])
            await channel.drain(session.target.policy.reply_timeout, deadline)
    _note_ends(group)
    if (reply := channel.early_reply()) is not None:
        pipeline.early_reply(reply)
        return
    deadline.raise_if_over()
    session.track.phase = Phase.FINAL
    pipeline.written()
    # One write, one TLS record, often one packet.
    channel.write(last + b".\r\n", commands)
    if group[-1].verb is Verb.QUIT:
        channel.quit_sent = True
