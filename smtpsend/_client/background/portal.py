"""Runs async code for sync callers: one event loop in a daemon thread of the process.

The loop is started when it is first used, and all threads share it. A forked child starts
a loop of its own and never closes the parent's: closing would unregister sockets from an
epoll set that parent and child share, and would end the parent's TLS connections with a
close_notify. For the end of the interpreter, see ending.py.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from smtpsend._client.background import gevent
from smtpsend._client.background.ending import (
    Unfinished,
    ending,
    not_begun,
    refuse_at_end,
    unknown,
)
from smtpsend._client.background.loops import SharedLoop, new_loop, serve
from smtpsend._model.shortage import raise_if_short
from smtpsend._wire.dial import OPEN
from smtpsend.errors import ConfigError


if TYPE_CHECKING:
    from smtpsend._client.submission import Submission

T = TypeVar("T")

# An interrupted caller waits for this many seconds until its send has ended.
_GRACE = 5.0


class _Portal:
    """The background event loop of one process, and its thread."""

    def __init__(self) -> None:
        # The lock is reentrant, because a finalizer or a signal handler can run in the
        # thread that holds it, and can close a client.
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._shared: SharedLoop | None = None
        self._calls: set[Call[Any]] = set()  # started and not ended
        self._serving: set[int] = set()  # the threads that run a loop, by their idents

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the running loop; start it if it does not run yet.

        Raises:
            RuntimeError: the interpreter is shutting down and starts no more threads.
            ConnectError: this machine has no descriptor or thread left for the loop.
        """
        with self._lock:
            if self.running() is None:
                loop = new_loop()
                try:
                    thread = threading.Thread(
                        target=self._serve, args=[loop], name="smtpsend", daemon=True
                    )
                    thread.start()
                except RuntimeError as error:
                    loop.close()
                    raise_if_short(error, "no connection")
                    raise
                if self.running() is None:
                    self._loop, self._thread = loop, thread
                else:  # a finalizer or a signal handler has started one meanwhile
                    loop.call_soon_threadsafe(loop.stop)
            assert self._loop is not None  # noqa: S101  # it runs
            return self._loop

    def running(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop if its thread runs."""
        alive = self._thread is not None and self._thread.is_alive()
        closed = self._loop is None or self._loop.is_closed()
        return self._loop if alive and not closed else None

    def inside(self) -> bool:
        """Return whether the current thread runs a loop of the library."""
        shared = self._shared is not None and self._shared.inside()
        return shared or self.serves()

    def serves(self) -> bool:
        """Return whether the current thread is a background thread."""
        return threading.get_ident() in self._serving

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Schedule `callback` on the loop that the current thread runs."""
        shared = self._shared
        inside = shared is not None and shared.inside()
        loop = shared.loop if shared is not None and inside else self._loop
        if loop is not None:
            loop.call_soon_threadsafe(callback)

    def start(self, call: Call[Any]) -> None:
        """Schedule the begin of a call on the loop."""
        with self._lock:
            try:
                call.loop = self.loop()
            except RuntimeError:
                if self._shared is None:
                    self._shared = SharedLoop()
                call.shared, call.loop = self._shared, self._shared.loop
            # The lock is held for both steps, so that `_fail_calls` finds each call.
            self._calls.add(call)
            call.loop.call_soon_threadsafe(call.begin)

    def ended(self, call: Call[Any]) -> None:
        """Remove a call that has its result."""
        self._calls.discard(call)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the loop, and then fail the calls without a result; runs in the thread."""
        self._serving.add(threading.get_ident())
        try:
            serve(loop, lambda: self._loop is None or self._loop is loop)
        finally:
            self._fail_calls(loop)
            self._serving.discard(threading.get_ident())

    def _fail_calls(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fail every call of a loop that no longer runs."""
        with self._lock:
            if self._loop is loop:
                self._loop = self._thread = None
            calls = [call for call in self._calls if call.loop is loop]
            self._calls.difference_update(calls)
        for call in calls:
            call.fail(Unfinished("the background thread of smtpsend ended"))


_portal = _Portal()
_forgotten: list[_Portal] = []


class Call(Generic[T]):
    """A coroutine that `start` runs on the background loop.

    Attributes:
        future: the result of the coroutine.
        loop: the loop that runs the call; None before `start`.
        shared: that loop, if the waiting threads run it in turn; else None.
    """

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.shared: SharedLoop | None = None
        self._make = make
        self._task: asyncio.Task[T] | None = None
        self._portal = _portal

    def start(self) -> None:
        """Start the coroutine on the background loop.

        Raises:
            ConfigError: the current thread runs the loop and would wait for itself, or
                gevent is patched in a way that would make the call hang.
            ConnectError: this machine has no descriptor or thread left for the loop, or
                the interpreter is ending.
        """
        refuse_at_end()
        gevent.refuse_partial_patching()
        if _portal.inside():
            raise ConfigError(
                "the sync functions cannot be called from a token function or a hook "
                "that smtpsend itself runs",
                hint="use send_async there",
            )
        self._portal = _portal
        self._portal.start(self)

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Schedule `callback` on the loop of a started call."""
        if self.loop is not None and not ending():
            # A closed loop raises a RuntimeError; the callback is not needed then.
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(callback)

    def wait(self, seconds: float | None) -> bool:
        """Wait until the coroutine has ended, for `seconds` at most.

        Returns:
            Whether it has ended.

        Raises:
            ConnectError: this thread would have to run the loop, but runs another loop.
        """
        if ending():
            return self.future.done()
        if self.shared is None:
            with contextlib.suppress(TimeoutError, concurrent.futures.CancelledError):
                self.future.exception(seconds)
        elif _runs_a_loop():
            raise not_begun(
                "the interpreter is ending, no thread can be started, and this thread "
                "runs an event loop: use send_async there"
            )
        else:
            self.shared.wait(self.future, seconds)
        return self.future.done()

    def begin(self) -> None:
        """Create the task, unless the call was cancelled; runs in the loop."""
        if self.future.set_running_or_notify_cancel():
            self._task = asyncio.get_running_loop().create_task(self._make())
            self._task.add_done_callback(self._task_done)
        else:
            self._portal.ended(self)

    def _task_done(self, task: asyncio.Task[T]) -> None:
        self._portal.ended(self)
        if task.cancelled():
            self.fail(Unfinished("the send was cancelled in the background thread"))
        elif (error := task.exception()) is None:
            self.future.set_result(task.result())
        elif isinstance(error, Exception):
            self.future.set_exception(error)
        else:
            kind = type(error).__name__
            self.fail(Unfinished(f"{kind} was raised in the background thread"))

    def fail(self, error: Exception) -> None:
        """Set the error of the call, if the call has not ended."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.future.set_exception(error)

    def _cancel_task(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def cancel(self) -> bool:
        """Cancel the coroutine and wait for its end; it sends nothing afterwards.

        Returns:
            True if the coroutine had not begun, and will not begin.
        """
        if self.future.cancel():
            return True
        if self.loop is not None and not self.future.done():
            self.call_soon(self._cancel_task)
            self.wait(_GRACE)
        return False


def _runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def has_thread() -> bool:
    """Start the background thread if it does not run; return whether it runs.

    Raises:
        ConfigError: gevent is patched in a way that would make a call hang.
        ConnectError: the interpreter is ending.
    """
    refuse_at_end()
    gevent.refuse_partial_patching()
    try:
        _portal.loop()
    except RuntimeError:
        return False
    return True


def inside() -> bool:
    """Return whether the current thread runs a loop of the library."""
    return _portal.inside()


def serves() -> bool:
    """Return whether this is a background thread, whose loop always runs."""
    return _portal.serves()


def run_later(make: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run a coroutine on the loop that the current thread runs, without waiting."""

    def begin() -> None:
        task = asyncio.get_running_loop().create_task(make())
        _unwatched.add(task)
        task.add_done_callback(_unwatched.discard)

    _portal.call_soon(begin)


# References that keep the tasks of `run_later` alive until they have ended.
_unwatched: set[asyncio.Task[Any]] = set()


def run(
    make: Callable[[], Coroutine[Any, Any, T]],
    seconds: float | None = None,
    submission: Submission | None = None,
) -> T:
    """Run a coroutine on the background loop, and return its result.

    If the wait is interrupted (Ctrl-C), the coroutine is cancelled.

    Args:
        make: makes the coroutine, which ends within `seconds` by itself.
        seconds: the time limit of the coroutine, which is waited for 5 s longer; None for
            no limit.
        submission: the submission that the coroutine sends; None if it sends none.

    Raises:
        ConfigError: the current thread runs the loop and would wait for itself, or
            gevent is patched in a way that would make the call hang.
        ConnectError: the interpreter is ending; or the background thread ended or is
            blocked, and no submission had begun.
        DeliveryUnknown: the background thread ended or is blocked after the submission
            had begun.
    """
    call = Call(make)
    try:
        call.start()
        if not call.wait(None if seconds is None else seconds + _GRACE):
            why = "the background thread of smtpsend is blocked"
            if call.cancel():
                raise not_begun(why, timed_out=True)
            # The coroutine may have ended while `cancel` waited.
            if not call.future.done() or isinstance(call.future.exception(), Unfinished):
                raise Unfinished(why, timed_out=True)
        return call.future.result()
    except Unfinished as error:
        why, timed_out = str(error), error.timed_out
    except BaseException:
        call.cancel()
        raise
    if submission is None:
        raise not_begun(why, timed_out=timed_out)
    raise unknown(why, submission.envelope.message_id, timed_out=timed_out)


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
    if ending():
        return
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
    # This closes only the child's copies. While a copy is open, the connection stays open
    # after the parent has closed it.
    gevent.forget(list(OPEN))
    OPEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
