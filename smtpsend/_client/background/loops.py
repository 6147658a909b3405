"""Event loops that go on after a callback has raised SystemExit or KeyboardInterrupt."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from smtpsend._model.shortage import raise_if_short
from smtpsend._wire.callers.code import contained
from smtpsend._wire.transport.polling import OWN_LOOPS


log = logging.getLogger("smtpsend")

# Seconds after which a waiting thread tries again to become the one that runs the loop.
_TURN_INTERVAL = 0.05
# When a loop ends, its tasks are cancelled, and waited for during this many seconds.
_GRACE = 5.0
# An event loop opens this many file descriptors: a selector and a pair of sockets.
_LOOP_DESCRIPTORS = 3


def new_loop() -> asyncio.AbstractEventLoop:
    """A new event loop.

    Raises:
        ConnectError: this machine has no file descriptors left for the loop.
    """
    try:
        # If the creation of a loop fails halfway, the loop prints an error when it is
        # deleted. So as many descriptors as it needs are opened and closed before that.
        with ExitStack() as opened:
            for _ in range(_LOOP_DESCRIPTORS):
                opened.enter_context(socket.socket())
        loop = asyncio.new_event_loop()
    except OSError as error:
        raise_if_short(error, "no connection")
        raise
    OWN_LOOPS.add(loop)
    return loop


def serve(loop: asyncio.AbstractEventLoop, wanted: Callable[[], bool]) -> None:
    """Run `loop` again and again, as long as `wanted` returns True, and close it."""
    try:
        while not loop.is_closed():
            try:
                if not wanted():
                    break
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:
                # Of all exceptions of a callback, only these two stop the loop. It is run
                # again, and goes on with the callbacks that are ready.
                _log_raised("a callback of the background thread raised", error)
    except BaseException as error:  # noqa: BLE001  # the thread ends
        _log_raised("the background thread was ended by", error)
    finally:
        with contained():
            _wind_up(loop)


def _wind_up(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the tasks of a loop, wait for their end, and close it."""
    if loop.is_closed():
        return
    if tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=_GRACE))
    loop.close()


def _log_raised(what: str, error: BaseException) -> None:
    # The text of the error is left out, since it may hold a secret.
    with contained():
        log.error("%s %s", what, type(error).__name__)


class SharedLoop:
    """An event loop that the waiting threads run in turn, if no thread can be started.

    All threads share it, so that the connections of a client can be used again.
    """

    def __init__(self) -> None:
        self.loop = new_loop()
        self._turn = threading.Lock()
        self._runner = 0  # the ident of the thread that runs it

    def inside(self) -> bool:
        """Whether the current thread runs the loop."""
        return self._runner == threading.get_ident()

    def wait(self, future: concurrent.futures.Future[Any], seconds: float | None) -> None:
        """Wait for the result of a call; run the loop if no other thread runs it.

        Args:
            future: the result of the call.
            seconds: the longest wait; None for no limit.
        """
        until = float("inf") if seconds is None else time.monotonic() + seconds
        while not future.done() and (left := until - time.monotonic()) > 0:
            if self._turn.acquire(timeout=min(left, _TURN_INTERVAL)):
                self._runner = threading.get_ident()
                try:
                    self.loop.run_until_complete(_done(future, left))
                except SystemExit as error:
                    _log_raised("a callback of smtpsend's event loop raised", error)
                finally:
                    self._runner = 0
                    self._turn.release()


async def _done(future: concurrent.futures.Future[Any], seconds: float) -> None:
    """Wait until `future` is done, for `seconds` at most."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    future.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(None if seconds == float("inf") else seconds):
            await done.wait()
