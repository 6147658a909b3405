"""Values of the library as values that JSON can represent, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any


def plain(value: Any, digits: int | None = None) -> Any:
    """Convert a value of this library to one that JSON can represent.

    Args:
        value: the value; what it holds is converted, too.
        digits: round each float to this number of digits; None keeps it as it is.
    """
    match value:
        case BaseException():
            return plain(value.to_dict(), digits)  # type: ignore[attr-defined]  # a SendError
        case datetime():
            return value.isoformat()
        case float():
            return value if digits is None else round(value, digits)
        case tuple() | list():
            return [plain(item, digits) for item in value]
        case dict():
            return {str(key): plain(item, digits) for key, item in value.items()}
        case str():
            return str(value)  # an enum's member as its value
    if hasattr(value, "__dataclass_fields__"):
        names = value.__dataclass_fields__
        return {name: plain(getattr(value, name), digits) for name in names}
    return value


def text_from(value: object) -> str:
    """Return the value, which must be a str."""
    if not isinstance(value, str):
        raise TypeError("not a str")
    return value


def texts_from(value: object) -> tuple[str, ...]:
    """Return the tuple of a list of str."""
    if not isinstance(value, list | tuple):
        raise TypeError("not a list")
    return tuple([text_from(item) for item in value])


def number_from(value: object) -> float:
    """Return the value, which must be a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return value


def restore(value: Any, state: Sequence[Any]) -> None:
    """Set the fields of an unpickled dataclass with slots.

    A pickle of an earlier version has fewer fields; the others get their defaults.
    """
    own = fields(value)
    missing = [field.default for field in own[len(state) :]]
    for field, item in zip(own, (*state, *missing), strict=True):
        object.__setattr__(value, field.name, item)
