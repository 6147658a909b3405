"""A window: several messages in one write, by BDAT (RFC 3030 with RFC 2920).

The replies to MAIL, RCPT and BDAT look alike, and are paired with their commands by
counting. EHLO is the last command: it may be sent at any time (RFC 5321 section 4.1.1.1),
has to be the last of a group (RFC 2920 section 3.1), and its reply has several lines like
no other. If the EHLO reply arrives where expected, every reply before it belongs to the
command that it was paired with, and the server goes on with the session. No receipt is
issued before that.

RSET stands between two messages: after a refused BDAT, the state of the transaction is
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

# Octets of content in one window. More would wait in the transport, and what waits there
# already counts as sent.
LARGEST_WINDOW = 131072

# Seconds to wait for a reply that should follow at once.
_EHLO_TIMEOUT = 1.0
# How many extra replies to read until the reply to EHLO.
_MOST_EXTRA_REPLIES = 8


class _Miscount(Garbage):
    """A reply belongs to another command than the one that it was paired with."""


class Window:
    """Sends several messages over one session, in one write.

    Args:
        session: the session; nothing else uses it meanwhile.
        transactions: the messages, in order.
        settle: called with each transaction whose outcome is known.
    """

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
        self._any_negative = False  # a reply was negative
        self._last_reply_421: SendError | None = None  # of a 421, if it was read last

    async def run(self) -> Unsent:
        """Send the messages.

        Returns:
            The messages that the server cannot have accepted; the others are settled.
        """
        session, transactions = self._session, self._transactions
        pieces, reset = [], session.needs_reset
        for transaction in transactions:
            content = transaction.message.content
            bdat = f"BDAT {len(content)} LAST\r\n".encode()
            pieces.append((transaction.commands(reset=reset, last=bdat), content))
            reset = True
        pieces.append((session.ehlo_line, b""))
        reset_first = session.needs_reset
        session.track.phase = Phase.MAIL
        try:
            session.deadline.raise_if_over()
            session.channel.commands(pieces)
        except FAULTS as fault:
            session.channel.abort()
            timed_out = isinstance(fault, TimedOut)
            error = lost(Phase.MAIL, str(fault), timed_out=timed_out)
            return Unsent(transactions, error)
        session.messages += len(transactions)
        session.needs_reset, session.probed = True, False
        session.track.phase = Phase.FINAL
        for transaction in transactions:
            transaction.end_sent = True
        try:
            for transaction in transactions:
                reset = reset_first or transaction is not transactions[0]
                await self._read_replies(transaction, reset=reset)
            await self._synchronise()
        except FAULTS as fault:
            session.channel.abort()
            return self._interrupted(fault)
        session.needs_reset, session.probed = False, not session.used_up
        session.reused = True
        session.track.progress()
        return self._settle_all(transactions)

    async def _next_reply(self, timeout: Callable[[], float]) -> Reply:
        reply = self._channel.received_reply()
        if reply is None:
            reply = await self._channel.reply(timeout())
        self._last_reply_421 = None
        if reply.code >= 400:
            self._any_negative = True
            if reply.code == 421:
                self._last_reply_421 = closing(Phase.MAIL, reply)
        return reply

    async def _read_replies(self, transaction: BatchTransaction, *, reset: bool) -> None:
        """Read the replies to the commands of one message."""
        session = self._session
        if reset:
            reply = await self._next_reply(session.timeout)
            if not positive(reply) and reply.code != 421:
                raise _Miscount(f"the server refused RSET: {reply}")
        transaction.mail_reply(await self._next_envelope_reply())
        for address in transaction.recipients:
            transaction.recipient_reply(address, await self._next_envelope_reply())
        reply = await self._next_reply(session.final_timeout)
        if reply.code == 221 or (
            positive(reply) and transaction.mail_refused is not None
        ):
            raise _Miscount(f"the message was accepted after MAIL was refused: {reply}")
        transaction.reply = reply
        transaction.error = transaction.refusal()
        if transaction.error is None and not positive(reply):
            transaction.error = refusal(Phase.FINAL, reply)
            if no_bdat(reply):
                session.target.quirks.no_bdat = session.used_up = True
                transaction.error = without_bdat(reply)
            session.used_up |= reply.code < 400 or reply.code == 421

    async def _next_envelope_reply(self) -> Reply:
        """The next reply, which is to MAIL or RCPT."""
        reply = await self._next_reply(self._session.timeout)
        if reply.code < 400 and (reply.code == 221 or not positive(reply)):
            raise _Miscount(f"a reply out of place: {reply}")
        if reply.code == 421:
            self._session.used_up = True
        return reply

    async def _synchronise(self) -> None:
        """Read the reply to EHLO, the synchronisation point of the window.

        Extra replies do no harm if all replies are positive: then the server accepted
        everything, whichever reply belongs to which command.

        Raises:
            _Miscount: the reply to EHLO is not where expected, and something was refused.
        """
        session = self._session
        timeout = self._at_most(_EHLO_TIMEOUT)
        negative_before = self._any_negative
        reply = await self._next_reply(self._at_most(10 * _EHLO_TIMEOUT))
        if _is_ehlo(reply):
            return
        session.used_up = True
        if not positive(reply):
            # Either the server refuses EHLO, or this is the reply to the last BDAT.
            if reply.code != 421:
                session.target.quirks.no_window = True
            try:
                extra = await self._next_reply(timeout)
            except (Lost, TimedOut):
                return
            raise _Miscount(f"an extra reply: {extra}")
        for _ in range(_MOST_EXTRA_REPLIES):
            if negative_before or self._any_negative:
                raise _Miscount(f"an extra reply, and not all are positive: {reply}")
            try:
                reply = await self._next_reply(timeout)
            except (Lost, TimedOut):
                return
            if _is_ehlo(reply):
                return
        raise _Miscount("replies without end")

    def _at_most(self, seconds: float) -> Callable[[], float]:
        """The time limit of one reply, and `seconds` if that is less."""
        return lambda: min(seconds, self._session.timeout())

    def _interrupted(self, fault: Exception) -> Unsent:
        """The outcome of each message if the connection ended or replies fit nothing."""
        transactions, timed_out = self._transactions, isinstance(fault, TimedOut)
        if isinstance(fault, _Miscount) and self._any_negative:
            self._session.target.quirks.no_content_in_group = True
            for transaction in transactions:
                transaction.mark_unknown()
            return self._settle_all(transactions)
        without_reply = [
            transaction for transaction in transactions if transaction.reply is None
        ]
        if self._last_reply_421 is not None or self._first_shows_no_bdat():
            # A server that closes the connection right after a 421 did not accept what
            # followed (RFC 5321 section 3.8), nor did a server that does not know BDAT.
            for transaction in without_reply:
                transaction.error = self._last_reply_421 or transactions[0].error
            return self._settle_all(transactions)
        for transaction in without_reply:
            refused = None
            if transaction is without_reply[0]:
                refused = transaction.certain_refusal()
            transaction.error = refused or lost(
                Phase.FINAL, str(fault), timed_out=timed_out
            )
        if without_reply:
            self._session.target.quirks.no_content_in_group = True
        return self._settle_all(transactions)

    def _first_shows_no_bdat(self) -> bool:
        error = self._transactions[0].error
        return error is not None and error.event is Event.NO_BDAT

    def _settle_all(self, transactions: list[BatchTransaction]) -> Unsent:
        """Settle the messages whose outcome is known; return those not accepted."""
        rest = [x for x in transactions if isinstance(x.error, ConnectionLost)]
        for transaction in transactions:
            if not isinstance(transaction.error, ConnectionLost):
                self._settle(transaction)
        return Unsent(rest, rest[0].error if rest else None)


def _is_ehlo(reply: Reply) -> bool:
    return reply.code == 250 and "\n" in reply.text
