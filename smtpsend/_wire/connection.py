"""A session: one connection, its state, and what the server offers on it.

Up to the login (login.py), aiosmtplib sends the commands over our own channel
(aiosmtplib_adapter.py). After the login, the transactions use the channel directly.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from smtpsend._model.address.domain import is_ldh
from smtpsend._model.server.credentials import Password, provider_of
from smtpsend._model.server.host import literal
from smtpsend._model.shortage import importing
from smtpsend._protocol.connection_state import ConnectionState, State
from smtpsend._protocol.extensions import Extensions, parse_extensions
from smtpsend._protocol.failures import Garbage
from smtpsend._protocol.groups import More
from smtpsend._protocol.ordering import Terms, cannot_be_commands
from smtpsend._protocol.pipeline import Pipeline
from smtpsend._protocol.quirks import AfterData
from smtpsend._protocol.sasl import shared
from smtpsend._wire.aiosmtplib_adapter import Commands
from smtpsend._wire.channel import Channel
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.progress import Track, step
from smtpsend._wire.target import Target
from smtpsend.errors import ConnectError, Event, Phase, Reply


if TYPE_CHECKING:
    from smtpsend._model.policy.policy import Method


# A connection is assumed to be alive for so many seconds after the server sent data.
_FRESH = 1.0


class Session:
    """One connection with its state; ready once TLS is verified and EHLO accepted.

    Attributes:
        target: the server.
        track: the progress of the method that opened the session.
        channel: the connection.
        deadline: the deadline of the call that uses the session now.
        tls: the version of TLS; None in plaintext.
        extensions: what the last reply to EHLO offers.
        state: what may be sent now, and what was sent.
        login_mechanism: the SASL mechanism of the login; None before it.
        secret_version: the `Secret.version` of the password or token of the login.
    """

    def __init__(
        self,
        target: Target,
        track: Track,
        channel: Channel,
        deadline: Deadline,
        sock: socket.socket,
    ) -> None:
        self.target = target
        self.deadline = deadline
        self.track = track
        self.channel = channel
        channel.transcript.name = f"{track.address} {track.method}"
        self.tls: str | None = None
        self.extensions = Extensions()
        self.state = ConnectionState()
        self.login_mechanism: str | None = None
        self.secret_version = 0
        self._opened = asyncio.get_running_loop().time()
        self._sock = sock
        self._commands: Commands

    @property
    def age(self) -> float:
        """Seconds since the session was opened."""
        return asyncio.get_running_loop().time() - self._opened

    @property
    def outdated(self) -> bool:
        """Whether the login was made with a password that has been replaced since.

        A token is replaced because it expires, and its connections remain authenticated.
        A function may even return a new token for each connection.
        """
        auth = self.target.auth
        if not isinstance(auth, Password) or provider_of(auth) is None:
            return False
        from smtpsend._wire.secrets.source import source_of  # the login imported it

        return self.secret_version != source_of(auth).version

    def close_socket(self) -> None:
        """Close the socket, if the event loop of the connection no longer runs."""
        # os.close would refuse the handle of a socket on Windows.
        now = self.channel.transport.get_extra_info("socket")
        (now if isinstance(now, socket.socket) else self._sock).close()

    @property
    def method(self) -> Method:
        """The method by which this session was opened."""
        return self.track.method

    def timeout(self) -> float:
        """The seconds to wait for one reply now."""
        return self.deadline.within(self.target.policy.reply_timeout)

    def final_timeout(self) -> float:
        """The seconds to wait for the reply to the end of a message now."""
        return self.deadline.within(self.target.policy.final_timeout)

    @property
    def pipelining(self) -> bool:
        """Whether commands may be sent in groups (RFC 2920)."""
        return self.target.policy.pipelining and "PIPELINING" in self.extensions

    @property
    def chunking(self) -> bool:
        """Whether the content may be sent by BDAT (RFC 3030)."""
        no_bdat = self.target.quirks.no_bdat
        return (
            self.target.policy.chunking and not no_bdat and "CHUNKING" in self.extensions
        )

    @property
    def content_in_group(self) -> bool:
        """Whether BDAT may be pipelined after MAIL and RCPT.

        Not to Dovecot's submission service, the only one known to offer BURL: if it
        refuses MAIL, 2.3.19 and 2.4.5 crash ("Panic: file smtp-server-cmd-data.c: line
        355 (cmd_data_next): assertion failed: (trans != NULL)"), and a mere refusal
        becomes an unknown delivery. Nor to a server where the like has happened once.
        """
        known = self.target.quirks.no_content_in_group
        return self.fresh and not known and "BURL" not in self.extensions

    def may_pipeline_content(self, content: bytes) -> bool:
        """Whether `content` may be sent by BDAT before MAIL and RCPT have replies."""
        return (
            self.pipelining
            and self.chunking
            and self.content_in_group
            and cannot_be_commands(content)
        )

    def pipeline(
        self, more: More, *, windows: bool = False, last: bool = False
    ) -> Pipeline:
        """Build the pipeline of one use of the session.

        Args:
            more: returns the next transaction, as for `Pipeline`.
            windows: several messages may be sent by BDAT before a reply is read.
            last: the connection is closed after the message.
        """
        quirks = self.target.quirks
        replies = (
            quirks.after_data is not AfterData.LOST
            and self.accepts_commands_after_content
        )
        terms = Terms(
            pipelining=self.pipelining,
            after_content=lambda: self.pipelines_after_data,
            windows=windows,
            quit=last,
            quit_after_content=last and self.pipelining and replies,
        )
        return Pipeline(self.state, terms, quirks, more)

    @property
    def accepts_commands_after_content(self) -> bool:
        """Whether commands may follow the content, as far as is known before a trial.

        Not to Dovecot's submission service, the only one known to offer BURL: 2.3.19
        accepts the message, and then crashes at the RCPT after it, before it replies
        ("Panic: file smtp-server-transaction.c: line 226
        (smtp_server_transaction_finished): assertion failed:
        (conn->state.pending_rcpt_cmds == 0)").
        """
        return "BURL" not in self.extensions

    @property
    def accepts_windows(self) -> bool:
        """Whether several messages may be sent before the reply to the first."""
        return (
            self.pipelining
            and self.chunking
            and not self.target.quirks.no_window
            and self.content_in_group
        )

    @property
    def pipelines_after_data(self) -> bool:
        """Whether commands may follow the final dot at once (RFC 2920 section 3.1).

        As long as it is unknown whether a server supports this, one connection at a time
        finds out.
        """
        known = self.target.quirks.after_data
        may = known in (AfterData.REPLIES, AfterData.UNTRIED)
        return self.pipelining and may and self.accepts_commands_after_content

    @property
    def fresh(self) -> bool:
        """Whether the server sent data within the last second."""
        now = asyncio.get_running_loop().time()
        return now - self.channel.last_received < _FRESH

    @property
    def at_message_limit(self) -> bool:
        """Whether the session has reached the MAILMAX of the server (RFC 9422)."""
        limit = self.extensions.message_limit
        return limit is not None and self.state.transactions >= limit

    @property
    def binding(self) -> bytes | None:
        """The channel binding of the TLS connection (RFC 5929); None if there is none."""
        with importing():
            from smtpsend._wire.tls.binding import server_end_point
        return server_end_point(self.channel.transport)

    @property
    def mechanism(self) -> str | None:
        """The SASL mechanism of the login, or the one to try first; None if none fits."""
        return self.login_mechanism or next(iter(self.mechanisms), None)

    @property
    def mechanisms(self) -> list[str]:
        """The SASL mechanisms that both sides have, the preferred one first."""
        auth, offered = self.target.auth, self.extensions.mechanisms
        if auth is None:
            return []
        # The binding is computed only where a -PLUS mechanism is offered.
        wanted = any(name.endswith("-PLUS") for name in offered)
        bound = wanted and self.binding is not None
        return shared(auth, offered, binding=bound)

    async def execute(self, *words: bytes) -> Reply:
        """Send one command of the session, and return its reply."""
        return await self._commands.execute(*words, timeout=self.timeout())

    def attach(self) -> None:
        """Prepare to send commands, before and after the TLS handshake of STARTTLS."""
        name = self.target.ehlo_name or default_ehlo_name(self.channel.transport)
        self._commands = Commands(self.channel, self.target.host, name)

    @property
    def ehlo_line(self) -> bytes:
        """The EHLO command of this session, to be sent again."""
        return f"EHLO {self._commands.ehlo_name}\r\n".encode()

    async def probe(self) -> None:
        """Send EHLO to find out whether a kept connection accepts further messages.

        Raises:
            ConnectionLost: the server does not reply, or refuses EHLO.
        """
        self.state.state = State.BUSY
        with step(self.track, Phase.MAIL):
            self.deadline.raise_if_over()
            self.channel.command(self.ehlo_line)
            reply = await self.channel.reply(self.timeout())
            if reply.code != 250:
                if reply.code != 421:
                    # A 421 tells nothing about EHLO. The quirk is never reset, because
                    # another connection may have found it.
                    self.target.quirks.no_window = True
                raise Garbage(f"EHLO was refused: {reply}")
        self.state.needs_reset, self.state.state = False, State.CONFIRMED

    async def ehlo(self) -> None:
        """Send EHLO, and record what the server offers.

        Raises:
            ConnectError: the server refuses EHLO, or does not reply.
        """
        with step(self.track, Phase.EHLO):
            reply = await self.execute(b"EHLO", self._commands.ehlo_name.encode("ascii"))
            if reply.code != 250:
                raise ConnectError(
                    "the server refused EHLO",
                    phase=Phase.EHLO,
                    event=Event.EHLO_REFUSED,
                    reply=reply,
                    temporary=reply.code < 500,
                )
        self.extensions = parse_extensions(reply.text)


_LONGEST_DOMAIN = 253
# What machines without a domain call themselves: names that no other machine can look up
# (RFC 6761 section 6.3, RFC 6762).
_OF_NO_DOMAIN = (".localdomain", ".localhost", ".local")


def default_ehlo_name(transport: asyncio.BaseTransport) -> str:
    """The name for our EHLO, found without a look-up (RFC 5321 section 4.1.3).

    Servers demand a domain of at least two labels. The name of this host is used if it is
    one, which it seldom is in a container; otherwise the address literal, which is always
    valid.
    """
    name = socket.gethostname()
    domain = "." in name and len(name) <= _LONGEST_DOMAIN and is_ldh(name)
    if domain and literal(name) is None and not name.lower().endswith(_OF_NO_DOMAIN):
        return name
    # A closed connection has no address; the name does not matter then.
    sockname = transport.get_extra_info("sockname") or ("127.0.0.1",)
    address = sockname[0].partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
