"""A submission server that verifies nothing but the login, stores nothing and is fast.

In a process of its own: ``python -m benchmarks.sink FOLDER``. For each set of extensions
it listens on two ports, STARTTLS and implicit TLS. It writes its ports as a line of JSON,
then answers each line on its standard input with what it took so far, and ends with the
input. The CA to trust is FOLDER/ca.pem.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import sys
import threading
from pathlib import Path

import trustme

from benchmarks.jobs import PASSWORD, USERNAME


EXTENSIONS = {
    "none": [],
    "pipelining": [b"PIPELINING"],
    "chunking": [b"PIPELINING", b"CHUNKING"],
}
"""What a server may offer besides AUTH, and the names of the sets in the cases."""

_LOGIN = base64.b64encode(f"\0{USERNAME}\0{PASSWORD}".encode())
_READ = 262144


class Counts:
    """What the sink took, over all connections."""

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
        implicit: bool,
    ) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._context = context
        self._extensions = extensions
        self._counts = counts
        self._buffer = bytearray()
        self._answers: list[bytes] = []
        self._secure = implicit
        self._known = False
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
        elif verb == b"EHLO":
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
            answer = b"500 what?\r\n"
        self._answers.append(answer)
        return True

    def _ehlo(self) -> bytes:
        lines = [b"sink", *self._extensions]
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
        self._known = self._secure and line.split()[1:] == [b"PLAIN", _LOGIN]
        return b"235 welcome\r\n" if self._known else b"535 no\r\n"

    def _data(self) -> bytes:
        if not self._recipients:
            return b"503 to whom?\r\n"
        self._answers.append(b"354 go on\r\n")
        searched = 0
        while (end := self._buffer.find(b"\r\n.\r\n", searched)) < 0:
            searched = max(0, len(self._buffer) - 4)
            self._fill()
        del self._buffer[: end + 5]
        return self._took(end + 2)

    def _bdat(self, line: bytes) -> bytes:
        size = left = int(line.split()[1])
        while left > len(self._buffer):
            left -= len(self._buffer)
            self._buffer.clear()
            self._fill()
        del self._buffer[:left]
        return self._took(size) if self._recipients else b"503 to whom?\r\n"

    def _took(self, size: int) -> bytes:
        self._counts.add(self._recipients, size)
        self._recipients = 0
        return b"250 taken\r\n"


def _accept(
    listener: socket.socket,
    context: ssl.SSLContext,
    extensions: list[bytes],
    counts: Counts,
    implicit: bool,
) -> None:
    while True:
        sock, _ = listener.accept()
        talk = Conversation(sock, context, extensions, counts, implicit)
        threading.Thread(target=talk.run, daemon=True).start()


def main(folder: Path) -> None:
    """Serve until the standard input ends."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    counts = Counts()
    ports: dict[str, dict[str, int]] = {}
    for name, extensions in EXTENSIONS.items():
        ports[name] = {}
        for security in ("starttls", "implicit"):
            listener = socket.create_server(("127.0.0.1", 0), backlog=128)
            ports[name][security] = listener.getsockname()[1]
            arguments = (listener, context, extensions, counts, security == "implicit")
            threading.Thread(target=_accept, args=arguments, daemon=True).start()
    print(json.dumps(ports), flush=True)
    for _ in sys.stdin:
        taken = {
            "messages": counts.messages,
            "recipients": counts.recipients,
            "bytes": counts.bytes,
        }
        print(json.dumps(taken), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
