"""Why a proxy opens no connection."""

from __future__ import annotations

from enum import Enum, auto


class Kind(Enum):
    """What a proxy refused, or did instead."""

    LOGIN = auto()
    RULE = auto()
    FAILED = auto()
    GARBAGE = auto()


class ProxyRefused(Exception):
    """The proxy refused the connection, or sent what is no reply of its protocol.

    Args:
        kind: what it refused.
        words: what it said itself; neither redacted nor cleaned.
        temporary: whether the same request may succeed later.
    """

    def __init__(self, kind: Kind, words: str = "", *, temporary: bool = False) -> None:
        super().__init__()
        self.kind = kind
        self.words = words
        self.temporary = temporary
