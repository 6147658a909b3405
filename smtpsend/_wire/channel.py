"""One connection as asyncio sees it: bytes out, replies in, every wait bounded.

The channel pairs replies with commands by counting: a reply that nothing asked for
stays in the queue, and the next command refuses to go out over it, since from there
on every answer would be taken for that of another command.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import cast

from smtpsend._protocol.failures import Garbage, Lost, TimedOut
from smtpsend._protocol.redact import Redactor
from smtpsend._protocol.replies import ReplyReader
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.transcript import Transcript
from smtpsend.errors import Reply


# How much may wait in the transport before the writer has to.
_HIGH_WATER = 65536


class _Ended(asyncio.Transport):
    """The transport of a connection that ended: it ignores writes, and holds nothing."""

    def is_closing(self) -> bool:
        return True

    def write(self, data: object) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


_ENDED: asyncio.Transport = _Ended()


class Channel(asyncio.Protocol):
    """A connection that is written to, and read from reply by reply."""

    def __init__(self, redact: Redactor) -> None:
        self._loop = asyncio.get_running_loop()
        self.redact = redact
        self.transcript = Transcript(redact)
        self.quit_sent = False
        self._reader = ReplyReader(self.redact)
        self._replies: deque[Reply] = deque()
        self._lost: str | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._until = 0.0  # when the wait ends, at the latest
        self._paused = False
        self.heard = self._loop.time()  # when the peer said something last
        self._gone = self._loop.create_future()
        self.transport: asyncio.Transport

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.use(cast("asyncio.Transport", transport))

    def use(self, transport: asyncio.Transport) -> None:
        """Go on over `transport`: the first, or the one inside TLS."""
        self.transport = transport
        transport.set_write_buffer_limits(high=_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self.heard = self._loop.time()
        self.transcript.look()
        self._replies += self._reader.feed(data)
        self._wake()

    def eof_received(self) -> None:
        self._lost = self._lost or "the server closed the connection"
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        reset = isinstance(exc, ConnectionResetError | BrokenPipeError)
        self._lost = self._lost or (
            "the connection was reset" if reset else "the connection was closed"
        )
        self._paused = False
        # An error that somebody keeps keeps this channel, by its traceback; the buffers
        # of TLS, 256 KiB, are not to stay with it.
        self.transport = _ENDED
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._gone.done():
            self._gone.set_result(None)
        self._wake()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # what sessions and transactions call

    async def _wait(self, until: float, what: str) -> None:
        """Wait for anything to happen, until `until` on the loop's clock."""
        left = until - self._loop.time()
        if left <= 0:
            raise TimedOut(what)
        self._waiter = self._loop.create_future()
        self._arm(until)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _arm(self, until: float) -> None:
        """Wake the waiter at `until`.

        The timer stays when the wait is over: the next wait, as a rule, ends later, and
        a timer for each reply would be a good part of what a reply costs.
        """
        self._until = until
        if self._timer is not None:
            if self._timer.when() <= until:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(until, self._rang)

    def _rang(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._until <= self._loop.time():
            self._wake()
        else:
            self._arm(self._until)

    def _check(self) -> None:
        """Raise what makes this connection unfit to go on."""
        if self._reader.garbage is not None:
            raise Garbage(*self._reader.garbage.args)
        if self._lost is not None:
            raise Lost(self._lost)
        if self.transport.is_closing():
            # After the peer's close_notify, writes would vanish without an error.
            raise Lost("the server closed the connection")

    async def reply(self, timeout: float) -> Reply:
        """The next reply, whole.

        Raises:
            Garbage: what came is no reply.
            Lost: the connection ended before it.
            TimedOut: it did not come within `timeout` seconds.
        """
        until = self._loop.time() + timeout
        while not self._replies:
            self._check()
            await self._wait(until, f"no answer within {timeout:.3g} s")
        return self._next()

    def ready(self) -> Reply | None:
        """The next reply, if it is there."""
        return self._next() if self._replies else None

    def _next(self) -> Reply:
        reply = self._replies.popleft()
        if self.transcript.wanted:
            self.transcript.received(reply)
        return reply

    @property
    def challenge(self) -> bytes:
        """The text of the last 334, as it came."""
        return self._reader.challenge

    def early(self) -> Reply | None:
        """A reply that came before it was asked for; raises if none can follow."""
        if not self._replies:
            self._check()
            return None
        return self._next()

    def command(self, line: bytes, content: bytes = b"") -> None:
        """Write a command or a group of them, if nothing stands unread before it.

        `content` goes out behind it, in the same write.

        Raises:
            Garbage: a reply came that answers nothing, or what came is no reply.
            Lost: the connection has ended.
        """
        self.commands([(line, content)])

    def commands(self, pieces: list[tuple[bytes, bytes]]) -> None:
        """The same for commands and contents in turn, all in one write."""
        if self._replies:
            # A 421 may come at any time (RFC 5321 section 3.8), and counts as the
            # answer to this command.
            if self._replies[0].code == 421:
                return
            raise Garbage(f"a reply that answers nothing: {self._replies[0]}")
        self._check()
        if not self._reader.idle:
            raise Garbage("a reply began that answers nothing")
        if self.transcript.look():
            for line, content in pieces:
                self.transcript.sent(line, content)
        self.transport.write(b"".join([part for piece in pieces for part in piece]))

    def write(self, data: bytes | memoryview, commands: bytes = b"") -> None:
        """Write content, and commands behind it; see `drained` for the pace."""
        if self.transcript.look():
            self.transcript.sent(b"", data)
            if commands:
                self.transcript.sent(commands)
        self.transport.write(bytes(data) + commands if commands else data)

    async def drained(self, timeout: float, deadline: Deadline) -> None:
        """Wait until more can be written, or a reply or the end of the connection came.

        Raises:
            TimedOut: nothing moved for `timeout` seconds, or the deadline ran out.
        """
        # Also where nothing has to wait: what came in meanwhile is seen only when the
        # loop runs, and writing on after a loss is an error logged for each write.
        await asyncio.sleep(0)
        waiting = self.transport.get_write_buffer_size()
        until = self._loop.time() + deadline.within(timeout)
        while self._paused and not self._replies and self._lost is None:
            if self._reader.garbage is not None:
                return
            try:
                await self._wait(until, f"no upload progress within {timeout:.3g} s")
            except TimedOut:
                now = self.transport.get_write_buffer_size()
                if now >= waiting or not deadline.left:
                    raise
                waiting, until = now, self._loop.time() + deadline.within(timeout)

    @property
    def unread(self) -> bool:
        """Whether something came that was not asked for."""
        return bool(self._replies) or not self._reader.idle

    @property
    def fit(self) -> bool:
        """Whether the connection can serve another message."""
        return not self.unread and self._lost is None and not self.transport.is_closing()

    def discard(self) -> None:
        """Forget what was received and not read (RFC 3207 section 6)."""
        self._replies.clear()
        self._reader.clear()

    def abort(self) -> None:
        """End the connection at once; nothing more goes out."""
        self.transport.abort()

    async def gone(self, timeout: float) -> None:
        """Wait until the socket is closed, `timeout` seconds at most."""
        await asyncio.wait([self._gone], timeout=timeout)

    def hang_up(self) -> None:
        """Say QUIT, and close_notify inside TLS, and end the connection without waiting.

        The answer would cost a round trip and says nothing (RFC 5321 section 4.1.1.10);
        a deaf peer would hold the socket open for long after the call.
        """
        # Whatever goes wrong here, the message's fate is known.
        with contextlib.suppress(Exception):
            if self.fit and not self._paused and not self.quit_sent:
                self.transcript.sent(b"QUIT\r\n")
                self.transport.write(b"QUIT\r\n")
                self.transport.close()
        self.transport.abort()
