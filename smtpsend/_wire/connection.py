"""A session: one connection and what the server offers on it.

aiosmtplib speaks the commands up to the login and reads what EHLO offers, over our own
channel, whose replies are strict in form and bounded in time and size. After the login
(login.py) the channel belongs to the transactions.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from aiosmtplib import SMTP, SMTPException, SMTPResponse
from aiosmtplib.protocol import SMTPProtocol

from smtpsend._model.server.credentials import choose
from smtpsend._wire.channel import Channel
from smtpsend._wire.deadline import Deadline, Garbage
from smtpsend._wire.ehlo_name import own_name
from smtpsend._wire.progress import Track, at
from smtpsend._wire.target import Behind, Target
from smtpsend.errors import (
    ConnectError,
    Event,
    Phase,
    Reply,
)


if TYPE_CHECKING:
    from smtpsend._model.policy.policy import Method


class _Line(asyncio.Transport):
    """The transport as aiosmtplib sees it: what it holds goes with the connection."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def is_closing(self) -> bool:
        return self._channel.transport.is_closing()

    def close(self) -> None:
        # After a 421, which it sees as well.
        self._channel.transport.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._channel.transport.get_extra_info(name, default)


class _Replies(SMTPProtocol):
    """aiosmtplib's protocol, writing to and reading from our channel.

    Its own reader takes " 25" for a code, the last of disagreeing codes for the code,
    and what the server says unasked for the answer to the next command.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__(asyncio.get_running_loop())
        self._channel = channel
        self.timeout: float  # of the next reply
        self.last: Reply
        self.connection_made(_Line(channel))

    def write(self, data: bytes) -> None:
        self._channel.command(data)

    async def read_response(self, timeout: float | None = None) -> SMTPResponse:  # noqa: ARG002  # ours decides
        self.last = await self._channel.reply(self.timeout)
        return SMTPResponse(self.last.code, self.last.text)


# Within this many seconds a connection does not die unnoticed.
_WARM = 1.0


@lru_cache(maxsize=64)
def _size(value: str) -> int | None:
    found = re.fullmatch(r"\s*([0-9]{1,20})\s*", value)
    return (int(found[1]) or None) if found else None


class Session:
    """A connection that is ready: TLS verified, EHLO answered, AUTH offered if wanted."""

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
        channel.name = f"{track.address} {track.method}"
        self.tls: str | None = None
        self.messages = 0  # transactions begun
        self.dirty = False  # a transaction was begun and refused: RSET comes first
        self.spent = False  # not to be used for another message
        self.answered = False  # the message was taken, and only the 221 is missing
        self.alive = False  # what the server said last shows that it goes on
        self.kept = False  # it was used, or at least waited, before
        self._born = asyncio.get_running_loop().time()
        self._sock = sock
        self._smtp: SMTP
        self._replies: _Replies

    @property
    def age(self) -> float:
        """Seconds since it was opened."""
        return asyncio.get_running_loop().time() - self._born

    def forget(self) -> None:
        """Drop the connection of a loop that runs no more: only its socket is left."""
        if (fd := self._sock.detach()) >= 0:
            os.close(fd)

    @property
    def method(self) -> Method:
        """The method that this session was opened by."""
        return self.track.method

    def timeout(self) -> float:
        """How long one reply may take now."""
        return self.deadline.within(self.target.policy.reply_timeout)

    def final_timeout(self) -> float:
        """How long the answer to the end of a message may take now."""
        return self.deadline.within(self.target.policy.final_timeout)

    @property
    def pipelining(self) -> bool:
        """Whether commands may go out in groups (RFC 2920)."""
        return self.target.policy.pipelining and self.offers("pipelining")

    @property
    def chunking(self) -> bool:
        """Whether the content may go out by BDAT (RFC 3030)."""
        no_bdat = self.target.quirks.no_bdat
        return self.target.policy.chunking and not no_bdat and self.offers("chunking")

    @property
    def content_in_group(self) -> bool:
        """Whether BDAT may go out behind MAIL and RCPT, before they are answered.

        Not to Dovecot's submission service, the one known to offer BURL: where MAIL is
        refused, 2.3.19 dies of it ("Panic: file smtp-server-cmd-data.c: line 355
        (cmd_data_next): assertion failed: (trans != NULL)") and a plain refusal
        becomes an unknown delivery. Nor to a server where that has happened once.
        """
        known = self.target.quirks.no_content_in_group
        return self.warm and not known and not self.offers("burl")

    @property
    def takes_windows(self) -> bool:
        """Whether several messages may go out before one is answered, if it is alive."""
        return (
            self.pipelining
            and self.chunking
            and not self.target.quirks.no_window
            and self.content_in_group
        )

    @property
    def commands_behind(self) -> bool:
        """Whether commands may go out behind the final dot (RFC 2920 section 3.1).

        Not to Dovecot's submission service: 2.3.19 takes the message, and dies of the
        RCPT behind it before it has said so ("Panic: file smtp-server-transaction.c: line
        226 (smtp_server_transaction_finished): assertion failed:
        (conn->state.pending_rcpt_cmds == 0)"). Where it is not known that a server can
        do it, one connection at a time finds out.
        """
        may = self.target.quirks.behind in (Behind.ANSWERED, Behind.UNTRIED)
        return self.pipelining and may and not self.offers("burl")

    @property
    def warm(self) -> bool:
        """Whether the server said something a moment ago."""
        now = asyncio.get_running_loop().time()
        return now - self.channel.heard < _WARM

    @property
    def recipient_limit(self) -> int | None:
        """How many recipients a transaction may have (RFC 9422), if the server says."""
        return self._limit("RCPTMAX")

    @property
    def message_limit(self) -> int | None:
        """How many messages a session may have (RFC 9422), if the server says."""
        return self._limit("MAILMAX")

    @property
    def full(self) -> bool:
        """Whether the server takes no more messages on this connection, by its word."""
        return self.message_limit is not None and self.messages >= self.message_limit

    def _limit(self, name: str) -> int | None:
        limits = self._smtp.esmtp_extensions.get("limits", "")
        found = re.search(
            rf"(?<!\S){name}=([1-9][0-9]{{0,5}})(?!\S)", limits, re.IGNORECASE
        )
        return int(found[1]) if found else None

    def offers(self, extension: str) -> bool:
        """Whether the server's last EHLO offers `extension`."""
        # In lower case; each message asks several times.
        return extension in self._smtp.esmtp_extensions

    @property
    def size_limit(self) -> int | None:
        """The largest message the server takes (RFC 1870), or None if it does not say."""
        return _size(self._smtp.esmtp_extensions.get("size", ""))

    @property
    def mechanisms(self) -> list[str]:
        """The SASL mechanisms that the server offers, in lower case."""
        return self._smtp.server_auth_methods

    @property
    def mechanism(self) -> str | None:
        """The one mechanism to log in by; None if there is none that fits."""
        auth = self.target.auth
        return None if auth is None else choose(auth, self.mechanisms)

    async def ask(self, *words: bytes) -> Reply:
        """The reply to one command of the session."""
        self._replies.timeout = self.timeout()
        await self._smtp.execute_command(*words)
        return self._replies.last

    def attach(self) -> None:
        """Give aiosmtplib the connection as it is now."""
        # timeout=None: the channel's own timers decide; aiosmtplib's wait_for can
        # swallow a cancellation (CPython 3.11).
        self._smtp = SMTP(
            hostname=self.target.host,
            local_hostname=self.target.ehlo_name or own_name(self.channel.transport),
            start_tls=False,
            timeout=None,
        )
        # Nothing there knows this session: a cycle would keep its buffers, some 300 KB,
        # until the garbage collector comes.
        self._replies = _Replies(self.channel)
        self._smtp.protocol, self._smtp.transport = self._replies, self._replies.transport

    @property
    def ehlo_line(self) -> bytes:
        """The EHLO of this session, to be said again."""
        return f"EHLO {self._smtp.local_hostname}\r\n".encode()

    async def see_alive(self) -> None:
        """See whether a kept connection still answers, and means to go on.

        Raises:
            ConnectionLost: it does not.
        """
        self.alive = False
        with at(self.track, Phase.MAIL):
            self.deadline.check()
            self.channel.command(self.ehlo_line)
            reply = await self.channel.reply(self.timeout())
            if reply.code != 250:
                self.target.quirks.no_window = reply.code != 421
                raise Garbage(f"EHLO was refused: {reply}")
        self.dirty, self.alive = False, True

    async def ehlo(self) -> None:
        with at(self.track, Phase.EHLO):
            self._replies.timeout = self.timeout()
            try:
                await self._smtp.ehlo()
            except SMTPException:
                reply = self._replies.last
                raise ConnectError(
                    "the server refused EHLO",
                    phase=Phase.EHLO,
                    event=Event.EHLO_REFUSED,
                    reply=reply,
                    temporary=reply.code < 500,
                ) from None
