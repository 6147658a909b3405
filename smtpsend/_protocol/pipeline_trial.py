"""Commands behind the final dot of a message (RFC 2920 section 3.1): who can do it.

Servers that offer PIPELINING and lose or refuse what stands there are found out by one
connection at the first try, and remembered. Nothing is lost by it, since the content of
the message behind is not out yet.
"""

from __future__ import annotations

from smtpsend._wire.target import Behind, Quirks
from smtpsend.errors import SendError


# How long a server may take, at least, for commands behind a final dot before it is
# thought to have lost them; and how many times as long as for those without one before.
_PATIENCE, _FACTOR = 1.0, 5
# How often a sender may be refused there before the server is thought to mean the place.
_DOUBTS = 2


class Trial:
    """What one connection finds out about a server."""

    def __init__(self, quirks: Quirks) -> None:
        self._quirks = quirks
        self._mine = False  # this is the connection that finds it out
        self.took = 0.0  # seconds for the replies to the last group

    @property
    def _running(self) -> bool:
        return self._quirks.behind is Behind.TRYING

    def begin(self) -> None:
        """Commands go out behind a dot."""
        if self._quirks.behind is Behind.UNTRIED:
            self._mine, self._quirks.behind = True, Behind.TRYING

    def end(self) -> None:
        """The connection is done with; another finds out what this one did not."""
        if self._mine and self._running:
            self._quirks.behind = Behind.UNTRIED

    def within(self, timeout: float) -> float:
        """How long to wait for a reply to them."""
        if not self._running:
            return timeout
        return min(timeout, max(_PATIENCE, _FACTOR * self.took))

    def lost(self) -> bool:
        """They broke the connection, or were not answered; whether that is news."""
        if not self._running:
            return False
        self._quirks.behind = Behind.LOST
        return True

    def in_doubt(self, refused: SendError | None) -> bool:
        """Whether it may be the place that was refused, not the message."""
        quirks = self._quirks
        if quirks.behind is Behind.ANSWERED or refused is None:
            quirks.behind = Behind.ANSWERED
            return False
        quirks.doubts += 1
        if quirks.doubts >= _DOUBTS:
            quirks.behind = Behind.LOST
        return True
