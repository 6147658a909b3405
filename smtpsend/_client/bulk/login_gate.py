"""The login of the connections of a batch: one after the other, until one is refused."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING

from smtpsend._wire.login import login
from smtpsend.errors import AuthError


if TYPE_CHECKING:
    from smtpsend._wire.connection import Session


class LoginGate:
    """What several connections log in through; belongs to one event loop.

    Attributes:
        refused: the server's word that nobody is let in, or None.
    """

    def __init__(self) -> None:
        self.refused: AuthError | None = None
        self._turn = asyncio.Lock()

    async def login(self, session: Session) -> None:
        """Log in, unless it is known that nobody is let in.

        Raises:
            AuthError: the server refused this one, or one before.
        """
        async with self._turn:
            if self.refused is not None:
                raise copy.copy(self.refused)
            try:
                await login(session)
            except AuthError as error:
                if not error.temporary:
                    self.refused = error
                raise
