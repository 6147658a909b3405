"""Async code for sync callers: one event loop in a daemon thread of the process.

The loop is started when it is first used, and all threads share it. A forked child starts
a loop of its own and never closes the parent's: closing would unregister sockets from an
epoll set that parent and child share, and would end the parent's TLS connections with a
close_notify.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any, Generic, TypeVar

from smtpsend._client.background import gevent
from smtpsend._model.shortage import raise_if_short
from smtpsend._wire.dial import OPEN
from smtpsend.errors import ConfigError


T = TypeVar("T")

# Seconds for which an interrupted caller waits until its send is aborted.
_GRACE = 5.0


# What an event loop opens: a selector and a pair of sockets.
_OF_A_LOOP = 3


def _new_loop() -> asyncio.AbstractEventLoop:
    """A new event loop.

    Raises:
        ConnectError: this machine has nothing left to make it of.
    """
    try:
        # A loop that is made by half complains on stderr when it is collected, so that
        # what it needs is opened first, and closed again.
        with ExitStack() as opened:
            for _ in range(_OF_A_LOOP):
                opened.enter_context(socket.socket())
        return asyncio.new_event_loop()
    except OSError as error:
        raise_if_short(error, "no connection")
        raise


class _Portal:
    """The background event loop of one process, and its thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._inline: asyncio.AbstractEventLoop | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the running loop; start it if it does not run yet.

        Raises:
            RuntimeError: the interpreter is shutting down and starts no more threads.
            ConnectError: this machine has nothing left to start the loop with.
        """
        with self._lock:
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                loop = _new_loop()
                thread = threading.Thread(
                    target=loop.run_forever, name="smtpsend", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError as error:
                    loop.close()
                    raise_if_short(error, "no connection")
                    raise
                self._loop, self._thread = loop, thread
            return self._loop

    def running(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop if its thread runs."""
        alive = self._thread is not None and self._thread.is_alive()
        return self._loop if alive else None

    def inside(self) -> bool:
        """Whether the current thread is the loop's own thread."""
        return self._thread is threading.current_thread()

    def inline(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine in the current thread, since no other can be started any more.

        All such calls share one loop, so that a client can keep its connections.
        """
        with self._lock:
            if self._inline is None:
                self._inline = _new_loop()
            return self._inline.run_until_complete(make())


_portal = _Portal()
_forgotten: list[_Portal] = []


class Call(Generic[T]):
    """A coroutine that `start` runs on the background loop."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._make = make
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[T] | None = None
        self._cancelled = False

    def start(self) -> None:
        """Start the coroutine on the background loop.

        Raises:
            ConfigError: the current thread is the loop's own and would wait for itself,
                or gevent is patched in a way that would make the call hang.
            ConnectError: this machine has nothing left to start the loop with.
        """
        gevent.refuse_partial_patching()
        if _portal.inside():
            raise ConfigError(
                "the sync functions cannot be called from a token function or a hook "
                "that smtpsend itself runs",
                hint="use send_async there",
            )
        try:
            self._loop = _portal.loop()
        except RuntimeError:
            # The interpreter is shutting down.
            self.future.set_result(_portal.inline(self._make))
        else:
            self._loop.call_soon_threadsafe(self._create_task)

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Let the loop of a started call run `callback`."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(callback)

    def _create_task(self) -> None:
        if self._cancelled:
            self._settle_cancelled()
            return
        self._task = asyncio.get_running_loop().create_task(self._make())
        self._task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self._settle_cancelled()
        elif (error := task.exception()) is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(task.result())

    def _settle_cancelled(self) -> None:
        self.future.cancel()
        self.future.set_running_or_notify_cancel()

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def cancel(self) -> None:
        """Cancel the coroutine and wait for its end; it sends nothing afterwards."""
        self._cancelled = True
        if self._loop is not None and not self.future.done():
            self._loop.call_soon_threadsafe(self._cancel_task)
            concurrent.futures.wait([self.future], _GRACE)


def has_thread() -> bool:
    """Start the background thread if it does not run; return whether it runs.

    Raises:
        ConfigError: gevent is patched in a way that would make a call hang.
    """
    gevent.refuse_partial_patching()
    try:
        _portal.loop()
    except RuntimeError:
        return False
    return True


def inside() -> bool:
    """Whether the current thread is the background thread."""
    return _portal.inside()


def run(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on the background loop, and return its result.

    If the wait is interrupted (Ctrl-C), the coroutine is cancelled.

    Raises:
        ConfigError: the current thread is the loop's own and would wait for itself, or
            gevent is patched in a way that would make the call hang.
    """
    call = Call(make)
    try:
        call.start()
        return call.future.result()
    except BaseException:
        call.cancel()
        raise


class _Pause:
    """Blocks the background thread between two callbacks while the process forks.

    A fork during a TLS handshake would copy OpenSSL's locks in their locked state, and
    the child would wait forever for a thread that it does not have.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._paused, self._resumed = threading.Event(), threading.Event()
        loop.call_soon_threadsafe(self._block)
        self._paused.wait(_GRACE)

    def _block(self) -> None:
        self._paused.set()
        self._resumed.wait(_GRACE)

    def end(self) -> None:
        self._resumed.set()


_pauses: dict[int, _Pause] = {}


def _before_fork() -> None:
    if (loop := _portal.running()) is not None and not _portal.inside():
        _pauses[threading.get_ident()] = _Pause(loop)


def _after_fork_in_parent() -> None:
    if (pause := _pauses.pop(threading.get_ident(), None)) is not None:
        pause.end()


def _after_fork_in_child() -> None:
    global _portal
    _pauses.clear()
    _forgotten.append(_portal)
    _portal = _Portal()
    # This closes only the child's copies. As long as they were open, the server would not
    # see the parent close a connection.
    gevent.forget(list(OPEN))
    OPEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
