"""The one send algorithm, for one-shot sends and clients, sync and async.

Look the name up once, race the methods to a ready session, log in, run the transaction;
where that breaks, ask the policy whether to go on. Whatever happens, the caller gets a
receipt or a typed error, and no connection is left in doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpsend._client import memory, report
from smtpsend._client.race import Race
from smtpsend._model.message import Envelope, envelope
from smtpsend._model.policy import check_seconds
from smtpsend._model.receipt import Receipt
from smtpsend._wire.channel import Deadline
from smtpsend._wire.login import login
from smtpsend._wire.session import Session
from smtpsend._wire.tls import context_for
from smtpsend._wire.transaction import Transaction
from smtpsend.errors import Event, Phase, SendError


if TYPE_CHECKING:
    from smtpsend._client.pool import Pool
    from smtpsend._model.server import Server

# After these the two sides may not agree on what was said: nothing more goes out.
_IN_DOUBT = {
    Event.AUTH_LOST,
    Event.LOST,
    Event.WRONG_CLASS,
    Event.ACCEPTED_EARLY,
    Event.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Order:
    """What to send, and how."""

    envelope: Envelope
    require_all: bool
    timeout: float


def order_of(
    server: Server,
    message: object,
    sender: str | None,
    recipients: Sequence[str] | None,
    *,
    require_all: bool,
    timeout: float | None,
) -> Order:
    """What the arguments of a send come to.

    Raises:
        ConfigError: they cannot be used.
    """
    seconds = checked_timeout(server, timeout)
    return Order(envelope(message, sender, recipients), bool(require_all), seconds)


def checked_timeout(server: Server, timeout: float | None) -> float:
    """The seconds that a call may take.

    Raises:
        ConfigError: `timeout` is no usable number of seconds.
    """
    if timeout is None:
        return server.policy.deadline
    check_seconds("timeout", timeout)
    return timeout


async def submit(server: Server, order: Order, pool: Pool | None = None) -> Receipt:
    """Send one message, over a connection of `pool` or one of its own.

    Raises:
        SendError: it was not sent, or it is unknown whether it was.
    """
    message_id = order.envelope.message_id
    try:
        receipt = await _within(server, order, Deadline(order.timeout), pool)
    except SendError as error:
        error.message_id = message_id
        report.failure(error, server.host, len(order.envelope.recipients))
        raise
    except Exception as error:  # noqa: BLE001  # P3: nothing untyped escapes
        raise report.unexpected(error, Phase.CONNECT, message_id) from None
    report.success(receipt, server.host)
    return receipt


async def _within(
    server: Server, order: Order, deadline: Deadline, pool: Pool | None
) -> Receipt:
    if pool is None:
        return await _send(_race(server, deadline), order, None)
    async with pool.slot(deadline):
        return await _send(_race(server, deadline), order, pool)


def _race(server: Server, deadline: Deadline) -> Race:
    # Reads files and looks at the caller's context: before any network.
    cafile = None if server.cafile is None else str(server.cafile)
    return Race(server, context_for(cafile, server.ssl_context), deadline)


async def check(server: Server, timeout: float, pool: Pool) -> None:
    """Come as far as a login, as `submit` would, and keep the connection.

    Raises:
        SendError: what a send would raise.
    """
    deadline = Deadline(timeout)
    async with pool.slot(deadline):
        race = _race(server, deadline)
        try:
            pool.give(await _logged_in(race))
        finally:
            await race.settle()


async def _send(race: Race, order: Order, pool: Pool | None) -> Receipt:
    try:
        while pool is not None and (kept := pool.take(race.deadline)) is not None:
            try:
                return await _send_over(kept, race, order, pool)
            except SendError as error:
                # Found dead before anything was said: replaced in silence.
                if error.event is not Event.LOST or error.phase is not Phase.MAIL:
                    race.record(error, kept.track)
                    break
        while True:
            session = await _logged_in(race)
            try:
                return await _send_over(session, race, order, pool)
            except SendError as error:
                # What follows, if anything does, is decided by the race.
                race.record(error, session.track)
    finally:
        await race.settle()


async def _logged_in(race: Race) -> Session:
    """A session that the server let in, by the methods that are still to be tried."""
    while True:
        session = await race.ready()
        try:
            await login(session)
        except SendError as error:
            _hang_up(session, error)
            race.record(error, session.track)
        except BaseException:
            session.channel.abort()
            raise
        else:
            memory.worked(race.server.host, race.server.policy, session.method)
            return session


def _hang_up(session: Session, error: SendError) -> None:
    if error.event in _IN_DOUBT or error.phase is Phase.CONTENT:
        session.channel.abort()
    else:
        session.channel.hang_up()


async def _send_over(
    session: Session, race: Race, order: Order, pool: Pool | None
) -> Receipt:
    """Run the transaction; however it ends, the connection ends well."""
    transaction = Transaction(session, order.envelope, order.require_all)
    try:
        reply = await transaction.run()
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
        message_id = order.envelope.message_id
        raise report.unexpected(error, session.track.phase, message_id) from None
    except BaseException:
        report.cancelled(session, order.envelope.message_id)
        session.channel.abort()
        raise
    # P8: the server has the message, and nothing below here raises.
    if pool is None:
        session.channel.hang_up()
    else:
        pool.give(session)
    return Receipt(
        message_id=order.envelope.message_id,
        method=session.method,
        address=str(session.track.address),
        tls=session.tls,
        reply=reply,
        accepted=tuple(transaction.accepted),
        refused=dict(transaction.refused),
        attempts=tuple(race.attempts),
        elapsed=race.deadline.elapsed,
        started=session.track.started,
    )
