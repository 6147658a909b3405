"""The messages that a `send_many` over several servers holds for one of them."""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from smtpsend._client.bulk.queue import Queue
from smtpsend._client.transactions import Transactions
from smtpsend.errors import SendError


if TYPE_CHECKING:
    from smtpsend._client.pool import Pool
    from smtpsend._client.servers.route import Route
    from smtpsend._client.submission import Submission
    from smtpsend._model.receipt import Outcome, Receipt


class ServerQueue(Queue):
    """A queue whose messages go on to that of another server where the table says so.

    Args:
        outcomes: the outcomes of all servers, for the caller.
        pass_on: gives a message to the server that its route names now.
        queue_of: returns the queue of the server that a route names now.
    """

    def __init__(
        self,
        pool: Pool,
        outcomes: deque[Outcome],
        notify: Callable[[], None],
        pass_on: Callable[[Submission], None],
        queue_of: Callable[[Route], ServerQueue],
    ) -> None:
        super().__init__(pool, notify)
        self.outcomes = outcomes
        self._pass_on = pass_on
        self._queue_of = queue_of

    @property
    def bytes_settled(self) -> int:
        """Octets of content of the messages that have their outcome here."""
        return self._bytes_settled

    def add(self, submission: Submission) -> None:
        """Add a message that another server did not send, in the caller's order."""
        place = bisect(self.pending, submission.index, key=lambda other: other.index)
        self.pending.insert(place, submission)

    def accepted(self, submission: Submission, receipt: Receipt) -> None:
        """Report that the server accepted a message."""
        route = _route_of(submission)
        route.accepted()
        super().accepted(submission, route.completed(receipt))

    def failed(
        self, submission: Submission, transactions: Transactions, error: BaseException
    ) -> None:
        """Pass a message on to the next server, or report its error."""
        route = _route_of(submission)
        if not isinstance(error, SendError):
            route.abandon()
            super().failed(submission, transactions, error)
            return
        transactions.complete_error(error)
        ends = [attempt.started + attempt.elapsed for attempt in error.attempts]
        elapsed = max(ends, default=submission.elapsed)
        if route.goes_on(error, elapsed, allowed=not self.stopped):
            self.pool.throttle.failed(error)
            submission.transactions = transactions.for_next_server(error)
            self._pass_on(submission)
        else:
            failure = route.failure()
            self._queue_of(route)._report(submission, transactions, failure)
        self._pass_pending_on()

    def _report(
        self, submission: Submission, transactions: Transactions, error: SendError
    ) -> None:
        """Report the error of the whole send, in the name of this server."""
        super().failed(submission, transactions, error)

    def _pass_pending_on(self) -> None:
        """Pass the pending messages on if this server failed, and another did not."""
        if self.stopped:
            return
        moved = [x for x in list(self.pending) if _route_of(x).leaves_failed_server()]
        for submission in moved:
            self.pending.remove(submission)
            self._pass_on(submission)

    def cancelled(self, submission: Submission, transactions: Transactions) -> None:
        """Report to the hook a message whose send was cancelled."""
        _route_of(submission).abandon()
        super().cancelled(submission, transactions)


def _route_of(submission: Submission) -> Route:
    assert submission.route is not None  # noqa: S101  # set when it was put
    return submission.route
