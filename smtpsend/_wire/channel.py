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

from smtpsend._protocol.failures import Alert, ExtraReply, Garbage, Lost, TimedOut
from smtpsend._protocol.redaction.redact import Redactor
from smtpsend._protocol.replies import ReplyReader
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.tls.alerts import alert_of
from smtpsend._wire.transcript import Transcript
from smtpsend._wire.transport.acknowledge import Acknowledger
from smtpsend._wire.transport.ended import ENDED
from smtpsend._wire.transport.socket_transport import SocketTransport
from smtpsend._wire.transport.transports import unread_alert
from smtpsend.errors import Reply


# If more octets than this are unsent in the transport, `drain` waits.
_HIGH_WATER = 65536
# If more octets of replies than this are unread, the transport stops reading.
_MAX_UNREAD = 65536


class Channel(asyncio.Protocol):
    """A connection over which commands are written and replies are read one by one.

    Attributes:
        redact: hides the secrets of the call.
        transcript: the debug log of the connection.
        transport: the transport of asyncio; the one inside TLS after the handshake.
        quit_sent: whether QUIT was sent; no command may follow it.
        reading_paused: whether the transport has stopped reading.
        last_received: the time at which data last arrived, on the loop's clock.
    """

    def __init__(self, redact: Redactor) -> None:
        self._loop = asyncio.get_running_loop()
        self.redact = redact
        self.transcript = Transcript(redact)
        self.quit_sent = False
        self._reader = ReplyReader(self.redact)
        self._replies: deque[Reply] = deque()
        self._lost: str | None = None
        self._alert: str | None = None  # the TLS alert that ended the connection
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wait_end = 0.0  # the latest end of the present wait, on the loop's clock
        self._paused = False
        self.reading_paused = False
        self._unread = 0  # octets received since all replies were last read
        self._watcher: Callable[[], object] | None = None
        self.last_received = self._loop.time()
        self._closed = self._loop.create_future()
        self._acknowledger = Acknowledger()
        self.transport: asyncio.Transport
        self._poll: Callable[[], bool] = bool  # which is False: only the loop waits
        self._below: asyncio.Transport | None = None

    # Methods that asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.set_transport(cast("asyncio.Transport", transport))

    def set_transport(self, transport: asyncio.Transport) -> None:
        """Use `transport` from now on: the first one, or the one inside TLS."""
        self._below = self._below or transport
        self.transport = transport
        self._acknowledger.use(transport)
        self._poll = transport.poll if isinstance(transport, SocketTransport) else bool
        self.reading_paused = False
        transport.set_write_buffer_limits(high=_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self.last_received = self._loop.time()
        self._replies += self._reader.feed(data)
        self._unread += len(data)
        if self._watcher is not None:
            self._notify_watcher()
        if self._reader.garbage is not None or (
            self._unread > _MAX_UNREAD and self._replies
        ):
            self._pause_reading()
        if self._waiter is not None:
            self._wake()

    def _pause_reading(self) -> None:
        """Stop reading until the replies are read; TCP flow control stops the server.

        No caller needs more data while a reply is unread, or after data that is no reply.
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
        """Call `watcher` once, when data arrives or the connection ends.

        Args:
            watcher: the function to call; None removes the present one.
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
        self.transport = self._below = ENDED
        self._poll = bool
        self._acknowledger.use(None)
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

    # Methods that connections and transactions call.

    async def _wait(self, until: float) -> None:
        """Wait for any event of the connection, until `until` on the loop's clock."""
        self._waiter = self._loop.create_future()
        self._wake_at(until)
        try:
            await self._waiter
        finally:
            self._waiter = None
        self.transcript.check_enabled()  # it may have been enabled meanwhile

    def _wake_at(self, until: float) -> None:
        """Wake the waiter at `until`.

        A timer is kept after its wait, because the end of the next wait is mostly later,
        and `_timer_fired` then extends it. A new timer for each reply would be a large
        part of the cost of a reply.
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
        """Raise the fault that makes this connection unusable, if there is one."""
        if self._reader.garbage is not None:
            raise Garbage(*self._reader.garbage.args)
        if self._alert is not None:
            raise Alert(self._alert)
        if self._lost is not None:
            raise Lost(self._lost)
        if self.transport.is_closing():
            # After the server's close_notify, asyncio discards writes without an error.
            raise Lost("the server closed the connection")

    async def reply(self, timeout: float) -> Reply:
        """Wait for the next complete reply, and return it.

        Raises:
            Garbage: the server sent data that is no reply.
            Alert: the server ended the connection with a TLS alert.
            Lost: the connection ended before the reply.
            TimedOut: the reply did not arrive within `timeout` seconds.
        """
        await self.wait_reply(timeout)
        return self._pop_reply()

    async def wait_reply(self, timeout: float) -> None:
        """Wait for a reply, without reading it; raises what `reply` raises."""
        until, may_poll = self._loop.time() + timeout, timeout > 0
        while not self._replies:
            self._raise_if_broken()
            if not may_poll and self._loop.time() >= until:
                raise TimedOut(f"no reply within {timeout:.3g} s")
            self._acknowledger.acknowledge()
            if not (may_poll and self._poll()):
                await self._wait(until)
            may_poll = False  # the loop has its turn if what came is no whole reply

    def read_received(self, read: Callable[[deque[Reply]], None]) -> None:
        """Let `read` take replies that have arrived."""
        replies = self._replies
        if self.transcript.enabled:
            before = list(replies)
            read(replies)
            for reply in before[: len(before) - len(replies)]:
                self.transcript.received(reply)
        else:
            read(replies)
        if not replies:
            self._resume_reading()

    def _pop_reply(self) -> Reply:
        reply = self._replies.popleft()
        if not self._replies:
            self._resume_reading()
        if self.transcript.check_enabled():
            self.transcript.received(reply)
        return reply

    @property
    def challenge(self) -> bytes:
        """The text of the last 334, not redacted."""
        return self._reader.challenge

    def early_reply(self) -> Reply | None:
        """Return the next reply if it has arrived; None if it can still arrive.

        Raises:
            Garbage: the server sent data that is no reply.
            Alert: the server ended the connection with a TLS alert.
            Lost: the connection has ended.
        """
        if not self._replies:
            self._raise_if_broken()
            return None
        return self._pop_reply()

    def command(self, line: bytes) -> None:
        """Write one command.

        Nothing is written if the next unread reply is a 421: the caller reads it as the
        reply to this command.

        Raises:
            Garbage: another reply is unread, or the server sent data that is no reply.
            Alert: the server ended the connection with a TLS alert.
            Lost: the connection has ended.
        """
        if self._replies and self._replies[0].code == 421:
            return
        self.raise_unless_idle()
        self.write_commands([(line, b"")])

    def unread_421(self) -> Reply | None:
        """Return a 421 that came before the next command; None if nothing is unread.

        A 421 may come at any time (RFC 5321 section 3.8).

        Raises:
            Garbage: another reply is unread, or the server sent data that is no reply.
            Alert: the server ended the connection with a TLS alert.
            Lost: the connection has ended.
        """
        if self._replies and self._replies[0].code == 421:
            return self._pop_reply()
        self.raise_unless_idle()
        return None

    def raise_unless_idle(self) -> None:
        """Raise if a command that is written now could be paired with a wrong reply."""
        if self._replies:
            raise ExtraReply(f"an extra reply: {self._replies[0]}")
        self._raise_if_broken()
        if not self._reader.idle:
            raise ExtraReply("an extra reply began")

    def write_commands(self, pieces: list[tuple[bytes, bytes]]) -> None:
        """Write commands, each with its content, in one write."""
        if self.transcript.check_enabled():
            for line, content in pieces:
                self.transcript.sent(line, content)
        single = len(pieces) == 1
        parts = pieces[0] if single else [part for piece in pieces for part in piece]
        self.transport.write(b"".join(parts))
        if self._below is not None and self._below.is_closing():
            # The write failed at once. A TLS alert may have arrived that gives the cause,
            # and asyncio reads nothing more.
            self._alert = self._alert or unread_alert(self.transport, self._below)

    def write(self, data: bytes | memoryview, commands: bytes = b"") -> None:
        """Write content, and commands pipelined after it.

        The caller awaits `drain` between two writes.
        """
        if self.transcript.check_enabled():
            self.transcript.sent(b"", data)
            if commands:
                self.transcript.sent(commands)
        self.transport.write(bytes(data) + commands if commands else data)

    async def drain(self, timeout: float, deadline: Deadline) -> None:
        """Wait until more can be written, a reply arrives, or the connection ends.

        Raises:
            TimedOut: nothing was sent for `timeout` seconds, or the deadline has passed.
        """
        # The loop must run once even if no wait is needed. Otherwise it would not receive
        # data, and asyncio would log an error for each write to a lost connection.
        await asyncio.sleep(0)
        waiting = self.transport.get_write_buffer_size()
        until = self._loop.time() + deadline.within(timeout)
        while self._paused and not self._replies and self._lost is None:
            if self._reader.garbage is not None:
                return
            if self._loop.time() >= until:
                now = self.transport.get_write_buffer_size()
                if now >= waiting or not deadline.left:
                    raise TimedOut(f"no upload progress within {timeout:.3g} s")
                waiting, until = now, self._loop.time() + deadline.within(timeout)
            self._acknowledger.acknowledge()
            await self._wait(until)

    @property
    def unread(self) -> bool:
        """Whether the server sent data that was not read as a reply yet."""
        return bool(self._replies) or not self._reader.idle

    @property
    def usable(self) -> bool:
        """Whether the connection can be used for another message."""
        return not self.unread and self._lost is None and not self.transport.is_closing()

    def discard(self) -> None:
        """Discard all received data that was not read (RFC 3207 section 6)."""
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

        The 221 would cost a round trip, and changes no outcome (RFC 5321 section
        4.1.1.10). If a server did not send it, the socket would stay open long after the
        call.
        """
        # The outcome of the message is known already, so a failure here is ignored.
        with contextlib.suppress(Exception):
            if self.usable and not self._paused and not self.quit_sent:
                self.transcript.sent(b"QUIT\r\n")
                self.transport.write(b"QUIT\r\n")
                self.transport.close()
        self.transport.abort()
