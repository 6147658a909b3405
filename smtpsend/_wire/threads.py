"""Runs a blocking function in a daemon thread, for which nothing waits at the end.

The threads of the loop's default executor are joined when the loop or the process ends,
so that one hung name look-up would delay both.
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
from smtpsend._wire.callers_code import call


T = TypeVar("T")


class NoThread(OSError):
    """No thread can run, and the call could block for ever."""


async def in_thread(function: Callable[[], T], name: str) -> T:
    """Call `function` in a daemon thread with this name; return or raise its result.

    Raises:
        Stopped: `function` raised a BaseException that is no Exception.
        NoThread: the interpreter is ending.
        RuntimeError: this machine can start no further thread (see `shortage`).
    """
    if sys.is_finalizing():
        # Before 3.12 a thread is started, never runs, and is waited for without end.
        raise NoThread("the interpreter is ending, and no thread runs any more")
    loop = asyncio.get_running_loop()
    # A result or an error may be a token or quote one, and asyncio's debug log shows
    # what a future and a callback have: so they have neither.
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
            # A future does not accept a StopIteration.
            stop = isinstance(caught, StopIteration)
            error = RuntimeError("StopIteration") if stop else caught
        settled.append((result, error))
        # If the loop is closed by now, no caller waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle)

    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as refused:
        if shortage(refused) is not None:
            raise  # called here, it would hold up the loop
        # The interpreter is ending, and starts no more threads (3.12 and newer).
        return call(function)
    await future
    result, error = settled.pop()
    if error is not None:
        try:
            raise error
        finally:
            del error  # its traceback refers to this frame
    return result  # type: ignore[return-value]  # None only beside an error
