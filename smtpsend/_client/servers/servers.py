"""The servers of a client or of one send: one, which is the usual case, or several."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from smtpsend._client.hooks import Hooks
from smtpsend._client.submission import (
    RAISED_WHILE_READING,
    Submission,
    checked_timeout,
    submission_of,
    unreadable,
)
from smtpsend._client.submit import check, submit
from smtpsend._model.address.argument import AddressLike
from smtpsend._model.delivery import Delivery
from smtpsend._model.message.prepared import Prepared
from smtpsend._model.receipt import Outcome, Receipt
from smtpsend._model.server.credentials import provider_of
from smtpsend._model.server.server import Server
from smtpsend._model.shortage import importing
from smtpsend._protocol.transaction import EndNote
from smtpsend._values import NamedTuple


if TYPE_CHECKING:
    from smtpsend._client.pool import Limits, Pool
    from smtpsend._client.servers.several import Several


class Servers:
    """The servers of a client, each with its connections, or those of one send.

    Args:
        given: the servers, in order of preference.
        limits: the limits of a client; None for a one-shot send, which keeps nothing.
        hooks: the hooks of a client.

    Attributes:
        pools: the connections to each server; empty for a one-shot send.
        several: what to do with more than one server; None where there is one.
        runs_callers_code: whether functions of the caller's may run in the event loop:
            hooks, password or token functions, callbacks of a TLS context.
    """

    def __init__(
        self,
        given: tuple[Server, ...],
        limits: Limits | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self._all, self._first = given, given[0]
        hooks = hooks or Hooks()
        self.runs_callers_code = hooks != Hooks() or any(
            server.ssl_context is not None or provider_of(server.auth) is not None
            for server in given
        )
        self.pools: tuple[Pool, ...] = ()
        if limits is not None:
            # Imported here, so that a one-shot send does not pay for it.
            with importing():
                from smtpsend._client.pool import Pool
            self.pools = tuple([Pool(server, limits, hooks) for server in given])
        self.several: Several | None = None
        if len(given) > 1:
            # Imported here, so that programs with one server do not pay for it.
            with importing():
                from smtpsend._client.servers.several import Several

            self.several = Several(given, self.pools, hooks)

    def seconds(self, timeout: float | None) -> float:
        """Return how many seconds a call may last: `timeout`, or all deadlines together.

        Raises:
            ConfigError: `timeout` is not a usable number of seconds.
        """
        if timeout is None and self.several is not None:
            return self.several.seconds
        return checked_timeout(self._first, timeout)

    def submission(
        self,
        message: object,
        sender: AddressLike | None,
        recipients: AddressLike | Sequence[AddressLike] | None,
        *,
        require_all: bool,
        timeout: float | None,
        delivery: Delivery | None = None,
        index: int = 0,
    ) -> Submission:
        """Validate the arguments of a send; see `submission_of`."""
        if self.several is not None:
            timeout = self.seconds(timeout)
            self.several.require_trust()
        return submission_of(
            self._first,
            message,
            sender,
            recipients,
            require_all=require_all,
            timeout=timeout,
            delivery=delivery,
            index=index,
        )

    def submit(self, submission: Submission) -> Coroutine[Any, Any, Receipt]:
        """Send one message; see `submit` and `submit_over`."""
        if self.several is not None:
            return self.several.submit(submission)
        pool = self.pools[0] if self.pools else None
        return submit(self._first, submission, pool)

    def check(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Log in without a message; see `submit.check` and `check_over`."""
        if self.several is not None:
            return self.several.check(seconds)
        return check(self._first, seconds, self.pools[0])

    def explain(self) -> str:
        """Describe the servers, their order and their state in words."""
        lines = ["Servers, in order:"]
        for index, server in enumerate(self._all):
            methods = ", ".join(map(str, server.policy.methods))
            state = self.several.state(index) if self.several is not None else ""
            end = f"; {state}" if state else ""
            lines.append(f"  {index + 1}. {server.host}: {methods}{end}")
        return "\n".join(lines)

    async def close(self) -> None:
        """Let running sends finish, then close all connections; refuse later sends."""
        for pool in self.pools:
            await pool.close()

    def abandon(self) -> None:
        """Begin no further send; for a client without a connection in this process."""
        for pool in self.pools:
            pool.abandon()


class Terms(NamedTuple):
    """The arguments that a `send_many` applies to each of its messages.

    Attributes:
        note_ends: called with the indices of messages before their ends are written; see
            `EndNote`.
    """

    servers: Servers
    require_all: bool
    timeout: float | None
    delivery: Delivery | None = None
    note_ends: Callable[[list[int]], None] | None = None

    def submission(self, index: int, item: Any) -> Submission | Outcome:
        """Validate one item of the iterable; return its outcome if it cannot be used."""
        message, sender, recipients, delivery = item, None, None, None
        try:
            if isinstance(item, tuple) and len(item) == 3:
                message, sender, recipients = item
            elif isinstance(item, tuple) and len(item) == 4:
                message, sender, recipients, delivery = item
            own = delivery is not None or (
                isinstance(message, Prepared) and message.delivery is not None
            )
            submission = self.servers.submission(
                message,
                sender,
                recipients,
                require_all=self.require_all,
                timeout=self.timeout,
                delivery=delivery if own else self.delivery,
                index=index,
            )
        except RAISED_WHILE_READING as caught:
            error = unreadable(caught)
            # The error is returned and not raised, so its traceback is of no use, and
            # would keep the local variables of these frames alive.
            error.__traceback__ = error.__context__ = None
            return Outcome(index, message, None, error)
        if self.note_ends is not None:
            submission.end_note = EndNote(index, self.note_ends)
        return submission
