"""One message over a ready session: MAIL, RCPT, then DATA or BDAT, in groups.

If the server offers PIPELINING (RFC 2920), commands are sent in groups, and each reply is
paired with its command by counting. If it also offers CHUNKING (RFC 3030), and nothing
forbids it, BDAT and the content are part of the group, so that a whole message costs one
round trip. Otherwise the content follows the 354 to DATA, which proves that the replies
before it were paired rightly.

If the connection breaks before the end of the message is written, the server cannot have
accepted the message (`ConnectionLost`). If it breaks later, the server may have accepted
it (`DeliveryUnknown`), unless the replies so far rule that out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from smtpsend._model.message.envelope import dot_stuff
from smtpsend._protocol.failures import (
    Garbage,
    closing,
    lost,
    no_bdat,
    positive,
    refusal,
    without_bdat,
)
from smtpsend._protocol.negotiation import Negotiated
from smtpsend._protocol.ordering import RSET, rcpt
from smtpsend._wire.progress import step
from smtpsend._wire.transactions.synchronisation import QUIT, synchronise
from smtpsend._wire.transactions.transaction import Transaction
from smtpsend._wire.transactions.upload import upload
from smtpsend.errors import (
    ConnectionLost,
    DeliveryUnknown,
    Phase,
    Reply,
    SendError,
)


if TYPE_CHECKING:
    from smtpsend._wire.connection import Session


# Commands in one write. More would gain nothing: the replies to so many take longer than
# any round trip.
_LARGEST_GROUP = 1000


class _Command(NamedTuple):
    phase: Phase
    line: bytes
    address: str = ""


# After one of these replies to an empty content, no message may use the connection.
_USELESS_AFTER = {421, *range(300, 400)}

_DATA = _Command(Phase.DATA, b"DATA\r\n")


@dataclass(slots=True, kw_only=True)
class SingleTransaction(Transaction):
    """One message over one session, for at most as many recipients as it accepts.

    Attributes:
        session: the session; no other transaction uses it meanwhile.
        message: the MAIL command and the content.
        last: the connection is not needed after this transaction.
    """

    session: Session
    message: Negotiated
    last: bool
    _last_reply_421: SendError | None = None  # of a 421, if it was read last
    _any_reply_421: SendError | None = None  # of the last 421 that was read

    async def run(self) -> Reply:
        """Send the message.

        Returns:
            The 2yz reply to the end of the message, which is valid for `accepted`.

        Raises:
            Rejected: the server refused the sender, the recipients or the message.
            ConnectionLost: the connection broke before the end of the message was sent.
            DeliveryUnknown: it broke after that, or the replies cannot be understood.
        """
        session = self.session
        commands = self._commands(reset=session.needs_reset)
        session.messages += 1
        session.needs_reset, session.probed = True, False
        size = _LARGEST_GROUP if session.pipelining else 1
        while group := list(islice(commands, size)):
            last = group[-1].address == self.recipients[-1]
            if last and session.pipelining and not self.require_all:
                if self._may_pipeline_content():
                    reply = await self._exchange_with_content([*group, self._bdat()])
                    return self._accepted_reply(reply)
                return await self._send_content(await self._exchange([*group, _DATA]))
            await self._exchange(group)
            if self.mail_refused is not None:
                break
        self._raise_if_refused()
        return await self._send_content(await self._exchange([_DATA]))

    def _commands(self, *, reset: bool) -> Iterator[_Command]:
        if reset:
            yield _Command(Phase.MAIL, RSET)
        yield _Command(Phase.MAIL, self.message.mail)
        for address in self.recipients:
            yield _Command(Phase.RCPT, rcpt(address), address)

    def _may_pipeline_content(self) -> bool:
        """Whether the content may be sent before the recipients are accepted.

        Only where QUIT can follow it (synchronisation.py). A kept connection may be dead
        without our knowledge; whether the message arrived would be unknown then.
        """
        return self.last and self.session.may_pipeline_content(self.message.content)

    def _bdat(self) -> _Command:
        # RFC 3030 section 2: the content is sent without dot-stuffing.
        line = f"BDAT {len(self.message.content)} LAST\r\n"
        return _Command(Phase.FINAL, line.encode())

    def _write(self, group: list[_Command], content: bytes = b"") -> None:
        with step(self.session.track, group[0].phase):
            self.session.deadline.raise_if_over()
            self.session.channel.command(b"".join(c.line for c in group), content)

    async def _exchange(self, group: list[_Command]) -> Reply:
        """Write a group and read the reply to each command; return the last reply."""
        self._write(group)
        *others, last = group
        try:
            with step(self.session.track, group[0].phase):
                for command in others:
                    await self._read_reply(command)
                return await self._read_reply(last)
        except ConnectionLost:
            if (error := self.certain_refusal()) is not None:
                raise error from None
            raise

    async def _read_reply(self, command: _Command) -> Reply:
        self.session.track.phase = command.phase
        reply = await self.session.channel.reply(self.session.timeout())
        self._record(command, reply)
        return reply

    def _record(self, command: _Command, reply: Reply) -> None:
        """Record the reply to a command; raise if the transaction ends with it."""
        if command.phase is Phase.FINAL or (command is _DATA and reply.code != 421):
            return
        if reply.code == 421:
            raise closing(command.phase, reply)
        if 300 <= reply.code < 400:
            raise refusal(command.phase, reply)
        if command.address:
            self.recipient_reply(command.address, reply)
        elif not positive(reply):
            if command.line == RSET:
                raise lost(Phase.MAIL, f"the server refused RSET: {reply}")
            # No transaction began, so that there is nothing to reset.
            self.mail_refused = refusal(Phase.MAIL, reply)
            self.session.needs_reset = False

    async def _exchange_with_content(self, group: list[_Command]) -> Reply:
        """Write a group that ends with BDAT, the content and QUIT; return BDAT's reply.

        If the connection breaks after that, the delivery is unknown, unless the replies
        before the break rule it out.
        """
        session = self.session
        self._write(group, self.message.content + QUIT)
        session.channel.quit_sent = True
        *others, last = group
        try:
            with step(session.track, Phase.FINAL):
                for command in others:
                    await self._read_reply_with_content(command, session.timeout())
                reply = await self._read_reply_with_content(last, session.final_timeout())
        except DeliveryUnknown:
            if (error := self._last_reply_421 or self.certain_refusal()) is not None:
                raise error from None
            session.target.quirks.no_content_in_group = True
            raise
        session.accepted = positive(reply)
        with step(session.track, Phase.FINAL):
            mail_accepted = self.mail_refused is None
            all_positive = not self.refused and mail_accepted and positive(reply)
            reply = await synchronise(session, reply, all_positive=all_positive)
        if self._any_reply_421 is not None and not positive(reply):
            raise self._any_reply_421
        return reply

    async def _read_reply_with_content(self, command: _Command, timeout: float) -> Reply:
        reply = await self.session.channel.reply(timeout)
        self._last_reply_421 = None
        self._record_with_content(command, reply)
        return reply

    def _record_with_content(self, command: _Command, reply: Reply) -> None:
        """Record a reply that came after the content was sent: nothing is sent again.

        A server that closes the connection right after a 421 did not accept the message
        (RFC 5321 section 3.8). A server that goes on may have accepted it.
        """
        final = command.phase is Phase.FINAL
        if reply.code == 221 or (300 <= reply.code < 400 and not final):
            raise Garbage(f"a reply out of place: {reply}")
        if reply.code == 421 and not final:
            self._last_reply_421 = self._any_reply_421 = closing(command.phase, reply)
            if command.address:
                self.refused[command.address] = reply
            else:
                self.mail_refused = self._last_reply_421
            return
        if final and self.mail_refused is not None and positive(reply) and self.accepted:
            self.mail_refused = None
            raise Garbage(f"the message was accepted after MAIL was refused: {reply}")
        self._record(command, reply)

    def _raise_if_refused(self) -> None:
        if (error := self.refusal()) is not None:
            raise error

    async def _send_content(self, data_reply: Reply) -> Reply:
        """Send the content if the reply to DATA is a 354; return the final reply."""
        session = self.session
        if data_reply.code != 354:
            session.used_up = data_reply.code < 400
            self._raise_if_refused()
            raise refusal(Phase.DATA, data_reply)
        if (error := self.refusal()) is not None:
            # RFC 2920 section 3.1: a server that replies 354 although it refused MAIL or
            # every recipient gets an empty content. Its reply to that changes nothing,
            # because there is no recipient to deliver to.
            session.used_up = True
            with suppress(SendError):
                reply = await upload(session, b"", b".\r\n")
                session.used_up = reply.code in _USELESS_AFTER
                session.needs_reset = False
            raise error
        content = dot_stuff(self.message.content)
        return self._accepted_reply(await upload(session, content, b".\r\n"))

    def _accepted_reply(self, reply: Reply) -> Reply:
        """The reply to the end of the message if it is positive; else raise its error."""
        # Accepted or refused, the transaction is over (RFC 5321 section 4.1.1.4).
        session = self.session
        session.needs_reset = False
        self._raise_if_refused()
        if positive(reply):
            return reply
        if session.channel.quit_sent and no_bdat(reply):
            session.target.quirks.no_bdat = True
            raise without_bdat(reply)
        raise refusal(Phase.FINAL, reply)
