"""What shows the local variables of an error's frames would show, in every form."""

from __future__ import annotations

import dataclasses
import pprint
from collections.abc import Iterator
from types import FrameType
from urllib.parse import quote

from rich.pretty import pretty_repr
from scripted.judge import secret_forms


_DEEPEST = 6


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and all that it keeps: causes, contexts, the parts of a group."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [e for e in (one.__cause__, one.__context__) if e is not None]
        waiting += getattr(one, "exceptions", ())


def frames(error: BaseException) -> Iterator[FrameType]:
    """The frames that an error and its chain keep, but for those of the tests."""
    for one in chain(error):
        trace = one.__traceback__
        while trace is not None:
            if "/tests/" not in trace.tb_frame.f_code.co_filename:
                yield trace.tb_frame
            trace = trace.tb_next


def shown(value: object, depth: int = 0) -> Iterator[str]:
    """All that debuggers and reporters make of a value, and of what it holds."""
    yield repr(value)
    if depth == 0:
        yield pprint.pformat(value)
        yield pretty_repr(value)
    if depth == _DEEPEST:
        return
    inside: list[object] = []
    if isinstance(value, dict):
        inside = [*value, *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inside = list(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f.name for f in dataclasses.fields(value) if f.repr]
        inside = [getattr(value, name) for name in fields if hasattr(value, name)]
    elif isinstance(value, bytes | bytearray | memoryview):
        yield bytes(value).decode("latin-1")
    for one in inside:
        yield from shown(one, depth + 1)


def forms(secret: str) -> set[str]:
    """A secret, or a good part of it, as a local variable could have it."""
    found = {secret, secret[:9], secret[-9:], quote(secret), secret.encode().hex()}
    found |= {form.decode() for form in secret_forms(secret)}
    return {form for form in found if len(form) > 6}


def found_in(error: BaseException, secret: str) -> list[str]:
    """The local variables that have a secret, as "function.name"."""
    bad = []
    for frame in frames(error):
        for name, value in list(frame.f_locals.items()):
            seen = "\n".join(shown(value))
            if any(form in seen for form in forms(secret)):
                bad.append(f"{frame.f_code.co_name}.{name} = {repr(value)[:80]}")
    return bad


def texts(error: BaseException) -> str:
    """The texts of an error and of all that it keeps."""
    return "\n".join(f"{one!r} {one} {one.args!r} {vars(one)!r}" for one in chain(error))


def nothing_of(secret: str, error: BaseException) -> None:
    """Assert that an error has a secret neither in its frames nor in its texts."""
    assert not found_in(error, secret)
    assert secret not in texts(error)
