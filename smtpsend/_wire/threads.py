"""A blocking call in a thread of its own, which never outlives its use for the caller.

The loop's default executor would: its threads are joined when the loop or the process
ends, so that one hung name look-up would hold both up.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar


T = TypeVar("T")


async def in_thread(function: Callable[[], T], name: str) -> T:
    """What `function` returns or raises, called in a daemon thread."""
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

    def work() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = context.run(function)
        except BaseException as caught:  # noqa: BLE001  # handed on to the caller
            # A StopIteration cannot go into a future.
            error = RuntimeError("StopIteration") if _stops(caught) else caught
        # The loop may be closed by now: then nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # The interpreter is ending and starts no more threads (3.12 and newer).
        return function()
    return await future


def _stops(error: BaseException) -> bool:
    return isinstance(error, StopIteration)
