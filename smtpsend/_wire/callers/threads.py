"""Runs a blocking function in a daemon thread.

The threads of the loop's default executor are joined when the loop or the process ends,
so one name look-up that hangs would delay both. A daemon thread is not joined.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from smtpsend._model.shortage import shortage
from smtpsend._wire.callers.code import call


T = TypeVar("T")


class NoThread(OSError):
    """No thread can be started any more, because the interpreter is ending."""


async def in_thread(function: Callable[[], T], name: str) -> T:
    """Call `function` in a daemon thread with this name; return or raise its result.

    Raises:
        Stopped: `function` raised a BaseException that is no Exception.
        NoThread: the interpreter is ending.
        RuntimeError: this machine can start no further thread (see `shortage`).
    """
    if sys.is_finalizing():
        # Before Python 3.12, `Thread.start` would wait forever for a thread that never
        # runs.
        raise NoThread("the interpreter is ending, and no thread runs any more")
    loop = asyncio.get_running_loop()
    # asyncio's debug log shows the result of a future and the arguments of a callback. A
    # result may be a token and an error may quote one, so they are stored here instead.
    future: asyncio.Future[None] = loop.create_future()
    settled: list[tuple[T | None, BaseException | None]] = []
    context = contextvars.copy_context()

    def settle() -> None:
        if not future.done():
            future.set_result(None)

    def work() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = context.run(call, function)
        except BaseException as caught:  # noqa: BLE001  # raised in the caller
            # A coroutine cannot raise a StopIteration.
            stop = isinstance(caught, StopIteration)
            error = RuntimeError("StopIteration") if stop else caught
        settled.append((result, error))
        # A RuntimeError means that the loop is closed, so no caller waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle)

    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as refused:
        if shortage(refused) is not None:
            raise  # a call in this thread would block the event loop
        # The interpreter is ending and starts no more threads (Python 3.12 and newer), so
        # the function is called in this thread.
        return call(function)
    await future
    result, error = settled.pop()
    if error is not None:
        try:
            raise error
        finally:
            del error  # its traceback refers to this frame
    return result  # type: ignore[return-value]  # None only beside an error
