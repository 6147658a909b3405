"""Hides secrets in what a person could come to see, in any form that a server echoes."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import lru_cache

from smtpsend.errors import Reply


# The prefix of a base64 form that gives it away; what follows it goes, too, since a
# server may cut what it repeats. Six characters are four bytes.
_PREFIX = 6
_ENHANCED = re.compile(r"^[0-9]\.[0-9]+\.[0-9]+[ \t]*", re.MULTILINE)


class Redactor:
    """Knows the secrets of a call, and puts *** in their place."""

    def __init__(self) -> None:
        self._secrets: frozenset[str] = frozenset()
        self._any: re.Pattern[str] | None = None
        self._plain: tuple[str, ...] = ()
        # Replies of one line as they are shown, as long as no secret is added: servers
        # repeat themselves, to 100,000 recipients, and for message after message.
        self.known: dict[bytes, Reply] = {}

    def add(self, *secrets: str) -> None:
        """Hide `secrets`, and their base64 at any alignment, from now on."""
        known = self._secrets.union(secrets)
        if known != self._secrets:
            self._secrets = known
            self.known.clear()
            self._any, self._plain = _forms(known)

    def __call__(self, text: str) -> str:
        if self._any is None:
            return text
        shown = self._any.sub("***", text)
        if "\n" not in shown:
            return _HIDDEN if self._holds(shown) else shown
        # A server may break what it repeats over lines, with or without a code on each,
        # so that what ends a line may go on in the next.
        broken = (
            re.search(r"\*\*\*[ \t]*\n", shown) is not None
            or self._holds(shown)
            or self._holds(_ENHANCED.sub("", shown))
        )
        return _HIDDEN if broken else shown

    def _holds(self, text: str) -> bool:
        joined = _squeezed(text)
        return any(secret in joined for secret in self._plain)


_HIDDEN = "(hidden: it repeated a secret)"


@lru_cache(maxsize=16)
def _forms(secrets: frozenset[str]) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """What to look for in a text, and in a text without its white space."""
    patterns: set[str] = set()
    plain: set[str] = set()
    for secret in secrets:
        plain.add(_squeezed(secret))
        patterns.add(re.escape(secret))
        # A cut one is told by its first half; less could be part of a harmless word.
        half = max(8, len(secret) // 2)
        if len(secret) > half:
            patterns.add(re.escape(secret[:half]) + r"\S*")
        for form in _aligned(secret.encode()):
            plain.add(_squeezed(form))
            patterns.add(re.escape(form[:_PREFIX]) + r"[A-Za-z0-9+/=_-]*")
    # The longest first: a secret inside another would leave the rest to be read.
    ordered = sorted(patterns, key=len, reverse=True)
    return re.compile("|".join(ordered), re.IGNORECASE), tuple(filter(None, plain))


def _squeezed(text: str) -> str:
    return "".join(text.split()).lower()


def _aligned(secret: bytes) -> list[str]:
    """The characters that stand for `secret` in base64 behind 0, 1 or 2 other bytes."""
    forms = []
    for shift in range(3):
        text = b64encode(b"\0" * shift + secret).decode().rstrip("=")
        # The first and the last characters hold bits of the neighbours, too.
        first = -(-shift * 8 // 6)
        last = (shift + len(secret)) * 8 // 6
        forms.append(text[first:last])
    return [form for form in forms if len(form) >= _PREFIX]
