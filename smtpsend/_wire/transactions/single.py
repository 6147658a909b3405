"""One message over a ready session: MAIL, RCPT, then DATA or BDAT, in groups.

Where the server offers PIPELINING (RFC 2920), commands go out in groups and the replies
are paired with them one by one. Where it offers CHUNKING (RFC 3030), too, and nothing
speaks against it, the content goes out in the group with BDAT, and a whole message costs
one round trip; else with DATA, whose 354 shows that the pairing is right. At each moment
it is known how far the message got: what breaks before its end was written leaves it
surely undelivered (`ConnectionLost`), what breaks after that leaves it open
(`DeliveryUnknown`), unless the replies so far rule delivery out.
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


# Commands in one write: more would gain nothing, and the replies to so many take longer
# than any round trip.
_LARGEST_GROUP = 1000


class _Command(NamedTuple):
    phase: Phase
    line: bytes
    address: str = ""


# After these in answer to the lone dot, the connection is of no use.
_NO_MORE = {421, *range(300, 400)}

_DATA = _Command(Phase.DATA, b"DATA\r\n")


@dataclass(slots=True, kw_only=True)
class SingleTransaction(Transaction):
    """One message on its way over one session, to as many as the server takes at once."""

    session: Session
    message: Negotiated
    last: bool  # the connection is not needed after this one
    _closing: SendError | None = None  # a 421 was the last that was read
    _hung_up: SendError | None = None  # a 421 was read

    async def run(self) -> Reply:
        """The server's 2yz to the end of the message, for `accepted`.

        Raises:
            Rejected: refused.
            ConnectionLost: the end of the message never went out.
            DeliveryUnknown: it did, and no answer came.
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
                    return self._end(await self._together([*group, self._bdat()]))
                return await self._data(await self._ask([*group, _DATA]))
            await self._ask(group)
            if self.mail_refused is not None:
                break
        self._stop_if_refused()
        return await self._data(await self._ask([_DATA]))

    def _commands(self, *, reset: bool) -> Iterator[_Command]:
        if reset:
            yield _Command(Phase.MAIL, RSET)
        yield _Command(Phase.MAIL, self.message.mail)
        for address in self.recipients:
            yield _Command(Phase.RCPT, rcpt(address), address)

    def _may_pipeline_content(self) -> bool:
        """Whether the content may go out before the recipients are accepted.

        Only where QUIT can follow it (farewell.py). A connection that is kept may have
        died without our knowing, and nobody could say then whether the message arrived.
        """
        return self.last and self.session.may_pipeline_content(self.message.content)

    def _bdat(self) -> _Command:
        # RFC 3030 section 2; the content goes out as it is.
        line = f"BDAT {len(self.message.content)} LAST\r\n"
        return _Command(Phase.FINAL, line.encode())

    async def _ask(self, group: list[_Command]) -> Reply:
        """Write a group, and read a reply for each of its steps; the last command's."""
        self._write(group)
        *others, last = group
        try:
            with step(self.session.track, group[0].phase):
                for command in others:
                    await self._answer(command)
                return await self._answer(last)
        except ConnectionLost:
            if (error := self.known_refusal()) is not None:
                raise error from None
            raise

    async def _answer(self, command: _Command) -> Reply:
        self.session.track.phase = command.phase
        reply = await self.session.channel.reply(self.session.timeout())
        self._take(command, reply)
        return reply

    async def _together(self, group: list[_Command]) -> Reply:
        """The same for a group with BDAT, the content and QUIT behind it.

        A loss leaves the delivery open, unless the replies before it rule it out.
        """
        session = self.session
        self._write(group, self.message.content + QUIT)
        session.channel.quit_sent = True
        *others, last = group
        try:
            with step(session.track, Phase.FINAL):
                for command in others:
                    await self._answer_together(command, session.timeout())
                reply = await self._answer_together(last, session.final_timeout())
        except DeliveryUnknown:
            if (error := self._closing or self.known_refusal()) is not None:
                raise error from None
            session.target.quirks.no_content_in_group = True
            raise
        session.accepted = positive(reply)
        with step(session.track, Phase.FINAL):
            sure = not self.refused and self.mail_refused is None and positive(reply)
            reply = await synchronise(session, reply, sure=sure)
        if self._hung_up is not None and not positive(reply):
            raise self._hung_up
        return reply

    async def _answer_together(self, command: _Command, timeout: float) -> Reply:
        reply = await self.session.channel.reply(timeout)
        self._closing = None
        self._take_together(command, reply)
        return reply

    def _write(self, group: list[_Command], content: bytes = b"") -> None:
        with step(self.session.track, group[0].phase):
            self.session.deadline.raise_if_over()
            self.session.channel.command(b"".join(s.line for s in group), content)

    def _take_together(self, command: _Command, reply: Reply) -> None:
        """The same where the content is out already: nothing may be sent again.

        A server that hangs up right behind a 421 did not take the message (RFC 5321
        section 3.8). One that goes on may have.
        """
        final = command.phase is Phase.FINAL
        if reply.code == 221 or (300 <= reply.code < 400 and not final):
            raise Garbage(f"a reply out of place: {reply}")
        if reply.code == 421 and not final:
            self._closing = self._hung_up = closing(command.phase, reply)
            if command.address:
                self.refused[command.address] = reply
            else:
                self.mail_refused = self._closing
            return
        if final and self.mail_refused is not None and positive(reply) and self.accepted:
            self.mail_refused = None
            raise Garbage(f"the message was taken after MAIL was refused: {reply}")
        self._take(command, reply)

    def _take(self, command: _Command, reply: Reply) -> None:
        """Note what the reply to one command of a group means."""
        if command.phase is Phase.FINAL or (command is _DATA and reply.code != 421):
            return
        if reply.code == 421:
            raise closing(command.phase, reply)
        if 300 <= reply.code < 400:
            raise refusal(command.phase, reply)
        if command.address:
            self.take_recipient(command.address, reply)
        elif not positive(reply):
            if command.line == RSET:
                raise lost(Phase.MAIL, f"the server refused RSET: {reply}")
            # No transaction began, so that there is nothing to reset.
            self.mail_refused = refusal(Phase.MAIL, reply)
            self.session.needs_reset = False

    def _stop_if_refused(self) -> None:
        if (error := self.refusal()) is not None:
            raise error

    async def _data(self, reply: Reply) -> Reply:
        """What follows the answer to DATA."""
        session = self.session
        if reply.code != 354:
            session.used_up = reply.code < 400
            self._stop_if_refused()
            raise refusal(Phase.DATA, reply)
        if (error := self.refusal()) is not None:
            # RFC 2920 section 3.1: a server that asks for content all the same gets
            # none; whatever it answers, there is nobody whom it could go to.
            session.used_up = True
            with suppress(SendError):
                answer = await upload(session, b"", b".\r\n")
                session.used_up, session.needs_reset = answer.code in _NO_MORE, False
            raise error
        content = dot_stuff(self.message.content)
        return self._end(await upload(session, content, b".\r\n"))

    def _end(self, reply: Reply) -> Reply:
        """What the answer to the end of the message means."""
        # Taken or refused, the transaction is over (RFC 5321 section 4.1.1.4).
        session = self.session
        session.needs_reset = False
        self._stop_if_refused()
        if positive(reply):
            return reply
        if session.channel.quit_sent and no_bdat(reply):
            session.target.quirks.no_bdat = True
            raise without_bdat(reply)
        raise refusal(Phase.FINAL, reply)
