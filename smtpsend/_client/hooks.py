"""The hooks of a client: functions of its user, called while it sends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from smtpsend._model.receipt import Outcome
from smtpsend._values import dataclass
from smtpsend._wire.callers.code import contained, is_interrupt
from smtpsend.errors import Attempt, ConfigError


log = logging.getLogger("smtpsend")


@dataclass(frozen=True, slots=True)
class Hooks:
    """The user's functions; an exception that they raise is logged and suppressed.

    Args:
        on_attempt: called with each `Attempt` that failed or was abandoned.
        on_outcome: called with the `Outcome` of each message, including one whose send
            was cancelled and whose delivery is unknown (a `DeliveryUnknown`).

    Raises:
        ConfigError: one of them is not callable.
    """

    on_attempt: Callable[[Attempt], object] | None = None
    on_outcome: Callable[[Outcome], object] | None = None

    def __post_init__(self) -> None:
        for name in ("on_attempt", "on_outcome"):
            hook = getattr(self, name)
            if hook is not None and not callable(hook):
                raise ConfigError(f"{name} must be a function with one parameter")

    def attempt(self, attempt: Attempt) -> None:
        """Call `on_attempt`."""
        _call("on_attempt", self.on_attempt, attempt)

    def outcome(self, outcome: Outcome) -> None:
        """Call `on_outcome`."""
        _call("on_outcome", self.on_outcome, outcome)


def _call(
    name: str, hook: Callable[[Any], object] | None, event: Attempt | Outcome
) -> None:
    if hook is None:
        return
    try:
        hook(event)
    except BaseException as error:  # no message may depend on a hook
        if is_interrupt(error):
            raise
        kind = type(error).__name__
    else:
        return
    # The text of the error is left out, since it may hold a secret.
    with contained():
        log.error("the hook %s raised %s", name, kind)
