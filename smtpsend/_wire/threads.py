"""Runs a blocking function in a daemon thread, for which nothing waits at the end.

The threads of the loop's default executor are joined when the loop or the process ends,
so that one hung name look-up would delay both.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

from smtpsend._model.shortage import shortage


T = TypeVar("T")


async def in_thread(function: Callable[[], T], name: str) -> T:
    """Call `function` in a daemon thread with this name; return or raise its result.

    Raises:
        RuntimeError: this machine can start no further thread (see `shortage`).
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only beside an error

    def call() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = context.run(function)
        except BaseException as caught:  # noqa: BLE001  # raised in the caller
            # A future does not accept a StopIteration.
            stop = isinstance(caught, StopIteration)
            error = RuntimeError("StopIteration") if stop else caught
        # If the loop is closed by now, no caller waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    thread = threading.Thread(target=call, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        if shortage(error) is not None:
            raise  # called here, it would hold up the loop
        # The interpreter is ending, and starts no more threads (3.12 and newer).
        return function()
    return await future
