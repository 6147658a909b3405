"""The first login of a batch, which its other connections wait for.

Several connections are opened at once, and a refused password must not be tried by each
of them: a server may lock the account.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from smtpsend._client.pool import acquire_login


if TYPE_CHECKING:
    from smtpsend._wire.deadline import Deadline


class FirstLogin:
    """Lets one connection log in alone, until a login was accepted.

    Attributes:
        accepted: whether the server has accepted a login of the batch.
    """

    def __init__(self) -> None:
        self.accepted = False
        self._lock = asyncio.Lock()

    @property
    def begun(self) -> bool:
        """Whether a connection has its turn, or a login was accepted."""
        return self.accepted or self._lock.locked()

    @asynccontextmanager
    async def turn(self, deadline: Deadline) -> AsyncIterator[None]:
        """Wait until a login was accepted, or until no connection has its turn.

        The login is made in the body. If the body ends without an exception, the login
        was accepted, and all that wait log in at once; otherwise, the next one has its
        turn.

        Raises:
            ConnectionLost: the connection before this one was not done at the deadline.
        """
        if not self.accepted:
            await self._acquire(deadline)
        if self.accepted:
            yield
            return
        try:
            yield
            self.accepted = True
        finally:
            self._lock.release()

    async def _acquire(self, deadline: Deadline) -> None:
        """Hold the lock, unless a login was accepted meanwhile."""
        why = "the first connection of the batch was still being opened"
        await acquire_login(self._lock, deadline, why)
        if self.accepted:
            self._lock.release()
