"""The caller's code that a send runs: hooks, token providers, log handlers.

asyncio ends an event loop where a callback or a task raises SystemExit or
KeyboardInterrupt, and takes CancelledError for a cancellation of the task. From a hook or
a provider they are errors like any other: the loop is shared by all sends of the process.
A KeyboardInterrupt in the main thread passes: it is a Ctrl-C.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeVar


T = TypeVar("T")

# Seconds for which a coroutine of the caller's may clean up when it was cancelled.
_CLEANUP = 1.0


class Stopped(Exception):
    """The caller's code raised what is meant to end a thread, a task or the process.

    Args:
        kind: its class. The exception itself is not kept: nobody knows what it holds.
    """

    def __init__(self, kind: type[BaseException]) -> None:
        super().__init__(kind.__name__)
        self.kind = kind


def is_interrupt(error: BaseException | None) -> bool:
    """Whether an exception is a Ctrl-C, which only the main thread can receive."""
    main = threading.current_thread() is threading.main_thread()
    return isinstance(error, KeyboardInterrupt) and main


def passes(error: BaseException) -> bool:
    """Whether an exception ends a send from outside: a cancellation, or a Ctrl-C."""
    outside = isinstance(error, asyncio.CancelledError | GeneratorExit)
    return outside or is_interrupt(error)


def call(function: Callable[[], T]) -> T:
    """The result of a function of the caller's.

    Raises:
        Stopped: it raised a BaseException that is no Exception; an Exception passes.
    """
    try:
        return function()
    except Exception:
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        kind = type(error)
    # Not from the error: its traceback would keep what the caller's code held.
    raise Stopped(kind)


async def result_of(awaitable: Awaitable[T]) -> T:
    """The result of a coroutine of the caller's, in a task of its own.

    It can cancel itself there, and where this task is cancelled and the coroutine goes on
    all the same, it is not waited for.

    Raises:
        Stopped: it raised a BaseException that is no Exception; an Exception passes.
    """

    # A result or an error may be a token or quote one, and asyncio's debug log shows what
    # a task has: so the task has neither.
    settled: list[tuple[T | None, BaseException | None]] = []

    async def contain() -> None:
        try:
            settled.append((await awaitable, None))
        except BaseException as error:
            if is_interrupt(error):
                raise
            settled.append((None, error))

    task = asyncio.create_task(contain())
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task], timeout=_CLEANUP)
        raise
    if task.cancelled():
        raise Stopped(asyncio.CancelledError)
    task.result()  # raises a Ctrl-C
    result, error = settled.pop()
    if error is None:
        return result  # type: ignore[return-value]  # None only beside an error
    if isinstance(error, Exception):
        raise error
    raise Stopped(type(error))


class contained:  # noqa: N801  # reads as an adjective where it is used
    """Ignore whatever the caller's code raises inside, but a Ctrl-C."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return error is not None and not is_interrupt(error)
