"""The one send algorithm, for one-shot sends and clients, sync and async.

Look the name up once, race the methods to a ready session, log in, run the transaction;
where that breaks, ask the policy whether to go on. Whatever happens, the caller gets a
receipt or a typed error, and no connection is left in doubt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from smtpsend._client import memory, report
from smtpsend._client.delivery import Delivery
from smtpsend._client.hooks import Hooks
from smtpsend._client.race import Race
from smtpsend._model.message import Envelope, envelope
from smtpsend._model.policy import check_seconds
from smtpsend._model.receipt import Outcome, Receipt
from smtpsend._model.redirect import redirected
from smtpsend._wire.channel import Deadline
from smtpsend._wire.login import login
from smtpsend._wire.session import Session
from smtpsend._wire.tls import context_for
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

    message: object
    envelope: Envelope
    require_all: bool
    timeout: float
    index: int = 0


class Transport(Protocol):
    """What takes the place of the network while a program is tested."""

    async def send(self, server: Server, order: Order, hooks: Hooks) -> Receipt:
        """What a send comes to."""
        ...

    async def check(self, server: Server, hooks: Hooks) -> None:
        """What a check comes to."""
        ...


# Set by smtpsend.testing; None is the network.
transport: Transport | None = None


def order_of(
    server: Server,
    message: object,
    sender: str | None,
    recipients: Sequence[str] | None,
    *,
    require_all: bool,
    timeout: float | None,
    index: int = 0,
) -> Order:
    """What the arguments of a send come to.

    Raises:
        ConfigError: they cannot be used.
    """
    seconds = checked_timeout(server, timeout)
    made = envelope(message, sender, recipients)
    if server.redirect_to is not None:
        made = redirected(made, server.redirect_to)
    return Order(message, made, bool(require_all), seconds, index)


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
    hooks = pool.hooks if pool is not None else Hooks()
    delivery = Delivery(order.envelope, order.require_all)
    deadline = Deadline(order.timeout)
    try:
        if pool is None:
            receipt = await _carry(server, order, delivery, deadline, None)
        else:
            async with pool.slot(deadline):
                receipt = await _carry(server, order, delivery, deadline, pool)
    except SendError as error:
        report.failure(delivery.close(error), server.host, order.envelope)
        hooks.outcome(Outcome(order.index, order.message, None, error))
        raise
    except Exception as error:  # noqa: BLE001  # P3: nothing untyped escapes
        typed = delivery.close(report.unexpected(error, Phase.CONNECT))
        hooks.outcome(Outcome(order.index, order.message, None, typed))
        raise typed from None
    except BaseException:
        if delivery.unknown is not None:
            unknown = delivery.close(delivery.unknown)
            hooks.outcome(Outcome(order.index, order.message, None, unknown))
        raise
    report.success(receipt, server.host)
    hooks.outcome(Outcome(order.index, order.message, receipt, None))
    return receipt


async def _carry(
    server: Server,
    order: Order,
    delivery: Delivery,
    deadline: Deadline,
    pool: Pool | None,
) -> Receipt:
    hooks = pool.hooks if pool is not None else Hooks()
    if transport is not None:
        return await transport.send(server, order, hooks)
    return await _send(_race(server, deadline, hooks), delivery, pool)


def _race(server: Server, deadline: Deadline, hooks: Hooks) -> Race:
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
        if transport is not None:
            await transport.check(server, pool.hooks)
            return
        race = _race(server, deadline, pool.hooks)
        pool.make_room()
        try:
            pool.give(await _logged_in(race))
        finally:
            await race.settle()


async def _send(race: Race, delivery: Delivery, pool: Pool | None) -> Receipt:
    try:
        if pool is not None:
            # One turn of the loop: it may have stood still since the last send, and what
            # came meanwhile (an end, a 421) is not seen before it looks at the sockets.
            await asyncio.sleep(0)
        while pool is not None and (kept := pool.take(race.deadline)) is not None:
            try:
                if (receipt := await _send_over(kept, race, delivery, pool)) is not None:
                    return receipt
            except SendError as error:
                # Found dead before anything was said: replaced in silence.
                dead = error.event is Event.LOST and error.phase is Phase.MAIL
                if not dead or not race.deadline.left:
                    race.record(error, kept.track)
                    break
        while True:
            session = await _logged_in(race)
            try:
                receipt = await _send_over(session, race, delivery, pool)
            except SendError as error:
                # What follows, if anything does, is decided by the race.
                race.record(error, session.track)
            else:
                if receipt is not None:
                    return receipt
    finally:
        await race.settle()


async def _logged_in(race: Race) -> Session:
    """A session that the server let in, by the methods that are still to be tried."""
    while True:
        session = await race.ready()
        try:
            # Here, and not after the message is taken, when nothing may be awaited.
            await race.settle()
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
        raise report.unexpected(error, session.track.phase) from None
    except BaseException:
        delivery.unknown = report.cancelled(session, delivery.envelope.message_id)
        session.channel.abort()
        raise
    # P8: the server has the message, and nothing below here raises.
    if pool is None:
        session.channel.hang_up()
    else:
        pool.give(session)
    if reply is None:
        return None
    return Receipt(
        message_id=delivery.envelope.message_id,
        method=session.method,
        address=str(session.track.address),
        tls=session.tls,
        reply=reply,
        accepted=tuple(delivery.accepted),
        refused=dict(delivery.refused),
        attempts=tuple(race.attempts),
        elapsed=race.deadline.elapsed,
        started=session.track.started,
    )
