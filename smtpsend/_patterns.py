"""Regular expressions that are compiled when they are first used.

To compile all of the package takes longer than a send on loopback, and one send uses few
of them. A process that sends one message and ends pays only for what it uses.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, AnyStr


if TYPE_CHECKING:

    def pattern(source: AnyStr, flags: re.RegexFlag | int = 0) -> re.Pattern[AnyStr]:
        """Return a pattern, as `re.compile` does."""
        ...

else:
    _SCANNING = ("findall", "finditer", "search", "split", "sub", "subn")
    _METHODS = (*_SCANNING, "fullmatch", "match")

    class pattern:  # noqa: N801 - it is called as a function, and a type checker sees one
        """A pattern that `re.compile` makes at its first use.

        From then on the methods are attributes of this object, so that calling one costs
        no more than calling that of a `re.Pattern`. Two threads may both compile it: they
        make the same.
        """

        def __init__(self, source, flags=0):
            self.pattern, self._flags = source, flags

        def __getattr__(self, name):
            # Only a name that was not set yet arrives here.
            if name not in _METHODS:
                raise AttributeError(name)
            compiled = re.compile(self.pattern, self._flags)
            for method in _METHODS:
                setattr(self, method, getattr(compiled, method))
            return getattr(compiled, name)
