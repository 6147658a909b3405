"""The one send algorithm, for one-shot sends and clients, sync and async.

Look the name up once, race the methods to a ready session, log in, run the transaction;
where that breaks, ask the policy whether to go on. Whatever happens, the caller gets a
receipt or a typed error, and no connection is left in doubt.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from smtpsend._client import known_servers, log, transport
from smtpsend._client.delivery import Delivery
from smtpsend._client.hooks import Hooks
from smtpsend._client.outcomes import (
    conclude,
    conclude_cancelled,
    conclude_failure,
    receipt_of,
)
from smtpsend._client.race import Race
from smtpsend._client.submission import Submission
from smtpsend._model.receipt import Receipt
from smtpsend._wire.connection import Session
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.login import login
from smtpsend._wire.tls import context_for
from smtpsend.errors import Event, Phase, SendError


if TYPE_CHECKING:
    from smtpsend._client.bulk.login_gate import LoginGate
    from smtpsend._client.pool import Pool
    from smtpsend._model.server.server import Server

# After these the two sides may not agree on what was said: nothing more goes out.
_IN_DOUBT = {
    Event.AUTH_LOST,
    Event.LOST,
    Event.WRONG_CLASS,
    Event.ACCEPTED_EARLY,
    Event.UNKNOWN,
}


async def submit(
    server: Server, submission: Submission, pool: Pool | None = None
) -> Receipt:
    """Send one message, over a connection of `pool` or one of its own.

    Raises:
        SendError: it was not sent, or it is unknown whether it was.
    """
    hooks = pool.hooks if pool is not None else Hooks()
    delivery = Delivery(submission.envelope, submission.require_all)
    deadline = Deadline(submission.timeout)
    try:
        if pool is None:
            receipt = await _carry(server, submission, delivery, deadline, None)
        else:
            await pool.throttle.wait_turn(deadline)
            async with pool.slot(deadline):
                receipt = await _carry(server, submission, delivery, deadline, pool)
    except Exception as error:  # P3: nothing untyped escapes
        typed = conclude_failure(server, submission, delivery, hooks, error)
        if typed is error:
            raise
        raise typed from None
    except BaseException:
        conclude_cancelled(submission, delivery, hooks)
        raise
    conclude(server, submission, receipt, hooks)
    return receipt


async def _carry(
    server: Server,
    submission: Submission,
    delivery: Delivery,
    deadline: Deadline,
    pool: Pool | None,
) -> Receipt:
    hooks = pool.hooks if pool is not None else Hooks()
    if transport.replacement is not None:
        return await transport.replacement.send(server, submission, hooks)
    return await carry(race_for(server, deadline, hooks), delivery, pool)


def race_for(server: Server, deadline: Deadline, hooks: Hooks) -> Race:
    """The race that a call runs.

    Raises:
        ConfigError: the CA file or the context cannot be used.
    """
    # Reads files and looks at the caller's context: before any network.
    cafile = None if server.cafile is None else str(server.cafile)
    return Race(server, context_for(cafile, server.ssl_context), deadline, hooks)


async def check(server: Server, timeout: float, pool: Pool) -> None:
    """Come as far as a login, as `submit` would, and keep the connection.

    Raises:
        SendError: what a send would raise.
    """
    deadline = Deadline(timeout)
    async with pool.slot(deadline):
        if transport.replacement is not None:
            await transport.replacement.check(server, pool.hooks)
            return
        race = race_for(server, deadline, pool.hooks)
        pool.make_room()
        try:
            pool.give(await logged_in(race))
        finally:
            await race.settle()


async def carry(
    race: Race, delivery: Delivery, pool: Pool | None, session: Session | None = None
) -> Receipt:
    """Send one message over `session`, a kept one, or one that the race gives.

    Raises:
        SendError: what ended it.
    """
    try:
        if pool is not None and session is None:
            # One turn of the loop: it may have stood still since the last send, and what
            # came meanwhile (an end, a 421) is not seen before it looks at the sockets.
            await asyncio.sleep(0)
            session = pool.take(race.deadline)
        while True:
            if session is None:
                session = await logged_in(race)
            kept = session.reused
            try:
                receipt = await _send_over(session, race, delivery, pool)
                if receipt is not None:
                    return receipt
            except SendError as error:
                # Found dead before anything was said: replaced in silence.
                if not (kept and is_dead(error) and race.deadline.left):
                    # What follows, if anything does, is decided by the race.
                    race.record(error, session.track)
                    kept = False
            session = pool.take(race.deadline) if kept and pool is not None else None
    finally:
        await race.settle()


def is_dead(error: SendError) -> bool:
    """Whether a connection was found lost before anything was said on it."""
    return error.event is Event.LOST and error.phase is Phase.MAIL


async def logged_in(race: Race, gate: LoginGate | None = None) -> Session:
    """A session that the server let in, by the methods that are still to be tried."""
    while True:
        session = await race.ready()
        try:
            # Here, and not after the message is taken, when nothing may be awaited.
            await race.settle()
            if gate is None:
                await login(session)
            else:
                await gate.login(session)
        except SendError as error:
            _hang_up(session, error)
            race.record(error, session.track)
        except BaseException:
            session.channel.abort()
            raise
        else:
            known_servers.remember(race.server.host, race.server.policy, session.method)
            session.probed = True
            return session


def _hang_up(session: Session, error: SendError) -> None:
    if error.event in _IN_DOUBT or error.phase is Phase.CONTENT:
        session.channel.abort()
    else:
        session.channel.quit()


async def _send_over(
    session: Session, race: Race, delivery: Delivery, pool: Pool | None
) -> Receipt | None:
    """Run the transactions; however they end, the connection ends well.

    None where recipients are left that need a fresh connection.
    """
    try:
        reply = await delivery.run(session, last=pool is None)
    except SendError as error:
        if pool is None or error.event is not Event.REFUSED:
            _hang_up(session, error)
        elif error.phase is Phase.CONTENT:
            session.channel.abort()
        else:
            pool.give(session)
        raise
    except Exception as error:  # noqa: BLE001  # P3: nothing untyped escapes
        session.channel.abort()
        raise log.unexpected(error, session.track.phase) from None
    except BaseException:
        delivery.unknown = log.cancelled(session, delivery.envelope.message_id)
        session.channel.abort()
        raise
    # P8: the server has the message, and nothing below here raises.
    if pool is None:
        session.channel.quit()
    else:
        pool.give(session)
    if reply is None:
        return None
    return receipt_of(
        session,
        delivery,
        attempts=tuple(race.attempts),
        started=session.track.started,
        elapsed=race.deadline.elapsed,
    )
