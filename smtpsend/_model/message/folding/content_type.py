"""The type in a Content-Type of simple form, and its place for a boundary."""

from __future__ import annotations

import re
import sys
from email.message import Message
from functools import lru_cache

from smtpsend._model.message.folding.field import WirePolicy, field
from smtpsend._patterns import pattern


__all__ = ["boundary_line", "simple_type"]

# This boundary has the length of those that the generator makes.
_PROBE = "=" * 15 + "0" * len(str(sys.maxsize - 1)) + "=="
_SIMPLE_TYPE = pattern(
    r"""([A-Za-z0-9!#$&^_+-]++/[A-Za-z0-9!#$&^_.+-]++)
        (?:;\ [A-Za-z0-9-]++=(?:"[A-Za-z0-9 ./_+:=-]++"|[A-Za-z0-9._+-]++))*+""",
    re.VERBOSE,
)
_LONGEST_TYPE = 256


def simple_type(text: str) -> str | None:
    """The type in a Content-Type, in lower case; None if the text has no simple form."""
    return _simple_type(text) if len(text) <= _LONGEST_TYPE else None


@lru_cache(maxsize=256)
def _simple_type(text: str) -> str | None:
    match = _SIMPLE_TYPE.fullmatch(text)
    return match[1].lower() if match else None


@lru_cache(maxsize=64)
def boundary_line(
    to: WirePolicy, name: str, text: str, *, built: bool
) -> tuple[bytes, bytes] | None:
    """The bytes before and after a new boundary in a Content-Type of simple form.

    The header is folded once for each type, with a boundary of the length that all
    boundaries have; the result is cached.

    Returns:
        The two parts; None if the folded header is not exactly one header.
    """
    message: Message = Message(policy=to.policy)
    message.set_raw(name, text)
    message.set_boundary(_PROBE)
    ((new_name, value),) = message.raw_items()
    folded = field(to, new_name, value, built=built)
    before, found, after = (folded or b"").partition(_PROBE.encode())
    return (before, after) if found else None
