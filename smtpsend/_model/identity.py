"""A mapping from objects to values that compares by identity, and keeps no key alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar


V = TypeVar("V")


class IdentityMap(Generic[V]):
    """Holds one value for each object, until the object is deleted.

    The keys are ids, because credentials hold the caller's functions, which need not be
    hashable. Any thread may use it: each access is one operation of a dict.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[object], V]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: object) -> V | None:
        """Return the value of `key`, or None if it has none."""
        entry = self._entries.get(id(key))
        return None if entry is None else entry[1]

    def setdefault(self, key: object, make: Callable[[], V]) -> V:
        """Return the value of `key`; make it if there is none."""
        number, entries = id(key), self._entries
        entry = entries.get(number)
        if entry is None:
            forget = weakref.ref(key, lambda _: entries.pop(number, None))
            entry = entries.setdefault(number, (forget, make()))
        return entry[1]

    def clear(self) -> None:
        """Drop all values."""
        self._entries.clear()
