"""The records of each connection: bytes, commands, messages. The judges read them."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from typing import Literal


State = Literal["open", "unknown", "accepted", "refused"]
"""open: the end of the message never came. unknown: the end came (or an early 2yz was
sent), but no whole reply of 2yz, 4yz or 5yz was sent to it. accepted, refused: by the
reply that was sent."""

_LONGEST_SENT = 1 << 20


@dataclass(eq=False)
class Message:
    """One message as the server received it; `content` is without dot-stuffing."""

    sender: str
    recipients: tuple[str, ...]
    parameters: str = ""
    content: bytes = b""
    state: State = "open"

    @property
    def message_id(self) -> str | None:
        """The Message-ID in the header, or None."""
        header = self.content.split(b"\r\n\r\n", 1)[0]
        return BytesHeaderParser().parsebytes(header + b"\r\n\r\n")["Message-ID"]


@dataclass(eq=False)
class Connection:
    """One connection; `closed_by` is client, server, quit, tls or end (of the server)."""

    port_kind: str
    port: int
    pipelining: bool = False
    raw: bytearray = field(default_factory=bytearray)
    plaintext: bytearray = field(default_factory=bytearray)
    handshake: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)
    sent: bytearray = field(default_factory=bytearray)
    commands: list[tuple[bool, bytes]] = field(default_factory=list)
    auth_lines: list[bytes] = field(default_factory=list)
    early: list[bytes] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    authenticated: bool = False
    auth_mark: int | None = None
    tls_version: str | None = None
    tls_error: str | None = None
    closed_by: str | None = None

    @property
    def closed(self) -> bool:
        """Whether the conversation is over and the socket closed."""
        return self.closed_by is not None

    @property
    def accepted(self) -> list[Message]:
        """The messages for which a whole final 2yz was sent."""
        return [m for m in self.messages if m.state == "accepted"]

    @property
    def verbs(self) -> list[str]:
        """The commands' first words, in upper case: ["EHLO", "STARTTLS", ...]."""
        return [
            line.split(b" ")[0].decode("latin-1").upper() for _, line in self.commands
        ]

    @property
    def after_auth(self) -> bytes:
        """The bytes from the client after the 235, which `after-auth:N` counts."""
        return b"" if self.auth_mark is None else bytes(self.received[self.auth_mark :])

    def add_sent(self, data: bytes) -> None:
        """Record sent bytes, up to a bound, since a reply may be endless."""
        self.sent += data[: max(0, _LONGEST_SENT - len(self.sent))]
