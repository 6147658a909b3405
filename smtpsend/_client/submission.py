"""A submission: the validated arguments of a send (RFC 6409)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from smtpsend._model.address.argument import AddressLike
from smtpsend._model.delivery import Delivery
from smtpsend._model.message.envelope import Envelope, envelope, redirected
from smtpsend._model.message.prepared import Prepared
from smtpsend._model.policy.policy import check_seconds
from smtpsend._values import dataclass
from smtpsend.errors import ConfigError, ConnectError, SendError


if TYPE_CHECKING:
    from smtpsend._client.servers.route import Route
    from smtpsend._client.transactions import Transactions
    from smtpsend._model.server.server import Server
    from smtpsend._protocol.transaction import EndNote


# The exceptions that become a `ConfigError`. There is no await while the caller's objects
# are read, so a CancelledError is no cancellation of the send. SystemExit and
# KeyboardInterrupt are passed on, because this code runs in the caller's own thread.
RAISED_WHILE_READING = (Exception, asyncio.CancelledError, GeneratorExit)


@dataclass(slots=True, eq=False)
class Submission:
    """The validated arguments of a send.

    Attributes:
        timeout: seconds for the send, or for its part with the server of now.
        index: the position of the message in the iterable of `send_many`, from 0.
        not_commands: True if no line of the content could be read as a command; None
            until this has been checked.
        elapsed: seconds that the send has lasted before, with other servers.
        transactions: what other servers left of it; None before the first has failed.
        end_note: who has to know before the end of the message is written.
        route: the way over several servers; None where only one is given.
    """

    message: object
    envelope: Envelope
    require_all: bool
    timeout: float
    index: int = 0
    not_commands: bool | None = None
    elapsed: float = 0.0
    transactions: Transactions | None = None
    end_note: EndNote | None = None
    route: Route | None = None


def submission_of(
    server: Server,
    message: object,
    sender: AddressLike | None,
    recipients: AddressLike | Sequence[AddressLike] | None,
    *,
    require_all: bool,
    timeout: float | None,
    delivery: Delivery | None = None,
    index: int = 0,
) -> Submission:
    """Validate the arguments of a send.

    Raises:
        ConfigError: one of the arguments cannot be used, or an exception is raised while
            they are read.
        ConnectError: memory ran out.
    """
    seconds = checked_timeout(server, timeout)
    validated = read(message, sender, recipients, delivery)
    asked = validated.delivery
    if asked is not None and asked.require_tls and server.plaintext:
        raise ConfigError(
            "require_tls is set, and the server is reached in plaintext",
            hint="send it without require_tls to a development sink",
        )
    if server.redirect_to is not None:
        validated = redirected(validated, server.redirect_to)
    return Submission(message, validated, bool(require_all), seconds, index)


def prepare(
    message: object,
    *,
    sender: AddressLike | None = None,
    recipients: AddressLike | Sequence[AddressLike] | None = None,
    delivery: Delivery | None = None,
) -> Prepared:
    """Make a message ready once, so that each try of a job sends the same bytes.

    Date and Message-ID are added to a message object without them. Nothing is added to
    bytes and str: without a Message-ID of their own, the `message_id` of the result is
    None. The content is encoded in 7 bits where that is possible, so that any server
    accepts it.

    Args:
        message, sender, recipients, delivery: as for `send`.

    Returns:
        The envelope and the bytes, to send now or later.

    Raises:
        ConfigError: as for `send`.
    """
    made = read(message, sender, recipients, delivery)
    content = made.seven_bit() if made.seven_bit is not None else None
    return Prepared(
        sender=made.sender,
        recipients=made.recipients,
        content=made.content if content is None else content,
        message_id=made.message_id,
        delivery=made.delivery,
    )


def read(
    message: object,
    sender: AddressLike | None,
    recipients: AddressLike | Sequence[AddressLike] | None,
    delivery: Delivery | None = None,
) -> Envelope:
    """Make an envelope of any message, whatever the caller's objects raise.

    Raises:
        ConfigError: one of the arguments cannot be used, or an exception is raised while
            they are read.
        ConnectError: memory ran out.
    """
    try:
        return envelope(message, sender, recipients, delivery)
    except SendError:
        raise
    except RAISED_WHILE_READING as error:
        raise unreadable(error) from None


def unreadable(error: BaseException) -> SendError:
    """Make the typed error for an exception raised while the caller's objects were read.

    Recipients can come from a generator, and a message from a class of the caller's.
    """
    if isinstance(error, SendError):
        return error
    if isinstance(error, MemoryError):
        return ConnectError(
            "memory ran out while the message was read",
            temporary=True,
            hint="nothing was sent: send it again when memory is free",
        )
    # The text of `error` is left out, since it may hold a secret.
    return ConfigError(
        "the message, its sender or its recipients cannot be read: "
        f"{type(error).__name__} was raised",
        hint="see what iterating over the recipients or reading the message raises",
    )


def checked_timeout(server: Server, timeout: float | None) -> float:
    """Return how many seconds a call may last: `timeout`, or the policy's deadline.

    Raises:
        ConfigError: `timeout` is not a usable number of seconds.
    """
    if timeout is None:
        return server.policy.deadline
    check_seconds("timeout", timeout)
    return timeout
