"""What a server offers in answer to EHLO (RFC 5321 section 4.1.1.1), for people."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Offers:
    """The extensions of one EHLO.

    Attributes:
        lines: each as the server said it: the keyword and its parameters.
    """

    lines: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Self:
        """Read the text of the reply, whose first line is the server's name."""
        lines = (" ".join(line.split()) for line in text.split("\n")[1:])
        return cls(tuple(line for line in lines if line))

    @property
    def keywords(self) -> dict[str, str]:
        """The parameters of each extension, by its keyword in upper case."""
        split = (line.partition(" ") for line in self.lines)
        return {keyword.upper(): value for keyword, _, value in split}

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms, each once; "AUTH=" is what some old servers write."""
        words: list[str] = []
        for line in self.lines:
            if match := re.match(r"AUTH[ =](.*)", line, re.IGNORECASE):
                words += match[1].upper().split()
        return tuple(dict.fromkeys(words))

    @property
    def size_limit(self) -> int | None:
        """The largest message (RFC 1870), or None if the server does not say."""
        value = self.keywords.get("SIZE", "")
        return int(value) if re.fullmatch("[0-9]{1,20}", value) and int(value) else None
