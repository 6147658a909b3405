"""A session: one connection, and what the server offers on it.

aiosmtplib speaks the commands up to the login, over our own channel
(aiosmtplib_adapter.py). After the login (login.py) the channel belongs to the
transactions.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from typing import TYPE_CHECKING

from smtpsend._model.server.host import literal
from smtpsend._protocol.extensions import Extensions, parse_extensions
from smtpsend._protocol.failures import Garbage
from smtpsend._protocol.ordering import cannot_be_commands
from smtpsend._protocol.quirks import AfterData
from smtpsend._protocol.sasl import choose
from smtpsend._wire.aiosmtplib_adapter import Commands
from smtpsend._wire.channel import Channel
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.progress import Track, step
from smtpsend._wire.target import Target
from smtpsend.errors import ConnectError, Event, Phase, Reply


if TYPE_CHECKING:
    from smtpsend._model.policy.policy import Method


# Within this many seconds after a reply a connection does not die unnoticed.
_FRESH = 1.0


class Session:
    """A ready connection: TLS verified, EHLO accepted, AUTH offered where wanted."""

    def __init__(
        self,
        target: Target,
        track: Track,
        channel: Channel,
        deadline: Deadline,
        sock: socket.socket,
    ) -> None:
        self.target = target
        self.deadline = deadline  # of the call that uses the session now
        self.track = track
        self.channel = channel
        channel.transcript.name = f"{track.address} {track.method}"
        self.tls: str | None = None
        self.extensions = Extensions()  # of the last reply to EHLO
        self.messages = 0  # transactions begun
        self.needs_reset = False  # a transaction was begun and refused: RSET comes first
        self.used_up = False  # no further message may use it
        self.accepted = False  # the message was accepted, and only the 221 is missing
        self.probed = False  # the last reply shows that the server goes on
        self.reused = False  # it was used, or waited in a pool, before
        self._opened = asyncio.get_running_loop().time()
        self._sock = sock
        self._commands: Commands

    @property
    def age(self) -> float:
        """Seconds since it was opened."""
        return asyncio.get_running_loop().time() - self._opened

    def forget(self) -> None:
        """Close the socket of a connection whose event loop no longer runs."""
        if (fd := self._sock.detach()) >= 0:
            os.close(fd)

    @property
    def method(self) -> Method:
        """The method that this session was opened by."""
        return self.track.method

    def timeout(self) -> float:
        """Seconds that one reply may take now."""
        return self.deadline.within(self.target.policy.reply_timeout)

    def final_timeout(self) -> float:
        """Seconds that the reply to the end of a message may take now."""
        return self.deadline.within(self.target.policy.final_timeout)

    @property
    def pipelining(self) -> bool:
        """Whether commands may go out in groups (RFC 2920)."""
        return self.target.policy.pipelining and "PIPELINING" in self.extensions

    @property
    def chunking(self) -> bool:
        """Whether the content may go out by BDAT (RFC 3030)."""
        no_bdat = self.target.quirks.no_bdat
        return (
            self.target.policy.chunking and not no_bdat and "CHUNKING" in self.extensions
        )

    @property
    def content_in_group(self) -> bool:
        """Whether BDAT may be pipelined after MAIL and RCPT.

        Not to Dovecot's submission service, the one known to offer BURL: where MAIL is
        refused, 2.3.19 dies of it ("Panic: file smtp-server-cmd-data.c: line 355
        (cmd_data_next): assertion failed: (trans != NULL)") and a plain refusal
        becomes an unknown delivery. Nor to a server where that has happened once.
        """
        known = self.target.quirks.no_content_in_group
        return self.fresh and not known and "BURL" not in self.extensions

    def may_pipeline_content(self, content: bytes) -> bool:
        """Whether `content` may go out by BDAT before MAIL and RCPT have replies."""
        return self.chunking and self.content_in_group and cannot_be_commands(content)

    @property
    def accepts_windows(self) -> bool:
        """Whether several messages may go out before the reply to the first."""
        return (
            self.pipelining
            and self.chunking
            and not self.target.quirks.no_window
            and self.content_in_group
        )

    @property
    def pipelines_after_data(self) -> bool:
        """Whether commands may go out after the final dot (RFC 2920 section 3.1).

        Not to Dovecot's submission service: 2.3.19 accepts the message, and dies of the
        RCPT after it before it has replied ("Panic: file smtp-server-transaction.c: line
        226 (smtp_server_transaction_finished): assertion failed:
        (conn->state.pending_rcpt_cmds == 0)"). Where it is not known that a server can
        do it, one connection at a time finds out.
        """
        known = self.target.quirks.after_data
        may = known in (AfterData.REPLIES, AfterData.UNTRIED)
        return self.pipelining and may and "BURL" not in self.extensions

    @property
    def fresh(self) -> bool:
        """Whether the server replied a moment ago."""
        now = asyncio.get_running_loop().time()
        return now - self.channel.heard < _FRESH

    @property
    def at_message_limit(self) -> bool:
        """Whether it has reached the MAILMAX that the server announced (RFC 9422)."""
        limit = self.extensions.message_limit
        return limit is not None and self.messages >= limit

    @property
    def mechanism(self) -> str | None:
        """The one mechanism to log in by; None if there is none that fits."""
        auth = self.target.auth
        return None if auth is None else choose(auth, self.extensions.mechanisms)

    async def ask(self, *words: bytes) -> Reply:
        """The reply to one command of the session."""
        return await self._commands.execute(*words, timeout=self.timeout())

    def attach(self) -> None:
        """Prepare for commands over the connection as it is now, inside TLS or not."""
        name = self.target.ehlo_name or default_ehlo_name(self.channel.transport)
        self._commands = Commands(self.channel, self.target.host, name)

    @property
    def ehlo_line(self) -> bytes:
        """The EHLO of this session, to be sent again."""
        return f"EHLO {self._commands.ehlo_name}\r\n".encode()

    async def probe(self) -> None:
        """See whether a kept connection still replies, and means to go on.

        Raises:
            ConnectionLost: it does not.
        """
        self.probed = False
        with step(self.track, Phase.MAIL):
            self.deadline.raise_if_over()
            self.channel.command(self.ehlo_line)
            reply = await self.channel.reply(self.timeout())
            if reply.code != 250:
                if reply.code != 421:
                    # A 421 says nothing about EHLO, and other connections may have
                    # found the quirk: it is never unlearned.
                    self.target.quirks.no_window = True
                raise Garbage(f"EHLO was refused: {reply}")
        self.needs_reset, self.probed = False, True

    async def ehlo(self) -> None:
        """Send EHLO, and note what the server offers.

        Raises:
            ConnectError: it refuses EHLO, or does not reply.
        """
        with step(self.track, Phase.EHLO):
            reply = await self.ask(b"EHLO", self._commands.ehlo_name.encode("ascii"))
            if reply.code != 250:
                raise ConnectError(
                    "the server refused EHLO",
                    phase=Phase.EHLO,
                    event=Event.EHLO_REFUSED,
                    reply=reply,
                    temporary=reply.code < 500,
                )
        self.extensions = parse_extensions(reply.text)


_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+",
    re.IGNORECASE,
)


def default_ehlo_name(transport: asyncio.BaseTransport) -> str:
    """Our own name for EHLO, found without a look-up (RFC 5321 section 4.1.3).

    It is the name of this host if that is a domain of at least two labels, as servers
    demand. In a container it seldom is; the address literal is right anywhere.
    """
    name = socket.gethostname()
    if _DOMAIN.fullmatch(name) and literal(name) is None:
        return name
    # A connection that has ended has no address; nothing is sent over it any more.
    sockname = transport.get_extra_info("sockname") or ("127.0.0.1",)
    address = sockname[0].partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
