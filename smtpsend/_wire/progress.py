"""From what happened on the wire to a typed error: the one place that translates.

`at` names the step; whatever ends the connection during it becomes the error and the
row of the policy table that belong to that step.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import TracebackType

from smtpsend._model.policy.policy import Method
from smtpsend._wire.channel import FAULTS, TimedOut
from smtpsend.errors import (
    ConnectError,
    ConnectionLost,
    DeliveryUnknown,
    Event,
    Phase,
    Reply,
    SendError,
    TLSError,
)


@dataclass(slots=True)
class Track:
    """How far one method has come; the race looks at it for progress."""

    method: Method
    started: float
    phase: Phase = Phase.CONNECT
    address: str | None = None
    moved: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    def progress(self) -> None:
        """A connection, a whole reply or a handshake is there."""
        self.moved = asyncio.get_running_loop().time()

    @property
    def idle(self) -> float:
        """Seconds without progress."""
        return asyncio.get_running_loop().time() - self.moved


# What a lost connection means at each step.
_LOST_AT: dict[Phase, tuple[type[SendError], Event]] = {
    Phase.CONNECT: (ConnectError, Event.UNREACHABLE),
    Phase.GREETING: (ConnectError, Event.NO_GREETING),
    Phase.EHLO: (ConnectError, Event.EHLO_REFUSED),
    Phase.STARTTLS: (TLSError, Event.NO_STARTTLS),
    Phase.TLS: (TLSError, Event.HANDSHAKE),
    Phase.AUTH: (ConnectionLost, Event.AUTH_LOST),
    Phase.MAIL: (ConnectionLost, Event.LOST),
    Phase.RCPT: (ConnectionLost, Event.LOST),
    Phase.DATA: (ConnectionLost, Event.LOST),
    Phase.CONTENT: (ConnectionLost, Event.LOST),
    Phase.FINAL: (DeliveryUnknown, Event.UNKNOWN),
}

_WHERE: dict[Phase, str] = {
    Phase.CONNECT: "no connection",
    Phase.GREETING: "no greeting",
    Phase.EHLO: "no answer to EHLO",
    Phase.STARTTLS: "no answer to STARTTLS",
    Phase.TLS: "the TLS handshake failed",
    Phase.AUTH: "no answer to the login",
    Phase.MAIL: "the connection was lost at MAIL",
    Phase.RCPT: "the connection was lost at RCPT",
    Phase.DATA: "the connection was lost at DATA",
    Phase.CONTENT: "the connection was lost in the middle of the message",
    Phase.FINAL: "no answer to the end of the message: it may have been delivered",
}


def lost(phase: Phase, why: str, *, timed_out: bool = False) -> SendError:
    """The error of a connection that ended, timed out or made no sense at `phase`."""
    kind, event = _LOST_AT[phase]
    return kind(
        f"{_WHERE[phase]} ({why})",
        phase=phase,
        event=event,
        temporary=kind is not DeliveryUnknown,
        timed_out=timed_out,
    )


def closing(phase: Phase, reply: Reply) -> SendError:
    """The error of a 421 before the end of the message: the server hangs up."""
    error = lost(phase, "the server ended the session")
    error.reply = reply
    return error


class at:  # noqa: N801  # reads as a verb where it is used
    """Run one step; what breaks the connection during it leaves as a `SendError`.

    A step that has several parts moves `track.phase` on. (A class, since nine of these
    run for each message, and a generator costs three times as much.)
    """

    __slots__ = ("_track",)

    def __init__(self, track: Track, phase: Phase) -> None:
        self._track = track
        track.phase = phase

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._track.progress()
        elif isinstance(error, FAULTS):
            timed_out = isinstance(error, TimedOut)
            # The fault may hold what the server said; its text is redacted already.
            raise lost(self._track.phase, str(error), timed_out=timed_out) from None


def temporary(reply: Reply) -> bool:
    """Whether a refusal is of the kind that may pass (RFC 5321 section 4.2.1)."""
    return 400 <= reply.code < 500


def positive(reply: Reply) -> bool:
    """Whether a reply is a success: any 2yz (RFC 5321 section 4.2.1)."""
    return 200 <= reply.code < 300
