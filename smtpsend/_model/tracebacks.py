"""Errors that keep no secret in the local variables of their frames.

Whoever reports an error may show the local variables of its traceback: Sentry and loguru
do by default, rich and pytest when asked, Django on its debug page. So the frames that
had a secret are cleared before an error leaves them.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar


P = ParamSpec("P")
T = TypeVar("T")


def forget_locals(error: BaseException) -> None:
    """Clear the local variables of all frames of `error`, and drop its causes.

    The traceback keeps its files and lines. The frame of the caller still runs, so that
    its variables stay. The causes go whole: their texts are not ours, and the error of
    a token function may quote the token.
    """
    traceback.clear_frames(error.__traceback__)
    error.__cause__ = error.__context__ = None


def hides_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """A decorator: no error of `function` keeps its arguments or local variables."""

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
    """A decorator of a dataclass: no error of its `__init__` keeps what it was given."""
    cls.__init__ = hides_arguments(cls.__init__)  # type: ignore[method-assign]
    return cls
