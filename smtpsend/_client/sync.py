"""The public interface for sync code: `send` and `Client`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from email.message import EmailMessage, Message
from types import TracebackType
from typing import Any, Self

from smtpsend._client.background import portal
from smtpsend._client.background.ending import ending, refuse_at_end
from smtpsend._client.hooks import Hooks
from smtpsend._client.pool import Limits
from smtpsend._client.send import submitted
from smtpsend._client.servers.servers import Servers, Terms
from smtpsend._model.address.argument import AddressLike
from smtpsend._model.delivery import Delivery
from smtpsend._model.message.prepared import Prepared
from smtpsend._model.receipt import Outcome, Receipt
from smtpsend._model.server.server import Server
from smtpsend._model.server.several import servers_of
from smtpsend._model.shortage import importing
from smtpsend.errors import Attempt, ConnectError


def send_noted(
    client: Client,
    messages: Iterable[Any],
    note_ends: Callable[[list[int]], None],
    *,
    require_all: bool,
    timeout: float | None,
    delivery: Delivery | None,
) -> Iterator[Outcome]:
    """Do what `Client.send_many` does for a program that keeps a journal.

    Args:
        note_ends: called in the background thread with the indices of messages, before
            their last octets are written; see `EndNote`.

    Raises:
        ConfigError: `messages` is one message, or no iterable.
    """
    terms = Terms(client._servers, require_all, timeout, delivery, note_ends)
    return _batch(messages, terms)


def _batch(messages: Iterable[Any], terms: Terms) -> Iterator[Outcome]:
    refuse_at_end()
    # Imported here, so that a client that sends one by one does not pay for it.
    with importing():
        from smtpsend._client.bulk.send_many import batch_sync
    return batch_sync(messages, terms)


class Client:
    """Verified connections to a server, kept open between sends.

    A client is a context manager. Many threads can use it at once. A forked child can
    use it as well, and opens connections of its own.

    Args:
        server: a `Server`, a host name, or a URL (see `Server.from_url`). Or a sequence
            of these: the next is tried where the message cannot have been accepted.
        max_connections: how many connections to a server may be open at once (4). If all
            are in use, a send waits for one, and the wait counts against its deadline.
        max_messages: how many messages are sent over one connection (100).
        idle_timeout: seconds for which an unused connection is kept (30); 0 keeps none.
        max_age: seconds after which a connection is not used again (300).
        window: how many messages `send_many` sends over a connection at most before it
            has the reply to the first of them (64), if the server offers CHUNKING (RFC
            3030) and PIPELINING (RFC 2920). A batch begins with 16, or with `window` if
            that is less, and doubles this after each window that went well. After a lost
            connection or a 4yz reply it begins anew. If a connection is lost, delivery
            is unknown for at most `window` messages.
        max_rate: how many messages may be started per second, over all connections to a
            server; None (the default) sets no limit. A send waits for its turn, and the
            wait counts against its deadline.
        on_attempt: a function, called with each `Attempt` that failed or was abandoned.
        on_outcome: a function, called with the `Outcome` of each message, including one
            whose send was cancelled and whose delivery is unknown. Both functions run in
            the background thread and must not block. An exception that they raise is
            logged and has no other effect.

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
        # The interpreter empties the modules at its end; these names are found then, too.
        self._ending, self._refuse_at_end = ending, refuse_at_end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def send(
        self,
        message: EmailMessage | Message[Any, Any] | Prepared | bytes | str,
        *,
        sender: AddressLike | None = None,
        recipients: AddressLike | Sequence[AddressLike] | None = None,
        require_all: bool = False,
        timeout: float | None = None,
        delivery: Delivery | None = None,
    ) -> Receipt:
        """Send one message over a kept connection.

        If a kept connection was lost before the server replied to a command of this
        message, the message is sent over another connection, and the lost one is not in
        ``attempts``.

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
            delivery: the notifications and the TLS that are asked for, as for `send`.

        Returns:
            The recipients that the server accepted and refused, its reply, and the
            attempts that failed before.

        Raises:
            SendError: the same errors as `send`; a `ConfigError` also if the client is
                closed.
        """
        self._refuse_at_end()
        submission = self._servers.submission(
            message,
            sender,
            recipients,
            require_all=require_all,
            timeout=timeout,
            delivery=delivery,
        )
        return submitted(self._servers, submission)

    def send_many(
        self,
        messages: Iterable[Any],
        *,
        require_all: bool = False,
        timeout: float | None = None,
        delivery: Delivery | None = None,
    ) -> Iterator[Outcome]:
        """Send many messages, and yield the `Outcome` of each as soon as it is known.

        A message that fails does not stop the others. Only a bounded number of messages
        is read from the iterable ahead of the outcomes, so a generator of any length can
        be given. If the server offers no PIPELINING, no message is read before a
        connection can begin with it, except from a sequence such as a list, of which up
        to four more are read for each connection. If the iterable raises an exception, it
        is raised here after the outcomes of all messages that were read before.

        If the caller stops iterating, the messages in flight are finished and no other
        message is started; `on_outcome` is called for all of them. If the server
        permanently refuses the login, it is not tried again, and every remaining message
        has this `AuthError`.

        If the server offers PIPELINING, the commands of the next message are sent
        together with the end of a message (RFC 2920 section 3.1). If it offers CHUNKING
        as well, a window of messages is sent at once (RFC 3030). If a 421 or another 4yz
        reply asks to slow down, messages are started less often until the server accepts
        them again.

        Args:
            messages: messages, or tuples of (message, sender, recipients) or (message,
                sender, recipients, delivery).
            require_all: if True, send a message to no recipient unless the server accepts
                all of its recipients.
            timeout: seconds for each message; by default ``policy.deadline`` (900), or
                the sum of those of all servers.
            delivery: the notifications and the TLS that are asked for, for each message
                that has none of its own, in its tuple or as a `Prepared`.

        Returns:
            An iterator that yields one `Outcome` for each message. An error that ends the
            send of a message is in its outcome, and is not raised.
            Where this machine has no descriptor or thread left to begin with, the
            iterator raises a temporary `ConnectError` before it asks for a message.

        Raises:
            ConfigError: `messages` is one message, or no iterable.
        """
        terms = Terms(self._servers, require_all, timeout, delivery)
        return _batch(messages, terms)

    def check(self, *, timeout: float | None = None) -> None:
        """Connect, verify the server and log in as `send` would, without a message.

        The connection is kept for the next send.

        Args:
            timeout: seconds for the whole call; by default ``policy.deadline`` (900), or
                the sum of those of all servers.

        Raises:
            SendError: the error that `send` would raise at this point.
        """
        self._refuse_at_end()
        seconds = self._servers.seconds(timeout)
        portal.run(
            lambda: self._servers.check(seconds),
            seconds,
            here=not self._servers.runs_callers_code,
        )

    def explain(self) -> str:
        """Describe the servers of the client, and their order, in words.

        `Policy.explain` describes what is done at each of them, and what follows.

        Returns:
            Text with a line for each server: its host, its methods, and, where it failed
            lately, when it is tried again.
        """
        return self._servers.explain()

    def close(self) -> None:
        """Let running sends finish, then close all connections.

        A send after this raises a `ConfigError`. From a hook, and where the garbage
        collector closes the client in the background thread, this does not wait. While
        the interpreter ends, the connections end with the process.
        """
        if self._ending():
            return
        if portal.inside():
            portal.run_later(self._servers.close)
            return
        try:
            portal.run(self._servers.close)
        except ConnectError:
            # No event loop can be started, so that none has a connection of this client;
            # or the background thread has ended, and its connections with it.
            self._servers.abandon()
