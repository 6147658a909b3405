"""Runs the caller's code during a send: hooks, token providers, log handlers.

If a callback or a task raises SystemExit or KeyboardInterrupt, asyncio ends the event
loop; if a task raises CancelledError, asyncio treats the task as cancelled. All sends of
the process share one loop, so these exceptions, raised by a hook or a token provider,
are treated as ordinary errors. Only a KeyboardInterrupt in the main thread is passed on,
because it is a Ctrl-C.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeVar


T = TypeVar("T")

# A cancelled coroutine of the caller's may clean up for this many seconds.
_CLEANUP = 1.0


class Stopped(Exception):
    """The caller's code raised an exception that ends a thread, a task or the process.

    Args:
        kind: the class of that exception. The exception itself is not kept, because it
            may hold a secret.
    """

    def __init__(self, kind: type[BaseException]) -> None:
        super().__init__(kind.__name__)
        self.kind = kind


def is_interrupt(error: BaseException | None) -> bool:
    """Return whether an exception is a Ctrl-C; only the main thread can receive one."""
    main = threading.current_thread() is threading.main_thread()
    return isinstance(error, KeyboardInterrupt) and main


def passes(error: BaseException) -> bool:
    """Return whether an exception is a cancellation of the send, or a Ctrl-C."""
    outside = isinstance(error, asyncio.CancelledError | GeneratorExit)
    return outside or is_interrupt(error)


def call(function: Callable[[], T]) -> T:
    """Call a function of the caller's, and return its result.

    Raises:
        Stopped: `function` raised a BaseException that is no Exception. An Exception is
            raised unchanged.
    """
    try:
        return function()
    except Exception:
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        kind = type(error)
    # This is outside of the `except`, so that `Stopped` has no context: the traceback of
    # the error would keep the local variables of the caller's code alive.
    raise Stopped(kind)


async def result_of(awaitable: Awaitable[T]) -> T:
    """Run a coroutine of the caller's in a task of its own, and return its result.

    If the coroutine cancels its task, the send is not cancelled. If the send is cancelled
    and the coroutine ignores that, the send waits for it for a second at most.

    Raises:
        Stopped: the coroutine raised a BaseException that is no Exception. An Exception
            is raised unchanged.
    """

    # asyncio's debug log shows the result or the error of a task. A result may be a token
    # and an error may quote one, so they are stored here, outside of the task.
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
    """A context manager that ignores each exception of its block but a Ctrl-C."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return error is not None and not is_interrupt(error)
