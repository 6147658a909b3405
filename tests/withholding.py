"""A server that sends each reply in two halves, and withholds the second.

The second half goes out when the kernel of the client has acknowledged the first, as
with a server that Nagle's algorithm holds back (RFC 896). A client that waits for the
whole reply while its kernel delays that acknowledgement loses some 40 ms.

No time is measured. `Watch` looks at each event loop of the process when it has nothing
left to do: if it has read all that the server sent, and the kernel has not acknowledged
that, the acknowledgement is delayed, because nothing but a timer of the kernel will
cause it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
from tls import server_context


# Offsets in `struct tcp_info` of Linux.
_UNACKNOWLEDGED, _RECEIVED = 24, 128
# Seconds for an acknowledgement that was sent to arrive. The kernel delays one for 40 ms
# at least.
_ON_ITS_WAY = 0.01
_PATIENCE = 20.0  # seconds for what must happen


def _info(sock: socket.socket, offset: int, kind: str) -> int:
    data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    return int(struct.unpack_from(kind, data, offset)[0])


def _unread(fd: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4))[0])


@dataclass
class Half:
    """The first half of a reply, on its way to the client.

    Attributes:
        wait: what the client waits for.
        sock: the socket of the server.
        total: the octets of the connection, when it has arrived.
        judged: set when the client had it all, and waited for the rest.
    """

    wait: str
    sock: socket.socket
    total: int
    judged: threading.Event = field(default_factory=threading.Event)


class Watch:
    """Judges the halves, whenever an event loop of this process begins to wait.

    Attributes:
        waits: what clients waited for, in order.
        delayed: those of them whose first half was not acknowledged meanwhile.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waits: list[str] = []
        self.delayed: list[str] = []
        self._lock = threading.Lock()
        self._halves: list[Half] = []
        select = selectors.EpollSelector.select

        def watched(selector: Any, timeout: float | None = None) -> Any:
            ready = select(selector, 0)
            if ready or (timeout is not None and timeout <= 0):
                return ready
            self._idle(selector)
            return select(selector, timeout)

        monkeypatch.setattr(selectors.EpollSelector, "select", watched)

    @contextlib.contextmanager
    def half(self, half: Half) -> Iterator[None]:
        """Judge this half, which is sent inside the block."""
        with self._lock:
            self._halves.append(half)
        try:
            yield
        finally:
            with self._lock:
                self._halves.remove(half)

    def _idle(self, selector: selectors.BaseSelector) -> None:
        """Judge the halves that have arrived in the loop of this selector."""
        with self._lock:
            for half in self._halves:
                if not half.judged.is_set() and self._has_all(selector, half):
                    self.waits.append(half.wait)
                    if not _acknowledged(half.sock):
                        self.delayed.append(half.wait)
                    half.judged.set()

    def _has_all(self, selector: selectors.BaseSelector, half: Half) -> bool:
        """Whether a connection of this loop has read the half to its end."""
        for fd in list(selector.get_map() or ()):
            with contextlib.suppress(OSError):
                with socket.socket(fileno=os.dup(fd)) as sock:
                    if sock.getsockname() == half.sock.getpeername():
                        received = _info(sock, _RECEIVED, "Q")
                        return received >= half.total and not _unread(fd)
        return False


def _acknowledged(sock: socket.socket) -> bool:
    until = time.monotonic() + _ON_ITS_WAY
    while _info(sock, _UNACKNOWLEDGED, "I"):
        if time.monotonic() > until:
            return False
    return True


