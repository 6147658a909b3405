"""Hides secrets in texts that a person may see, in any form that a server repeats."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import lru_cache

from smtpsend.errors import Reply


# A base64 form is found by its first six characters, which are four bytes. What follows
# them is hidden as well, because a server may cut off what it repeats.
_PREFIX = 6
_ENHANCED = re.compile(r"^[0-9]\.[0-9]+\.[0-9]+[ \t]*", re.MULTILINE)


class Redactor:
    """Replaces the secrets of a call by ***."""

    def __init__(self) -> None:
        self._secrets: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self._unspaced: tuple[str, ...] = ()
        # The redacted replies of one line, by their bytes, until a secret is added:
        # servers repeat themselves, for 100,000 recipients and message after message.
        self.cache: dict[bytes, Reply] = {}

    def add(self, *secrets: str) -> None:
        """Hide `secrets`, and their base64 at any alignment, from now on."""
        union = self._secrets.union(secrets)
        if union != self._secrets:
            self._secrets = union
            self.cache.clear()
            self._pattern, self._unspaced = _forms(union)

    def __call__(self, text: str) -> str:
        """`text` without the secrets; a fixed text if one is spread over white space."""
        if self._pattern is None:
            return text
        shown = self._pattern.sub("***", text)
        if "\n" not in shown:
            return _HIDDEN if self._holds(shown) else shown
        # A server may break what it repeats into lines, with or without an enhanced
        # status code on each, so that a secret may continue on the next line.
        broken = (
            re.search(r"\*\*\*[ \t]*\n", shown) is not None
            or self._holds(shown)
            or self._holds(_ENHANCED.sub("", shown))
        )
        return _HIDDEN if broken else shown

    def _holds(self, text: str) -> bool:
        joined = _without_space(text)
        return any(secret in joined for secret in self._unspaced)


_HIDDEN = "(hidden: it repeated a secret)"


@lru_cache(maxsize=16)
def _forms(secrets: frozenset[str]) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """The pattern of the secrets in a text, and their forms without white space."""
    patterns: set[str] = set()
    unspaced: set[str] = set()
    for secret in secrets:
        unspaced.add(_without_space(secret))
        patterns.add(re.escape(secret))
        # A secret that is cut off is found by its first half; less than that could be
        # part of a harmless word.
        half = max(8, len(secret) // 2)
        if len(secret) > half:
            patterns.add(re.escape(secret[:half]) + r"\S*")
        for form in _aligned(secret.encode()):
            unspaced.add(_without_space(form))
            patterns.add(re.escape(form[:_PREFIX]) + r"[A-Za-z0-9+/=_-]*")
    # The longest come first: if one secret is part of another, replacing the shorter one
    # would leave the rest of the longer one readable.
    ordered = sorted(patterns, key=len, reverse=True)
    return re.compile("|".join(ordered), re.IGNORECASE), tuple(filter(None, unspaced))


def _without_space(text: str) -> str:
    return "".join(text.split()).lower()


def _aligned(secret: bytes) -> list[str]:
    """The base64 characters of `secret` alone, after 0, 1 or 2 other bytes."""
    forms = []
    for shift in range(3):
        text = b64encode(b"\0" * shift + secret).decode().rstrip("=")
        # The first and the last character also hold bits of the neighbouring bytes.
        first = -(-shift * 8 // 6)
        last = (shift + len(secret)) * 8 // 6
        forms.append(text[first:last])
    return [form for form in forms if len(form) >= _PREFIX]
