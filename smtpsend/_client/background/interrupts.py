"""What may raise an exception in the middle of the code of a connection.

Python calls signal handlers in the main thread, between any two bytecodes, and a program
can throw an exception into any other thread. One that came amid the code of a connection
could lose a reply that was read. So a thread that calls runs the event loop only if it is
the main thread, and no signal has a handler but Python's own one for Ctrl-C, which is
replaced meanwhile.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any


# The functions of the module `signal` make an Enum of each result, which costs more, for
# all signals of a system, than all else here. They call these.
_signals: Any = sys.modules.get("_signal", signal)

SIGNALS = tuple(map(int, signal.valid_signals()))
"""The signals whose handlers are looked at."""

_CTRL_C: Any = signal.default_int_handler
# A handler that is None was not set by Python code.
_HARMLESS = {signal.SIG_DFL, signal.SIG_IGN, None, _CTRL_C}


def is_safe() -> bool:
    """Whether nothing can raise an exception in the code of this thread, or block it.

    The exception of a Ctrl-C does not count, since `CtrlC` puts it off. On Windows, a
    Ctrl-C does not end the wait of an event loop.
    """
    if sys.platform == "win32":
        return False
    thread = threading.current_thread()
    # While the interpreter ends, the main thread counts as ended. Where no thread starts
    # any more, a name look-up then blocks the thread that runs the loop.
    if thread is not threading.main_thread() or not thread.is_alive():
        return False
    try:
        return _HARMLESS.issuperset(map(_signals.getsignal, SIGNALS))
    except TypeError:  # a handler without a hash, so that it is none of those
        return False


class CtrlC:
    """A context manager for the main thread that puts Ctrl-C off to its end.

    Attributes:
        received: whether there was a Ctrl-C.
        wake: called on Ctrl-C, so that what runs in the context ends soon.

    Raises:
        KeyboardInterrupt: when the context ends, if there was a Ctrl-C.
    """

    def __init__(self) -> None:
        self.received = self._replaced = False
        self.wake: Callable[[], object] | None = None

    def __enter__(self) -> CtrlC:
        if _signals.getsignal(signal.SIGINT) is _CTRL_C:
            _signals.signal(signal.SIGINT, self._handle)
            self._replaced = True
        return self

    def _handle(self, *_: object) -> None:
        self.received = True
        if self.wake is not None:
            self.wake()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A log handler may have set another one.
        if self._replaced and _signals.getsignal(signal.SIGINT) == self._handle:
            _signals.signal(signal.SIGINT, _CTRL_C)
        if self.received:
            raise KeyboardInterrupt
