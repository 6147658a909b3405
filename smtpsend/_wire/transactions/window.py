"""A window: several messages in one write, by BDAT (RFC 3030 with RFC 2920).

All replies to MAIL, RCPT and BDAT look alike, and are paired by counting. EHLO stands
last: it may come at any time (RFC 5321 section 4.1.1.1), has to be the last of a group
(RFC 2920 section 3.1), and its answer of several lines is like no other. Where it comes
in its place, each reply before it is that of its command; before it came, no receipt is
given. It also shows that the server means to go on.

Between two messages stands RSET: after a refused BDAT the state of the transaction is
indeterminate (RFC 3030 section 2), and the next message must not go to its recipients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from smtpsend._protocol.failures import (
    FAULTS,
    Garbage,
    Lost,
    TimedOut,
    closing,
    lost,
    no_bdat,
    positive,
    refusal,
    without_bdat,
)
from smtpsend._wire.transactions.transaction import BatchTransaction, Unsent
from smtpsend.errors import ConnectionLost, Event, Phase, Reply, SendError


if TYPE_CHECKING:
    from smtpsend._wire.connection import Session

# Bytes of a window: what waits in the transport is counted as gone out.
LARGEST = 131072

# How long to wait for what should be there already.
_EHLO_PATIENCE = 1.0
# How many replies too many to look at.
_MOST = 8


class _Miscount(Garbage):
    """A reply belongs to another command than we thought."""


class Window:
    """Some messages on their way in one write."""

    def __init__(
        self,
        session: Session,
        transactions: list[BatchTransaction],
        settle: Callable[[BatchTransaction], None],
    ) -> None:
        self._session = session
        self._channel = session.channel
        self._transactions = transactions
        self._settle = settle
        self._refused = False  # a reply was negative
        self._hung_up: SendError | None = None  # the last reply was a 421

    async def run(self) -> Unsent:
        """Send them; `settle` is called for each of which the fate is known.

        Returns:
            The others, none of which the server can have taken.
        """
        session, transactions = self._session, self._transactions
        pieces, reset = [], session.needs_reset
        for transaction in transactions:
            content = transaction.message.content
            bdat = f"BDAT {len(content)} LAST\r\n".encode()
            pieces.append((transaction.commands(reset=reset, last=bdat), content))
            reset = True
        pieces.append((session.ehlo_line, b""))
        first = session.needs_reset
        session.track.phase = Phase.MAIL
        try:
            session.deadline.raise_if_over()
            session.channel.commands(pieces)
        except FAULTS as fault:
            session.channel.abort()
            late = isinstance(fault, TimedOut)
            return Unsent(transactions, lost(Phase.MAIL, str(fault), timed_out=late))
        session.messages += len(transactions)
        session.needs_reset, session.probed = True, False
        session.track.phase = Phase.FINAL
        for transaction in transactions:
            transaction.ended = True
        try:
            for transaction in transactions:
                await self._answers(
                    transaction, reset=first or transaction is not transactions[0]
                )
            await self._count()
        except FAULTS as fault:
            session.channel.abort()
            return self._broken(fault)
        session.needs_reset, session.probed = False, not session.used_up
        session.reused = True
        session.track.progress()
        return self._settled(transactions)

    async def _next(self, timeout: Callable[[], float]) -> Reply:
        reply = self._channel.ready()
        if reply is None:
            reply = await self._channel.reply(timeout())
        self._hung_up = None
        if reply.code >= 400:
            self._refused = True
            if reply.code == 421:
                self._hung_up = closing(Phase.MAIL, reply)
        return reply

    async def _answers(self, transaction: BatchTransaction, *, reset: bool) -> None:
        """Read what the server answers to one message."""
        session = self._session
        if reset:
            reply = await self._next(session.timeout)
            if not positive(reply) and reply.code != 421:
                raise _Miscount(f"the server refused RSET: {reply}")
        transaction.take_mail(self._known(await self._next(session.timeout)))
        for address in transaction.recipients:
            reply = self._known(await self._next(session.timeout))
            transaction.take_recipient(address, reply)
        reply = await self._next(session.final_timeout)
        if reply.code == 221 or (
            positive(reply) and transaction.mail_refused is not None
        ):
            raise _Miscount(f"the message was taken after MAIL was refused: {reply}")
        transaction.answer = reply
        transaction.error = transaction.refusal()
        if transaction.error is None and not positive(reply):
            transaction.error = refusal(Phase.FINAL, reply)
            if no_bdat(reply):
                session.target.quirks.no_bdat = session.used_up = True
                transaction.error = without_bdat(reply)
            session.used_up |= reply.code < 400 or reply.code == 421

    def _known(self, reply: Reply) -> Reply:
        if reply.code < 400 and (reply.code == 221 or not positive(reply)):
            raise _Miscount(f"a reply out of place: {reply}")
        if reply.code == 421:
            self._session.used_up = True
        return reply

    async def _count(self) -> None:
        """See whether the answer to EHLO comes in its place.

        Replies too many do no harm where all accept: then everything was accepted,
        whichever belongs to what.

        Raises:
            _Miscount: it does not, and something was refused.
        """
        session = self._session
        patience = self._at_most(_EHLO_PATIENCE)
        refused_before = self._refused
        reply = await self._next(self._at_most(10 * _EHLO_PATIENCE))
        if _is_ehlo(reply):
            return
        session.used_up = True
        if not positive(reply):
            # EHLO is refused, it seems; or this is the answer to the last message.
            if reply.code != 421:
                session.target.quirks.no_window = True
            try:
                behind = await self._next(patience)
            except (Lost, TimedOut):
                return
            raise _Miscount(f"a reply too many: {behind}")
        for _ in range(_MOST):
            if refused_before or self._refused:
                raise _Miscount(f"a reply too many, and not all accept: {reply}")
            try:
                reply = await self._next(patience)
            except (Lost, TimedOut):
                return
            if _is_ehlo(reply):
                return
        raise _Miscount("replies without end")

    def _at_most(self, seconds: float) -> Callable[[], float]:
        """How long one reply may take now, and no longer than `seconds`."""
        return lambda: min(seconds, self._session.timeout())

    def _broken(self, fault: Exception) -> Unsent:
        """What can be said where the connection ended, or made no sense."""
        transactions, late = self._transactions, isinstance(fault, TimedOut)
        if isinstance(fault, _Miscount) and self._refused:
            self._session.target.quirks.no_content_in_group = True
            for transaction in transactions:
                transaction.mark_unknown()
            return self._settled(transactions)
        still = [
            transaction for transaction in transactions if transaction.answer is None
        ]
        if self._hung_up is not None or self._knows_no_bdat():
            # A server that hangs up right behind a 421 did not take what followed
            # (RFC 5321 section 3.8), nor one that does not know BDAT.
            for transaction in still:
                transaction.error = self._hung_up or transactions[0].error
            return self._settled(transactions)
        for transaction in still:
            refused = transaction.known_refusal() if transaction is still[0] else None
            transaction.error = refused or lost(Phase.FINAL, str(fault), timed_out=late)
        if still:
            self._session.target.quirks.no_content_in_group = True
        return self._settled(transactions)

    def _knows_no_bdat(self) -> bool:
        error = self._transactions[0].error
        return error is not None and error.event is Event.NO_BDAT

    def _settled(self, transactions: list[BatchTransaction]) -> Unsent:
        """Settle what is known; the others may be sent again."""
        rest = [x for x in transactions if isinstance(x.error, ConnectionLost)]
        for transaction in transactions:
            if not isinstance(transaction.error, ConnectionLost):
                self._settle(transaction)
        return Unsent(rest, rest[0].error if rest else None)


def _is_ehlo(reply: Reply) -> bool:
    return reply.code == 250 and "\n" in reply.text
