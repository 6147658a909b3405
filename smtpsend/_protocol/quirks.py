"""What a server was found not to do as it announces, and the trial that finds it out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from smtpsend.errors import SendError


# How long a server may take, at least, to reply to commands after a final dot before
# they count as lost (in seconds); and how many times as long as it took for a group
# without a dot in front.
_TRIAL_PATIENCE, _TRIAL_FACTOR = 1.0, 5
# How often a sender may be refused after a final dot before the server is thought to
# refuse the place, and not the sender.
_MOST_DOUBTS = 2


class AfterData(Enum):
    """Whether a server replies to commands pipelined after the final dot of a message."""

    UNTRIED = "untried"
    TRYING = "trying"  # one connection is finding out
    REPLIES = "replies"
    LOST = "lost"  # it loses or refuses them, or hangs up


@dataclass(slots=True)
class Quirks:
    """What a server was found not to do as it announces; shared by its connections.

    Attributes:
        no_bdat: it does not know BDAT although it offers CHUNKING.
        no_content_in_group: it broke the connection where BDAT was pipelined after RCPT.
        no_window: it does not reply to EHLO in the place where a window ends.
        after_data: whether it replies to commands after the final dot.
        doubts: how often it refused a sender after a final dot.
    """

    no_bdat: bool = False
    no_content_in_group: bool = False
    no_window: bool = False
    after_data: AfterData = AfterData.UNTRIED
    doubts: int = 0


class PipelineTrial:
    """What one connection finds out about commands after the final dot."""

    def __init__(self, quirks: Quirks) -> None:
        self._quirks = quirks
        self._mine = False  # this connection is the one that finds out
        self.took = 0.0  # seconds for the replies to the last group

    @property
    def _running(self) -> bool:
        return self._quirks.after_data is AfterData.TRYING

    def begin(self) -> None:
        """Note that commands go out after a final dot."""
        if self._quirks.after_data is AfterData.UNTRIED:
            self._mine, self._quirks.after_data = True, AfterData.TRYING

    def end(self) -> None:
        """Note that the connection ends; an open question is left to another one."""
        if self._mine and self._running:
            self._quirks.after_data = AfterData.UNTRIED

    def within(self, timeout: float) -> float:
        """How long to wait for a reply to these commands, in seconds."""
        if not self._running:
            return timeout
        return min(timeout, max(_TRIAL_PATIENCE, _TRIAL_FACTOR * self.took))

    def lost(self) -> bool:
        """Record that commands after the data were lost; True if this was not known."""
        if not self._running:
            return False
        self._quirks.after_data = AfterData.LOST
        return True

    def in_doubt(self, refused: SendError | None) -> bool:
        """Whether a refused MAIL may be due to its place after the dot.

        Args:
            refused: the refusal of MAIL; None if the server accepted it.
        """
        quirks = self._quirks
        if quirks.after_data is AfterData.REPLIES or refused is None:
            quirks.after_data = AfterData.REPLIES
            return False
        quirks.doubts += 1
        if quirks.doubts >= _MOST_DOUBTS:
            quirks.after_data = AfterData.LOST
        return True
