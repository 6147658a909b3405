"""A verified session: greeting, EHLO, TLS, EHLO again.

aiosmtplib speaks these commands and reads what EHLO offers; it does so over our own
channel, whose replies are strict in form and bounded in time and size. After the login
(login.py) the channel belongs to the transactions.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiosmtplib import SMTP, SMTPException, SMTPResponse
from aiosmtplib.protocol import SMTPProtocol

from smtpsend._model.auth import Auth, choose, known
from smtpsend._model.host import check_private
from smtpsend._wire.channel import Channel, Deadline
from smtpsend._wire.dial import Address, dial
from smtpsend._wire.faults import Track, at, lost, positive, temporary
from smtpsend._wire.names import own_name, tls_name
from smtpsend._wire.tls import check
from smtpsend.errors import (
    AuthError,
    CertificateError,
    ConfigError,
    ConnectError,
    Event,
    Phase,
    Reply,
    TLSError,
)


if TYPE_CHECKING:
    from smtpsend._model.policy import Method, Policy


class _Replies(SMTPProtocol):
    """aiosmtplib's protocol, writing to and reading from our channel.

    Its own reader takes " 25" for a code, the last of disagreeing codes for the code,
    and what the server says unasked for the answer to the next command.
    """

    def __init__(self, channel: Channel, timeout: Callable[[], float]) -> None:
        super().__init__(asyncio.get_running_loop())
        self._channel = channel
        self._timeout = timeout
        self.last: Reply
        self.connection_made(channel.transport)

    def write(self, data: bytes) -> None:
        self._channel.command(data)

    async def read_response(self, timeout: float | None = None) -> SMTPResponse:  # noqa: ARG002  # ours decides
        self.last = await self._channel.reply(self._timeout())
        return SMTPResponse(self.last.code, self.last.text)


@dataclass(frozen=True, slots=True)
class Target:
    """What a session is opened to."""

    host: str
    addresses: Sequence[Address]
    context: ssl.SSLContext
    auth: Auth | None
    ehlo_name: str | None
    policy: Policy


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

    def offers(self, extension: str) -> bool:
        """Whether the server's last EHLO offers `extension`."""
        return self._smtp.supports_extension(extension)

    @property
    def size_limit(self) -> int | None:
        """The largest message the server takes (RFC 1870), or None if it does not say."""
        value = self._smtp.esmtp_extensions.get("size", "").strip()
        return int(value) if re.fullmatch("[0-9]{1,20}", value) and int(value) else None

    @property
    def mechanism(self) -> str | None:
        """The one mechanism to log in by; None if there is none that fits."""
        auth = self.target.auth
        return None if auth is None else choose(auth, self._smtp.server_auth_methods)

    async def ask(self, *words: bytes) -> Reply:
        """The reply to one command of the session."""
        await self._smtp.execute_command(*words)
        return self._replies.last

    async def handshake(self) -> None:
        """Greeting, EHLO, TLS, EHLO: until the session is ready."""
        if self.method.security == "implicit":
            await self._start_tls()
        with at(self.track, Phase.GREETING):
            greeting = await self.channel.reply(self.timeout())
        if not positive(greeting):
            raise ConnectError(
                "the server does not take mail now",
                phase=Phase.GREETING,
                event=Event.NO_GREETING,
                reply=greeting,
                temporary=greeting.code < 500,
            )
        self._attach()
        await self._ehlo()
        if self.method.security == "starttls":
            await self._ask_for_tls()
            await self._start_tls()
            self._attach()
            await self._ehlo()
        self._check_mechanism()

    def _attach(self) -> None:
        """Give aiosmtplib the connection as it is now."""
        # timeout=None: the channel's own timers decide; aiosmtplib's wait_for can
        # swallow a cancellation (CPython 3.11).
        self._smtp = SMTP(
            hostname=self.target.host,
            local_hostname=self.target.ehlo_name or own_name(self.channel.transport),
            start_tls=False,
            timeout=None,
        )
        self._replies = _Replies(self.channel, self.timeout)
        self._smtp.protocol, self._smtp.transport = self._replies, self.channel.transport

    async def _ehlo(self) -> None:
        with at(self.track, Phase.EHLO):
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

    async def _ask_for_tls(self) -> None:
        if not self.offers("starttls"):
            raise TLSError(
                "the server does not offer STARTTLS",
                phase=Phase.STARTTLS,
                event=Event.NO_STARTTLS,
            )
        with at(self.track, Phase.STARTTLS):
            reply = await self.ask(b"STARTTLS")
        if not positive(reply):
            raise TLSError(
                "the server refused STARTTLS",
                phase=Phase.STARTTLS,
                event=Event.NO_STARTTLS,
                reply=reply,
                temporary=temporary(reply),
            )
        # RFC 3207 section 6: whatever stands in plaintext behind the 220 was never said.
        self.channel.discard()

    async def _start_tls(self) -> None:
        """The handshake, on a port of either kind."""
        loop = asyncio.get_running_loop()
        context = check(self.target.context)
        plain = self.channel.transport
        limit = self.timeout()
        self.track.phase = Phase.TLS
        try:
            async with asyncio.timeout(limit):
                secure = await loop.start_tls(
                    plain,
                    self.channel,
                    context,
                    server_hostname=tls_name(self.target.host),
                    ssl_handshake_timeout=limit + 1,
                )
        except BaseException as error:  # noqa: BLE001  # raised again, translated
            plain.abort()
            raise _handshake_error(error, self.target.host, limit) from None
        if secure is None:
            raise lost(Phase.TLS, "the connection was closed")
        self.channel.use(secure)
        self.tls = secure.get_extra_info("ssl_object").version()
        self.track.progress()

    def _check_mechanism(self) -> None:
        auth = self.target.auth
        if auth is None or self.mechanism is not None:
            return
        offered = ", ".join(m.upper() for m in self._smtp.server_auth_methods[:20])
        what = f"offers only {offered}" if offered else "offers no login"
        raise AuthError(
            f"the server {what}, and the credentials fit {known(auth)}",
            phase=Phase.AUTH,
            event=Event.NO_MECHANISM,
        )


