"""The transcript of a connection in the debug log, without secrets and content."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from smtpsend._protocol.redact import Redactor
from smtpsend.errors import Reply


log = logging.getLogger("smtpsend.wire")


class Transcript:
    """Writes the commands and replies of one connection to the logger smtpsend.wire.

    Attributes:
        name: of the connection, in front of each line.
        wanted: whether the logger wanted it when `look` was called last.
    """

    def __init__(self, redact: Redactor) -> None:
        self.name = "?"
        self.wanted = False
        self._redact = redact
        self._in_login = False

    def look(self) -> bool:
        """See whether the transcript is wanted."""
        self.wanted = log.isEnabledFor(logging.DEBUG)
        return self.wanted

    @contextlib.contextmanager
    def login(self) -> Iterator[None]:
        """While a login goes on, show nothing of it."""
        self._in_login = True
        try:
            yield
        finally:
            self._in_login = False

    def received(self, reply: Reply) -> None:
        """Show a reply; the challenge of a 334 may hold a secret, and is hidden."""
        self._write("<", "334 ***" if reply.code == 334 else str(reply))

    def sent(self, commands: bytes, content: bytes | memoryview = b"") -> None:
        """Show commands, and how long the content after them is."""
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
        # A log handler that raises must not change what becomes of a message.
        with contextlib.suppress(Exception):
            log.debug("%s %s %s", self.name, arrow, self._redact(text))
