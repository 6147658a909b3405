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
from smtpsend._model.host import check_private
from smtpsend._model.message import Envelope, envelope
from smtpsend._model.policy import check_seconds
from smtpsend._model.receipt import Receipt
from smtpsend._wire.channel import Deadline
from smtpsend._wire.dial import resolve
from smtpsend._wire.login import login
from smtpsend._wire.session import Session, Target
from smtpsend._wire.tls import context_for
from smtpsend._wire.transaction import Transaction
from smtpsend.errors import Event, Phase, SendError


if TYPE_CHECKING:
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
    if timeout is None:
        timeout = server.policy.deadline
    check_seconds("timeout", timeout)
    return Order(envelope(message, sender, recipients), bool(require_all), timeout)


async def submit(server: Server, order: Order) -> Receipt:
    """Send one message over a connection of its own.

    Raises:
        SendError: it was not sent, or it is unknown whether it was.
    """
    message_id = order.envelope.message_id
    try:
        receipt = await _submit(server, order, Deadline(order.timeout))
    except SendError as error:
        error.message_id = message_id
        report.failure(error, server.host, len(order.envelope.recipients))
        raise
    except Exception as error:  # noqa: BLE001  # P3: nothing untyped escapes
        raise report.unexpected(error, Phase.CONNECT, message_id) from None
    report.success(receipt, server.host)
    return receipt


async def _submit(server: Server, order: Order, deadline: Deadline) -> Receipt:
    # Reads files and looks at the caller's context: before any network.
    cafile = None if server.cafile is None else str(server.cafile)
    context = context_for(cafile, server.ssl_context)
    limit = deadline.within(server.policy.connect_timeout)
    addresses = await resolve(server.host, limit)
    if server.plaintext:
        for _, address in addresses:
            check_private(str(address[0]))
    target = Target(
        server.host, addresses, context, server.auth, server.ehlo_name, server.policy
    )
    race = Race(target, deadline, memory.in_order(server.host, server.policy))
    try:
        while True:
            session = await race.ready()
            try:
                return await _send_over(session, race, order)
            except SendError as error:
                # What follows, if anything does, is decided by the race.
                race.record(error, session.track)
    finally:
        await race.settle()


async def _send_over(session: Session, race: Race, order: Order) -> Receipt:
    """Log in and run the transaction; however it ends, the connection ends well."""
    transaction = Transaction(session, order.envelope, order.require_all)
    try:
        await login(session)
        memory.worked(race.target.host, race.target.policy, session.method)
        reply = await transaction.run()
    except SendError as error:
        if error.event in _IN_DOUBT or error.phase is Phase.CONTENT:
            session.channel.abort()
        else:
            session.channel.hang_up()
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
    session.channel.hang_up()
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
