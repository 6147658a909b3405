"""Async code for sync callers: one event loop in a daemon thread of the process.

It starts when first used, is shared by all threads, and is made anew in a forked child,
where the parent's loop is forgotten, never closed: closing would unregister sockets
from an epoll set that parent and child share, and say goodbye on the parent's
connections.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from smtpsend._wire.dial import OPEN
from smtpsend.errors import ConfigError


T = TypeVar("T")

# How long an interrupted caller waits for its send to be aborted.
_GRACE = 5.0


class _Portal:
    """The loop of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop, started if need be.

        Raises:
            RuntimeError: the interpreter is ending and starts no more threads.
        """
        with self._lock:
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=loop.run_forever, name="smtpsend", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:
                    loop.close()
                    raise
                self._loop, self._thread = loop, thread
            return self._loop

    def inside(self) -> bool:
        """Whether the caller is the loop's own thread."""
        return self._thread is threading.current_thread()


_portal = _Portal()
_forgotten: list[_Portal] = []


class Call(Generic[T]):
    """A coroutine that runs on the process's loop."""

    def __init__(
        self, make: Callable[[], Coroutine[Any, Any, T]], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._make = make
        self._ended = threading.Event()
        self.future = asyncio.run_coroutine_threadsafe(self._work(), loop)

    async def _work(self) -> T:
        try:
            return await self._make()
        finally:
            self._ended.set()

    def cancel(self) -> None:
        """Cancel it, and wait for its end, so that nothing goes out behind our back."""
        if not self.future.done():
            self.future.cancel()
            self._ended.wait(_GRACE)


def start(make: Callable[[], Coroutine[Any, Any, T]]) -> Call[T]:
    """Start a coroutine on the process's loop.

    Raises:
        ConfigError: called from the loop's own thread, which would wait for itself.
        RuntimeError: the interpreter is ending and starts no more threads.
    """
    if _portal.inside():
        raise ConfigError(
            "the sync functions cannot be called from a token function or a hook that "
            "smtpsend itself runs",
            hint="use send_async there",
        )
    return Call(make, _portal.loop())


def run(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of a coroutine, run on the process's loop.

    If waiting is interrupted (Ctrl-C), the coroutine is cancelled.

    Raises:
        ConfigError: called from the loop's own thread, which would wait for itself.
    """
    try:
        call = start(make)
    except RuntimeError:
        # No thread starts while the interpreter ends: a loop for this one call.
        return asyncio.run(make())
    try:
        return call.future.result()
    except BaseException:
        call.cancel()
        raise


def _after_fork() -> None:
    global _portal
    _forgotten.append(_portal)
    _portal = _Portal()
    # Only the child's copies: as long as they are open, the server would not see the
    # parent hang up.
    for sock in list(OPEN):
        if (fd := sock.detach()) >= 0:
            os.close(fd)
    OPEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
