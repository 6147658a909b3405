"""The progress of one method, and the one place where a fault becomes a typed error.

`step` names the step of the session. A fault that ends the connection during the step
becomes the error, and the row of the policy table, of that step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

from smtpsend._model.policy.policy import Method
from smtpsend._protocol.failures import FAULTS, Alert, TimedOut, lost
from smtpsend._values import dataclass, field
from smtpsend._wire.tls.alerts import about_client, client_refused
from smtpsend.errors import Attempt, Event, Phase, SendError


@dataclass(slots=True, eq=False, repr=False)
class Track:
    """The progress of one method, which the race watches.

    Attributes:
        method: the method that is tried.
        started: seconds from the start of the call to the start of this attempt.
        phase: the step that runs now, or ran last.
        address: the IP address that got furthest, or what `Attempt.address` has for a
            proxy; None before the first.
        last_progress: when progress was made last, on the loop's clock.
        server: the host of the server.
        on_connect: called when there is a connection, before the greeting; or None.
    """

    method: Method
    started: float
    phase: Phase = Phase.CONNECT
    address: str | None = None
    last_progress: float = field(
        default_factory=lambda: asyncio.get_running_loop().time()
    )
    server: str | None = None
    on_connect: Callable[[], None] | None = None

    def connected(self) -> None:
        """Record the TCP connection, or the tunnel through a proxy."""
        self.progress()
        if self.on_connect is not None:
            self.on_connect()

    def progress(self) -> None:
        """Record progress: a TCP connection, a whole reply, or a TLS handshake."""
        self.last_progress = asyncio.get_running_loop().time()

    @property
    def idle(self) -> float:
        """Seconds without progress."""
        return asyncio.get_running_loop().time() - self.last_progress

    def attempt(self, error: SendError | None, now: float) -> Attempt:
        """This method as an `Attempt` for the report.

        Args:
            error: the error that ended it; None if it was abandoned.
            now: seconds since the start of the call.
        """
        return Attempt(
            method=self.method,
            address=self.address,
            phase=self.phase if error is None else error.phase,
            error=None if error is None else error.said(),
            started=self.started,
            elapsed=now - self.started,
            event=Event.ABANDONED if error is None else error.event or Event.REFUSED,
            server=self.server,
        )


# The steps at which the server sends its first reply inside TLS.
_FIRST_INSIDE_TLS = {Phase.GREETING, Phase.EHLO}


class step:  # noqa: N801  # reads as a verb where it is used
    """Run one step of the session; a fault during it is raised as a `SendError`.

    A step of several parts sets `track.phase` for each part. This is a class because nine
    steps run for each message, and a generator would cost three times as much.
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
            phase = self._track.phase
            if (
                isinstance(error, Alert)
                and phase in _FIRST_INSIDE_TLS
                and about_client(error.name, afterwards=True)
            ):
                raise client_refused(error.name) from None
            timed_out = isinstance(error, TimedOut)
            # The fault may quote the server, but its text is redacted already.
            raise lost(phase, str(error), timed_out=timed_out) from None
