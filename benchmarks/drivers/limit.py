"""The limit: a client by hand on a blocking socket, which does what the protocol needs.

It checks the code of each reply and nothing else, and cannot go on after a refusal: it
shows what the network and TLS cost, not how to send mail. AUTH is a group of its own, and
the reply to QUIT is not waited for.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import socket
import ssl
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO


# The answers to more would not fit into the buffers of the sockets, and both sides wait.
_GROUP = 1000

# Without it, a server that writes a reply in two parts waits 40 ms in between.
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)

# Bytes of a line of base64, and lines that are encoded at once.
_LINE, _LINES = 57, 1024


class Limit:
    """One connection, up to the login.

    Args:
        mode: ``plain`` asks command by command, ``group`` writes MAIL, RCPT and DATA at
            once (RFC 2920), ``bdat`` the content with them (RFC 3030). With `send_many`,
            ``cross`` writes them with the end of the message before (RFC 2920 section
            3.1), and ``bdat`` a window of messages.
    """

    def __init__(
        self,
        host: str,
        port: int,
        security: str,
        context: ssl.SSLContext,
        login: tuple[str, str],
        mode: str,
    ) -> None:
        self._mode = mode
        self._buffer, self._at = b"", 0
        self._sock = socket.create_connection((host, port))
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if security == "implicit":
            self._sock = context.wrap_socket(self._sock, server_hostname=host)
        self._replies([b"220"])
        self._ask(b"EHLO client.example.test\r\n", codes=[b"250"])
        if security == "starttls":
            self._ask(b"STARTTLS\r\n", codes=[b"220"])
            self._sock = context.wrap_socket(self._sock, server_hostname=host)
            self._ask(b"EHLO client.example.test\r\n", codes=[b"250"])
        word = base64.b64encode("\0".join(("", *login)).encode())
        self._ask(b"AUTH PLAIN " + word + b"\r\n", codes=[b"235"])

    def send(self, content: bytes, sender: str, recipients: Sequence[str]) -> None:
        """Send one message."""
        commands = _envelope(sender, recipients)
        while self._mode != "plain" and len(commands) > _GROUP:
            group, commands = commands[:_GROUP], commands[_GROUP:]
            self._ask(b"".join(group), codes=[b"250"] * len(group))
        codes = [b"250"] * len(commands)
        if self._mode == "bdat":
            commands.append(b"BDAT %d LAST\r\n" % len(content))
            self._ask(b"".join(commands), content, codes=[*codes, b"250"])
            return
        if self._mode == "group":
            self._ask(b"".join([*commands, b"DATA\r\n"]), codes=[*codes, b"354"])
        else:
            for command in commands:
                self._ask(command, codes=[b"250"])
            self._ask(b"DATA\r\n", codes=[b"354"])
        self._ask(_stuffed(content), b".\r\n", codes=[b"250"])

    def send_many(
        self,
        contents: Iterable[bytes],
        sender: str,
        recipients: Sequence[str],
        window: int,
    ) -> None:
        """Send messages to the same few recipients, each as soon as the mode allows."""
        if self._mode == "bdat":
            commands = _envelope(sender, recipients)
            window = min(window, _GROUP // (len(commands) + 1))
            self._windows(iter(contents), commands, window)
        elif self._mode == "cross":
            self._chain(contents, _envelope(sender, recipients))
        else:
            for content in contents:
                self.send(content, sender, recipients)

    def _windows(
        self, contents: Iterator[bytes], commands: Sequence[bytes], window: int
    ) -> None:
        group, answers = b"".join(commands), [b"250"] * (len(commands) + 1)
        while mails := list(itertools.islice(contents, window)):
            pieces = []
            for content in mails:
                pieces += [group, b"BDAT %d LAST\r\n" % len(content), content]
            self._sock.sendall(b"".join(pieces))
            self._replies(answers * len(mails))

    def _chain(self, contents: Iterable[bytes], commands: Sequence[bytes]) -> None:
        group = b"".join([*commands, b"DATA\r\n"])
        answers = [*[b"250"] * len(commands), b"354"]
        before: bytes | None = None
        for content in contents:
            if before is None:
                self._ask(group, codes=answers)
            else:
                end = b".\r\n" + group
                self._ask(_stuffed(before), end, codes=[b"250", *answers])
            before = content
        if before is not None:
            self._ask(_stuffed(before), b".\r\n", codes=[b"250"])

    def quit(self) -> None:
        """Hang up."""
        self._sock.sendall(b"QUIT\r\n")
        self._sock.close()

    def _ask(self, *data: bytes, codes: Sequence[bytes]) -> None:
        # One write if that is no great copy.
        for piece in [b"".join(data)] if sum(map(len, data)) < 65536 else data:
            self._sock.sendall(piece)
        self._replies(codes)

    def _replies(self, codes: Sequence[bytes]) -> None:
        for code in codes:
            more = b"-"
            while more == b"-":
                line = self._line()
                more = line[3:4]
                if line[:3] != code:
                    raise ConnectionError(line)

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\n", self._at)) < 0:
            if _QUICK_ACK is not None:
                self._sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
            data = self._sock.recv(65536)
            if not data:
                raise ConnectionError("closed")
            self._buffer, self._at = self._buffer[self._at :] + data, 0
        line, self._at = self._buffer[self._at : end], end + 1
        return line


def _envelope(sender: str, recipients: Sequence[str]) -> list[bytes]:
    commands = [b"MAIL FROM:<%s>\r\n" % sender.encode()]
    return commands + [b"RCPT TO:<%s>\r\n" % name.encode() for name in recipients]


def _stuffed(content: bytes) -> bytes:
    return content.replace(b"\r\n.", b"\r\n..")


def attachment(file: BinaryIO, sender: str, recipient: str) -> bytes:
    """A message with a file, written by hand."""
    pieces = []
    while data := file.read(_LINE * _LINES):
        text = binascii.b2a_base64(data, newline=False)
        whole, rest = divmod(len(text), 76)
        lines = struct.unpack("76s" * whole + f"{rest}s" * bool(rest), text)
        pieces.append(b"\r\n".join(lines))
    head = (
        f"From: {sender}\r\nTo: {recipient}\r\nSubject: A file\r\n"
        "Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.test>\r\n"
        'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="=-="\r\n\r\n'
        "--=-=\r\nContent-Type: text/plain\r\n\r\nIt is attached.\r\n"
        "--=-=\r\nContent-Type: application/octet-stream\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        'Content-Disposition: attachment; filename="file.bin"\r\n'
    )
    return b"\r\n".join((head.encode(), *pieces, b"--=-=--\r\n"))
