"""The connections of a client: how many are in use, and which are kept idle.

A pool belongs to one event loop and one process. It forgets the connections of an event
loop that has ended, and those of the process that this one was forked from.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from smtpsend._client.bulk.throttle import Throttle, check_rate
from smtpsend._client.hooks import Hooks
from smtpsend._model.policy.policy import check_seconds
from smtpsend._model.server.credentials import provider_of
from smtpsend._model.server.server import Server
from smtpsend._protocol.connection_state import State
from smtpsend._protocol.failures import lost
from smtpsend._values import dataclass
from smtpsend._wire.connection import Session
from smtpsend._wire.deadline import Deadline, running_loop
from smtpsend._wire.progress import Track
from smtpsend.errors import ConfigError, Phase


# Seconds for which `close` waits until the sockets are closed. It does not wait for the
# replies to QUIT.
_CLOSE_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a client: its connections, their age, and its rate; see `Client`."""

    max_connections: int = 4
    max_messages: int = 100
    idle_timeout: float = 30.0
    max_age: float = 300.0
    window: int = 64
    max_rate: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_connections", "max_messages", "window"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name} must be a whole number, at least 1")
        check_seconds("idle_timeout", self.idle_timeout, zero=True)
        check_seconds("max_age", self.max_age)
        if self.max_rate is not None:
            check_rate(self.max_rate)


@dataclass(slots=True, eq=False, repr=False)
class _Idle:
    session: Session
    timer: asyncio.TimerHandle


