"""Lets aiosmtplib send the commands up to the login over our own channel.

No other module imports aiosmtplib. Its own reader accepts " 25" as a code, the last of
disagreeing codes as the code, and an unsolicited line as the reply to the next command.
The channel's reader is strict in form, and bounded in time and size.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiosmtplib import SMTP, SMTPResponse
from aiosmtplib.protocol import SMTPProtocol


if TYPE_CHECKING:
    from smtpsend._wire.channel import Channel
    from smtpsend.errors import Reply


class _Transport(asyncio.Transport):
    """Forwards to the channel's present transport, so that a dropped one is freed."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def is_closing(self) -> bool:
        return self._channel.transport.is_closing()

    def close(self) -> None:
        # aiosmtplib closes it after a 421.
        self._channel.transport.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._channel.transport.get_extra_info(name, default)


class _Protocol(SMTPProtocol):
    """aiosmtplib's protocol, writing to and reading from our channel."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(asyncio.get_running_loop())
        self._channel = channel
        self.reply_timeout: float  # seconds, for the next reply
        self.last: Reply
        self.connection_made(_Transport(channel))

    def write(self, data: bytes) -> None:
        self._channel.command(data)

    async def read_response(self, timeout: float | None = None) -> SMTPResponse:  # noqa: ARG002  # reply_timeout decides
        self.last = await self._channel.reply(self.reply_timeout)
        return SMTPResponse(self.last.code, self.last.text)


class Commands:
    """Sends the commands of a session, one at a time.

    Args:
        channel: the connection.
        host: the server's host name.
        ehlo_name: our own name for EHLO.
    """

    def __init__(self, channel: Channel, host: str, ehlo_name: str) -> None:
        # The channel's own timers decide; aiosmtplib's wait_for can swallow a
        # cancellation (CPython 3.11).
        self._smtp = SMTP(
            hostname=host, local_hostname=ehlo_name, start_tls=False, timeout=None
        )
        # Neither object refers to the session: a reference cycle would keep its buffers,
        # some 300 KB, until the garbage collector runs.
        self._protocol = _Protocol(channel)
        self._smtp.protocol = self._protocol
        self._smtp.transport = self._protocol.transport
        self.ehlo_name = ehlo_name

    async def execute(self, *words: bytes, timeout: float) -> Reply:
        """Send one command, and return its reply; it must come within `timeout` seconds.

        Raises:
            Garbage, Lost, TimedOut: as `Channel.command` and `Channel.reply`.
        """
        self._protocol.reply_timeout = timeout
        await self._smtp.execute_command(*words)
        return self._protocol.last
