"""What a client tells its owner while it works."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from smtpsend._model.receipt import Outcome
from smtpsend.errors import Attempt, ConfigError


log = logging.getLogger("smtpsend")


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions of the caller's; what they raise is logged, and changes nothing.

    Args:
        on_attempt: called with each `Attempt` that failed or was abandoned.
        on_outcome: called with the `Outcome` of each message, a cancelled one that became
            unknown among them (with a `DeliveryUnknown`).
    """

    on_attempt: Callable[[Attempt], object] | None = None
    on_outcome: Callable[[Outcome], object] | None = None

    def __post_init__(self) -> None:
        for name in ("on_attempt", "on_outcome"):
            hook = getattr(self, name)
            if hook is not None and not callable(hook):
                raise ConfigError(f"{name} must be a function with one parameter")

    def attempt(self, attempt: Attempt) -> None:
        """Tell of an attempt."""
        _call("on_attempt", self.on_attempt, attempt)

    def outcome(self, outcome: Outcome) -> None:
        """Tell of an outcome."""
        _call("on_outcome", self.on_outcome, outcome)


def _call(
    name: str, hook: Callable[[Any], object] | None, fact: Attempt | Outcome
) -> None:
    if hook is None:
        return
    try:
        hook(fact)
    except Exception as error:  # noqa: BLE001  # a message's fate must not hang on it
        # Not its text: nobody knows what it holds.
        log.error("the hook %s raised %s", name, type(error).__name__)  # noqa: TRY400
