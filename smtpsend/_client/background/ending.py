"""The errors of sync calls that cannot run, above all while the interpreter ends.

At that time the interpreter stops every daemon thread: `is_alive` is still true, and the
thread keeps each lock that it held. So the sync functions use no lock, no thread and no
event loop from then on. The interpreter also clears the modules' globals. Therefore each
object that is needed at that time is bound as the default of a parameter.
"""

from __future__ import annotations

from sys import is_finalizing as _is_finalizing

from smtpsend._events import NO_MESSAGE_ID
from smtpsend.errors import ConnectError, DeliveryUnknown, Event, Phase


_AT_END = "the interpreter is ending, and nothing can be sent any more"
_SAFE = "nothing was delivered: it is safe to send again"
_EARLIER = "send before the program ends, or from an atexit handler"


class Unfinished(Exception):
    """The background thread ended, or a call in it ended without a result."""

    def __init__(self, why: str, *, timed_out: bool = False) -> None:
        super().__init__(why)
        self.timed_out = timed_out


def ending(_asked: object = _is_finalizing) -> bool:
    """Return whether the interpreter is ending, so that no other thread runs."""
    return bool(_asked())  # type: ignore[operator]  # `sys.is_finalizing`


def refuse_at_end(
    _ending: object = _is_finalizing,
    _error: type[ConnectError] = ConnectError,
    _facts: tuple[str, Phase, str] = (_AT_END, Phase.CONNECT, _EARLIER),
) -> None:
    """Refuse a call if the interpreter is ending, because no thread could run it.

    Raises:
        ConnectError: the interpreter is ending.
    """
    if _ending():  # type: ignore[operator]  # `sys.is_finalizing`
        text, phase, hint = _facts
        raise _error(text, phase=phase, temporary=True, hint=hint)


def not_begun(why: str, *, timed_out: bool = False) -> ConnectError:
    """Make the error of a call that ended before anything was sent."""
    return ConnectError(
        why, phase=Phase.CONNECT, temporary=True, timed_out=timed_out, hint=_SAFE
    )


def unknown(
    why: str, message_id: str | None, *, timed_out: bool = False
) -> DeliveryUnknown:
    """Make the error of a send that had begun, and whose progress is unknown."""
    return DeliveryUnknown(
        f"{why}: the message may have been delivered",
        phase=Phase.FINAL,
        event=Event.UNKNOWN,
        timed_out=timed_out,
        message_id=message_id,
        hint="" if message_id is not None else NO_MESSAGE_ID,
    )
