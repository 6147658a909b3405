"""The async face: `send_async` and `AsyncClient`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from email.message import EmailMessage, Message
from types import TracebackType
from typing import Any, Self

from smtpsend._client.bulk.send_many import outcomes
from smtpsend._client.hooks import Hooks
from smtpsend._client.pool import Limits, Pool
from smtpsend._client.submission import Terms, checked_timeout, submission_of
from smtpsend._client.submit import check, submit
from smtpsend._model.message.prepared import Prepared
from smtpsend._model.receipt import Outcome, Receipt
from smtpsend._model.server.server import Server, server_of
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
    """Send one message to a submission server (RFC 6409), and hang up; as `send` does.

    A cancellation ends it at once. If the end of the message had gone out by then, a
    warning in the log says that delivery is unknown, with the Message-ID.

    Args:
        message: an `EmailMessage`, `Message` or `Prepared`; or bytes or an ASCII str,
            which need `sender` and `recipients`.
        server: a `Server`, a host name, or a URL (see `Server.from_url`).
        sender: the envelope sender, by default Sender, else From; ``""`` is the null
            sender.
        recipients: the envelope recipients, by default To, Cc and Bcc.
        require_all: send to nobody unless the server accepts every recipient.
        timeout: seconds for the whole call, in place of ``policy.deadline``.

    Returns:
        What the server took, for whom, and what was tried before.

    Raises:
        ConfigError: message, address or server cannot be used; nothing was connected.
        ConnectError: no method gave a session (`CertificateError`, `TLSError`).
        AuthError: the login was refused, or is not offered.
        Rejected: the server refused the sender or the message, or (`RecipientsRefused`)
            every recipient.
        ConnectionLost: the connection ended before the end of the message.
        DeliveryUnknown: it ended after that; the message may have been delivered.
    """
    where = server_of(server)
    submission = submission_of(
        where, message, sender, recipients, require_all=require_all, timeout=timeout
    )
    return await submit(where, submission)


class AsyncClient:
    """Verified connections to one server, kept between sends: `Client` for async code.

    An async context manager. It belongs to the event loop that uses it first, where many
    tasks can use it at once.

    Args:
        server: a `Server`, a host name, or a URL.
        max_connections: how many connections are open at once.
        max_messages: how many messages a connection is used for.
        idle_timeout: seconds that an unused connection is kept; 0 keeps none.
        max_age: seconds that a connection is used at most.
        window: how many messages of `send_many` may be on their way over a connection
            before the server answers.
        max_rate: messages a second that may begin, over all connections; None: as many
            as go.
        on_attempt: called with each `Attempt` that failed or was abandoned.
        on_outcome: called with the `Outcome` of each message, also of a cancelled one
            that became unknown. Both are called in the event loop and must not block;
            what they raise is logged and changes nothing.

    Raises:
        ConfigError: one of these cannot be used.
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
        """Send one message over a kept connection, as `Client.send` does.

        A cancellation ends it at once, as that of `send_async`.

        Args:
            message: an `EmailMessage`, `Message` or `Prepared`; or bytes or an ASCII str,
                which need `sender` and `recipients`.
            sender: the envelope sender, by default Sender, else From; ``""`` is the null
                sender.
            recipients: the envelope recipients, by default To, Cc and Bcc.
            require_all: send to nobody unless the server accepts every recipient.
            timeout: seconds for the whole call, in place of ``policy.deadline``; waiting
                for a connection, or for `max_rate`, counts.

        Returns:
            What the server took, for whom, and what was tried before.

        Raises:
            SendError: as of `send_async`; a `ConfigError` also where the client is closed
                or in use in another running event loop.
        """
        server = self._pool.server
        submission = submission_of(
            server, message, sender, recipients, require_all=require_all, timeout=timeout
        )
        return await submit(server, submission, self._pool)

    def send_many(
        self,
        messages: Iterable[Any] | AsyncIterable[Any],
        *,
        require_all: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[Outcome]:
        """Send many messages, and yield an `Outcome` for each as it comes.

        The same as `Client.send_many`, for an async iterable, too. A cancellation ends
        what is in flight.

        Args:
            messages: messages, or tuples of (message, sender, recipients), in an iterable
                or an async iterable.
            require_all: send a message to nobody unless all its recipients are accepted.
            timeout: seconds for each message, in place of ``policy.deadline``.

        Returns:
            An async iterator with an `Outcome` for each message: whatever ends its send
            is in there. It raises only what `messages` raises, and that at the end.
        """
        return outcomes(messages, Terms(self._pool, require_all, timeout))

    async def check(self, *, timeout: float | None = None) -> None:
        """Connect, verify and log in the way `send` would; send nothing.

        Args:
            timeout: seconds for all of it, in place of ``policy.deadline``.

        Raises:
            SendError: what `send` would raise.
        """
        server = self._pool.server
        await check(server, checked_timeout(server, timeout), self._pool)

    async def aclose(self) -> None:
        """Let running sends finish, and hang up; no send begins after this."""
        await self._pool.close()
