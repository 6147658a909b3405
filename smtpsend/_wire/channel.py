"""One connection as an asyncio protocol: it writes commands and reads replies.

Every wait is bounded. Replies are paired with commands by counting: while an extra reply
is in the queue, no further command is written, because every later reply would be paired
with the wrong command.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import cast

from smtpsend._protocol.failures import Alert, Garbage, Lost, TimedOut
from smtpsend._protocol.redact import Redactor
from smtpsend._protocol.replies import ReplyReader
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.tls.alerts import alert_of, unread_alert
from smtpsend._wire.transcript import Transcript
from smtpsend.errors import Reply


# Octets that may wait in the transport before the writer has to wait.
_HIGH_WATER = 65536
# How many bytes of replies may wait before reading pauses.
_MAX_UNREAD = 65536


class _Ended(asyncio.Transport):
    """The transport of a connection that ended: it ignores writes and holds no buffer."""

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
    """A connection over which commands are written and replies are read one by one.

    Attributes:
        redact: hides the secrets of the call.
        transcript: the debug log of the connection.
        transport: the transport of asyncio, inside TLS where TLS has begun.
        quit_sent: QUIT was sent; nothing may follow it.
        last_received: when data came last, on the loop's clock.
    """

    def __init__(self, redact: Redactor) -> None:
        self._loop = asyncio.get_running_loop()
        self.redact = redact
        self.transcript = Transcript(redact)
        self.quit_sent = False
        self._reader = ReplyReader(self.redact)
        self._replies: deque[Reply] = deque()
        self._lost: str | None = None
        self._alert: str | None = None  # by which the server ended TLS
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wait_end = 0.0  # the latest end of the present wait, on the loop's clock
        self._paused = False
        self.reading_paused = False  # the transport is not read from
        self._unread = 0  # bytes received since no reply waited
        self._watcher: Callable[[], object] | None = None
        self.last_received = self._loop.time()
        self._closed = self._loop.create_future()
        self.transport: asyncio.Transport
        self._below: asyncio.Transport | None = None

    # Methods that asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.set_transport(cast("asyncio.Transport", transport))

    def set_transport(self, transport: asyncio.Transport) -> None:
        """Use `transport` from now on: the first one, or the one inside TLS."""
        # The transport that has the socket stays the first one.
        self._below = self._below or transport
        self.transport = transport
        self.reading_paused = False
        transport.set_write_buffer_limits(high=_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self.last_received = self._loop.time()
        self.transcript.check_enabled()
        self._replies += self._reader.feed(data)
        self._unread += len(data)
        self._notify_watcher()
        if self._reader.garbage is not None or (
            self._replies and self._unread > _MAX_UNREAD
        ):
            self._pause_reading()
        self._wake()

    def _pause_reading(self) -> None:
        """Read no more until the waiting replies are read; TCP slows the peer down.

        No caller needs more while a reply waits, or after something that is no reply.
        """
        if not self.reading_paused and not self.transport.is_closing():
            self.reading_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        self._unread = 0
        if self.reading_paused and self._reader.garbage is None:
            self.reading_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    def watch(self, watcher: Callable[[], object] | None) -> None:
        """Call `watcher` once, when anything arrives or the connection ends.

        None ends the watch.
        """
        self._watcher = watcher

    def _notify_watcher(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher()

    def eof_received(self) -> None:
        self._lost = self._lost or "the server closed the connection"
        self._notify_watcher()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._alert = self._alert or alert_of(exc)
        reset = isinstance(exc, ConnectionResetError | BrokenPipeError)
        self._lost = self._lost or (
            "the connection was reset" if reset else "the connection was closed"
        )
        self._paused = False
        # A stored exception keeps this channel alive through its traceback. Drop the
        # transport, so that its 256 KiB of TLS buffers are freed.
        self.transport = self._below = _ENDED
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._closed.done():
            self._closed.set_result(None)
        self._notify_watcher()
        self._wake()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Methods that sessions and transactions call.

    async def _wait(self, until: float, what: str) -> None:
        """Wait for any event of the connection, until `until` on the loop's clock.

        Raises:
            TimedOut: the time `until` has passed; `what` is its text.
        """
        left = until - self._loop.time()
        if left <= 0:
            raise TimedOut(what)
        self._waiter = self._loop.create_future()
        self._wake_at(until)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake_at(self, until: float) -> None:
        """Wake the waiter at `until`.

        The timer outlives the wait: the next wait mostly ends later and uses it again. A
        new timer for each reply would be a large part of the cost of a reply.
        """
        self._wait_end = until
        if self._timer is not None:
            if self._timer.when() <= until:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(until, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._wait_end <= self._loop.time():
            self._wake()
        else:
            self._wake_at(self._wait_end)

    def _raise_if_broken(self) -> None:
        """Raise the fault after which this connection cannot go on, if there is one."""
        if self._reader.garbage is not None:
            raise Garbage(*self._reader.garbage.args)
        if self._alert is not None:
            raise Alert(self._alert)
        if self._lost is not None:
            raise Lost(self._lost)
        if self.transport.is_closing():
            # After the peer's close_notify, writes would vanish without an error.
            raise Lost("the server closed the connection")

    async def reply(self, timeout: float) -> Reply:
        """The next reply, when it is complete.

        Raises:
            Garbage: the server sent something that is no reply.
            Lost: the connection ended before the reply.
            TimedOut: the reply did not come within `timeout` seconds.
        """
        until = self._loop.time() + timeout
        while not self._replies:
            self._raise_if_broken()
            await self._wait(until, f"no reply within {timeout:.3g} s")
        return self._pop_reply()

    def received_reply(self) -> Reply | None:
        """The next reply, if it was received already."""
        return self._pop_reply() if self._replies else None

    def _pop_reply(self) -> Reply:
        reply = self._replies.popleft()
        if not self._replies:
            self._resume_reading()
        if self.transcript.enabled:
            self.transcript.received(reply)
        return reply

    @property
    def challenge(self) -> bytes:
        """The text of the last 334, not redacted."""
        return self._reader.challenge

    def early_reply(self) -> Reply | None:
        """The next reply, if it was received already; raises where none can follow.

        Raises:
            Garbage: the server sent something that is no reply.
            Lost: the connection has ended.
        """
        if not self._replies:
            self._raise_if_broken()
            return None
        return self._pop_reply()

    def command(self, line: bytes, content: bytes = b"") -> None:
        """Write a command or a group of commands, if no reply is left unread.

        `content` follows them in the same write.

        Raises:
            Garbage: an extra reply came, or something that is no reply.
            Lost: the connection has ended.
        """
        self.commands([(line, content)])

    def commands(self, pieces: list[tuple[bytes, bytes]]) -> None:
        """The same for pairs of commands and content, all in one write."""
        if self._replies:
            # A 421 may come at any time (RFC 5321 section 3.8). It counts as the reply
            # to this command, which is not written.
            if self._replies[0].code == 421:
                return
            raise Garbage(f"an extra reply: {self._replies[0]}")
        self._raise_if_broken()
        if not self._reader.idle:
            raise Garbage("an extra reply began")
        if self.transcript.check_enabled():
            for line, content in pieces:
                self.transcript.sent(line, content)
        self.transport.write(b"".join([part for piece in pieces for part in piece]))
        if self._below is not None and self._below.is_closing():
            # The write failed at once; why may have arrived, and nobody will read it.
            self._alert = self._alert or unread_alert(self.transport, self._below)

    def write(self, data: bytes | memoryview, commands: bytes = b"") -> None:
        """Write content, and commands pipelined after it; see `drain` for the pace."""
        if self.transcript.check_enabled():
            self.transcript.sent(b"", data)
            if commands:
                self.transcript.sent(commands)
        self.transport.write(bytes(data) + commands if commands else data)

    async def drain(self, timeout: float, deadline: Deadline) -> None:
        """Wait until more can be written, a reply came, or the connection ended.

        Raises:
            TimedOut: nothing was sent for `timeout` seconds, or the deadline ran out.
        """
        # The loop has to run even if there is no need to wait: otherwise received data
        # is not seen, and asyncio logs an error for each write after a loss.
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
        """Whether the server sent something that was not read."""
        return bool(self._replies) or not self._reader.idle

    @property
    def usable(self) -> bool:
        """Whether the connection can be used for another message."""
        return not self.unread and self._lost is None and not self.transport.is_closing()

    def discard(self) -> None:
        """Discard what was received and not read (RFC 3207 section 6)."""
        self._replies.clear()
        self._reader.clear()
        self._resume_reading()

    def abort(self) -> None:
        """Close the connection at once; nothing more is sent."""
        self.transport.abort()

    async def wait_closed(self, timeout: float) -> None:
        """Wait until the socket is closed, `timeout` seconds at most."""
        await asyncio.wait([self._closed], timeout=timeout)

    def quit(self) -> None:
        """Send QUIT, and close_notify inside TLS; close the connection without waiting.

        The 221 would cost a round trip and tells nothing (RFC 5321 section 4.1.1.10). A
        server that does not reply would keep the socket open long after the call.
        """
        # The outcome of the message is known already, whatever fails here.
        with contextlib.suppress(Exception):
            if self.usable and not self._paused and not self.quit_sent:
                self.transcript.sent(b"QUIT\r\n")
                self.transport.write(b"QUIT\r\n")
                self.transport.close()
        self.transport.abort()
