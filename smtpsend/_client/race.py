"""The race over methods: `decide` starts them, and the first ready session wins.

A session is ready when the server has accepted EHLO over verified TLS and offers a
mechanism that fits the credentials. No secret is sent during the race: the other sessions
are aborted before the client logs in to the winner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from smtpsend._client import known_servers
from smtpsend._client.hooks import Hooks
from smtpsend._model.diagnosis.hints import explain
from smtpsend._model.policy.decide import Running, Stop, Try, Wait, decide
from smtpsend._model.policy.policy import Policy
from smtpsend._model.policy.table import Then, follows
from smtpsend._values import dataclass, field
from smtpsend._wire.connection import Session
from smtpsend._wire.handshake import open_session
from smtpsend._wire.progress import Track
from smtpsend._wire.target import Target, find_target
from smtpsend.errors import (
    Attempt,
    AuthError,
    CertificateError,
    ConnectError,
    ConnectionLost,
    Event,
    SendError,
    TLSError,
)


if TYPE_CHECKING:
    from smtpsend._model.policy.policy import Method
    from smtpsend._model.server.server import Server
    from smtpsend._wire.deadline import Deadline

# If every method failed, the error of the method that got furthest is raised; the first
# class here stands for the furthest.
_FURTHEST = (CertificateError, AuthError, ConnectionLost, TLSError, ConnectError)

# A server that refused a login or a message was reached: its method worked, and stays
# remembered.
_METHOD_WORKED = {
    Event.AUTH_REFUSED,
    Event.AUTH_RENEWED,
    Event.REFUSED,
    Event.CLOSING_AT_END,
    Event.UNKNOWN,
}


@dataclass(slots=True, eq=False, repr=False)
class Race:
    """The methods that one call has tried and is trying.

    Attributes:
        on_connect: called when the first method has connected, before the greeting;
            not called for a method that is tried beside or after it. Or None.
    """

    server: Server
    deadline: Deadline
    hooks: Hooks
    on_connect: Callable[[], None] | None = None
    attempts: list[Attempt] = field(default_factory=list)
    _order: Policy = field(init=False)  # with the remembered method first
    _target: Target | None = None
    _errors: list[tuple[Method, SendError]] = field(default_factory=list)
    _running: dict[asyncio.Task[Session], Track] = field(default_factory=dict)
    _abandoned: set[asyncio.Task[Session]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._order = known_servers.preferred_order(self.server)

    async def ready(self) -> Session:
        """Return the first ready session of the methods that are still to be tried.

        Raises:
            SendError: no method is left to be tried, or the deadline has passed.
        """
        try:
            while True:
                match self._decide():
                    case Stop():
                        raise self.failure()
                    case Try(method):
                        self._start(method, await self._find_target())
                    case Wait(seconds):
                        if (session := await self._next(seconds)) is not None:
                            return session
        finally:
            # There is no await here: its cancellation would lose the winner's session.
            self._abandon()

    def _decide(self) -> Try | Wait | Stop:
        running = [Running(t.method, t.idle) for t in self._running.values()]
        choice = decide(self._order, self.attempts, running)
        if isinstance(choice, Try) and self.attempts and not self.deadline.left:
            return Wait(None) if running else Stop()
        return choice

    async def _find_target(self) -> Target:
        """Look the server up, once a call and only when a connection is needed."""
        if self._target is None:
            server = self.server
            quirks = known_servers.quirks(server)
            try:
                self._target = await find_target(server, quirks, self.deadline)
            except SendError as error:
                error.attempts = tuple(self.attempts)
                raise explain(error, self.server) from None
        return self._target

    def _start(self, method: Method, target: Target) -> None:
        is_first = not self.attempts and not self._running
        track = Track(
            method,
            self.deadline.elapsed,
            server=self.server.host,
            on_connect=self.on_connect if is_first else None,
        )
        task = asyncio.create_task(open_session(target, track, self.deadline))
        self._running[task] = track

    async def _next(self, seconds: float | None) -> Session | None:
        """Wait until a method fails or is ready; return a session that may be used."""
        done, _ = await asyncio.wait(
            self._running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        ready = []
        for task in [t for t in self._running if t in done]:
            error = task.exception()
            if error is None:
                ready.append(task)
                continue
            track = self._running.pop(task)
            if not isinstance(error, SendError) or error.event is None:
                raise error
            self.record(error, track)
        # A certificate that was refused in the same loop turn stops the race, too.
        if not ready or isinstance(self._decide(), Stop):
            return None
        self._running.pop(ready[0])
        return ready[0].result()

    def record(self, error: SendError, track: Track) -> None:
        """Note the error that ended the attempt of `track`."""
        assert error.event is not None  # noqa: S101  # each error of _wire has its row
        if error.event not in _METHOD_WORKED:
            known_servers.forget(self.server, track.method)
        self._errors.append((track.method, error))
        self._add(track.attempt(error, self.deadline.elapsed))

    def _add(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        self.hooks.attempt(attempt)

    def _abandon(self) -> None:
        """Abort the methods that still run, and note how far they came."""
        for task, track in self._running.items():
            task.add_done_callback(_abort_late)
            task.cancel()
            self._add(track.attempt(None, self.deadline.elapsed))
        self._abandoned |= set(self._running)
        self._running.clear()

    async def settle(self) -> None:
        """Wait until the aborted methods have ended; this takes a loop turn or two."""
        if alive := {task for task in self._abandoned if not task.done()}:
            await asyncio.wait(alive)

    def failure(self) -> SendError:
        """Return the error of the whole race, once no other method is tried."""
        error = self._error_of_all()
        error.attempts = tuple(self.attempts)
        return explain(error, self.server)

    def _error_of_all(self) -> SendError:
        last = self._errors[-1][1]
        assert last.event is not None  # noqa: S101  # `record` asserts it
        if follows(last.event, self._order.on_certificate_error) is Then.STOP:
            return last
        order = self.server.policy.methods
        _, error = min(
            self._errors,
            key=lambda entry: (_rank(entry[1]), order.index(entry[0])),
        )
        # A login that is not offered on the way that got furthest, or a certificate that
        # is wanted there, does not come by waiting until the others, closed on many
        # servers, are open.
        final = isinstance(error, CertificateError | AuthError)
        if not final and error.event is not Event.CLIENT_CERTIFICATE:
            error.temporary = any(e.temporary for _, e in self._errors)
        return error


def _rank(error: SendError) -> int:
    return next(n for n, kind in enumerate(_FURTHEST) if isinstance(error, kind))


def _abort_late(task: asyncio.Task[Session]) -> None:
    """Abort a session that became ready after another had won."""
    if not task.cancelled() and task.exception() is None:
        task.result().channel.abort()
