"""The sink in Python, for where no C compiler is: as `sink.c`, and slower.

``python -m benchmarks.places.python_sink CERTIFICATE KEY LOGIN HOST``
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading


SETS: list[list[bytes]] = [[], [b"PIPELINING"], [b"PIPELINING", b"CHUNKING"]]
SECURITIES = ("starttls", "implicit")

_READ = 262144


class Counts:
    """What the sink accepted, over all connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.messages = self.recipients = self.bytes = 0

    def add(self, recipients: int, size: int) -> None:
        """Count one message."""
        with self._lock:
            self.messages += 1
            self.recipients += recipients
            self.bytes += size


class Conversation:
    """One connection, served by one thread."""

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        extensions: list[bytes],
        counts: Counts,
        security: str,
        login: bytes,
    ) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._context = context
        self._extensions = extensions
        self._counts = counts
        self._buffer = bytearray()
        self._answers: list[bytes] = []
        self._login = login
        self._security = security
        self._secure = security == "implicit"
        self._known = security == "plaintext"
        self._recipients = 0

    def run(self) -> None:
        """Serve it to its end, whatever the client does."""
        try:
            if self._secure:
                self._sock = self._context.wrap_socket(self._sock, server_side=True)
            self._sock.sendall(b"220 sink ESMTP\r\n")
            while self._command():
                pass
        except OSError:
            pass
        finally:
            self._sock.close()

    def _flush(self) -> None:
        # The answers to a group go out together (RFC 2920 section 3.2).
        if self._answers:
            self._sock.sendall(b"".join(self._answers))
            self._answers.clear()

    def _fill(self) -> None:
        self._flush()
        data = self._sock.recv(_READ)
        if not data:
            raise ConnectionError
        self._buffer += data

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _command(self) -> bool:
        """Answer one command; whether more may come."""
        line = self._line()
        verb = line[:4].upper()
        answer = b"250 ok\r\n"
        if verb == b"RCPT":
            self._recipients += 1
        elif verb == b"MAIL":
            self._recipients = 0
            answer = b"250 ok\r\n" if self._known else b"530 log in first\r\n"
        elif verb == b"BDAT":
            answer = self._bdat(line)
        elif verb == b"DATA":
            answer = self._data()
        elif verb in (b"EHLO", b"HELO"):
            answer = self._ehlo()
        elif verb == b"STAR":
            return self._starttls()
        elif verb == b"AUTH":
            answer = self._auth(line)
        elif verb == b"QUIT":
            self._answers.append(b"221 bye\r\n")
            self._flush()
            return False
        elif verb not in (b"RSET", b"NOOP"):
            answer = b"500 unknown\r\n"
        self._answers.append(answer)
        return True

    def _ehlo(self) -> bytes:
        lines = [b"sink", *self._extensions]
        if self._security == "plaintext":
            lines += [b"8BITMIME", b"SIZE 0"]
        else:
            lines.append(b"AUTH PLAIN" if self._secure else b"STARTTLS")
        *first, last = lines
        return b"".join(b"250-" + line + b"\r\n" for line in first) + b"250 %s\r\n" % last

    def _starttls(self) -> bool:
        self._answers.append(b"220 go on\r\n")
        self._flush()
        self._sock = self._context.wrap_socket(self._sock, server_side=True)
        self._secure = True
        return True

    def _auth(self, line: bytes) -> bytes:
        self._known = self._secure and line.split()[1:] == [b"PLAIN", self._login]
        return b"235 welcome\r\n" if self._known else b"535 refused\r\n"

    def _data(self) -> bytes:
        if not self._recipients:
            return b"503 no recipients\r\n"
        self._answers.append(b"354 go on\r\n")
        searched = 0
        while (end := self._buffer.find(b"\r\n.\r\n", searched)) < 0:
            searched = max(0, len(self._buffer) - 4)
            self._fill()
        del self._buffer[: end + 5]
        return self._accepted(end + 2)

    def _bdat(self, line: bytes) -> bytes:
        size = left = int(line.split()[1])
        while left > len(self._buffer):
            left -= len(self._buffer)
            self._buffer.clear()
            self._fill()
        del self._buffer[:left]
        return self._accepted(size) if self._recipients else b"503 no recipients\r\n"

    def _accepted(self, size: int) -> bytes:
        self._counts.add(self._recipients, size)
        self._recipients = 0
        return b"250 accepted\r\n"


def _serve(
    listener: socket.socket,
    context: ssl.SSLContext,
    extensions: list[bytes],
    counts: Counts,
    security: str,
    login: bytes,
) -> None:
    while True:
        sock, _ = listener.accept()
        served = Conversation(sock, context, extensions, counts, security, login)
        threading.Thread(target=served.run, daemon=True).start()


def main(certificate: str, key: str, login: str, host: str) -> None:
    """Serve until the standard input ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    counts = Counts()
    listeners = [(extensions, name) for extensions in SETS for name in SECURITIES]
    ports = []
    for extensions, security in [*listeners, (SETS[1], "plaintext")]:
        listener = socket.create_server((host, 0), backlog=128)
        ports.append(listener.getsockname()[1])
        arguments = (listener, context, extensions, counts, security, login.encode())
        threading.Thread(target=_serve, args=arguments, daemon=True).start()
    print(*ports, flush=True)
    for _ in sys.stdin:
        print(counts.messages, counts.recipients, counts.bytes, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
