"""Send one message, or check the login, by the first of several servers that works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from smtpsend._client.outcomes import conclude, conclude_cancelled, conclude_failure
from smtpsend._client.submit import check, send_once
from smtpsend._client.transactions import Transactions
from smtpsend._wire.callers.code import passes
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.target import context_of
from smtpsend.errors import SendError


if TYPE_CHECKING:
    from smtpsend._client.hooks import Hooks
    from smtpsend._client.pool import Pool
    from smtpsend._client.servers.route import Route
    from smtpsend._client.submission import Submission
    from smtpsend._model.receipt import Receipt
    from smtpsend._model.server.server import Server


def require_trust(servers: Sequence[Server]) -> None:
    """Refuse a CA file or TLS context that cannot be used, before any connection.

    A fault in the settings of the last server shows at once, and not when the first one
    fails.

    Raises:
        ConfigError: one of them cannot be used.
    """
    for server in servers:
        context_of(server)


async def submit_over(
    route: Route,
    submission: Submission,
    pools: Sequence[Pool],
    hooks: Hooks,
) -> Receipt:
    """Send one message by the servers of a route, in turn.

    Args:
        pools: the pool of each server; empty for a one-shot send.

    Raises:
        SendError: no server accepted the message, or its delivery is unknown.
    """
    transactions = Transactions.of(submission)
    try:
        whole = Deadline(submission.timeout)
        while True:
            deadline = Deadline(min(route.timeout, whole.left), whole.elapsed)
            pool = pools[route.index] if pools else None
            try:
                receipt = await send_once(
                    route.server, submission, transactions, deadline, pool
                )
                break
            except SendError as error:
                transactions.complete_error(error)
                if not route.goes_on(error, whole.elapsed):
                    raise route.failure() from None
                if pools and pools[route.index].closed:
                    raise route.failure() from None
                transactions = transactions.for_next_server(error)
    except BaseException as error:  # P3: nothing untyped escapes
        route.abandon()
        if passes(error):
            conclude_cancelled(submission, transactions, hooks)
            raise
        typed = conclude_failure(route.server, submission, transactions, hooks, error)
        if typed is error:
            raise
        raise typed from None
    route.accepted()
    receipt = route.completed(receipt)
    conclude(route.server, submission, receipt, hooks)
    return receipt


async def check_over(
    route: Route, servers: Sequence[Server], pools: Sequence[Pool], timeout: float
) -> None:
    """Log in to the first server that works, as a send would, and keep the connection.

    Raises:
        SendError: the error that a send would raise.
    """
    try:
        require_trust(servers)
        whole = Deadline(timeout)
        while True:
            seconds, elapsed = min(route.timeout, whole.left), whole.elapsed
            try:
                await check(route.server, seconds, pools[route.index], elapsed)
                break
            except SendError as error:
                if not route.goes_on(error, whole.elapsed):
                    raise route.failure() from None
    finally:
        route.abandon()
    route.accepted()
