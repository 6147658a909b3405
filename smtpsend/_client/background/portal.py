"""Runs async code for sync callers, in the one event loop of the process.

A forked child makes a loop of its own and never closes the parent's: closing would
unregister sockets from an epoll set that parent and child share, and would end the
parent's TLS connections with a close_notify. For the end of the interpreter, see
ending.py.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import time
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
from smtpsend._client.background.interrupts import CtrlC, is_safe
from smtpsend._client.background.process_loop import ProcessLoop, Scheduled
from smtpsend._client.background.turn import Pause
from smtpsend._wire.dial import OPEN
from smtpsend._wire.look_up import LOOK_UPS, finish_look_ups
from smtpsend.errors import ConfigError


if TYPE_CHECKING:
    from smtpsend._client.submission import Submission

T = TypeVar("T")

# An interrupted caller waits for this many seconds until its send has ended.
_GRACE = 5.0


_portal = ProcessLoop()
_forgotten: list[ProcessLoop] = []


class Call(Scheduled, Generic[T]):
    """A coroutine that runs on the loop of the process.

    Args:
        make: makes the coroutine.
        closes: see `Scheduled`.
    """

    future: concurrent.futures.Future[T]

    def __init__(
        self, make: Callable[[], Coroutine[Any, Any, T]], *, closes: bool = False
    ) -> None:
        super().__init__(closes=closes)
        self._make = make
        self._task: asyncio.Task[None] | None = None
        self._portal = _portal

    def start(self) -> None:
        """Start the coroutine on the background loop.

        Raises:
            ConfigError: the current thread runs the loop and would wait for itself, or
                gevent is patched in a way that would make the call hang.
            ConnectError: this machine has no descriptor or thread left for the loop, or
                the interpreter is ending.
        """
        self._start(here=False)

    def run_here(self, seconds: float | None) -> None:
        """Start the coroutine, and run the loop in the main thread if no other call runs.

        The call has not ended yet if another call began meanwhile; see `wait`.

        Args:
            seconds: for how long the loop runs at most; None for no limit.

        Raises:
            ConfigError: see `start`.
            ConnectError: see `start`.
            KeyboardInterrupt: the coroutine goes on in the background thread.
        """
        if _runs_a_loop() or gevent.is_patched() or not is_safe():
            self._start(here=False)
            return
        with CtrlC() as ctrl_c:
            self._start(here=True)
            if self.turn is not None:
                self._portal.run_here(self, self.turn, ctrl_c, seconds)

    def _start(self, *, here: bool) -> None:
        refuse_at_end()
        gevent.refuse_partial_patching()
        if _portal.inside():
            raise ConfigError(
                "the sync functions cannot be called from a token function or a hook "
                "that smtpsend itself runs",
                hint="use send_async there",
            )
        self._portal = _portal
        self._portal.start(self, here=here)

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
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(self._task_done)
        else:
            self._portal.ended(self)

    async def _run(self) -> None:
        """Run the coroutine, and set its result."""
        # The portal notes the end first, so that it finds no running call when the
        # waiting thread has the result and makes the next call.
        try:
            value = await self._make()
        except Exception as error:  # noqa: BLE001  # raised in the waiting thread
            self._portal.ended(self)
            self.fail(error)
        except asyncio.CancelledError:
            raise  # see `_task_done`
        except BaseException as error:
            self._portal.ended(self)
            kind = type(error).__name__
            self.fail(Unfinished(f"{kind} was raised in the background thread"))
            raise
        else:
            self._portal.ended(self)
            self.future.set_result(value)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            # `_run` has not begun if the task was cancelled at once.
            self._portal.ended(self)
            why = "the send was cancelled in the background thread"
            self.fail(Unfinished(why))
        else:
            task.exception()  # or asyncio logs that nobody asked for it

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
        _portal.turn()
    except RuntimeError:
        return False
    return True


def inside() -> bool:
    """Return whether the current thread runs a loop of the library."""
    return _portal.inside()


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
    *,
    here: bool = False,
    closes: bool = False,
) -> T:
    """Run a coroutine on the background loop, and return its result.

    If the wait is interrupted (Ctrl-C), the coroutine is cancelled.

    Args:
        make: makes the coroutine, which ends within `seconds` by itself.
        seconds: the time limit of the coroutine, which is waited for 5 s longer; None for
            no limit.
        submission: the submission that the coroutine sends; None if it sends none.
        here: whether the main thread may run the loop for this call. If code of the
            caller's blocks the loop then, the wait has no time limit.
        closes: see `Scheduled`.

    Raises:
        ConfigError: the current thread runs the loop and would wait for itself, or
            gevent is patched in a way that would make the call hang.
        ConnectError: the interpreter is ending; or the background thread ended or is
            blocked, and no submission had begun.
        DeliveryUnknown: the background thread ended or is blocked after the submission
            had begun.
    """
    call = Call(make, closes=closes)
    limit = None if seconds is None else seconds + _GRACE
    begun = time.monotonic()
    try:
        if here:
            call.run_here(limit)
        else:
            call.start()
        if not call.wait(None if limit is None else limit + begun - time.monotonic()):
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


_pauses: dict[int, Pause] = {}


def _before_fork() -> None:
    if ending():
        return
    if (pause := _portal.pause()) is not None:
        _pauses[threading.get_ident()] = pause
    finish_look_ups()


def _after_fork_in_parent() -> None:
    if (pause := _pauses.pop(threading.get_ident(), None)) is not None:
        pause.end()


def _after_fork_in_child() -> None:
    global _portal
    _pauses.clear()
    _forgotten.append(_portal)
    _portal = ProcessLoop()
    # This closes only the child's copies. While a copy is open, the connection stays open
    # after the parent has closed it.
    gevent.forget(list(OPEN))
    OPEN.clear()
    LOOK_UPS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
