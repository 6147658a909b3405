"""Which thread runs the event loop of the sync functions.

A call of the main thread that is alone is run by that thread, because a switch to another
thread and back costs a fifth of a send over a kept connection. In all other cases, the
background thread runs the loop: for calls of other threads, while several calls run,
while a batch runs, and while nobody calls, so that idle connections end in time.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from typing import Any

from smtpsend._client.background.interrupts import CtrlC


# The background thread runs the loop if the main thread has not run it for this many
# seconds.
_IDLE = 0.05
# A fork waits this many seconds for a thread that does not let go of the loop.
_GRACE = 5.0
# While a fork waits, it looks this often, in seconds, whether nobody runs the loop.
_FORK_INTERVAL = 0.005


class Turn:
    """The right to run one event loop; one thread has it at a time.

    Attributes:
        loop: the event loop.
        attended: whether the background thread has the turn.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.attended = False
        # It is held by the thread that runs the loop. It is reentrant, because a program
        # can throw an exception into the background thread, amid `attend`, and the thread
        # goes on after that.
        self._lock = threading.RLock()
        self._needed = False  # the background thread shall run the loop
        # The background thread waits for this lock, and `need` releases it. An Event has
        # a lock that a finalizer could meet again in the thread that holds it.
        self._called = threading.Lock()
        self._called.acquire()
        self._caller = 0  # the ident of the main thread while it runs the loop, else 0
        self._count = 0  # how often it has run the loop
        self._offered = False

    def inside(self) -> bool:
        """Whether the current thread is the main thread, and runs the loop."""
        return self._caller == threading.get_ident()

    # The side of the calls. `take` and `need` are called with the portal's lock held.

    def take(self) -> bool:
        """Let the current thread run the loop, unless another thread runs it."""
        # Loops of other packages may depend on their thread, or on signal handlers.
        if self._caller or not isinstance(self.loop, asyncio.SelectorEventLoop):
            return False
        # A finalizer that runs between two of these steps must not wait for another
        # thread to run the loop. So `inside` is true whenever this thread has the turn.
        self._caller = threading.get_ident()
        if self._lock.acquire(blocking=False):
            self._count += 1
            return True
        self._caller = 0
        return False

    def run(
        self,
        future: concurrent.futures.Future[Any],
        ctrl_c: CtrlC,
        seconds: float | None,
    ) -> None:
        """Run the loop in the current thread, which has the turn, and end the turn.

        Returns before the future is done if the background thread is needed, after
        `seconds`, after a Ctrl-C, or if the loop cannot run.
        """
        late = False

        def end() -> None:
            nonlocal late
            late = True
            self.loop.stop()

        timer = None if seconds is None else self.loop.call_later(seconds, end)
        ctrl_c.wake = self._stop
        try:
            while not (future.done() or self._needed or ctrl_c.received or late):
                self.loop.run_forever()
        except Exception:  # noqa: BLE001, S110  # the background thread meets and logs it
            pass
        finally:
            if timer is not None:
                timer.cancel()
            # In this order: see `take`.
            self._lock.release()
            self._caller = 0

    def need(self) -> None:
        """Let the background thread run the loop."""
        if not self.attended:
            self._needed = True
            self._call()
            if self._caller:
                self._stop()

    def offer(self) -> None:
        """Let the background thread run the loop now, unless the main thread does."""
        self._offered = True
        self._call()

    def _call(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is released already
            self._called.release()

    def _stop(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self.loop.call_soon_threadsafe(self.loop.stop)

    # The side of the background thread.

    def attend(self) -> None:
        """Wait until the background thread shall run the loop, and take the turn."""
        while not self._needed:
            count = self._count
            called = self._called.acquire(timeout=_IDLE)
            offered, self._offered = self._offered, False
            unused = offered or (not called and count == self._count)
            if unused and not self._caller:
                break
        self._lock.acquire()
        self.attended = True
        self._needed = False
        self._called.acquire(blocking=False)

    def leave(self) -> None:
        """End the turn of the background thread, if it has the turn."""
        self.attended = False
        with contextlib.suppress(RuntimeError):  # when the lock is not held any more
            while True:
                self._lock.release()

    # The side of a thread that forks the process.

    def hold(self) -> bool:
        """Keep every thread from running the loop; return whether no thread runs it."""
        return self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Undo `hold`."""
        self._lock.release()


class Pause:
    """Keeps the event loop from running while the process forks.

    A fork during a TLS handshake would copy OpenSSL's locks in their locked state, and
    the child would wait forever for a thread that it does not have. A thread that runs
    the loop is blocked between two callbacks.
    """

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._paused, self._resumed = threading.Event(), threading.Event()
        if self._hold():
            return
        turn.loop.call_soon_threadsafe(self._block)
        until = time.monotonic() + _GRACE
        # The thread that ran the loop may have left it before it has seen `_block`.
        while not (self._paused.wait(_FORK_INTERVAL) or self._hold()):
            if time.monotonic() > until:
                break

    def _hold(self) -> bool:
        self._held = self._turn.hold()
        return self._held

    def _block(self) -> None:
        self._paused.set()
        self._resumed.wait(_GRACE)

    def end(self) -> None:
        """Let the loop run again."""
        self._resumed.set()
        if self._held:
            self._turn.release()
