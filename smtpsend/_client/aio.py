"""The public interface for async code: `send_async` and `AsyncClient`."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from email.message import EmailMessage, Message
from types import TracebackType
from typing import Any, Self

from smtpsend._client.hooks import Hooks
from smtpsend._client.pool import Limits
from smtpsend._client.servers.servers import Servers, Terms
from smtpsend._model.address.argument import AddressLike
from smtpsend._model.delivery import Delivery
from smtpsend._model.message.prepared import Prepared
from smtpsend._model.receipt import Outcome, Receipt
from smtpsend._model.server.server import Server
from smtpsend._model.server.several import servers_of
from smtpsend._model.shortage import importing
from smtpsend.errors import Attempt


class AsyncClient:
    """Verified connections to a server, kept open between sends, for async code.

    A client is an async context manager. It belongs to the event loop that uses it first,
    and many tasks of that loop can use it at once.

    Args:
        server: a `Server`, a host name, or a URL (see `Server.from_url`). Or a sequence
            of these: the next is tried where the message cannot have been accepted.
        max_connections: how many connections to a server may be open at once (4). If all
            are in use, a send waits for one, and the wait counts against its deadline.
        max_messages: how many messages are sent over one connection (100).
        idle_timeout: seconds for which an unused connection is kept (30); 0 keeps none.
        max_age: seconds after which a connection is not used again (300).
        window: how many messages `send_many` sends over a connection at most before it
            has the reply to the first of them (64); see `Client`.
        max_rate: how many messages may be started per second, over all connections to a
            server; None (the default) sets no limit. A send waits for its turn, and the
            wait counts against its deadline.
        on_attempt: a function, called with each `Attempt` that failed or was abandoned.
        on_outcome: a function, called with the `Outcome` of each message, including one
            whose send was cancelled and whose delivery is unknown. Both functions run in
            the event loop and must not block. An exception that they raise is logged and
            has no other effect.

    Raises:
        ConfigError: one of the arguments cannot be used.
    """

    def __init__(
        self,
        server: Server | str | Sequence[Server | str],
        *,
        max_connections: int = 4,
        max_messages: int = 100,
        idle_timeout: float = 30.0,
        max_age: float = 300.0,
        window: int = 64,
        max_rate: float | None = None,
        on_attempt: Callable[[Attempt], object] | None = None,
        on_outcome: Callable[[Outcome], object] | None = None,
    ) -> None:
        try:
            where = servers_of(server)
        finally:
            del server  # a URL holds a password, and an error keeps this frame
        limits = Limits(
            max_connections=max_connections,
            max_messages=max_messages,
            idle_timeout=idle_timeout,
            max_age=max_age,
            window=window,
            max_rate=max_rate,
        )
        self._servers = Servers(where, limits, Hooks(on_attempt, on_outcome))

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
        sender: AddressLike | None = None,
        recipients: AddressLike | Sequence[AddressLike] | None = None,
        require_all: bool = False,
        timeout: float | None = None,
        delivery: Delivery | None = None,
    ) -> Receipt:
        """Send one message over a kept connection, as `Client.send` does.

        A cancellation ends the send at once, as for `send_async`.

        Args:
            message: an `EmailMessage`, a `Message` or a `Prepared`; or bytes or an ASCII
                str, which need `sender` and `recipients`.
            sender: the envelope sender; by default the Sender field, else From. ``""`` is
                the null reverse-path (RFC 5321 section 4.5.5).
            recipients: the envelope recipients, as for `compose`; by default those of To,
            Cc and Bcc.
            require_all: if True, send to no recipient unless the server accepts all.
            timeout: seconds for the whole call, including the wait for a connection and
                for `max_rate`; by default ``policy.deadline`` (900), or the sum of those
                of all servers.
            delivery: the notifications and the TLS that are asked for, as for
                `send_async`.

        Returns:
            The recipients that the server accepted and refused, its reply, and the
            attempts that failed before.

        Raises:
            SendError: the same errors as `send_async`; a `ConfigError` also if the client
                is closed or in use in another running event loop.
        """
        submission = self._servers.submission(
            message,
            sender,
            recipients,
            require_all=require_all,
            timeout=timeout,
            delivery=delivery,
        )
        return await self._servers.submit(submission)

    def send_many(
        self,
        messages: Iterable[Any] | AsyncIterable[Any],
        *,
        require_all: bool = False,
        timeout: float | None = None,
        delivery: Delivery | None = None,
    ) -> AsyncIterator[Outcome]:
        """Send many messages, and yield the `Outcome` of each as soon as it is known.

        This method does what `Client.send_many` does, and reads as few messages ahead. A
        cancellation also ends the sends in flight.

        Args:
            messages: messages, or tuples of (message, sender, recipients) or (message,
                sender, recipients, delivery), in an iterable or an async iterable. An
                async generator is closed when the batch ends or is left.
            require_all: if True, send a message to no recipient unless the server accepts
                all of its recipients.
            timeout: seconds for each message; by default ``policy.deadline`` (900), or
                the sum of those of all servers.
            delivery: the notifications and the TLS that are asked for, for each message
                that has none of its own, in its tuple or as a `Prepared`.

        Returns:
            An async iterator that yields one `Outcome` for each message. An error that
            ends the send of a message is in its outcome, and is not raised. An exception
            of `messages` is raised after the last outcome.

        Raises:
            ConfigError: `messages` is one message, or no iterable.
        """
        terms = Terms(self._servers, require_all, timeout, delivery)
        # Imported here, so that a client that sends one by one does not pay for it.
        with importing():
            from smtpsend._client.bulk.send_many import batch
        return batch(messages, terms)

    async def check(self, *, timeout: float | None = None) -> None:
        """Connect, verify the server and log in as `send` would, without a message.

        The connection is kept for the next send.

        Args:
            timeout: seconds for the whole call; by default ``policy.deadline`` (900), or
                the sum of those of all servers.

        Raises:
            SendError: the error that `send` would raise at this point.
        """
        await self._servers.check(self._servers.seconds(timeout))

    def explain(self) -> str:
        """Describe the servers of the client, and their order, in words.

        `Policy.explain` describes what is done at each of them, and what follows.

        Returns:
            Text with a line for each server: its host, its methods, and, where it failed
            lately, when it is tried again.
        """
        return self._servers.explain()

    async def aclose(self) -> None:
        """Let running sends finish, then close all connections.

        A send after this raises a `ConfigError`.
        """
        await self._servers.close()
