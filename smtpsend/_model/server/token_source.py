"""`TokenSource`: a token function that learns which of its tokens a server refused."""

from __future__ import annotations

from abc import ABC, abstractmethod


class TokenSource(ABC):
    """A callable that returns access tokens and keeps one until it expires.

    A server may refuse a token before it expires, because it was revoked. A function
    that keeps tokens would return the same one again, so that the second try of a login
    would never take place.
    """

    @abstractmethod
    def __call__(self) -> str:
        """Return a token; it may block, and runs in a thread of its own."""

    @abstractmethod
    def discard(self, token: str) -> None:
        """Return another token from the next call on, because `token` was refused.

        It must not block.
        """
