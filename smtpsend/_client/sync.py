"""The sync face: `send` and `Client`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from email.message import EmailMessage, Message
from types import TracebackType
from typing import Any, Self

from smtpsend._client.background import portal
from smtpsend._client.bulk.send_many import outcomes_sync
from smtpsend._client.hooks import Hooks
from smtpsend._client.pool import Limits, Pool
from smtpsend._client.submission import Terms, checked_timeout, submission_of
from smtpsend._client.submit import check, submit
from smtpsend._model.message.prepared import Prepared
from smtpsend._model.receipt import Outcome, Receipt
from smtpsend._model.server.server import Server, server_of
from smtpsend.errors import Attempt


def send(
    message: EmailMessage | Message[Any, Any] | Prepared | bytes | str,
    server: Server | str,
    *,
    sender: str | None = None,
    recipients: Sequence[str] | None = None,
    require_all: bool = False,
    timeout: float | None = None,
) -> Receipt:
    """Send one message to a submission server (RFC 6409), and hang up.

    The methods of the server's policy are tried until one gives a verified session; the
    message goes out once at most. Works inside a running event loop, too, but blocks it:
    use `send_async` there. Ctrl-C aborts the send.

    Args:
        message: an `EmailMessage`, `Message` or `Prepared`; or bytes or an ASCII str,
            which go out as they are and need `sender` and `recipients`. Missing
            Message-ID and Date are added on the wire; Bcc never leaves.
        server: a `Server`, a host name, or a URL (see `Server.from_url`).
        sender: the envelope sender, by default Sender, else From. ``""`` is the null
            sender.
        recipients: the envelope recipients, by default To, Cc and Bcc.
        require_all: send to nobody unless the server accepts every recipient.
        timeout: seconds for the whole call, in place of ``policy.deadline``.

    Returns:
        What the server took, for whom, and what was tried before. Refused recipients
        are in ``refused``, if at least one was accepted.

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
    return portal.run(lambda: submit(where, submission))


class Client:
    """Verified connections to one server, kept between sends.

    A context manager; it can be used from many threads at once, and in a forked child,
    which opens connections of its own.

    Args:
        server: a `Server`, a host name, or a URL.
        max_connections: how many connections are open at once; a send that finds all in
            use waits, which counts against its deadline.
        max_messages: how many messages a connection is used for.
        idle_timeout: seconds that an unused connection is kept; 0 keeps none.
        max_age: seconds that a connection is used at most.
        window: how many messages of `send_many` may be on their way over a connection
            before the server answers, where it offers CHUNKING (RFC 3030) and PIPELINING
            (RFC 2920). If the connection dies, so many are unknown at most.
        max_rate: messages a second that may begin, over all connections; None: as many
            as go. A send waits for its turn, which counts against its deadline.
        on_attempt: called with each `Attempt` that failed or was abandoned.
        on_outcome: called with the `Outcome` of each message, also of a cancelled one
            that became unknown. Both are called in the background thread and must not
            block; what they raise is logged and changes nothing.

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
        sender: str | None = None,
        recipients: Sequence[str] | None = None,
        require_all: bool = False,
        timeout: float | None = None,
    ) -> Receipt:
        """Send one message over a kept connection.

        A kept connection that turns out to be dead before anything was said is replaced
        in silence.

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
            SendError: as of `send`; a `ConfigError` also where the client is closed.
        """
        server = self._pool.server
        submission = submission_of(
            server, message, sender, recipients, require_all=require_all, timeout=timeout
        )
        return portal.run(lambda: submit(server, submission, self._pool))

    def send_many(
        self,
        messages: Iterable[Any],
        *,
        require_all: bool = False,
        timeout: float | None = None,
    ) -> Iterator[Outcome]:
        """Send many messages, and yield an `Outcome` for each as it comes.

        One bad message never stops the rest. Messages are taken from the iterable as
        there is room for them, so that a generator of any length will do. If the caller
        leaves early, what is in flight is finished, and nothing more is begun;
        `on_outcome` is told of both. Where the server refuses the login, nobody tries
        again: each message that is left has the `AuthError`. What the iterable raises is
        raised when all that it gave before has its outcome.

        Where the server offers PIPELINING, the next message's commands go out with the
        end of the one before (RFC 2920 section 3.1); with CHUNKING, too, a window of
        messages goes out at once (RFC 3030). A server that asks to slow down by a 421 or
        4yz reply is sent messages more slowly until it takes them again.

        Args:
            messages: messages, or tuples of (message, sender, recipients).
            require_all: send a message to nobody unless all its recipients are accepted.
            timeout: seconds for each message, in place of ``policy.deadline``.

        Returns:
            An iterator with an `Outcome` for each message: whatever ends its send is in
            there.
        """
        return outcomes_sync(messages, Terms(self._pool, require_all, timeout))

    def check(self, *, timeout: float | None = None) -> None:
        """Connect, verify and log in the way `send` would; send nothing.

        Args:
            timeout: seconds for all of it, in place of ``policy.deadline``.

        Raises:
            SendError: what `send` would raise.
        """
        server = self._pool.server
        seconds = checked_timeout(server, timeout)
        portal.run(lambda: check(server, seconds, self._pool))

    def close(self) -> None:
        """Let running sends finish, and hang up; no send begins after this."""
        portal.run(self._pool.close)
