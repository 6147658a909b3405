"""Logs the commands and replies of a connection, without secrets and content."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from smtpsend._protocol.redaction.redact import Redactor
from smtpsend._wire.callers.code import contained
from smtpsend.errors import Reply


log = logging.getLogger("smtpsend.wire")


class Transcript:
    """Writes the commands and replies of one connection to the logger smtpsend.wire.

    Attributes:
        name: the name of the connection, at the start of each line.
        enabled: whether the logger was enabled at the last `check_enabled`.
    """

    def __init__(self, redact: Redactor) -> None:
        self.name = "?"
        self.enabled = False
        self._redact = redact
        self._in_login = False

    def check_enabled(self) -> bool:
        """Whether the logger is enabled for the level DEBUG now."""
        self.enabled = log.isEnabledFor(logging.DEBUG)
        return self.enabled

    @contextlib.contextmanager
    def login(self) -> Iterator[None]:
        """Hide all responses of the client in the body of the `with` statement."""
        self._in_login = True
        try:
            yield
        finally:
            self._in_login = False

    def received(self, reply: Reply) -> None:
        """Log a reply; the challenge of a 334 is hidden, since it may hold a secret."""
        self._write("<", "334 ***" if reply.code == 334 else str(reply))

    def sent(self, commands: bytes, content: bytes | memoryview = b"") -> None:
        """Log commands, and the length of the content after them."""
        if commands:
            self._write(">", self._shown(commands))
        if content:
            self._write(">", f"({len(content)} bytes of content)")

    def _shown(self, commands: bytes) -> str:
        text = commands.decode("utf-8", "replace").strip()
        if not self._in_login:
            return text
        words = text.split(" ")
        return " ".join([*words[:2], "***"]) if words[0] == "AUTH" else "***"

    def _write(self, arrow: str, text: str) -> None:
        # A log handler that raises must not change the outcome of a message.
        with contained():
            log.debug("%s %s %s", self.name, arrow, self._redact(text))