def _handshake_error(error: BaseException, host: str, limit: float) -> BaseException:
    """What a failed handshake is: a refused certificate is an alarm, the rest is not."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return CertificateError(
            f"the certificate of {host} was refused: {error.verify_message}",
            phase=Phase.TLS,
            event=Event.CERTIFICATE,
        )
    if isinstance(error, ssl.SSLError):
        cut = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        why = (
            "the server cut it off"
            if cut
            else (error.reason or "").replace("_", " ").lower()
        )
        failure = lost(Phase.TLS, why or "protocol error")
        failure.temporary = cut
        return failure
    if isinstance(error, TimeoutError | ConnectionAbortedError):
        return lost(Phase.TLS, f"not done within {limit:.3g} s", timed_out=True)
    if isinstance(error, OSError):
        return lost(Phase.TLS, "the connection was cut")
    return error


async def open_session(target: Target, track: Track, deadline: Deadline) -> Session:
    """A ready session to `target` by `track.method`.

    Raises:
        ConnectError, CertificateError, TLSError: it did not come about.
        AuthError: credentials are wanted and the server takes none that fit.
    """
    limit = target.policy.connect_timeout
    sock = await dial(target.addresses, limit, deadline, track)
    if track.method.security == "plaintext":
        try:
            check_private(str(track.address))
        except ConfigError:
            sock.close()
            raise
    loop = asyncio.get_running_loop()
    # From here on the socket is the transport's, which closes it on a cancellation, too.
    _, channel = await loop.create_connection(Channel, sock=sock)
    session = Session(target, track, channel, deadline, sock)
    try:
        await session.handshake()
    except BaseException:
        channel.abort()
        raise
    return session
