"""Calls the function of one `Password` or `OAuth2` once at a time, for all threads.

Many connections may need the secret at the same moment, in several threads and event
loops. They share one call, so that a vault or a token endpoint gets one request. A call
that had begun before a connection asked is not shared with it: the secret may have been
replaced since, and after a refusal it must be a newer one.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import threading
import time
from collections.abc import Awaitable, Callable

from smtpsend._model.identity import IdentityMap
from smtpsend._model.server.credentials import Auth
from smtpsend._values import NamedTuple, dataclass, field
from smtpsend.errors import AuthError


class Secret(NamedTuple):
    """A password or token.

    Attributes:
        text: the secret itself.
        version: how often the secret of these credentials had changed by then.
    """

    text: str
    version: int


@dataclass(slots=True, eq=False)
class _Call:
    """One call of the function, which runs now.

    Attributes:
        number: its number; a later call has a higher one.
        until: when its caller stops waiting for it, on the monotonic clock.
        waiters: functions that wake those who wait for its end, each in its own loop.
    """

    number: int
    until: float
    waiters: list[Callable[[], None]] = field(default_factory=list)


class SecretSource:
    """The calls of one function; any thread and any event loop may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = 0
        self._running: _Call | None = None
        # The number and the outcome of the last call that has ended.
        self._ended = 0
        self._outcome: str | AuthError | None = None
        self._latest: str | None = None
        self.version = 0

    async def ask(self, call: Callable[[], Awaitable[str]], timeout: float) -> Secret:
        """Return what the function returns to a call that begins from now on.

        Args:
            call: calls the function. It raises nothing but an `AuthError`, or the
                cancellation of its task.
            timeout: seconds after which the caller stops waiting. Its call is then left
                to itself, and no longer keeps others from calling the function.

        Raises:
            AuthError: the function failed.
        """
        until = time.monotonic() + timeout
        with self._lock:
            wanted = self._started + 1
        while True:
            with self._lock:
                if self._ended >= wanted:
                    return self._result()
                running = self._running
                if running is None or running.until <= time.monotonic():
                    self._started += 1
                    mine = self._running = _Call(self._started, until)
                    break
                woken = _waiter(running)
            await asyncio.wait([woken], timeout=running.until - time.monotonic())
        try:
            outcome: str | AuthError
            try:
                outcome = await call()
            except AuthError as error:
                # Without its traceback, whose frames hold what the function returned.
                outcome = copy.copy(error)
            with self._lock:
                # If this call was given up, a later one may have ended before it.
                if mine.number > self._ended:
                    self._record(mine.number, outcome)
                version = self.version if outcome == self._latest else -1
            if isinstance(outcome, AuthError):
                # The recorded one would get a traceback, whose frames hold the session.
                raise copy.copy(outcome)
            return Secret(outcome, version)
        finally:
            # A call that was cancelled leaves no outcome: the next who waits calls again.
            with self._lock:
                if self._running is mine:
                    self._running = None
                waiters, mine.waiters = mine.waiters, []
            for wake in waiters:
                wake()

    def _record(self, number: int, outcome: str | AuthError) -> None:
        self._ended, self._outcome = number, outcome
        if isinstance(outcome, str) and outcome != self._latest:
            self._latest = outcome
            self.version += 1

    def _result(self) -> Secret:
        assert self._outcome is not None  # noqa: S101  # a call has ended
        if isinstance(self._outcome, AuthError):
            raise copy.copy(self._outcome)
        return Secret(self._outcome, self.version)


def _waiter(running: _Call) -> asyncio.Future[None]:
    """A future of the present loop that is done when the call ends."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not future.done():
            future.set_result(None)

    def wake() -> None:
        # A RuntimeError means that the loop is closed, so nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle)

    running.waiters.append(wake)
    return future


_sources: IdentityMap[SecretSource] = IdentityMap()

if hasattr(os, "register_at_fork"):
    # In the child, the threads of the parent's calls do not run, and a lock may be held.
    os.register_at_fork(after_in_child=_sources.clear)


def source_of(auth: Auth) -> SecretSource:
    """Return the source of these credentials; the same for all servers that have them."""
    return _sources.setdefault(auth, SecretSource)
