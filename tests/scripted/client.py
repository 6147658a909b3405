"""A raw client that sends any bytes, even those that no correct client would send."""

from __future__ import annotations

import base64
import socket
import ssl
from typing import Self

import tls

from scripted.server import ScriptedServer


class RawClient:
    """One connection to a port of the server; a context manager."""

    def __init__(
        self, server: ScriptedServer, port: str = "starttls", timeout: float = 10
    ) -> None:
        self.server = server
        self.sock = socket.create_connection((server.host, server.port(port)), timeout)
        self._buffer = b""

    @classmethod
    def secure(cls, server: ScriptedServer, port: str = "starttls") -> Self:
        """Make a client after TLS and the EHLO in it."""
        self = cls(server, port)
        try:
            if port != "implicit":
                self.reply()
                self.ask(b"EHLO c.example")
                self.ask(b"STARTTLS")
            self.tls()
            if port == "implicit":
                self.reply()
            self.ask(b"EHLO c.example")
        except BaseException:
            self.close()
            raise
        return self

    @classmethod
    def ready(cls, server: ScriptedServer, port: str = "starttls") -> Self:
        """Make a client after AUTH."""
        self = cls.secure(server, port)
        self.ask(b"AUTH PLAIN " + self.credentials)
        return self

    @property
    def credentials(self) -> bytes:
        """The initial response of AUTH PLAIN."""
        text = f"\0{self.server.user}\0{self.server.password}"
        return base64.b64encode(text.encode())

    def tls(self, context: ssl.SSLContext | None = None, name: str = "127.0.0.1") -> None:
        """Do the client's side of the handshake."""
        context = context or tls.client_context()
        self.sock = context.wrap_socket(
            self.sock, server_hostname=name, suppress_ragged_eofs=False
        )

    def say(self, data: bytes) -> None:
        """Send these bytes as they are."""
        self.sock.sendall(data)

    def ask(self, line: bytes) -> bytes:
        """Send a line, and read a reply."""
        self.say(line + b"\r\n")
        return self.reply()

    def reply(self) -> bytes:
        """Read one whole reply, or the rest if the server closes."""
        whole = b""
        while True:
            line = self.line()
            whole += line
            if line[3:4] != b"-":
                return whole

    def line(self) -> bytes:
        """Read one line, or the rest if the server closes."""
        while b"\n" not in self._buffer:
            data = self.sock.recv(1 << 16)
            if not data:
                break
            self._buffer += data
        line, end, self._buffer = self._buffer.partition(b"\n")
        return line + end

    def send_mail(self, content: bytes, *, end: bytes = b".\r\n") -> bytes:
        """Send one message to one recipient; return the last reply."""
        self.ask(b"MAIL FROM:<a@example.org>")
        self.ask(b"RCPT TO:<b@example.org>")
        self.ask(b"DATA")
        return self.ask((content + end).removesuffix(b"\r\n"))

    def close(self) -> None:
        """Close the socket, without a QUIT."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
