"""The async face: `send_async` and `AsyncClient`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from email.message import EmailMessage, Message
from types import TracebackType
from typing import Any, Self

from smtpsend._client.hooks import Hooks
from smtpsend._client.many import Terms, outcomes
from smtpsend._client.order import checked_timeout, order_of
from smtpsend._client.pool import Limits, Pool
from smtpsend._client.submit import check, submit
from smtpsend._model.prepared import Prepared
from smtpsend._model.receipt import Outcome, Receipt
from smtpsend._model.server import Server, server_of
from smtpsend.errors import Attempt


async def send_async(
    message: EmailMessage | Message[Any, Any] | Prepared | bytes | str,
    server: Server | str,
    *,
    sender: str | None = None,
    recipients: Sequence[str] | None = None,
    require_all: bool = False,
    timeout: float | None = None,
) -> Receipt:
    """Send one message to a submission server, and hang up; see `send`.

    A cancellation ends it at once. If the end of the message had gone out by then, a
    warning in the log says that delivery is unknown, with the Message-ID.
    """
    where = server_of(server)
    order = order_of(
        where, message, sender, recipients, require_all=require_all, timeout=timeout
    )
    return await submit(where, order)


class AsyncClient:
    """Verified connections to one server, kept between sends; see `Client`.

    Belongs to the event loop that uses it first. Arguments and errors as of `Client`; the
    hooks are called in the event loop and must not block.
    """

    def __init__(
        self,
        server: Server | str,
        *,
        max_connections: int = 4,
        max_messages: int = 100,
        idle_timeout: float = 30.0,
        max_age: float = 300.0,
        window: int = 16,
        max_rate: float | None = None,
        on_attempt: Callable[[Attempt], object] | None = None,
        on_outcome: Callable[[Outcome], object] | None = None,
    ) -> None:
        limits = Limits(
            max_connections=max_connections,
            max_messages=max_messages,
            idle_timeout=idle_timeout,
            max_age=max_age,
            window=window,
            max_rate=max_rate,
        )
        hooks = Hooks(on_attempt, on_outcome)
        self._pool = Pool(server_of(server), limits, hooks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def send(
        self,
        message: EmailMessage | Message[Any, Any] | Prepared | bytes | str,
        *,
        sender: str | None = None,
        recipients: Sequence[str] | None = None,
        require_all: bool = False,
        timeout: float | None = None,
    ) -> Receipt:
        """Send one message over a kept connection; see `send`."""
        server = self._pool.server
        order = order_of(
            server, message, sender, recipients, require_all=require_all, timeout=timeout
        )
        return await submit(server, order, self._pool)

    def send_many(
        self,
        messages: Iterable[Any] | AsyncIterable[Any],
        *,
        require_all: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[Outcome]:
        """Send many messages; see `Client.send_many`. Also takes an async iterable."""
        return outcomes(messages, Terms(self._pool, require_all, timeout))

    async def check(self, *, timeout: float | None = None) -> None:
        """Connect, verify and log in as `send` would; see `Client.check`."""
        server = self._pool.server
        await check(server, checked_timeout(server, timeout), self._pool)

    async def aclose(self) -> None:
        """Let running sends finish, and hang up."""
        await self._pool.close()
