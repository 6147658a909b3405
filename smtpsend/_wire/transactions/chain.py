"""A chain: after the final dot of a message, the commands of the next are pipelined.

RFC 2920 section 3.1 allows that, and each message costs one round trip. The content of a
message waits for its 354. A 354 can only be the reply to DATA, so that it proves that all
replies before it were paired rightly. Only then does the message before it get its
outcome. Without PIPELINING, each command waits for the reply to the one before.

RSET stands in front of a message whose predecessor was begun and refused before its end:
the server still has the sender and the recipients of that one (RFC 5321 section 4.1.1.5).
After a final dot there is nothing to reset.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from smtpsend._model.message.envelope import dot_stuff
from smtpsend._protocol.failures import (
    FAULTS,
    Garbage,
    TimedOut,
    closing,
    lost,
    positive,
    refusal,
)
from smtpsend._protocol.ordering import RSET, rcpt
from smtpsend._protocol.quirks import PipelineTrial
from smtpsend._wire.transactions.transaction import BatchTransaction, Unsent
from smtpsend._wire.transactions.upload import upload
from smtpsend.errors import ConnectionLost, Phase, Reply, SendError


if TYPE_CHECKING:
    from smtpsend._wire.connection import Session

_DATA = b"DATA\r\n"
_DOT = b".\r\n"


class Chain:
    """Sends messages over one session, one after the other.

    Args:
        session: the session; nothing else uses it meanwhile.
        more: returns the next message; None if there is none for this session.
        settle: called with each transaction when its outcome is known.
    """

    def __init__(
        self,
        session: Session,
        more: Callable[[], BatchTransaction | None],
        settle: Callable[[BatchTransaction], None],
    ) -> None:
        self._session = session
        self._more = more
        self._settle = settle
        # The transaction whose commands are pipelined after the content in progress.
        self._pipelined: BatchTransaction | None = None
        self._reset_sent = False  # RSET stands before the commands of the transaction
        # Transactions whose reply came after the last synchronisation point.
        self._unconfirmed: list[BatchTransaction] = []
        self._any_negative = False  # a reply was negative since that point
        self._miscounted = False  # a reply may belong to another command
        self._trial = PipelineTrial(session.target.quirks)

    async def run(self, transaction: BatchTransaction) -> Unsent:
        """Send `transaction`, and those that `more` returns, until one side ends it.

        Returns:
            The messages that the server cannot have accepted.
        """
        session = self._session
        try:
            rest = await self._run(transaction)
        finally:
            self._trial.end()
        self._miscounted |= session.channel.unread
        self._settle_unconfirmed()
        if rest.transactions or session.used_up:
            session.channel.abort()
        return rest

    async def _run(self, transaction: BatchTransaction) -> Unsent:
        session, after_dot = self._session, False
        if (error := self._write(transaction)) is not None:
            return Unsent([transaction], error)
        while True:
            session.deadline = transaction.deadline
            try:
                reply = await self._exchange_commands(transaction, after_dot=after_dot)
            except SendError as broken:
                session.used_up = True
                return self._interrupted(transaction, broken, after_dot=after_dot)
            if after_dot and self._trial.in_doubt(transaction.mail_refused):
                session.used_up = True
                return Unsent([transaction])
            if reply is not None and reply.code == 354:
                # The synchronisation point: all replies so far were paired rightly.
                self._settle_unconfirmed()
                if (rest := await self._send_content(transaction)) is not None:
                    return rest
            else:
                transaction.error = transaction.refusal()
                if transaction.error is None and reply is not None:
                    transaction.error = refusal(Phase.DATA, reply)
                self._unconfirmed.append(transaction)
            after_dot = self._pipelined is not None
            following = self._pipelined or self._more()
            if following is None:
                return Unsent()
            if not after_dot and (error := self._write(following)) is not None:
                return Unsent([following], error)
            transaction, self._pipelined = following, None

    def _write(self, transaction: BatchTransaction) -> SendError | None:
        """Write the commands of a transaction on their own; return why that failed."""
        session = self._session
        session.track.phase = Phase.MAIL
        try:
            transaction.deadline.raise_if_over()
            if session.pipelining:
                group = transaction.commands(reset=session.needs_reset, last=_DATA)
                session.channel.command(group)
        except FAULTS as fault:
            session.used_up = self._miscounted = True
            timed_out = isinstance(fault, TimedOut)
            return lost(Phase.MAIL, str(fault), timed_out=timed_out)
        self._mark_begun()
        return None

    def _mark_begun(self) -> None:
        session = self._session
        session.messages += 1
        self._reset_sent = session.needs_reset
        session.needs_reset, session.probed = True, False

    async def _exchange_commands(
        self, transaction: BatchTransaction, *, after_dot: bool
    ) -> Reply | None:
        """Read the replies to all commands, and return the reply to DATA.

        Returns:
            A 354 or a refusal; None if DATA was not sent, because of a refusal that the
            transaction holds.

        Raises:
            SendError: the connection broke, or a reply fits no command.
        """
        track = self._session.track
        clock = asyncio.get_running_loop().time
        began = clock()
        pipelining = self._session.pipelining
        exchange = self._read_pipelined if pipelining else self._exchange_one_by_one
        try:
            reply = await exchange(transaction, after_dot=after_dot)
        except FAULTS as fault:
            self._miscounted = isinstance(fault, Garbage)
            timed_out = isinstance(fault, TimedOut)
            raise lost(track.phase, str(fault), timed_out=timed_out) from None
        track.progress()
        self._trial.group_seconds = clock() - began
        return reply

    async def _read_pipelined(
        self, transaction: BatchTransaction, *, after_dot: bool
    ) -> Reply:
        """Read the replies to commands that were written already."""
        track = self._session.track
        if self._reset_sent:
            track.phase = Phase.MAIL
            self._reset_reply(await self._next_reply(after_dot=after_dot))
        track.phase = Phase.MAIL
        transaction.mail_reply(await self._next_reply(after_dot=after_dot))
        track.phase = Phase.RCPT
        for address in transaction.recipients:
            reply = await self._next_reply(after_dot=after_dot)
            if positive(reply) and transaction.mail_refused is not None:
                raise Garbage(f"a recipient was accepted after MAIL was refused: {reply}")
            transaction.recipient_reply(address, reply)
        track.phase = Phase.DATA
        return await self._next_reply(after_dot=after_dot)

    async def _exchange_one_by_one(
        self, transaction: BatchTransaction, *, after_dot: bool
    ) -> Reply | None:
        """Send one command at a time, until a refusal makes the rest pointless."""
        channel, track = self._session.channel, self._session.track
        track.phase = Phase.MAIL
        if self._reset_sent:
            channel.command(RSET)
            self._reset_reply(await self._next_reply(after_dot=after_dot))
        channel.command(transaction.message.mail)
        transaction.mail_reply(await self._next_reply(after_dot=after_dot))
        if transaction.mail_refused is not None:
            return None
        for address in transaction.recipients:
            track.phase = Phase.RCPT
            channel.command(rcpt(address))
            reply = await self._next_reply(after_dot=after_dot)
            transaction.recipient_reply(address, reply)
        if transaction.refusal() is not None:
            return None
        track.phase = Phase.DATA
        channel.command(_DATA)
        return await self._next_reply(after_dot=after_dot)

    def _reset_reply(self, reply: Reply) -> None:
        if not positive(reply):
            raise Garbage(f"the server refused RSET: {reply}")

    async def _next_reply(self, *, after_dot: bool) -> Reply:
        """The next reply, if its code is possible for the command."""
        session = self._session
        reply = session.channel.received_reply()
        if reply is None:
            timeout = session.timeout()
            if after_dot:
                timeout = self._trial.within(timeout)
            reply = await session.channel.reply(timeout)
        self._any_negative |= reply.code >= 400
        phase = session.track.phase
        if reply.code == 421:
            raise closing(phase, reply)
        expected = reply.code == 354 if phase is Phase.DATA else positive(reply)
        if reply.code < 400 and (not expected or reply.code == 221):
            self._miscounted = True
            raise refusal(phase, reply)
        return reply

    def _interrupted(
        self, transaction: BatchTransaction, error: SendError, *, after_dot: bool
    ) -> Unsent:
        """The outcome of a transaction if the replies to its commands broke off."""
        if after_dot and self._trial.lost():
            # The commands of this message were sent, but not its content. It becomes the
            # first of another connection, and nothing is pipelined after a dot again.
            return Unsent([transaction])
        if (refused := transaction.certain_refusal()) is not None:
            error = refused
        if isinstance(error, ConnectionLost):
            return Unsent([transaction], error)
        transaction.error = error
        self._settle(transaction)
        return Unsent()

    async def _send_content(self, transaction: BatchTransaction) -> Unsent | None:
        """Send the content, with the commands of the next message pipelined after it.

        Returns:
            None if the session goes on, else the messages that were not sent.
        """
        session = self._session
        refused = transaction.refusal()
        # RFC 2920 section 3.1: a server that replies 354 although no recipient is to get
        # the message gets an empty content.
        content = b"" if refused else dot_stuff(transaction.message.content)
        commands = b""
        if session.pipelines_after_data and (found := self._more()) is not None:
            self._pipelined = found
            commands = found.commands(reset=False, last=_DATA)
            self._trial.begin()
        following = [self._pipelined] if self._pipelined is not None else []
        try:
            reply = await upload(session, content, _DOT, commands)
        except SendError as error:
            session.used_up = True
            # The commands after the dot may be the reason for the break.
            if following:
                self._trial.lost()
            if isinstance(refused or error, ConnectionLost):
                return Unsent([transaction, *following], error)
            transaction.error = refused or error
            self._settle(transaction)
            return Unsent(following)
        finally:
            transaction.end_sent = session.track.phase is Phase.FINAL
        # Like a kept connection, this one may be closed before the next MAIL arrives.
        session.reused = True
        transaction.reply = reply
        transaction.error = refused
        session.needs_reset = False
        if not positive(reply):
            self._any_negative = True
            transaction.error = refused or refusal(Phase.FINAL, reply)
        session.used_up = 300 <= reply.code < 400 or reply.code in (221, 421)
        if session.used_up or not following:
            self._settle(transaction)
            return Unsent(following) if session.used_up else None
        self._unconfirmed.append(transaction)
        self._mark_begun()
        return None

    def _settle_unconfirmed(self) -> None:
        """Settle what has a reply, at a synchronisation point or the end of the chain.

        If replies were miscounted and one was negative, the outcome is unknown.
        """
        for transaction in self._unconfirmed:
            if self._miscounted and self._any_negative and transaction.end_sent:
                transaction.mark_unknown()
            self._settle(transaction)
        self._unconfirmed.clear()
        self._any_negative = False
