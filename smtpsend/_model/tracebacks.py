"""Removes secrets from the local variables in the traceback of an error.

Error reporters show these local variables: Sentry and loguru do so by default, rich and
pytest by an option, Django on its debug page. So, if a function has a secret in a local
variable or an argument, its frames are cleared before an error leaves it.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from smtpsend._values import wrap_init


P = ParamSpec("P")
T = TypeVar("T")


def forget_locals(error: BaseException) -> None:
    """Clear the local variables of all frames of `error`, and drop its causes.

    The traceback keeps its file names and line numbers. A frame that still runs, such as
    that of the caller, keeps its variables. The causes are dropped entirely, because
    their texts may hold a secret: a token provider's error may quote the token.
    """
    traceback.clear_frames(error.__traceback__)
    error.__cause__ = error.__context__ = None


def hides_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function, so that its errors keep no arguments or local variables."""

    @functools.wraps(function)
    def guarded(*args: P.args, **options: P.kwargs) -> T:
        try:
            return function(*args, **options)
        except BaseException as error:
            forget_locals(error)
            raise
        finally:
            del args, options

    return guarded


def hides_fields(cls: type[T]) -> type[T]:
    """Decorate a dataclass, so that errors of its `__init__` keep no arguments."""
    wrap_init(cls, hides_arguments)
    return cls
