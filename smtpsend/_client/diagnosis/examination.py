"""Examine a server without sending: try every method, log in once, and advise."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from smtpsend._client import known_servers, submit, transport
from smtpsend._client.background import portal
from smtpsend._client.background.ending import refuse_at_end
from smtpsend._client.diagnosis.probe import probe, read_greeting
from smtpsend._client.hooks import Hooks
from smtpsend._client.pool import Limits, Pool
from smtpsend._client.race import Race
from smtpsend._client.submission import checked_timeout
from smtpsend._model.diagnosis.advice import advice, verdict
from smtpsend._model.diagnosis.report import Login, MethodReport, Port25, Report
from smtpsend._model.policy.policy import DEFAULT_METHODS, Method
from smtpsend._model.server.providers import provider_of
from smtpsend._model.server.server import Server, server_of
from smtpsend._protocol.redaction.redact import user_shown
from smtpsend._values import dataclass
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.progress import Track
from smtpsend._wire.target import find_target
from smtpsend.errors import Attempt, ConfigError, Event, SendError


# Port 25 is for mail between servers; it is examined too, but never used for a send.
_RELAY_PORT = 25
_AT_LOGIN = (Event.AUTH_REFUSED, Event.AUTH_RENEWED, Event.AUTH_LOST)


def diagnose(server: Server | str, *, timeout: float | None = None) -> Report:
    """Try every method of a server's policy at the same time, without sending a message.

    If `server` has credentials, there is one login, by the method that a send would use.
    Secrets are sent only in this login, inside verified TLS.

    Args:
        server: a `Server`, a host name, or a URL, as for `send`.
        timeout: seconds for the whole call; by default ``policy.deadline`` (900).

    Returns:
        A report with the facts about each method, the method that a send would use, and
        advice on what to change. It also holds every error but a `ConfigError`.

    Raises:
        ConfigError: the server or the timeout cannot be used; no connection was opened.
        ConnectError: the interpreter is ending.
    """
    refuse_at_end()
    try:
        where = server_of(server)
    finally:
        del server  # a URL holds a password, and an error keeps this frame
    seconds = checked_timeout(where, timeout)
    return portal.run(lambda: diagnose_async(where, timeout=timeout), seconds)


async def diagnose_async(server: Server | str, *, timeout: float | None = None) -> Report:
    """Try every method of a server's policy without sending, as `diagnose` does.

    Args:
        server: a `Server`, a host name, or a URL, as for `send`.
        timeout: seconds for the whole call; by default ``policy.deadline`` (900).

    Returns:
        A report with the facts about each method, the method that a send would use, and
        advice on what to change. It also holds every error but a `ConfigError`.

    Raises:
        ConfigError: the server or the timeout cannot be used; no connection was opened.
    """
    try:
        where = server_of(server)
    finally:
        del server  # a URL holds a password, and an error keeps this frame
    deadline = Deadline(checked_timeout(where, timeout))
    race = Race(where, deadline, Hooks())
    return await _Examination(where, deadline, race).run()


@dataclass(frozen=True, slots=True)
class _Plan:
    """The method and the login, or the error, that a send would have now."""

    chosen: Method | None = None
    login: Login | None = None
    attempts: tuple[Attempt, ...] = ()
    error: SendError | None = None


@dataclass(slots=True)
class _Examination:
    """One examination; its race records the methods that failed."""

    server: Server
    deadline: Deadline
    race: Race

    async def run(self) -> Report:
        if transport.replacement is not None:
            # A test captures mail: no connection is opened.
            return self._report((), (), None, await self._connect_and_log_in())
        try:
            quirks = known_servers.quirks(self.server)
            target = await find_target(self.server, quirks, self.deadline, fresh=True)
        except ConfigError:
            raise
        except SendError as error:
            return self._report((), (), None, _Plan(error=error))
        # With a proxy, nobody here knows the addresses of the server.
        found_here = target.addresses if target.proxy is None else ()
        addresses = tuple(str(address[0]) for _, address in found_here)
        methods = self.server.policy.methods
        probes = [
            asyncio.create_task(probe(target, method, self.deadline))
            for method in methods
        ]
        tasks: list[asyncio.Task[Any]] = [*probes]
        port25_task = None
        if methods == DEFAULT_METHODS:
            port25_task = asyncio.create_task(
                read_greeting(target, _RELAY_PORT, self.deadline)
            )
            tasks.append(port25_task)
        try:
            if await self._first_ready(probes):
                plan = await self._connect_and_log_in()
            else:
                failure = self.race.failure()
                plan = _Plan(attempts=failure.attempts, error=failure)
            found = tuple([await task for task in probes])
            port25 = None if port25_task is None else await port25_task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return self._report(addresses, found, port25, plan)

    async def _first_ready(self, probes: Sequence[asyncio.Task[MethodReport]]) -> bool:
        """Return True once a method is ready, or False once all have failed."""
        pending = set(probes)
        while pending:
            done, pending = await asyncio.wait(
                pending, return_when=asyncio.FIRST_COMPLETED
            )
            for report in [task.result() for task in probes if task in done]:
                if report.error is None:
                    return True
                if report.error.event is None:
                    raise report.error  # a ConfigError, which is not for the report
                track = Track(report.method, self.deadline.elapsed - report.elapsed)
                track.address = report.address
                self.race.record(report.error, track)
        return False

    async def _connect_and_log_in(self) -> _Plan:
        """Connect by the policy and log in, exactly as a send would, then close."""
        pool = Pool(self.server, Limits(max_connections=1), Hooks())
        started = self.deadline.elapsed
        try:
            await submit.check(self.server, self.deadline.left, pool)
            session = pool.take_idle(self.deadline)
            if session is None:
                # A test captures mail, or the server has closed the connection already.
                order = known_servers.preferred_order(self.server)
                method, mechanism = order.methods[0], None
            else:
                method, mechanism = session.method, session.mechanism
                session.channel.quit()
        except ConfigError:
            raise
        except SendError as error:
            login = self._login(started, None, None, error)
            return _Plan(None, login, error.attempts, error)
        finally:
            await pool.close()
        return _Plan(method, self._login(started, method, mechanism, None))

    def _login(
        self,
        started: float,
        method: Method | None,
        mechanism: str | None,
        error: SendError | None,
    ) -> Login | None:
        auth = self.server.auth
        if auth is None or (error is not None and error.event not in _AT_LOGIN):
            return None
        if error is not None and error.attempts:
            method = error.attempts[-1].method
        seconds = self.deadline.elapsed - started
        return Login(user_shown(auth), method, mechanism, seconds, error)

    def _report(
        self,
        addresses: tuple[str, ...],
        methods: tuple[MethodReport, ...],
        port25: Port25 | None,
        plan: _Plan,
    ) -> Report:
        try:
            provider = provider_of(self.server.host)
        except OSError:  # no descriptor is left to read the table; the error says so
            provider = None
        report = Report(
            host=self.server.host,
            addresses=addresses,
            methods=methods,
            port25=port25,
            chosen=plan.chosen,
            login=plan.login,
            attempts=plan.attempts,
            error=plan.error,
            elapsed=self.deadline.elapsed,
            provider=None if provider is None else provider.key,
            proxy=None if self.server.proxy is None else str(self.server.proxy),
            tls_name=self.server.tls_name,
        )
        return replace(report, verdict=verdict(report), advice=advice(report))
