"""The event loop of the process for sync callers, and its background thread.

The loop is made when it is first used, and all threads share it. `Turn` decides which of
them runs it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from smtpsend._client.background.ending import Unfinished
from smtpsend._client.background.interrupts import CtrlC
from smtpsend._client.background.loops import SharedLoop, new_loop, serve
from smtpsend._client.background.turn import Pause, Turn
from smtpsend._model.shortage import raise_if_short


class Scheduled:
    """What `ProcessLoop` needs to know of a call.

    Args:
        closes: whether the call, if it ends well, leaves connections that are being
            closed.

    Attributes:
        future: the result of the call.
        loop: the loop that runs the call; None before it is started.
        shared: that loop, if the waiting threads run it in turn; else None.
        turn: the turn of that loop, if the thread that waits for the call has it.
    """

    def __init__(self, *, closes: bool) -> None:
        self.closes = closes
        self.future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.shared: SharedLoop | None = None
        self.turn: Turn | None = None

    def begin(self) -> None:
        """Begin the call; runs in the loop."""
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """Set the error of the call, if the call has not ended."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.future.set_exception(error)


class ProcessLoop:
    """The event loop of one process, and its background thread."""

    def __init__(self) -> None:
        # The lock is reentrant, because a finalizer or a signal handler can run in the
        # thread that holds it, and can close a client.
        self._lock = threading.RLock()
        self._turn: Turn | None = None
        self._thread: threading.Thread | None = None
        self._shared: SharedLoop | None = None
        self._calls: set[Scheduled] = set()  # started and not ended
        self._serving: set[int] = set()  # the threads that serve a loop, by their idents

    def turn(self) -> Turn:
        """Return the turn of the loop; make the loop and its thread if there are none.

        Raises:
            RuntimeError: the interpreter is shutting down and starts no more threads.
            ConnectError: this machine has no descriptor or thread left for the loop.
        """
        with self._lock:
            if self.running() is None:
                turn = Turn(new_loop())
                try:
                    thread = threading.Thread(
                        target=self._serve, args=[turn], name="smtpsend", daemon=True
                    )
                    thread.start()
                except RuntimeError as error:
                    turn.loop.close()
                    raise_if_short(error, "no connection")
                    raise
                if self.running() is None:
                    self._turn, self._thread = turn, thread
                else:  # a finalizer or a signal handler has started one meanwhile
                    turn.need()
            assert self._turn is not None  # noqa: S101  # it runs
            return self._turn

    def running(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop if its thread lives."""
        alive = self._thread is not None and self._thread.is_alive()
        closed = self._turn is None or self._turn.loop.is_closed()
        return self._turn.loop if self._turn and alive and not closed else None

    def pause(self) -> Pause | None:
        """Keep the loop, if there is one, from running while the process forks."""
        if self._turn is None or self.running() is None or self.inside():
            return None
        return Pause(self._turn)

    def inside(self) -> bool:
        """Return whether the current thread runs a loop of the library."""
        return (
            threading.get_ident() in self._serving
            or (self._turn is not None and self._turn.inside())
            or (self._shared is not None and self._shared.inside())
        )

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Schedule `callback` on the loop that the current thread runs."""
        shared = self._shared
        if shared is not None and shared.inside():
            shared.loop.call_soon_threadsafe(callback)
        elif self._turn is not None:
            self._turn.loop.call_soon_threadsafe(callback)

    def start(self, call: Scheduled, *, here: bool) -> None:
        """Schedule the begin of a call on the loop.

        Args:
            here: whether the current thread may run the loop, if no other call runs.
        """
        with self._lock:
            turn: Turn | None = None
            try:
                turn = self.turn()
                call.loop = turn.loop
            except RuntimeError:
                if self._shared is None:
                    self._shared = SharedLoop()
                call.shared, call.loop = self._shared, self._shared.loop
            if turn is not None and here and not self._calls and turn.take():
                call.turn = turn
            # The lock is held for all steps, so that `_fail_calls` finds each call.
            self._calls.add(call)
            if call.turn is not None:
                call.loop.call_soon(call.begin)
            else:
                call.loop.call_soon_threadsafe(call.begin)
                if turn is not None:
                    turn.need()

    def run_here(
        self, call: Scheduled, turn: Turn, ctrl_c: CtrlC, seconds: float | None
    ) -> None:
        """Run the loop in the current thread, which has the turn; see `Turn.run`."""
        try:
            turn.run(call.future, ctrl_c, seconds)
        finally:
            with self._lock:
                if self._calls:
                    turn.need()
                elif not call.future.done() or call.future.exception():
                    turn.offer()

    def ended(self, call: Scheduled) -> None:
        """Remove a call that has its result; runs in the loop."""
        self._calls.discard(call)
        if call.shared is None and (call.turn is not None or not self._calls):
            # It is decided anew which thread runs the loop. In one turn of it, a
            # connection is closed, and in the next the connection's owner is told.
            loop = asyncio.get_running_loop()
            if call.closes:
                loop.call_soon(loop.call_soon, loop.stop)
            else:
                loop.stop()

    def _serve(self, turn: Turn) -> None:
        """Run the loop, and then fail the calls without a result; runs in the thread."""
        self._serving.add(threading.get_ident())
        try:
            serve(turn.loop, lambda: self._attend(turn))
        finally:
            self._fail_calls(turn.loop)
            self._serving.discard(threading.get_ident())

    def _attend(self, turn: Turn) -> bool:
        """Wait until the background thread shall run a loop; return whether it shall.

        The thread has the turn afterwards.
        """
        with self._lock:
            if turn.attended and self._calls:
                return True
            turn.leave()
        turn.attend()
        return self._turn is None or self._turn is turn

    def _fail_calls(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fail every call of a loop that no longer runs."""
        with self._lock:
            if self._turn is not None and self._turn.loop is loop:
                self._turn = self._thread = None
            calls = [call for call in self._calls if call.loop is loop]
            self._calls.difference_update(calls)
        for call in calls:
            call.fail(Unfinished("the background thread of smtpsend ended"))
