"""A `send_many` over several servers: a dispatcher for each, and one caller's side.

A message is put into the queue of the server that its route names. If it is not sent
there, and the table allows it, it goes on to the queue of the next one. Its outcome comes
once, from wherever it ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from smtpsend._client.bulk.dispatcher import Dispatcher
from smtpsend._client.bulk.queue import may_read
from smtpsend._client.bulk.worker import Worker
from smtpsend._client.servers.server_queue import ServerQueue
from smtpsend._client.submission import Submission
from smtpsend._model.receipt import Outcome


if TYPE_CHECKING:
    from smtpsend._client.pool import Pool
    from smtpsend._client.servers.route import Route


class SharedQueue:
    """The caller's side of the queues of several servers; see `Queue`.

    Args:
        queues: the queues; they share `outcomes`.
        new_route: makes the route of a message that has so many seconds.

    Attributes:
        ahead: see `Queue`.
    """

    def __init__(
        self,
        queues: Sequence[ServerQueue],
        outcomes: deque[Outcome],
        new_route: Callable[[float], Route],
        notify: Callable[[], None],
    ) -> None:
        self.outcomes = outcomes
        self.input_ended = False
        self.ahead = 0
        self._queues = queues
        self._new_route = new_route
        self._notify = notify
        self._held = self._bytes_put = 0
        self._limits = queues[0].pool.limits

    @property
    def pending(self) -> list[Submission]:
        """The messages that no connection has begun."""
        return [x for queue in self._queues for x in list(queue.pending)]

    @property
    def _window(self) -> int:
        return max(queue.window for queue in self._queues)

    @property
    def has_room(self) -> bool:
        """Whether one more message may be put."""
        settled = sum(queue.bytes_settled for queue in self._queues)
        octets = self._bytes_put - settled
        return may_read(self._limits, self._window, self.ahead, self._held, octets)

    @property
    def is_short(self) -> bool:
        """Whether some connections may soon have no message to send."""
        pending = sum(len(queue.pending) for queue in self._queues)
        return self.input_ended or pending <= self._window * self._limits.max_connections

    def put(self, submission: Submission | Outcome) -> None:
        """Add a message, or the outcome of one that cannot be sent."""
        self._held += 1
        if isinstance(submission, Outcome):
            self.outcomes.append(submission)
            self._notify()
            return
        self._bytes_put += len(submission.envelope.content)
        route = submission.route = self._new_route(submission.timeout)
        submission.timeout = route.timeout
        self._queues[route.index].pending.append(submission)

    def get(self) -> Outcome:
        """Remove and return the first outcome; there must be one."""
        self._held -= 1
        return self.outcomes.popleft()


class Dispatchers:
    """Sends the messages of a `SharedQueue`; see `Dispatcher`, which does it for one.

    Args:
        pools: the connections to each server.
        new_route: makes the route of a message that has so many seconds.
        notify: called after a change that the caller may wait for.
    """

    def __init__(
        self,
        pools: Sequence[Pool],
        new_route: Callable[[float], Route],
        notify: Callable[[], None],
    ) -> None:
        outcomes: deque[Outcome] = deque()
        self._queues = [
            ServerQueue(pool, outcomes, self._notify, self._pass_on, self._queue_of)
            for pool in pools
        ]
        self._dispatchers = [Dispatcher(queue, Worker) for queue in self._queues]
        self.queue = SharedQueue(self._queues, outcomes, new_route, notify)
        self._notify_caller = notify
        self._changed = asyncio.Event()

    def _notify(self) -> None:
        self._changed.set()
        self._notify_caller()

    def _queue_of(self, route: Route) -> ServerQueue:
        return self._queues[route.index]

    def _pass_on(self, submission: Submission) -> None:
        route = submission.route
        assert route is not None  # noqa: S101  # set when it was put
        submission.timeout, submission.elapsed = route.timeout, route.elapsed
        self._queues[route.index].add(submission)
        self._dispatchers[route.index].wake()

    @property
    def needs_wake(self) -> bool:
        """Whether `wake` must be called after a message was put."""
        return any(x.queue.pending and x.needs_wake for x in self._dispatchers)

    @property
    def is_idle(self) -> bool:
        """Whether no message is pending or in flight."""
        return all(x.is_idle for x in self._dispatchers)

    async def run(self) -> None:
        """Send everything that is put, until `end_input` was called."""
        self.wake()
        try:
            while not (self.queue.input_ended and self.is_idle):
                self._changed.clear()
                await self._changed.wait()
        except BaseException:
            self.cancel()
            await self.wait_finished()
            raise

    def wake(self) -> None:
        """Wake the workers that wait for a message, or start the first worker."""
        for dispatcher in self._dispatchers:
            dispatcher.wake()

    def end_input(self) -> None:
        """Note that no further message will be put."""
        self.queue.input_ended = True
        self._changed.set()
        for dispatcher in self._dispatchers:
            dispatcher.end_input()

    def stop(self) -> None:
        """Begin no further message; those in flight are finished where they are."""
        self.queue.input_ended = True
        self._changed.set()
        for dispatcher in self._dispatchers:
            dispatcher.stop()

    def cancel(self) -> None:
        """Begin no further message, and cancel those in flight."""
        for dispatcher in self._dispatchers:
            dispatcher.stop()
        for dispatcher in self._dispatchers:
            dispatcher.cancel()

    async def wait_finished(self) -> None:
        """Wait until no message is in flight."""
        for dispatcher in self._dispatchers:
            await dispatcher.wait_finished()
