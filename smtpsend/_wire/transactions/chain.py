"""A chain: MAIL, RCPT and DATA of the next message go out with the end of the one before.

RFC 2920 section 3.1 allows it, and each message costs one round trip. The content of a
message waits for its 354, which also shows that the replies before it are paired rightly:
the receipt for the message before is given then. Without PIPELINING each command waits
for the reply to the one before.
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
    """Messages on their way over one session, one after the other.

    Args:
        more: gives the next message, or None.
        settle: called for each message of which the fate is known.
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
        self._following: BatchTransaction | None = (
            None  # its commands are out, or about to be
        )
        self._reset = False  # RSET stands before the group that is out
        self._held: list[BatchTransaction] = []  # answered; the count is not closed
        self._refused = False  # a reply was negative since the count was closed
        self._garbled = False  # a reply belongs to another command than we thought
        self._trial = PipelineTrial(session.target.quirks)

    async def run(self, transaction: BatchTransaction) -> Unsent:
        """Send it, and what `more` gives, until that is None or something breaks.

        Returns:
            What nobody can have taken.
        """
        session = self._session
        try:
            rest = await self._run(transaction)
        finally:
            self._trial.end()
        self._garbled |= session.channel.unread
        self._release()
        if rest.transactions or session.used_up:
            session.channel.abort()
        return rest

    async def _run(self, transaction: BatchTransaction) -> Unsent:
        session, behind = self._session, False
        if (fault := self._write(transaction)) is not None:
            return Unsent([transaction], fault)
        while True:
            session.deadline = transaction.deadline
            try:
                reply = await self._group(transaction, behind=behind)
            except SendError as error:
                session.used_up = True
                return self._stopped(transaction, error, behind=behind)
            if behind and self._trial.in_doubt(transaction.mail_refused):
                session.used_up = True
                return Unsent([transaction])
            if reply is not None and reply.code == 354:
                # The count is right up to here.
                self._release()
                if (rest := await self._content(transaction)) is not None:
                    return rest
            else:
                transaction.error = transaction.refusal()
                if transaction.error is None and reply is not None:
                    transaction.error = refusal(Phase.DATA, reply)
                self._held.append(transaction)
            behind = self._following is not None
            following = self._following or self._more()
            if following is None:
                return Unsent()
            if not behind and (fault := self._write(following)) is not None:
                return Unsent([following], fault)
            transaction, self._following = following, None

    def _write(self, transaction: BatchTransaction) -> SendError | None:
        """Write a group by itself; why it cannot be written."""
        session = self._session
        session.track.phase = Phase.MAIL
        try:
            transaction.deadline.raise_if_over()
            if session.pipelining:
                group = transaction.commands(reset=session.needs_reset, last=_DATA)
                session.channel.command(group)
        except FAULTS as fault:
            session.used_up = self._garbled = True
            late = isinstance(fault, TimedOut)
            return lost(Phase.MAIL, str(fault), timed_out=late)
        self._begun()
        return None

    def _begun(self) -> None:
        session = self._session
        session.messages += 1
        self._reset = session.needs_reset
        session.needs_reset, session.probed = True, False

    async def _group(
        self, transaction: BatchTransaction, *, behind: bool
    ) -> Reply | None:
        """Read the answers to a group; the one to DATA, which is 354 or a refusal.

        None: it did not come so far; the transaction knows why.

        Raises:
            SendError: the connection broke, or what came makes no sense.
        """
        track = self._session.track
        clock = asyncio.get_running_loop().time
        began = clock()
        read = self._read if self._session.pipelining else self._one_by_one
        try:
            reply = await read(transaction, behind=behind)
        except FAULTS as fault:
            self._garbled = isinstance(fault, Garbage)
            late = isinstance(fault, TimedOut)
            raise lost(track.phase, str(fault), timed_out=late) from None
        track.progress()
        self._trial.took = clock() - began
        return reply

    async def _read(self, transaction: BatchTransaction, *, behind: bool) -> Reply:
        """The answers to commands that are out."""
        track = self._session.track
        if self._reset:
            track.phase = Phase.MAIL
            self._took_reset(await self._next(behind=behind))
        track.phase = Phase.MAIL
        transaction.take_mail(await self._next(behind=behind))
        track.phase = Phase.RCPT
        for address in transaction.recipients:
            reply = await self._next(behind=behind)
            if positive(reply) and transaction.mail_refused is not None:
                raise Garbage(f"a recipient taken after MAIL was refused: {reply}")
            transaction.take_recipient(address, reply)
        track.phase = Phase.DATA
        return await self._next(behind=behind)

    async def _one_by_one(
        self, transaction: BatchTransaction, *, behind: bool
    ) -> Reply | None:
        """Command after command, as long as none is refused that matters."""
        channel, track = self._session.channel, self._session.track
        track.phase = Phase.MAIL
        if self._reset:
            channel.command(RSET)
            self._took_reset(await self._next(behind=behind))
        channel.command(transaction.message.mail)
        transaction.take_mail(await self._next(behind=behind))
        if transaction.mail_refused is not None:
            return None
        for address in transaction.recipients:
            track.phase = Phase.RCPT
            channel.command(rcpt(address))
            transaction.take_recipient(address, await self._next(behind=behind))
        if transaction.refusal() is not None:
            return None
        track.phase = Phase.DATA
        channel.command(_DATA)
        return await self._next(behind=behind)

    def _took_reset(self, reply: Reply) -> None:
        if not positive(reply):
            raise Garbage(f"the server refused RSET: {reply}")

    async def _next(self, *, behind: bool) -> Reply:
        """The next reply of a group, if it may stand there."""
        session = self._session
        reply = session.channel.ready()
        if reply is None:
            timeout = session.timeout()
            if behind:
                timeout = self._trial.within(timeout)
            reply = await session.channel.reply(timeout)
        self._refused |= reply.code >= 400
        phase = session.track.phase
        if reply.code == 421:
            raise closing(phase, reply)
        expected = reply.code == 354 if phase is Phase.DATA else positive(reply)
        if reply.code < 400 and (not expected or reply.code == 221):
            self._garbled = True
            raise refusal(phase, reply)
        return reply

    def _stopped(
        self, transaction: BatchTransaction, error: SendError, *, behind: bool
    ) -> Unsent:
        """What is left where the answers to a group broke off."""
        if behind and self._trial.lost():
            # Nothing of this message is out but its envelope: it goes out as the first
            # of a connection, and nothing behind a dot again.
            return Unsent([transaction])
        if (refused := transaction.known_refusal()) is not None:
            error = refused
        if isinstance(error, ConnectionLost):
            return Unsent([transaction], error)
        transaction.error = error
        self._settle(transaction)
        return Unsent()

    async def _content(self, transaction: BatchTransaction) -> Unsent | None:
        """Send the content, and the next message's commands behind it."""
        session = self._session
        refused = transaction.refusal()
        # RFC 2920 section 3.1: a server that asks for content all the same gets none.
        content = b"" if refused else dot_stuff(transaction.message.content)
        behind = b""
        if session.pipelines_after_data and (found := self._more()) is not None:
            self._following = found
            behind = found.commands(reset=False, last=_DATA)
            self._trial.begin()
        following = [self._following] if self._following is not None else []
        try:
            reply = await upload(session, content, _DOT, behind)
        except SendError as error:
            session.used_up = True
            # It may be what stood behind the dot that the server died of.
            if following:
                self._trial.lost()
            if isinstance(refused or error, ConnectionLost):
                return Unsent([transaction, *following], error)
            transaction.error = refused or error
            self._settle(transaction)
            return Unsent(following)
        finally:
            transaction.ended = session.track.phase is Phase.FINAL
        # From here on, a connection that is dead at MAIL was a kept one.
        session.reused = True
        transaction.answer = reply
        transaction.error = refused
        session.needs_reset = False
        if not positive(reply):
            self._refused = True
            transaction.error = refused or refusal(Phase.FINAL, reply)
        session.used_up = 300 <= reply.code < 400 or reply.code in (221, 421)
        if session.used_up or not following:
            self._settle(transaction)
            return Unsent(following) if session.used_up else None
        self._held.append(transaction)
        self._begun()
        return None

    def _release(self) -> None:
        """Settle what was answered before the count was closed, or found to be wrong."""
        for transaction in self._held:
            if self._garbled and self._refused and transaction.ended:
                transaction.mark_unknown()
            self._settle(transaction)
        self._held.clear()
        self._refused = False
