"""The state of a connection between and during its mail transactions."""

from __future__ import annotations

from enum import Enum

from smtpsend._values import dataclass
from smtpsend.errors import SendError


class State(Enum):
    """What may be written on a connection.

    READY -> BUSY -> READY, or SYNCING -> CONFIRMED. CONFIRMED -> BUSY. Any -> CLOSED.
    """

    READY = "ready"  # the next transaction; the server may have closed the connection
    CONFIRMED = "confirmed"  # the same, and the last reply shows that it has not
    BUSY = "busy"  # nothing: replies are missing
    SYNCING = "syncing"  # nothing: only the synchronisation point is missing
    CLOSED = "closed"  # nothing any more


@dataclass(slots=True, eq=False, repr=False)
class ConnectionState:
    """The state of one connection.

    Attributes:
        state: what may be written.
        needs_reset: a transaction was begun and the server has not ended it, so that RSET
            comes next (RFC 5321 section 4.1.1.5).
        ends_after_group: no message may use the connection after the present group.
        transactions: how many transactions were begun.
        served: the server replied to the end of a message on this connection.
        was_idle: the connection waited in the pool.
    """

    state: State = State.READY
    needs_reset: bool = False
    ends_after_group: bool = False
    transactions: int = 0
    served: bool = False
    was_idle: bool = False

    @property
    def closed(self) -> bool:
        """Whether no further message may use the connection."""
        return self.state is State.CLOSED

    @property
    def reused(self) -> bool:
        """Whether the server may have closed the connection without our knowledge."""
        return self.served or self.was_idle

    def out_of_sequence(self, refused: SendError) -> bool:
        """Whether MAIL was refused because of an earlier message on the connection.

        A 503 is about the sequence of commands (RFC 5321 section 4.2.2), and some servers
        take one message a connection. It is the reply to the message only if no other
        was sent before it.
        """
        reply = refused.reply
        return reply is not None and reply.code == 503 and self.transactions > 1
