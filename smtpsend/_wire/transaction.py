"""One message over a ready session: MAIL, RCPT, DATA, the content, the end.

At each moment it is known how far the message got: what breaks before the end of the
message was written leaves it surely undelivered (`ConnectionLost`), what breaks after
it leaves that open (`DeliveryUnknown`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NoReturn

from smtpsend._model.message import Envelope, dot_stuff
from smtpsend._wire.faults import at, closing, lost, positive, temporary
from smtpsend.errors import (
    DeliveryUnknown,
    Event,
    Phase,
    RecipientsRefused,
    Rejected,
    Reply,
)


if TYPE_CHECKING:
    from smtpsend._wire.session import Session


_CHUNK = 65536


@dataclass(slots=True)
class Transaction:
    """One message on its way over one session."""

    session: Session
    envelope: Envelope
    require_all: bool
    accepted: list[str] = field(default_factory=list)
    refused: dict[str, Reply] = field(default_factory=dict)

    async def run(self) -> Reply:
        """The server's 2yz to the end of the message.

        Raises:
            Rejected: refused, or ruled out by what EHLO offers.
            ConnectionLost: the end of the message never went out.
            DeliveryUnknown: it did, and no answer came.
        """
        self.envelope = self._fitted()
        if self.session.dirty:
            await self._reset()
        self.session.messages += 1
        self.session.dirty = True
        await self._mail()
        await self._rcpt()
        await self._data()
        with at(self.session.track, Phase.CONTENT):
            await self._content()
        with at(self.session.track, Phase.FINAL):
            timeout = self.session.target.policy.final_timeout
            reply = await self.session.channel.reply(
                self.session.deadline.within(timeout)
            )
        # Taken or refused, the transaction is over (RFC 5321 section 4.1.1.4).
        self.session.dirty = False
        if not positive(reply):
            event = Event.CLOSING_AT_END if reply.code == 421 else Event.REFUSED
            self._refuse("the server did not take the message", reply, event)
        return reply

    def _fitted(self) -> Envelope:
        """The envelope as this server can carry it.

        Raises:
            Rejected: it cannot (`reply` is None: the server was not asked).
        """
        envelope, offers = self.envelope, self.session.offers
        if envelope.utf8 and not offers("smtputf8"):
            # RFC 6531 section 3.2
            raise self._ruled_out(
                "an address is not ASCII, and the server does not offer SMTPUTF8",
                "write the address in ASCII, or use a server with SMTPUTF8",
            )
        if envelope.eight_bit and not offers("8bitmime"):
            # RFC 6152 section 3: what is not offered must be encoded, or not sent.
            content = envelope.seven_bit() if envelope.seven_bit else None
            if content is None:
                raise self._ruled_out(
                    "the message holds 8-bit bytes, and the server does not offer "
                    "8BITMIME",
                    "give an EmailMessage, which can be encoded anew, or encode the "
                    "message as quoted-printable or base64",
                )
            envelope = replace(envelope, content=content, eight_bit=False)
        limit = self.session.size_limit
        if limit is not None and len(envelope.content) > limit:
            # RFC 1870 section 6.1
            raise self._ruled_out(
                f"the message has {len(envelope.content):,} bytes, and the server takes "
                f"at most {limit:,}",
                "send a link in place of the attachment, or use another server",
            )
        return envelope

    def _ruled_out(self, text: str, hint: str) -> Rejected:
        return Rejected(text, phase=Phase.MAIL, event=Event.REFUSED, hint=hint)

    async def _command(self, phase: Phase, line: bytes) -> Reply:
        """The reply to one command; a 421 ends the session."""
        with at(self.session.track, phase):
            self.session.channel.command(line)
            reply = await self.session.channel.reply(self.session.timeout())
        if reply.code == 421:
            raise closing(phase, reply)
        return reply

    async def _reset(self) -> None:
        """End the transaction that was refused before this one."""
        reply = await self._command(Phase.MAIL, b"RSET\r\n")
        if not positive(reply):
            raise lost(Phase.MAIL, f"the server refused RSET: {reply}")
        self.session.dirty = False

    async def _mail(self) -> None:
        envelope, offers = self.envelope, self.session.offers
        line = f"MAIL FROM:<{envelope.sender}>"
        if offers("size"):
            line += f" SIZE={len(envelope.content)}"
        if envelope.eight_bit:
            line += " BODY=8BITMIME"
        if envelope.utf8:
            line += " SMTPUTF8"
        reply = await self._command(Phase.MAIL, f"{line}\r\n".encode())
        if not positive(reply):
            self._refuse("the server refused the sender or the message", reply)

    async def _rcpt(self) -> None:
        for address in self.envelope.recipients:
            reply = await self._command(Phase.RCPT, f"RCPT TO:<{address}>\r\n".encode())
            if positive(reply):
                self.accepted.append(address)
            elif reply.code >= 400:
                self.refused[address] = reply
            else:
                self._refuse("the answer to RCPT has no place there", reply)
        if not self.accepted or (self.refused and self.require_all):
            raise self.recipients_refused()

    def recipients_refused(self) -> RecipientsRefused:
        """The error where nobody is to get the message."""
        first = next(iter(self.refused.values()))
        if self.accepted:
            text = (
                f"{len(self.refused)} of {len(self.envelope.recipients)} recipients were "
                "refused, and require_all=True sends to all or nobody"
            )
        elif len(self.refused) == 1:
            text = f"the server refused the recipient {next(iter(self.refused))}"
        else:
            text = f"the server refused all {len(self.refused)} recipients"
        return RecipientsRefused(
            text,
            refused=dict(self.refused),
            event=Event.REFUSED,
            reply=first,
            temporary=all(map(temporary, self.refused.values())),
        )

    async def _data(self) -> None:
        reply = await self._command(Phase.DATA, b"DATA\r\n")
        if reply.code != 354:
            self._refuse("the server did not ask for the message", reply)

    async def _content(self) -> None:
        """Write the content and then, if no answer came before it, the end."""
        channel, deadline = self.session.channel, self.session.deadline
        timeout = self.session.target.policy.reply_timeout
        content = dot_stuff(self.envelope.content)
        end = b".\r\n"
        if len(content) < _CHUNK:
            # One write, one TLS record, often one packet.
            content, end = b"", content + end
        for chunk in pieces(content):
            self._no_answer_yet()
            channel.write(chunk)
            await channel.drained(timeout, deadline)
        self._no_answer_yet()
        deadline.check()
        channel.write(end)

    def _no_answer_yet(self) -> None:
        """Raise if the server answered before the end of the message."""
        reply = self.session.channel.early()
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
        self._refuse("the server refused the message in the middle", reply)

    def _refuse(self, text: str, reply: Reply, event: Event = Event.REFUSED) -> NoReturn:
        """Raise the refusal that `reply` is, at the phase where we are."""
        if reply.code < 400:
            event = Event.WRONG_CLASS
        raise Rejected(
            text,
            phase=self.session.track.phase,
            event=event,
            reply=reply,
            temporary=temporary(reply),
        )


def pieces(content: bytes) -> Iterator[memoryview]:
    """`content` in pieces that the transport takes without a copy of the whole."""
    view = memoryview(content)
    for start in range(0, len(view), _CHUNK):
        yield view[start : start + _CHUNK]
