"""Hides secrets in what a person could come to see, in any form that a server echoes."""

from __future__ import annotations

import re
from base64 import b64encode


# The prefix of a base64 form that gives it away; what follows it goes, too, since a
# server may cut what it repeats. Six characters are four bytes.
_PREFIX = 6
_ENHANCED = re.compile(r"^[0-9]\.[0-9]+\.[0-9]+[ \t]*", re.MULTILINE)


class Redactor:
    """Knows the secrets of a call, and puts *** in their place."""

    def __init__(self) -> None:
        self._patterns: set[str] = set()
        self._plain: set[str] = set()
        self._any: re.Pattern[str] | None = None

    def add(self, secret: str, *blobs: str) -> None:
        """Hide `secret`, its base64 at any alignment, and `blobs`, from now on."""
        self._plain.add(_squeezed(secret))
        # A cut one is told by its first half; less could be part of a harmless word.
        half = max(8, len(secret) // 2)
        self._patterns.add(re.escape(secret))
        if len(secret) > half:
            self._patterns.add(re.escape(secret[:half]) + r"\S*")
        for form in (*_aligned(secret.encode()), *blobs):
            self._plain.add(_squeezed(form))
            self._patterns.add(re.escape(form[:_PREFIX]) + r"[A-Za-z0-9+/=_-]*")
        # The longest first: a secret inside another would leave the rest to be read.
        ordered = sorted(self._patterns, key=len, reverse=True)
        self._any = re.compile("|".join(ordered), re.IGNORECASE)

    def __call__(self, text: str) -> str:
        if self._any is None:
            return text
        shown = self._any.sub("***", text)
        # A server may break what it repeats over lines, with or without a code on each,
        # so that what ends a line may go on in the next.
        broken = re.search(r"\*\*\*[ \t]*\n", shown) is not None
        for lines in (shown, _ENHANCED.sub("", shown)):
            joined = _squeezed(lines)
            broken = broken or any(secret in joined for secret in self._plain if secret)
        return "(hidden: it repeated a secret)" if broken else shown


def _squeezed(text: str) -> str:
    return re.sub(r"\s", "", text).lower()


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
