"""How a server deviates from what its EHLO announces, and a trial that finds it out."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from smtpsend._protocol.transaction import Break, Stage, Transaction
from smtpsend._values import dataclass
from smtpsend.errors import SendError


# While the trial runs, commands pipelined after a final dot count as lost after
# _TRIAL_TIMEOUT seconds without a reply, or after _TRIAL_FACTOR times the time that the
# replies to the last group needed, if that is more.
_TRIAL_TIMEOUT, _TRIAL_FACTOR = 1.0, 5
# After this many refusals of a MAIL that was pipelined after a final dot, the cause is
# assumed to be the pipelining, and not the sender.
_MOST_REFUSALS = 2


class AfterData(Enum):
    """Whether a server replies to commands pipelined after the final dot of a message."""

    UNTRIED = "untried"
    TRYING = "trying"  # one connection is finding out
    REPLIES = "replies"
    LOST = "lost"  # it loses or refuses them, or closes the connection


@dataclass(slots=True, eq=False, repr=False)
class Quirks:
    """How a server deviates from what its EHLO announces; shared by its connections.

    Attributes:
        no_bdat: it does not know BDAT although it offers CHUNKING.
        no_content_in_group: the connection broke, or replies were miscounted, where BDAT
            was pipelined after RCPT.
        no_window: it does not reply to the EHLO at the end of a window.
        after_data: whether it replies to commands pipelined after the final dot.
        refused_after_data: how often it refused a MAIL pipelined after a final dot.
    """

    no_bdat: bool = False
    no_content_in_group: bool = False
    no_window: bool = False
    after_data: AfterData = AfterData.UNTRIED
    refused_after_data: int = 0

    def note_break(self, transactions: Sequence[Transaction], broken: Break) -> None:
        """Note that content in a group made outcomes unknown, if it may be the cause.

        Args:
            transactions: the transactions without an outcome when the connection broke.
        """
        explained = broken.closing is not None or broken.not_bdat is not None
        for transaction in transactions:
            left_open = transaction.stage is Stage.ENDED and not explained
            if transaction.by_bdat and (left_open or broken.in_doubt):
                self.no_content_in_group = True


class PipelineTrial:
    """Finds out, on one connection, whether commands after the final dot get replies."""

    def __init__(self, quirks: Quirks) -> None:
        self._quirks = quirks
        self._started_here = False  # this connection is the one that finds out
        self.group_seconds = 0.0  # how long the replies to the last group took

    @property
    def _running(self) -> bool:
        return self._quirks.after_data is AfterData.TRYING

    def begin(self) -> None:
        """Record that commands are pipelined after a final dot."""
        if self._quirks.after_data is AfterData.UNTRIED:
            self._started_here, self._quirks.after_data = True, AfterData.TRYING

    def end(self) -> None:
        """Record that the connection ends; another may find out what is still open."""
        if self._started_here and self._running:
            self._quirks.after_data = AfterData.UNTRIED

    def within(self, timeout: float) -> float:
        """The seconds to wait for a reply to these commands, at most `timeout`."""
        if not self._running:
            return timeout
        return min(timeout, max(_TRIAL_TIMEOUT, _TRIAL_FACTOR * self.group_seconds))

    def lost(self) -> bool:
        """Record that commands after the data were lost; True if this was not known."""
        if not self._running:
            return False
        self._quirks.after_data = AfterData.LOST
        return True

    def in_doubt(self, refused: SendError | None) -> bool:
        """Whether MAIL may have been refused because it was pipelined after a dot.

        Args:
            refused: the refusal of MAIL; None if the server accepted it.
        """
        quirks = self._quirks
        if quirks.after_data is AfterData.REPLIES or refused is None:
            quirks.after_data = AfterData.REPLIES
            return False
        quirks.refused_after_data += 1
        if quirks.refused_after_data >= _MOST_REFUSALS:
            quirks.after_data = AfterData.LOST
        return True
