"""A submission: the validated arguments of a send (RFC 6409)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smtpsend._model.message.envelope import Envelope, envelope, redirected
from smtpsend._model.policy.policy import check_seconds
from smtpsend._model.receipt import Outcome
from smtpsend.errors import SendError


if TYPE_CHECKING:
    from smtpsend._client.pool import Pool
    from smtpsend._model.server.server import Server


@dataclass(slots=True, eq=False)
class Submission:
    """The validated arguments of a send.

    Attributes:
        timeout: seconds for the whole send.
        index: the position of the message in the iterable of `send_many`, from 0.
        not_commands: whether no server can read a line of the content as a command; None
            until this has been checked.
    """

    message: object
    envelope: Envelope
    require_all: bool
    timeout: float
    index: int = 0
    not_commands: bool | None = None


def submission_of(
    server: Server,
    message: object,
    sender: str | None,
    recipients: Sequence[str] | None,
    *,
    require_all: bool,
    timeout: float | None,
    index: int = 0,
) -> Submission:
    """Validate the arguments of a send.

    Raises:
        ConfigError: one of the arguments cannot be used.
    """
    seconds = checked_timeout(server, timeout)
    validated = envelope(message, sender, recipients)
    if server.redirect_to is not None:
        validated = redirected(validated, server.redirect_to)
    return Submission(message, validated, bool(require_all), seconds, index)


def checked_timeout(server: Server, timeout: float | None) -> float:
    """Return how many seconds a call may last: `timeout`, or the policy's deadline.

    Raises:
        ConfigError: `timeout` is not a usable number of seconds.
    """
    if timeout is None:
        return server.policy.deadline
    check_seconds("timeout", timeout)
    return timeout


@dataclass(frozen=True, slots=True)
class Terms:
    """The arguments that a `send_many` applies to each of its messages."""

    pool: Pool
    require_all: bool
    timeout: float | None

    def submission(self, index: int, item: Any) -> Submission | Outcome:
        """Validate one item of the iterable; return its outcome if it cannot be used."""
        message, sender, recipients = item, None, None
        if isinstance(item, tuple) and len(item) == 3:
            message, sender, recipients = item
        try:
            return submission_of(
                self.pool.server,
                message,
                sender,
                recipients,
                require_all=self.require_all,
                timeout=self.timeout,
                index=index,
            )
        except SendError as error:
            # The caller never sees it raised; its traceback would keep our frames alive.
            error.__traceback__ = error.__context__ = None
            return Outcome(index, message, None, error)
