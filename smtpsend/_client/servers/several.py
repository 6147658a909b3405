"""What a client or a send does with several servers; imported only where there are."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from smtpsend._client import transport
from smtpsend._client.hooks import Hooks
from smtpsend._client.pool import Pool
from smtpsend._client.servers.fail_over import check_over, require_trust, submit_over
from smtpsend._client.servers.retries import Availability
from smtpsend._client.servers.route import Route
from smtpsend._client.submission import Submission
from smtpsend._model.receipt import Receipt
from smtpsend._model.server.server import Server


class Several:
    """Several servers, in order of preference.

    Args:
        pools: the connections to each server; empty for a one-shot send.
        hooks: the hooks of the client.
    """

    def __init__(
        self, servers: Sequence[Server], pools: Sequence[Pool], hooks: Hooks
    ) -> None:
        self._servers, self.pools, self._hooks = servers, pools, hooks
        self._availability = Availability(servers)

    @property
    def seconds(self) -> float:
        """How long a call may last, so that the last server has all of its time."""
        return sum(server.policy.deadline for server in self._servers)

    def require_trust(self) -> None:
        """Refuse a CA file or a TLS context that cannot be used; see `fail_over`."""
        require_trust(self._servers)

    def new_route(self, seconds: float) -> Route:
        """Begin the way of a message, which has so many seconds, over the servers."""
        available = self._availability
        if transport.replacement is not None:
            available = Availability(self._servers, captured=True)
        return Route(self._servers, available, seconds, self._hooks)

    def submit(self, submission: Submission) -> Coroutine[Any, Any, Receipt]:
        """Send one message; see `submit_over`."""
        route = self.new_route(submission.timeout)
        return submit_over(route, submission, self.pools, self._hooks)

    def check(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Log in without a message; see `check_over`."""
        return check_over(self.new_route(seconds), self._servers, self.pools, seconds)

    def state(self, index: int) -> str:
        """Say in words whether a server failed lately; empty if it did not."""
        return self._availability.describe(index)
