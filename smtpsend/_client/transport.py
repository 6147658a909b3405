"""The interface of the transport that replaces the network while a program is tested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from smtpsend._client.hooks import Hooks
    from smtpsend._client.submission import Submission
    from smtpsend._model.receipt import Receipt
    from smtpsend._model.server.server import Server


class Transport(Protocol):
    """Accepts submissions in place of a server; see `smtpsend.testing`."""

    async def send(self, server: Server, submission: Submission, hooks: Hooks) -> Receipt:
        """Return a receipt for a submission, or raise the `SendError` of a server."""
        ...

    async def check(self, server: Server, hooks: Hooks) -> None:
        """Return, or raise the `SendError` that a check of the server would raise."""
        ...


replacement: Transport | None = None
"""Set by smtpsend.testing while mail is captured; None means the network."""
