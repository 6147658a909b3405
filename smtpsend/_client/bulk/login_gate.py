"""The login of the connections of a batch: one at a time, until one is refused."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING

from smtpsend._wire.login import login
from smtpsend.errors import AuthError


if TYPE_CHECKING:
    from smtpsend._wire.connection import Session


class LoginGate:
    """Lets the connections of a batch log in one at a time; belongs to one event loop.

    Attributes:
        refused: the permanent `AuthError` after which no login is tried, or None.
    """

    def __init__(self) -> None:
        self.refused: AuthError | None = None
        self._lock = asyncio.Lock()

    async def login(self, session: Session) -> None:
        """Log in, unless the server has permanently refused an earlier login.

        Raises:
            AuthError: the server refused this login or an earlier one.
        """
        async with self._lock:
            if self.refused is not None:
                raise copy.copy(self.refused)
            try:
                await login(session)
            except AuthError as error:
                if not error.temporary:
                    self.refused = error
                raise
