"""Values of the library as values that JSON can represent."""

from __future__ import annotations

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
