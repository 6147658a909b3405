"""The send algorithm, the same for one-shot sends and clients, sync and async.

It looks the host name up once, races the methods to a ready session, logs in, and runs
the transaction. If one of these steps fails, the policy decides whether another method is
tried. The caller always gets a receipt or a typed error, and a connection whose state is
in doubt is always aborted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

from smtpsend._client import known_servers, log, transport
from smtpsend._client.background import portal
from smtpsend._client.hooks import Hooks
from smtpsend._client.outcomes import (
    conclude,
    conclude_cancelled,
    conclude_failure,
    receipt_of,
)
from smtpsend._client.race import Race
from smtpsend._client.submission import Submission
from smtpsend._client.transactions import Transactions
from smtpsend._model.diagnosis.hints import explain
from smtpsend._model.receipt import Receipt
from smtpsend._protocol.connection_state import State
from smtpsend._wire.callers.code import passes
from smtpsend._wire.connection import Session
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.login import login
from smtpsend.errors import ConnectError, ConnectionLost, Event, Phase, SendError


if TYPE_CHECKING:
    from smtpsend._client.pool import Pool
    from smtpsend._model.server.server import Server

# After these events client and server may disagree about the state of the session, so
# the connection is aborted without QUIT.
_IN_DOUBT = {
    Event.AUTH_LOST,
    Event.LOST,
    Event.WRONG_CLASS,
    Event.ACCEPTED_EARLY,
    Event.UNKNOWN,
}


# The steps at which a server says that it accepts no further connection.
_EARLY = {Phase.GREETING, Phase.EHLO, Phase.AUTH, Phase.MAIL}


async def submit(
    server: Server, submission: Submission, pool: Pool | None = None
) -> Receipt:
    """Send one message over a connection of `pool`, or over one of its own.

    Raises:
        SendError: the message was not sent, or its delivery is unknown.
    """
    hooks = pool.hooks if pool is not None else Hooks()
    transactions = Transactions.of(submission)
    deadline = Deadline(submission.timeout, submission.elapsed)
    try:
        receipt = await send_once(server, submission, transactions, deadline, pool)
    except BaseException as error:  # P3: nothing untyped escapes
        if passes(error):
            conclude_cancelled(submission, transactions, hooks)
            raise
        typed = conclude_failure(server, submission, transactions, hooks, error)
        if typed is error:
            raise
        raise typed from None
    conclude(server, submission, receipt, hooks)
    return receipt


async def send_once(
    server: Server,
    submission: Submission,
    transactions: Transactions,
    deadline: Deadline,
    pool: Pool | None,
) -> Receipt:
    """Send one message by one server, when the pool has a connection for it.

    Raises:
        SendError: the message was not sent, or its delivery is unknown.
    """
    if pool is None:
        return await _deliver(server, submission, transactions, deadline, None)
    await pool.throttle.wait_turn(deadline)
    async with pool.slot(deadline):
        return await _deliver(server, submission, transactions, deadline, pool)


async def _deliver(
    server: Server,
    submission: Submission,
    transactions: Transactions,
    deadline: Deadline,
    pool: Pool | None,
) -> Receipt:
    hooks = pool.hooks if pool is not None else Hooks()
    if transport.replacement is not None:
        return await transport.replacement.send(server, submission, hooks)
    return await deliver(Race(server, deadline, hooks), transactions, pool)


async def check(server: Server, timeout: float, pool: Pool, elapsed: float = 0.0) -> None:
    """Connect and log in as `submit` would, and keep the connection in `pool`.

    Args:
        timeout: seconds for this server.
        elapsed: seconds that the call has lasted before, with other servers.

    Raises:
        SendError: the error that a send would raise.
    """
    try:
        await _check(server, Deadline(timeout, elapsed), pool)
    except SendError as error:
        explain(error, server)
        raise
    except Exception as error:  # noqa: BLE001  # P3: nothing untyped escapes
        raise log.unexpected(error, Phase.CONNECT) from None


async def _check(server: Server, deadline: Deadline, pool: Pool) -> None:
    async with pool.slot(deadline):
        if transport.replacement is not None:
            await transport.replacement.check(server, pool.hooks)
            return
        race = Race(server, deadline, pool.hooks)
        pool.make_room()
        try:
            pool.give_back(await authenticated_session(race, pool))
        finally:
            await race.settle()


async def deliver(
    race: Race,
    transactions: Transactions,
    pool: Pool | None,
    session: Session | None = None,
) -> Receipt:
    """Send one message over `session`, a kept session, or a session of the race.

    Raises:
        SendError: the message was not sent, or its delivery is unknown.
    """
    try:
        if pool is not None and session is None:
            # The caller's loop may not have run since the last send. One turn lets it
            # read the sockets, so that a connection that ended or got a 421 is not used.
            if not portal.inside():
                await asyncio.sleep(0)
            session = pool.take_idle(race.deadline)
        while True:
            if session is None:
                session = await _session_of(race, pool)
            kept = session.state.reused
            try:
                receipt = await _send_over(session, race, transactions, pool)
                if receipt is not None:
                    return receipt
            except SendError as error:
                # A kept connection that was lost before the reply to MAIL is replaced,
                # and `attempts` does not list it.
                if not (kept and lost_before_mail(error) and race.deadline.left):
                    # With this error noted, the race decides whether anything follows.
                    race.record(error, session.track)
                    kept = False
            session = pool.take_idle(race.deadline) if kept and pool is not None else None
    finally:
        await race.settle()


async def _session_of(race: Race, pool: Pool | None) -> Session:
    """Open a session, or wait for one of the client if the server accepts no more.

    The receipt does not list the attempt if the client has a connection, as it does not
    list one over a kept connection that was lost.

    Raises:
        SendError: no session can be had before the deadline.
    """
    before = len(race.attempts)
    try:
        return await authenticated_session(race, pool)
    except SendError as error:
        if pool is None or not _one_too_many(error):
            raise
        session = await pool.wait_for_idle(race.deadline)
        if session is None:
            raise
        del race.attempts[before:]
        return session


def _one_too_many(error: SendError) -> bool:
    """Whether a 421 ended a connection before the server replied to MAIL.

    At a later step, the 421 is about the message, and the policy decides.
    """
    early = isinstance(error, ConnectError | ConnectionLost) and error.phase in _EARLY
    return early and error.reply is not None and error.reply.code == 421


def lost_before_mail(error: SendError) -> bool:
    """Whether the connection was lost before the server replied to MAIL."""
    return error.event is Event.LOST and error.phase is Phase.MAIL


Turn = Callable[[Deadline], AbstractAsyncContextManager[None]]
"""Waits until a connection may log in; the login is made in its body."""


async def authenticated_session(
    race: Race, pool: Pool | None = None, turn: Turn = lambda _: nullcontext()
) -> Session:
    """Race the methods that are still to be tried, and log in to the winner's session.

    Args:
        pool: the pool that the session is for; None for a one-shot send.
        turn: waits until the session may log in.

    Raises:
        SendError: no method is left to be tried.
    """
    while True:
        session = await race.ready()
        try:
            # This is awaited before the message is sent, since nothing may be awaited
            # between its acceptance and the receipt.
            await race.settle()
            if pool is None:
                await login(session)
            else:
                async with turn(race.deadline), pool.login_turn(race.deadline):
                    await login(session)
                pool.end_outdated()
        except SendError as error:
            _end_connection(session, error)
            race.record(error, session.track)
        except BaseException:
            session.channel.abort()
            raise
        else:
            known_servers.remember(race.server, session.method)
            session.state.state = State.CONFIRMED
            return session


def _end_connection(session: Session, error: SendError) -> None:
    if error.event in _IN_DOUBT or error.phase is Phase.CONTENT:
        session.channel.abort()
    else:
        session.channel.quit()


async def _send_over(
    session: Session, race: Race, transactions: Transactions, pool: Pool | None
) -> Receipt | None:
    """Run the transactions, then keep, close or abort the connection as they ended.

    Returns:
        The receipt; None if recipients are left that need a fresh connection.

    Raises:
        SendError: the message was not sent, or its delivery is unknown.
    """
    try:
        reply = await transactions.run(session, last=pool is None)
    except SendError as error:
        if pool is None or error.event is not Event.REFUSED:
            _end_connection(session, error)
        elif error.phase is Phase.CONTENT:
            session.channel.abort()
        else:
            pool.give_back(session)
        raise
    except BaseException as error:  # P3: nothing untyped escapes
        if not passes(error):
            session.channel.abort()
            raise log.unexpected(error, session.track.phase) from None
        message_id = transactions.envelope.message_id
        transactions.unknown = log.cancelled(transactions.transaction, message_id)
        session.channel.abort()
        raise
    # P8: the server has accepted the message, and nothing after this line raises.
    if pool is None:
        session.channel.quit()
    else:
        pool.give_back(session)
    if reply is None:
        return None
    return receipt_of(
        session,
        transactions.envelope.message_id,
        transactions,
        attempts=tuple(race.attempts),
        started=session.track.started,
        elapsed=race.deadline.elapsed,
    )
