"""The result of a call, which one thread sets and another one waits for.

`concurrent.futures.Future` does the same, and costs a tenth of a send over a kept
connection: it has a condition with a lock of its own for each wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar


T = TypeVar("T")


class Result(Generic[T]):
    """A value or an error that is set once. Any thread may use it."""

    def __init__(self) -> None:
        self._value: T | None = None
        self._error: Exception | None = None
        self._done = False
        # The first thread that acquires the first lock sets the result. It releases the
        # second one afterwards, for those that wait.
        self._claim = threading.Lock()
        self._unset = threading.Lock()
        self._unset.acquire()
        self._callbacks: list[Callable[[], object]] = []

    def done(self) -> bool:
        """Whether there is a value or an error."""
        return self._done

    def set(self, value: T) -> None:
        """Set the value, unless there is a value or an error."""
        if self._claim.acquire(blocking=False):
            self._value = value
            self._end()

    def fail(self, error: Exception) -> None:
        """Set the error, unless there is a value or an error."""
        if self._claim.acquire(blocking=False):
            self._error = error
            self._end()

    def _end(self) -> None:
        self._done = True
        self._unset.release()
        self._call()

    def _call(self) -> None:
        while True:
            try:
                callback = self._callbacks.pop()
            except IndexError:
                return
            callback()

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        """Call a function once, when there is a value or an error."""
        self._callbacks.append(callback)
        if self._done:
            self._call()

    def wait(self, seconds: float | None) -> bool:
        """Wait for `seconds` at most, or without a limit; return whether it is done."""
        if not self._done:
            limit = -1 if seconds is None else min(max(seconds, 0), threading.TIMEOUT_MAX)
            if self._unset.acquire(timeout=limit):
                self._unset.release()  # for the next one that waits
        return self._done

    @property
    def error(self) -> Exception | None:
        """The error; None if there is a value, or nothing yet."""
        return self._error

    def result(self) -> T:
        """Return the value, or raise the error; there must be one of them."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                del self  # the error's traceback refers to this frame
        return self._value  # type: ignore[return-value]  # None only as a T
