"""One socket of the server, in plaintext and then in TLS; every byte is recorded.

TLS runs over memory BIOs, so that this module controls the socket: it can reset or half
close it, send bytes in the clear in the middle of a handshake, or ignore close_notify.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable

    from scripted.records import Connection


_HANDSHAKE = 0x16  # the first byte of a TLS record that holds a ClientHello
_MOST = 1 << 16


class Over(Exception):
    """The conversation is over; the argument names who ended it."""


class Wire:
    """The bytes of one connection; `recv` and `send` decrypt and encrypt under TLS."""

    def __init__(
        self, sock: socket.socket, record: Connection, changed: Callable[[], None]
    ) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.record = record
        self.expect_tls = False
        self._sock = sock
        self.changed = changed
        self._lock = threading.Lock()
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    @property
    def secure(self) -> bool:
        """Whether the TLS handshake is done."""
        return self._tls is not None

    def recv(self, most: int = _MOST) -> bytes:
        """Receive at most `most` bytes of the client; none if it has closed."""
        if self._tls is None:
            data = self._recv_raw(most)
            self._note_clear(data)
        else:
            data = self._recv_tls(most)
            self.record.received += data
        self.changed()
        return data

    def send(self, data: bytes) -> None:
        """Send `data`, in one TLS record or segment if it is not too long."""
        self.record.add_sent(data)
        if not data:
            return
        if self._tls is None:
            self._send_raw(data)
        else:
            self._tls.write(data)
            self._send_raw(self._outgoing.read())

    def handshake(self, context: ssl.SSLContext, early: bytes = b"") -> None:
        """Do the server's side of the handshake; `early` was received before it began."""
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(early)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._send_raw(self._outgoing.read())
                chunk = self._recv_raw()
                if not chunk:
                    raise Over("client") from None
                self._note_clear(chunk)
                self._incoming.write(chunk)
            except ssl.SSLError as error:
                self.record.tls_error = str(error)
                self._send_raw(self._outgoing.read())
                self.finish()
                raise Over("tls") from None
        self._send_raw(self._outgoing.read())
        self._tls = tls
        self.record.tls_version = tls.version()

    def finish(self, *, notify: bool = True) -> None:
        """Close in good order: close_notify, FIN, then read until the client has closed.

        If bytes were left unread, Linux would send a reset.
        """
        if self._tls is not None and notify:
            with suppress(ssl.SSLError):  # the client's own close_notify has not come yet
                self._tls.unwrap()
            self._send_raw(self._outgoing.read())
        self._shutdown(socket.SHUT_WR)
        self.drain()

    def drain(self) -> None:
        """Read on, and send nothing, until the client has closed."""
        while self._recv_raw():
            pass

    def go_deaf(self) -> None:
        """Read nothing more, with a small window, until the client has closed."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        poll = select.poll()
        poll.register(self._sock, select.POLLRDHUP)  # hang-ups and errors always count
        poll.poll()

    def reset(self) -> None:
        """Close with a RST."""
        linger = struct.pack("ii", 1, 0)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    def close(self) -> None:
        """Close the socket; may be called twice."""
        with self._lock:
            self._sock.close()

    def wake(self, how: int) -> None:
        """End all calls that block on this socket; called by another thread."""
        self._shutdown(how)

    def _shutdown(self, how: int) -> None:
        with self._lock, suppress(OSError):  # closed already, by us or by the client
            self._sock.shutdown(how)

    def _recv_raw(self, most: int = _MOST) -> bytes:
        try:
            data = self._sock.recv(most)
        except OSError:  # a reset, or closed by the end of the server
            data = b""
        self.record.raw += data
        return data

    def _send_raw(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError:
            raise Over("client") from None

    def _recv_tls(self, most: int) -> bytes:
        while True:
            try:
                return self._tls.read(most)
            except ssl.SSLWantReadError:
                chunk = self._recv_raw()
                if not chunk:
                    return b""
                self._incoming.write(chunk)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:  # such as the alert of a client that refused us
                self.record.tls_error = str(error)
                return b""

    def _note_clear(self, data: bytes) -> None:
        """Record unencrypted bytes: those of a TLS handshake apart from plaintext."""
        record = self.record
        if self.expect_tls and (record.handshake or data[:1] == bytes([_HANDSHAKE])):
            record.handshake += data
        else:
            record.plaintext += data
