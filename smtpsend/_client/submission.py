"""What the arguments of a send come to."""

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
    """What to send, and how."""

    message: object
    envelope: Envelope
    require_all: bool
    timeout: float
    index: int = 0
    shares: bool | None = None  # may go out before MAIL is answered; once looked at


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
    """What the arguments of a send come to.

    Raises:
        ConfigError: they cannot be used.
    """
    seconds = checked_timeout(server, timeout)
    made = envelope(message, sender, recipients)
    if server.redirect_to is not None:
        made = redirected(made, server.redirect_to)
    return Submission(message, made, bool(require_all), seconds, index)


def checked_timeout(server: Server, timeout: float | None) -> float:
    """The seconds that a call may take.

    Raises:
        ConfigError: `timeout` is no usable number of seconds.
    """
    if timeout is None:
        return server.policy.deadline
    check_seconds("timeout", timeout)
    return timeout


@dataclass(frozen=True, slots=True)
class Terms:
    """What goes for each message of a `send_many`."""

    pool: Pool
    require_all: bool
    timeout: float | None

    def submission(self, index: int, item: Any) -> Submission | Outcome:
        """One item of the iterable as an order; a bad one has its outcome at once."""
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
            return Outcome(index, message, None, error)