class Pool:
    """The connections of one client, in use and idle."""

    def __init__(self, server: Server, limits: Limits, hooks: Hooks) -> None:
        self.server = server
        self.hooks = hooks
        self.limits = limits
        self.throttle = Throttle(limits.max_rate)
        self._owner: tuple[int, asyncio.AbstractEventLoop] | None = None
        self.connect_time = 0.0  # seconds that the last connection took to open
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        self._idle: list[_Idle] = []
        self._busy = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._drained: asyncio.Future[None] | None = None
        self._idle_waiters: list[asyncio.Future[None]] = []
        self._logins = asyncio.Lock()

    def _bind(self) -> None:
        """Bind the pool to the running loop, unless it is bound to it already.

        Raises:
            ConfigError: the client is closed, or is bound to another running loop.
        """
        if self._closed:
            raise ConfigError("the client is closed")
        here = (os.getpid(), running_loop())
        if self._owner == here:
            return
        if self._owner is not None:
            pid, loop = self._owner
            if pid == here[0] and loop.is_running():
                raise ConfigError(
                    "the client is in use in another event loop",
                    hint="make one AsyncClient for each event loop",
                )
            for idle in self._idle:
                # Their loop no longer runs and cannot close them. (After a fork, the
                # portal has closed them already.)
                idle.session.close_socket()
        self._reset()
        self._owner = here

    @property
    def closed(self) -> bool:
        """Whether no further send may begin."""
        return self._closed

    @property
    def has_waiters(self) -> bool:
        """Whether a call waits for a slot."""
        return bool(self._waiting)

    @property
    def free_slots(self) -> int:
        """How many connections may be opened without waiting."""
        return max(0, self.limits.max_connections - self._busy - len(self._waiting))

    @asynccontextmanager
    async def slot(self, deadline: Deadline) -> AsyncIterator[None]:
        """Hold the right to use one connection; wait for it while all are in use.

        Raises:
            ConnectError: no slot became free before the deadline.
            ConfigError: the client is closed, or is bound to another running loop.
        """
        self._bind()
        await self._wait_for_slot(deadline)
        try:
            yield
        finally:
            self._release_slot()

    async def _wait_for_slot(self, deadline: Deadline) -> None:
        if self._busy < self.limits.max_connections and not self._waiting:
            self._busy += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(deadline.left):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._release_slot()
            else:
                # `turn` is no longer in the queue if `_release_slot` came first.
                with contextlib.suppress(ValueError):
                    self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                why = f"all {self.limits.max_connections} connections were in use"
                late = lost(Phase.CONNECT, why, timed_out=True)
                late.hint = "raise max_connections, or give the send a longer timeout"
                raise late from None
            raise

    def _release_slot(self) -> None:
        """Pass the slot to the call that has waited longest."""
        self._wake_idle_waiters()
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._busy -= 1
        if not self._busy and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def take_idle(self, deadline: Deadline) -> Session | None:
        """Remove and return the usable idle session that was used last, if any."""
        while self._idle:
            idle = self._idle.pop()
            idle.timer.cancel()
            session = idle.session
            session.channel.watch(None)
            if self._usable(session):
                track = Track(session.method, deadline.elapsed, server=self.server.host)
                track.address = session.track.address
                session.track, session.deadline = track, deadline
                session.state.was_idle, session.state.state = True, State.READY
                return session
            session.channel.quit()
        return None

    async def wait_for_idle(self, deadline: Deadline) -> Session | None:
        """Wait until another call gives its connection back, and return that.

        The caller holds a slot, but could not open a connection.

        Returns:
            None if no other call has a connection, or none came before the deadline.
        """
        while True:
            if (session := self.take_idle(deadline)) is not None:
                return session
            # Those that wait here hold a slot, and no connection.
            if self._busy - len(self._idle_waiters) <= 1 or not deadline.left:
                return None
            waiter = asyncio.get_running_loop().create_future()
            self._idle_waiters.append(waiter)
            try:
                await asyncio.wait([waiter], timeout=deadline.left)
            finally:
                self._idle_waiters.remove(waiter)

    def _wake_idle_waiters(self) -> None:
        for waiter in self._idle_waiters:
            if not waiter.done():
                waiter.set_result(None)

    def make_room(self) -> None:
        """Close idle connections until one more connection is within the limit."""
        while self._idle and len(self._idle) + self._busy > self.limits.max_connections:
            idle = self._idle.pop(0)
            idle.timer.cancel()
            idle.session.channel.quit()

    def _usable(self, session: Session) -> bool:
        fit = session.channel.usable and not session.outdated
        return fit and session.age < self.limits.max_age

    def end_outdated(self) -> None:
        """Close the idle connections whose password has been replaced."""
        for session in [idle.session for idle in self._idle if idle.session.outdated]:
            self._expire(session)

    @asynccontextmanager
    async def login_turn(self, deadline: Deadline) -> AsyncIterator[None]:
        """Let the connections of the client log in one at a time, with a provider.

        The provider is called within the turn, so that no connection tries a password
        that was refused to another one a moment before.

        Raises:
            ConnectionLost: other connections logged in until the deadline.
        """
        if provider_of(self.server.auth) is None:
            yield
            return
        why = "other connections of the client were still logging in"
        await acquire_login(self._logins, deadline, why)
        try:
            yield
        finally:
            self._logins.release()

    def give_back(self, session: Session) -> None:
        """Keep a session for the next message, or close it if it cannot be used again."""
        limits = self.limits
        state = session.state
        full = (
            state.closed
            or session.at_message_limit
            or state.transactions >= limits.max_messages
        )
        if self._closed or full or not limits.idle_timeout or not self._usable(session):
            session.channel.quit()
            return
        loop = asyncio.get_running_loop()
        left = min(limits.idle_timeout, limits.max_age - session.age)
        timer = loop.call_later(left, self._expire, session)
        self._idle.append(_Idle(session, timer))
        self._wake_idle_waiters()
        # Whatever arrives on an idle connection is unsolicited: its end, a 421, or data
        # that would be read as the reply to the next command.
        session.channel.watch(lambda: self._expire(session))

    def _expire(self, session: Session) -> None:
        for idle in [idle for idle in self._idle if idle.session is session]:
            idle.timer.cancel()
            self._idle.remove(idle)
        session.channel.quit()

    def abandon(self) -> None:
        """Begin no further send; for a pool that has no connection in this process."""
        self._closed = True

    async def close(self) -> None:
        """Let running sends finish, then close all connections; refuse later sends."""
        if self._closed:
            return
        here = (os.getpid(), running_loop())
        self._closed = True
        if self._owner != here:
            for idle in self._idle:
                idle.session.close_socket()
            self._reset()
            return
        if self._busy:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
        kept, self._idle = self._idle, []
        for one in kept:
            one.timer.cancel()
            one.session.channel.quit()
        for one in kept:
            await one.session.channel.wait_closed(_CLOSE_TIMEOUT)


async def acquire_login(
    turns: asyncio.Lock | asyncio.Semaphore, deadline: Deadline, why: str
) -> None:
    """Wait for the turn of a connection to log in.

    Raises:
        ConnectionLost: it did not come until the deadline, because of `why`.
    """
    try:
        async with asyncio.timeout(deadline.left):
            await turns.acquire()
    except TimeoutError:
        raise lost(Phase.AUTH, why, timed_out=True) from None