class Conversation:
    """One connection, in a thread of its own."""

    def __init__(
        self, sock: socket.socket, watch: Watch, offers: tuple[str, ...], implicit: bool
    ) -> None:
        self._sock, self._watch, self._offers = sock, watch, offers
        self._tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._buffer = b""
        self._sent = 0
        self._implicit = implicit
        self.accepted = 0

    def run(self) -> None:
        """Serve it, until the client leaves."""
        with contextlib.suppress(OSError), self._sock:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._implicit:
                self._handshake()
            self._reply("greeting", b"220 withholding ESMTP\r\n")
            while self._group():
                pass

    def _write(self, data: bytes) -> None:
        self._sent += len(data)
        self._sock.sendall(data)

    def _withhold(self, wait: str, first: bytes) -> None:
        """Send this much, and wait until the client has it and waits for the rest."""
        half = Half(wait, self._sock, self._sent + len(first))
        with self._watch.half(half):
            self._write(first)
            until = time.monotonic() + _PATIENCE
            while not half.judged.wait(0.01):
                if time.monotonic() > until:
                    raise TimeoutError(wait)
                self._raise_if_gone()

    def _raise_if_gone(self) -> None:
        """Raise if the client has left without waiting."""
        with contextlib.suppress(BlockingIOError):
            if not self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                raise ConnectionError

    def _encrypted(self, data: bytes) -> bytes:
        if self._tls is None:
            return data
        self._tls.write(data)
        return self._out.read()

    def _reply(self, wait: str, data: bytes) -> None:
        """Send a reply in two halves."""
        middle = len(data) // 2
        self._withhold(wait, self._encrypted(data[:middle]))
        self._write(self._encrypted(data[middle:]))

    def _handshake(self) -> None:
        """Do the handshake; what the server sends goes out in halves, too."""
        tls = server_context().wrap_bio(self._in, self._out, server_side=True)
        done = False
        while not done:
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                if flight := self._out.read():
                    self._withhold("TLS handshake", flight[: len(flight) // 2])
                    self._write(flight[len(flight) // 2 :])
                self._in.write(self._received())
        self._tls = tls
        # Session tickets, after which the greeting has to wait with implicit TLS.
        if tickets := self._out.read():
            self._withhold("session tickets", tickets)

    def _received(self) -> bytes:
        data = self._sock.recv(65536)
        if not data:
            raise ConnectionError
        return data

    def _fill(self) -> None:
        if self._tls is None:
            self._buffer += self._received()
            return
        while True:
            try:
                data = self._tls.read(65536)
            except ssl.SSLWantReadError:
                self._in.write(self._received())
                continue
            if not data:
                raise ConnectionError
            self._buffer += data
            return

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._fill()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _group(self) -> bool:
        """Reply to the commands that have arrived, all at once; whether more may come."""
        verbs, replies = [], []
        while True:
            line = self._line()
            verb = line[:4].decode().upper()
            verbs.append(verb)
            replies.append(self._done(verb, line))
            if b"\r\n" not in self._buffer:
                break
        if verbs == ["QUIT"]:
            return False
        self._reply(" ".join(verbs), b"".join(replies))
        if verbs == ["STAR"]:
            self._handshake()
        elif verbs[-1] == "DATA":
            while b"\r\n.\r\n" not in self._buffer:
                self._fill()
            _, _, self._buffer = self._buffer.partition(b"\r\n.\r\n")
            self.accepted += 1
            rest = self._buffer.upper()
            last = b"221 bye\r\n" if rest.startswith(b"QUIT") else b""
            self._reply("content", b"250 accepted\r\n" + last)
            return not last
        return verbs[-1] != "QUIT"

    def _done(self, verb: str, line: bytes) -> bytes:
        """Carry a command out; the reply to it."""
        if verb == "BDAT":
            size = int(line.split()[1])
            while len(self._buffer) < size:
                self._fill()
            self._buffer = self._buffer[size:]
            self.accepted += 1
        elif verb == "EHLO":
            offers = [*self._offers, "AUTH PLAIN"] if self._tls else ["STARTTLS"]
            lines = ["withholding", *offers[:-1]]
            return "".join(f"250-{one}\r\n" for one in lines).encode() + (
                f"250 {offers[-1]}\r\n".encode()
            )
        codes = {"DATA": b"354", "AUTH": b"235", "STAR": b"220", "QUIT": b"221"}
        return codes.get(verb, b"250") + b" ok\r\n"


class WithholdingServer:
    """The server; `port` is where it listens."""

    def __init__(self, watch: Watch, *offers: str, implicit: bool = False) -> None:
        self._watch, self._offers, self._implicit = watch, offers, implicit
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._served: list[tuple[Conversation, threading.Thread]] = []
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for _, thread in self._served:
            thread.join()

    @property
    def accepted(self) -> int:
        """The messages that it accepted."""
        return sum(one.accepted for one, _ in self._served)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                one = Conversation(sock, self._watch, self._offers, self._implicit)
                thread = threading.Thread(target=one.run)
                self._served.append((one, thread))
                thread.start()
