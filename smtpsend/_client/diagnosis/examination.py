"""Examine a server without sending: every method of its policy, and what to change."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from smtpsend._client import known_servers, submit, transport
from smtpsend._client.background import portal
from smtpsend._client.diagnosis.probe import look, probe
from smtpsend._client.hooks import Hooks
from smtpsend._client.pool import Limits, Pool
from smtpsend._client.race import Race
from smtpsend._client.submission import checked_timeout
from smtpsend._model.diagnosis.advice import advice, verdict
from smtpsend._model.diagnosis.report import Login, MethodReport, Port25, Report
from smtpsend._model.policy.policy import DEFAULT_METHODS, Method
from smtpsend._model.server.credentials import shown_name
from smtpsend._model.server.server import Server, server_of
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.progress import Track
from smtpsend._wire.target import find_target
from smtpsend._wire.tls import context_for
from smtpsend.errors import Attempt, ConfigError, Event, SendError


_RELAY = 25
_AT_LOGIN = (Event.AUTH_REFUSED, Event.AUTH_LOST)


def diagnose(server: Server | str, *, timeout: float | None = None) -> Report:
    """Try every method of a server's policy, side by side, without sending.

    With credentials there is one login, on the method that a send would use. Nothing
    secret leaves but by that login, inside verified TLS.

    Args:
        server: a `Server`, a host name, or a URL, as for `send`.
        timeout: seconds for all of it, in place of ``policy.deadline``.

    Returns:
        The facts for each method, what a send would do, and what to change.

    Raises:
        ConfigError: the server cannot be used; nothing was connected. All else that
            goes wrong is in the report.
    """
    return portal.run(lambda: diagnose_async(server, timeout=timeout))


async def diagnose_async(server: Server | str, *, timeout: float | None = None) -> Report:
    """Try every method of a server's policy without sending, as `diagnose` does.

    Args:
        server: a `Server`, a host name, or a URL, as for `send`.
        timeout: seconds for all of it, in place of ``policy.deadline``.

    Returns:
        The facts for each method, what a send would do, and what to change.

    Raises:
        ConfigError: the server cannot be used; nothing was connected.
    """
    where = server_of(server)
    deadline = Deadline(checked_timeout(where, timeout))
    cafile = None if where.cafile is None else str(where.cafile)
    race = Race(where, context_for(cafile, where.ssl_context), deadline, Hooks())
    return await _Examination(where, deadline, race).run()


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a send would do now."""

    chosen: Method | None = None
    login: Login | None = None
    attempts: tuple[Attempt, ...] = ()
    error: SendError | None = None


@dataclass(slots=True)
class _Examination:
    """One check: the server, and the race that keeps count of what failed."""

    server: Server
    deadline: Deadline
    race: Race

    async def run(self) -> Report:
        if (
            transport.replacement is not None
        ):  # a test captures mail: nothing is connected
            return self._report((), (), None, await self._rehearse())
        try:
            target = await find_target(
                self.server,
                self.race.context,
                known_servers.quirks(self.server.host, self.server.policy),
                self.deadline,
            )
        except ConfigError:
            raise
        except SendError as error:
            return self._report((), (), None, _Plan(error=error))
        addresses = tuple(str(address[0]) for _, address in target.addresses)
        methods = self.server.policy.methods
        probes = [
            asyncio.create_task(probe(target, method, self.deadline))
            for method in methods
        ]
        tasks: list[asyncio.Task[Any]] = [*probes]
        aside = None
        if methods == DEFAULT_METHODS:
            aside = asyncio.create_task(look(target, _RELAY, self.deadline))
            tasks.append(aside)
        try:
            if await self._first_ready(probes):
                plan = await self._rehearse()
            else:
                failure = self.race.failure()
                plan = _Plan(attempts=failure.attempts, error=failure)
            found = tuple([await task for task in probes])
            port25 = None if aside is None else await aside
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return self._report(addresses, found, port25, plan)

    async def _first_ready(self, probes: Sequence[asyncio.Task[MethodReport]]) -> bool:
        """Wait until a method is ready (True), or all have failed (False)."""
        pending = set(probes)
        while pending:
            done, pending = await asyncio.wait(
                pending, return_when=asyncio.FIRST_COMPLETED
            )
            for report in [task.result() for task in probes if task in done]:
                if report.error is None:
                    return True
                if report.error.event is None:
                    raise report.error  # a ConfigError: there is nothing to look at
                track = Track(report.method, self.deadline.elapsed - report.elapsed)
                track.address = report.address
                self.race.record(report.error, track)
        return False

    async def _rehearse(self) -> _Plan:
        """Connect by the policy and log in, exactly as a send would."""
        pool = Pool(self.server, Limits(max_connections=1), Hooks())
        begun = self.deadline.elapsed
        try:
            await submit.check(self.server, self.deadline.left, pool)
            session = pool.take(self.deadline)
            if session is None:  # captured by a test, or gone again already
                order = known_servers.preferred_order(
                    self.server.host, self.server.policy
                )
                method, mechanism = order.methods[0], None
            else:
                method, mechanism = session.method, session.mechanism
                session.channel.quit()
        except ConfigError:
            raise
        except SendError as error:
            login = self._login(begun, None, None, error)
            return _Plan(None, login, error.attempts, error)
        finally:
            await pool.close()
        return _Plan(method, self._login(begun, method, mechanism, None))

    def _login(
        self,
        begun: float,
        method: Method | None,
        mechanism: str | None,
        error: SendError | None,
    ) -> Login | None:
        auth = self.server.auth
        if auth is None or (error is not None and error.event not in _AT_LOGIN):
            return None
        if error is not None and error.attempts:
            method = error.attempts[-1].method
        spent = self.deadline.elapsed - begun
        return Login(shown_name(auth), method, mechanism, spent, error)

    def _report(
        self,
        addresses: tuple[str, ...],
        methods: tuple[MethodReport, ...],
        port25: Port25 | None,
        plan: _Plan,
    ) -> Report:
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
        )
        return replace(report, verdict=verdict(report), advice=advice(report))
