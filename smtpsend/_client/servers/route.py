"""The way of one message over several servers: which are tried, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from smtpsend._model.diagnosis.hints import explain
from smtpsend._model.policy.servers import goes_on
from smtpsend.errors import (
    Attempt,
    AuthError,
    CertificateError,
    ConnectError,
    ConnectionLost,
    Event,
    Rejected,
    SendError,
    TLSError,
)


if TYPE_CHECKING:
    from smtpsend._client.hooks import Hooks
    from smtpsend._client.servers.retries import Availability
    from smtpsend._model.receipt import Receipt
    from smtpsend._model.server.server import Server

# If every server failed, the error that got furthest is raised; the first class here
# stands for the furthest.
_FURTHEST = (Rejected, AuthError, ConnectionLost, TLSError, ConnectError, SendError)


class Route:
    """The servers that one message has tried, and the next one.

    Args:
        servers: all servers, in order of preference.
        availability: which of them may be tried now.
        seconds: how long the whole send may take.
        hooks: those of the client.

    Attributes:
        index: the position of the server of now.
        elapsed: seconds that the send had lasted when that server's turn began.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        availability: Availability,
        seconds: float,
        hooks: Hooks,
    ) -> None:
        self.elapsed = 0.0
        self._servers = servers
        self._availability = availability
        self._seconds = seconds
        self._hooks = hooks
        self._untried = list(range(len(servers)))
        self._errors: list[tuple[int, SendError]] = []
        self._attempts: list[Attempt] = []
        self._on_trial = False
        self.index = self._choose()

    @property
    def server(self) -> Server:
        """The server of now."""
        return self._servers[self.index]

    @property
    def timeout(self) -> float:
        """How many seconds the server of now has: its own deadline, within the send's."""
        left = max(0.0, self._seconds - self.elapsed)
        return min(left, self.server.policy.deadline)

    def _choose(self) -> int:
        """Choose the next server: the first that may be tried now, or else the first."""
        chosen = self._untried[0]
        for index in self._untried:
            if self._availability.is_good(index):
                chosen, self._on_trial = index, False
                break
            lasts = min(self._seconds, self._servers[index].policy.deadline)
            if self._availability.begin_trial(index, lasts):
                chosen, self._on_trial = index, True
                break
        self._untried.remove(chosen)
        return chosen

    def goes_on(self, error: SendError, elapsed: float, *, allowed: bool = True) -> bool:
        """Note the error of the server of now, and go on if the table says so.

        Args:
            error: the error; its `accepted` and `message_id` are complete.
            elapsed: seconds since the start of the send.
            allowed: whether another server may be tried, whatever the error.

        Returns:
            Whether the server of now is the next one. If not, `failure` is the error.
        """
        server = self.server
        explain(error, server)
        self._availability.failed(self.index, error)
        self._on_trial = False
        self._errors.append((self.index, error))
        self._attempts += error.attempts or self._unresolved(error, elapsed)
        self.elapsed = max(self.elapsed, elapsed)
        policy = server.policy
        follows = goes_on(error, policy.on_certificate_error, policy.on_temporary_refusal)
        time_left = self.elapsed < self._seconds
        if not (follows and allowed and time_left and self._untried):
            return False
        # A traceback would keep the buffers of the connection.
        error.__traceback__ = error.__context__ = None
        self.index = self._choose()
        return True

    def leaves_failed_server(self) -> bool:
        """Choose another server than that of now, which failed before it was tried.

        Returns:
            Whether there is one that has not failed.
        """
        is_good = self._availability.is_good
        if is_good(self.index) or not any(map(is_good, self._untried)):
            return False
        self.abandon()
        self._untried = sorted([*self._untried, self.index])
        self.index = self._choose()
        return True

    def _unresolved(self, error: SendError, elapsed: float) -> list[Attempt]:
        """The attempt for a host name that does not resolve, so that no method began."""
        if error.event is not Event.UNRESOLVED:
            return []
        attempt = Attempt(
            method=self.server.policy.methods[0],
            address=None,
            phase=error.phase,
            error=error.said(),
            started=self.elapsed,
            elapsed=elapsed - self.elapsed,
            event=error.event,
            server=self.server.host,
        )
        self._hooks.attempt(attempt)
        return [attempt]

    def failure(self) -> SendError:
        """Return the error of the send, with the attempts of all servers.

        It is the error at which the send stopped, or, if every server failed, the error
        that got furthest. The server of now becomes that of the error.
        """
        index, last = self._errors[-1]
        policy = self._servers[index].policy
        if goes_on(last, policy.on_certificate_error, policy.on_temporary_refusal):
            hope = any(error.temporary for _, error in self._errors)
            self.index, error = min(self._errors, key=lambda x: _rank(x[1], hope=hope))
            error.temporary = hope and not isinstance(error, CertificateError)
        else:
            self.index, error = index, last
        error.attempts = tuple(self._attempts)
        return error

    def completed(self, receipt: Receipt) -> Receipt:
        """Return the receipt with the attempts at the servers before."""
        if not self._attempts:
            return receipt
        return replace(receipt, attempts=(*self._attempts, *receipt.attempts))

    def accepted(self) -> None:
        """Note that the server of now accepted the message, or the login of a check."""
        self._on_trial = False
        self._availability.worked(self.index)

    def abandon(self) -> None:
        """Note that the send ended without a result at the server of now."""
        if self._on_trial:
            self._on_trial = False
            self._availability.end_trial(self.index)


def _rank(error: SendError, *, hope: bool) -> int:
    if isinstance(error, CertificateError):
        # It is never temporary, so it stands for all only if none of them is.
        return len(_FURTHEST) if hope else -1
    return next(n for n, kind in enumerate(_FURTHEST) if isinstance(error, kind))
