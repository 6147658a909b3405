"""A transport over a socket that OpenSSL reads and writes itself.

asyncio's TLS copies each octet through two buffers in memory and a second protocol. A
round trip over `ssl.SSLSocket` costs a fifth less CPU. This transport needs a loop that
watches file descriptors, and a context that makes such sockets; see `open_transport`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from typing import Any

from smtpsend._wire.dial import OPEN
from smtpsend._wire.transport.acknowledge import Acknowledger
from smtpsend._wire.transport.polling import poller_for


# The longest content of a TLS record (RFC 8446 section 5.1). To read as much leaves
# nothing in OpenSSL's buffer, which the loop cannot watch. To write no more at once lets
# each record that was sent show as progress.
_RECORD = 16384

# The flights that a server sends in a handshake of TLS 1.2, the most of all versions.
_FLIGHTS = 2

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class SocketTransport(asyncio.Transport):
    """A connection over a non-blocking socket, with TLS after `start_tls`.

    Args:
        loop: the running event loop, which watches the socket.
        sock: the connected socket; the transport closes it.
        protocol: the protocol, as for a transport of asyncio.

    Attributes:
        error: what ended the connection; None if nothing failed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        protocol: asyncio.Protocol,
    ) -> None:
        super().__init__()
        self.error: Exception | None = None
        self._loop = loop
        self._sock = sock
        self._descriptor = sock.fileno()
        self._protocol = protocol
        self._unsent: deque[bytes | bytearray | memoryview] = deque()
        self._unsent_size = 0
        self._high = 4 * _RECORD
        self._writing_paused = False
        self._watching_reads = self._watching_writes = False
        self._read_wants_write = False  # TLS has to write before it reads on
        self._handshake: asyncio.Future[None] | None = None
        self._closing = False  # nothing more is read, or taken from the protocol
        self._ended = False  # nothing more is sent
        self._poller = poller_for(loop, self._descriptor)
        with contextlib.suppress(OSError):  # it is no socket of TCP
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        protocol.connection_made(self)
        self.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the ``socket``, its ``sockname``, or the ``ssl_object`` inside TLS."""
        if name == "socket":
            return self._sock
        if name == "ssl_object" and isinstance(self._sock, ssl.SSLSocket):
            return self._sock
        if name == "sockname":
            with contextlib.suppress(OSError):
                return self._sock.getsockname()
        return default

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Do the TLS handshake of a client.

        Args:
            context: the context that verifies the server.
            name: the name that the certificate must be for.

        Raises:
            ssl.SSLError: the handshake failed.
            OSError: the connection ended.
        """
        self._sock = tls = context.wrap_socket(
            self._sock, server_hostname=name, do_handshake_on_connect=False
        )
        OPEN.add(tls)
        acknowledger = Acknowledger()
        acknowledger.use(self)
        self.resume_reading()
        polls = _FLIGHTS
        try:
            while not self._closing:
                self._handshake = self._loop.create_future()
                try:
                    tls.do_handshake()
                except ssl.SSLWantReadError:
                    self._watch_writes(on=False)
                    # OpenSSL writes a flight of more than 4 KiB, as with most chains of
                    # certificates, in two parts, and the second may wait for the
                    # acknowledgement of the first. To send data ends the effect of the
                    # option, and so it is set after the ClientHello.
                    acknowledger.acknowledge()
                except ssl.SSLWantWriteError:
                    self._watch_writes(on=True)
                else:
                    return
                if polls:  # the loop has its turns if the server sends more flights
                    polls -= 1
                    self.poll()
                await self._handshake
        finally:
            self._handshake = None
            self._watch_writes(on=False)
        raise ConnectionResetError

    def _continue_handshake(self) -> None:
        if self._handshake is not None and not self._handshake.done():
            self._handshake.set_result(None)

    # Reading.

    def pause_reading(self) -> None:
        if self._watching_reads:
            self._watching_reads = False
            self._loop.remove_reader(self._descriptor)

    def resume_reading(self) -> None:
        if not self._watching_reads and not self._closing:
            self._watching_reads = True
            self._loop.add_reader(self._descriptor, self._readable)

    def poll(self) -> bool:
        """Wait for data for 2 ms at most, without the loop; return whether data came.

        A server nearby replies within this time, which saves two turns of the loop. The
        wait ends as soon as the loop has anything else to do.
        """
        poller = self._poller
        if poller is None or not self._watching_reads or self._unsent:
            return False
        if not poller.wait():
            return False  # the loop will see any other event
        self._readable()
        return not self._closing  # the loop tells the protocol of the end

    def _readable(self) -> None:
        if self._handshake is not None:
            self._continue_handshake()
            return
        try:
            data = self._sock.recv(_RECORD)
        except _WOULD_BLOCK as error:
            if isinstance(error, ssl.SSLWantWriteError):
                self._read_wants_write = True
                self._watch_writes(on=True)
            data = None
        except Exception as error:  # noqa: BLE001  # whatever it is, it ends the connection
            self._end(error)
            return
        if self._unsent:
            self._flush()  # TLS may have had to read before it can write on
        if data:
            try:
                self._protocol.data_received(data)
            except BaseException:
                self._end(None)
                raise
        elif data is not None:
            self._protocol.eof_received()
            self.close()

    # Writing.

    def set_write_buffer_limits(
        self,
        high: int | None = None,
        low: int | None = None,  # noqa: ARG002  # the base class has it
    ) -> None:
        """Pause the protocol above `high` octets, until a quarter of them is left."""
        self._high = 4 * _RECORD if high is None else high

    def get_write_buffer_size(self) -> int:
        return self._unsent_size

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` as far as the socket takes it, and the rest when it takes more."""
        if self._closing or not data:
            return
        blocked = bool(self._unsent)
        if not blocked and len(data) <= _RECORD:
            sent = self._send(data)
            if self._ended or sent == len(data):
                return
            data, blocked = data[sent:], not sent
        if len(data) <= _RECORD:
            self._unsent.append(data)
        else:
            rest, records = memoryview(data), range(0, len(data), _RECORD)
            self._unsent += [rest[at : at + _RECORD] for at in records]
        self._unsent_size += len(data)
        if not blocked:
            self._flush()
        if self._unsent_size > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def _flush(self) -> None:
        """Send what is unsent, as far as the socket takes it."""
        unsent = self._unsent
        while unsent:
            piece = unsent[0]
            sent = self._send(piece)
            if not sent:
                break
            self._unsent_size -= sent
            if sent < len(piece):
                unsent[0] = piece[sent:]
            else:
                unsent.popleft()
        else:
            self._watch_writes(on=False)
        if self._ended:
            return
        if self._writing_paused and self._unsent_size <= self._high // 4:
            self._writing_paused = False
            self._protocol.resume_writing()
        if self._closing and not unsent:
            self._finish()

    def _send(self, piece: bytes | bytearray | memoryview) -> int:
        """Send `piece`; return how many octets of it were sent.

        If TLS sends none because the socket is full, it wants the same piece next time.
        """
        try:
            return self._sock.send(piece)
        except _WOULD_BLOCK as error:
            # If TLS has to read before, `_readable` tries again.
            self._watch_writes(on=not isinstance(error, ssl.SSLWantReadError))
        except Exception as error:  # noqa: BLE001  # whatever it is, it ends the connection
            self._end(self._alert() or error)
        return 0

    def _alert(self) -> ssl.SSLError | None:
        """Return the TLS alert that arrived before a write failed.

        A server that refuses a client sends the alert and resets the connection.
        """
        try:
            while self._sock.recv(_RECORD):
                pass
        except ssl.SSLError as error:
            return error
        except OSError:
            pass
        return None

    def _watch_writes(self, *, on: bool) -> None:
        if on and not self._watching_writes and not self._ended:
            self._watching_writes = True
            self._loop.add_writer(self._descriptor, self._writable)
        elif not on and self._watching_writes and not self._read_wants_write:
            self._watching_writes = False
            self._loop.remove_writer(self._descriptor)

    def _writable(self) -> None:
        if self._handshake is not None:
            self._continue_handshake()
            return
        if self._read_wants_write:
            self._read_wants_write = False
            self._readable()
        self._flush()

    # The end.

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Close the connection after what is unsent, and close_notify inside TLS."""
        if not self._closing:
            self._closing = True
            self.pause_reading()
            if not self._unsent:
                self._finish()

    def abort(self) -> None:
        """Close the connection; nothing more is sent."""
        self._end(None)

    def _finish(self) -> None:
        """Send close_notify inside TLS, without waiting for the server's; end."""
        if isinstance(self._sock, ssl.SSLSocket) and not self._ended:
            with contextlib.suppress(OSError, ValueError):
                self._sock.unwrap()
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended = self._closing = True
        # Its traceback refers to the frame that called this, and so to the transport.
        self.error = None if error is None else error.with_traceback(None)
        self.pause_reading()
        self._read_wants_write = False
        self._watch_writes(on=False)
        self._unsent.clear()
        self._unsent_size = 0
        self._continue_handshake()
        self._loop.call_soon(self._connection_lost)

    def _connection_lost(self) -> None:
        try:
            self._protocol.connection_lost(self.error)
        finally:
            self._sock.close()
