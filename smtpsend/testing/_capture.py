"""`capture`: the open outboxes, and the transport that replaces the network."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from types import TracebackType
from typing import Any, TypeVar, cast

from smtpsend._client import transport
from smtpsend._client.hooks import Hooks
from smtpsend._client.submission import Submission
from smtpsend._model.receipt import Receipt
from smtpsend._model.server.server import Server
from smtpsend._wire.tls.context import require_verifying
from smtpsend.testing._outbox import Outbox


F = TypeVar("F", bound=Callable[..., Any])

# The outboxes that are open in the process, and those that this thread or task opened. A
# send goes to the innermost outbox of its own thread or task; if there is none, to the
# innermost one of the process.
_open: list[Outbox] = []
_own: ContextVar[tuple[Outbox, ...]] = ContextVar("smtpsend_outboxes", default=())
_lock = threading.Lock()


class _Transport:
    async def send(self, server: Server, submission: Submission, hooks: Hooks) -> Receipt:
        await self._check_context(server)
        return _innermost()._send(server, submission, hooks)

    async def check(self, server: Server, hooks: Hooks) -> None:
        await self._check_context(server)
        _innermost()._check(server, hooks)

    async def _check_context(self, server: Server) -> None:
        if server.ssl_context is not None:
            require_verifying(server.ssl_context)
        await asyncio.sleep(0)  # so that a captured send can be cancelled, too


def _innermost() -> Outbox:
    with _lock:
        own = [box for box in _own.get() if any(box is one for one in _open)]
        # A send that outlives its capture must not reach the network either.
        return (own or _open or [Outbox()])[-1]


def outbox() -> Outbox:
    """The outbox to which a send of the caller would go now.

    Raises:
        RuntimeError: no `capture` is open, so the send would go to the network.
    """
    if not _open:
        raise RuntimeError("no capture() is open")
    return _innermost()


class capture:  # noqa: N801  # used like a function, as a context manager or a decorator
    """Direct every send in the process to an outbox; nothing reaches the network.

    ::

        with capture() as outbox:
            register("bob@example.net")
        assert outbox[0].recipients == ("bob@example.net",)

    It captures `send`, `send_async`, `Client` and `AsyncClient`, `send_many` and `check`
    in all threads and event loops of this process, but not in other processes. Messages,
    addresses and servers are checked as always, and receipts and errors look real.

    An inner capture hides the outer ones. A send of a thread or task that opened no
    capture goes to the innermost capture of the process.

    It is also a decorator for functions and coroutine functions; the function calls
    `outbox` for its outbox.
    """

    def __init__(self) -> None:
        self._boxes: list[Outbox] = []

    def __enter__(self) -> Outbox:
        box = Outbox()
        with _lock:
            _open.append(box)
            transport.replacement = _transport
        _own.set((*_own.get(), box))
        self._boxes.append(box)
        return box

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        box = self._boxes.pop()
        # Not reset by its token: a fixture may end in another context than it began in.
        _own.set(tuple(one for one in _own.get() if one is not box))
        with _lock:
            _open[:] = [one for one in _open if one is not box]
            if not _open:
                transport.replacement = None

    def __call__(self, function: F) -> F:
        """Wrap `function`, so that each call has a capture of its own."""
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def wrapped_async(*args: Any, **options: Any) -> Any:
                with capture():
                    return await function(*args, **options)

            return cast(F, wrapped_async)

        @wraps(function)
        def wrapped(*args: Any, **options: Any) -> Any:
            with capture():
                return function(*args, **options)

        return cast(F, wrapped)


_transport = _Transport()
