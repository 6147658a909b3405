"""What the arguments of a send come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpsend._model.message.envelope import Envelope, envelope
from smtpsend._model.message.redirect import redirected
from smtpsend._model.policy.policy import check_seconds


if TYPE_CHECKING:
    from smtpsend._model.server.server import Server


@dataclass(slots=True, eq=False)
class Order:
    """What to send, and how."""

    message: object
    envelope: Envelope
    require_all: bool
    timeout: float
    index: int = 0
    shares: bool | None = None  # may go out before MAIL is answered; once looked at


def order_of(
    server: Server,
    message: object,
    sender: str | None,
    recipients: Sequence[str] | None,
    *,
    require_all: bool,
    timeout: float | None,
    index: int = 0,
) -> Order:
    """What the arguments of a send come to.

    Raises:
        ConfigError: they cannot be used.
    """
    seconds = checked_timeout(server, timeout)
    made = envelope(message, sender, recipients)
    if server.redirect_to is not None:
        made = redirected(made, server.redirect_to)
    return Order(message, made, bool(require_all), seconds, index)


def checked_timeout(server: Server, timeout: float | None) -> float:
    """The seconds that a call may take.

    Raises:
        ConfigError: `timeout` is no usable number of seconds.
    """
    if timeout is None:
        return server.policy.deadline
    check_seconds("timeout", timeout)
    return timeout
