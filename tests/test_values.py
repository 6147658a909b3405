"""The dataclasses of the package behave as those of `dataclasses`."""

from __future__ import annotations

import copy
import dataclasses
import gc
import importlib
import inspect
import pickle
import pkgutil
import typing
from collections.abc import Callable
from typing import Any

import pytest

import smtpsend
from smtpsend import Method, Password, Policy, Server
from smtpsend._values import NamedTuple, _Deferred, dataclass, field


class _Ours:
    @dataclass(frozen=True, slots=True)
    class Value:
        """A value."""

        first: int
        second: str = "two"
        third: list[int] = field(default_factory=list, repr=False, compare=False)
        fourth: float = field(default=4.0, kw_only=True)

    @dataclass(slots=True, kw_only=True, weakref_slot=True)
    class State:
        """A state."""

        first: int
        second: int = field(init=False)
        third: int = field(default=3, hash=False)

        def __post_init__(self) -> None:
            self.second = self.first + 1


class _Theirs:
    @dataclasses.dataclass(frozen=True, slots=True)
    class Value:
        """A value."""

        first: int
        second: str = "two"
        third: list[int] = dataclasses.field(
            default_factory=list, repr=False, compare=False
        )
        fourth: float = dataclasses.field(default=4.0, kw_only=True)

    @dataclasses.dataclass(slots=True, kw_only=True, weakref_slot=True)
    class State:
        """A state."""

        first: int
        second: int = dataclasses.field(init=False)
        third: int = dataclasses.field(default=3, hash=False)

        def __post_init__(self) -> None:
            self.second = self.first + 1


def _of(made: Callable[[Any], object], family: Any) -> object:
    """The result, or the class and the text of the error."""
    try:
        return made(family)
    except Exception as error:
        return type(error), str(error).replace(family.__name__, "")


def _shown(value: object) -> str:
    return repr(value).replace("_Ours", "").replace("_Theirs", "")


def _changed(value: Any) -> object:
    value.first = 7
    return value


def _inherited(family: Any) -> object:
    longer = dataclasses.make_dataclass(
        "Longer", [("fifth", int, 5)], bases=(family.State,)
    )
    return [item.name for item in dataclasses.fields(longer)], longer(first=1).fifth


USES: dict[str, Callable[[Any], object]] = {
    "repr": lambda family: _shown(family.Value(1, third=[3])),
    "arguments": lambda family: _shown(family.Value(1, "zwei", [2], fourth=8.0)),
    "too many": lambda family: family.Value(1, "2", [], 4.0),
    "too few": lambda family: family.Value(second="2"),
    "unknown": lambda family: family.Value(1, fifth=5),
    "twice": lambda family: family.Value(1, first=1),
    "positional": lambda family: family.State(1),
    "not of init": lambda family: family.State(first=1, second=1),
    "fields": lambda family: [
        (f.name, f.type, f.default, f.init, f.repr, f.hash, f.compare, f.kw_only)
        for f in dataclasses.fields(family.Value)
    ],
    "parameters": lambda family: _shown(family.State.__dataclass_params__),
    "asdict": lambda family: dataclasses.asdict(family.State(first=1)),
    "replace": lambda family: _shown(dataclasses.replace(family.Value(1), second="b")),
    "replace nothing": lambda family: dataclasses.replace(family.Value(1), fifth=5),
    "signature": lambda family: str(inspect.signature(family.Value)),
    "signature of init": lambda family: str(inspect.signature(family.State.__init__)),
    "match": lambda family: (family.Value.__match_args__, family.State.__match_args__),
    "slots": lambda family: (family.Value.__slots__, family.State.__slots__),
    "equal": lambda family: family.Value(1, third=[1]) == family.Value(1),
    "unequal": lambda family: family.Value(1) == family.Value(1, fourth=5.0),
    "other class": lambda family: family.Value(1) == 1,
    "hash": lambda family: hash(family.Value(1)),
    "no hash": lambda family: hash(family.State(first=1)),
    "frozen": lambda family: _changed(family.Value(1)),
    "not frozen": lambda family: _shown(_changed(family.State(first=1))),
    "delete": lambda family: delattr(family.Value(1), "first"),
    "dataclass of it": _inherited,
    "copy": lambda family: copy.copy(family.Value(1)) == family.Value(1),
    "deep copy": lambda family: _shown(copy.deepcopy(family.State(first=1))),
    "pickle": lambda family: _shown(pickle.loads(pickle.dumps(family.Value(1)))),
    "is one": lambda family: dataclasses.is_dataclass(family.Value),
    "doc": lambda family: family.Value.__doc__,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_dataclass(use: Callable[[Any], object]) -> None:
    """A dataclass of the package behaves as one of the standard library."""
    assert _of(use, _Ours) == _of(use, _Theirs)


def test_frozen() -> None:
    """An instance has no other attributes; one of a subclass has, and frozen fields."""
    # `dataclasses` itself fails here with slots, in a call of `super` (CPython 3.11).

    class Longer(_Ours.Value):
        pass

    with pytest.raises(dataclasses.FrozenInstanceError, match="'fifth'"):
        _Ours.Value(1).fifth = 5  # type: ignore[attr-defined]
    longer = Longer(1)
    longer.fifth = 5  # type: ignore[attr-defined]
    with pytest.raises(dataclasses.FrozenInstanceError, match="'first'"):
        longer.first = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="'first'"):
        longer.__delattr__("first")
    assert (longer.first, longer.fifth) == (1, 5)  # type: ignore[attr-defined]


_INNER = tuple(f"smtpsend.{name}" for name in ("_client", "_model", "_protocol", "_wire"))


def _all_dataclasses() -> list[Any]:
    found = []
    for module in pkgutil.walk_packages(smtpsend.__path__, "smtpsend."):
        if module.name.startswith(_INNER):
            values = vars(importlib.import_module(module.name)).values()
            found += [value for value in values if isinstance(value, type)]
    own = [cls for cls in found if cls.__module__.startswith("smtpsend")]
    return [cls for cls in dict.fromkeys(own) if dataclasses.is_dataclass(cls)]


@pytest.mark.parametrize("cls", _all_dataclasses(), ids=lambda cls: cls.__qualname__)
def test_dataclasses_of_the_package(cls: Any) -> None:
    """What is made at the first use agrees with what was there before."""
    fields = dataclasses.fields(cls)
    accepted = [each for each in fields if each.init]
    assert [each.name for each in accepted if not each.kw_only] == [*cls.__match_args__]
    parameters = inspect.signature(cls.__init__).parameters
    assert {*parameters} == {"self", *(each.name for each in accepted)}


def test_inherited_fields() -> None:
    """A class that inherits fields is refused where it is defined."""
    with pytest.raises(TypeError, match="inherits fields"):

        @dataclass(slots=True)
        class _Longer(_Ours.State):
            fourth: int = 4


def test_many_instances() -> None:
    """The compiled `__init__`, which replaces the first one, gives the same instances."""

    @dataclass(frozen=True, slots=True)
    class Value:
        first: int
        second: int = 2

    values = [Value(number, second=number) for number in range(200)]
    assert {(value.first == value.second) for value in values} == {True}
    assert values[3] == Value(3, 3)
    assert str(inspect.signature(Value)) == "(first: 'int', second: 'int' = 2) -> None"


def test_no_argument_in_a_frame() -> None:
    """An error about the arguments of credentials holds none of them."""
    classes: tuple[Any, ...] = (Password, Server)
    for cls in classes:
        for _ in range(60):
            with pytest.raises(TypeError) as caught:
                cls("user", "correct-horse", None, nothing="correct-horse")
            trace = caught.value.__traceback__
            assert trace is not None
            while trace := trace.tb_next:
                assert "correct-horse" not in str(trace.tb_frame.f_locals)


class Ours(NamedTuple):
    """A pair."""

    first: int
    second: int = 2

    @property
    def total(self) -> int:
        """Both."""
        return self.first + self.second


class Theirs(typing.NamedTuple):
    """A pair."""

    first: int
    second: int = 2

    @property
    def total(self) -> int:
        """Both."""
        return self.first + self.second


TUPLE_USES: dict[str, Callable[[Any], object]] = {
    "arguments": lambda pair: [pair(1), pair(1, 5), pair(second=5, first=1)],
    "equal": lambda pair: pair(1) == (1, 2),
    "hash": lambda pair: hash(pair(1)),
    "method": lambda pair: pair(1).total,
    "repr": lambda pair: repr(pair(1)).replace(pair.__name__, ""),
    "fields": lambda pair: (pair._fields, pair._field_defaults, pair.__match_args__),
    "attributes": lambda pair: (pair(1).first, pair(1).second, pair.first.__doc__),
    "replace": lambda pair: pair(1)._replace(first=7),
    "copy": lambda pair: copy.copy(pair(1)),
    "pickle": lambda pair: pickle.loads(pickle.dumps(pair(1))) == pair(1),
    "make": lambda pair: (pair._make([3, 4]), pair(1)._asdict()),
    "names": lambda pair: (pair.__doc__, pair.__module__, [*pair.__annotations__]),
    "too many": lambda pair: pair(1, 2, 3),
    "too few": lambda pair: pair(),
    "unknown": lambda pair: pair(1, third=3),
    "twice": lambda pair: pair(1, first=1),
    "assignment": lambda pair: setattr(pair(1), "first", 2),
    "no dict": lambda pair: vars(pair(1)),
    "many": lambda pair: [pair(number).second for number in range(99)],
}


@pytest.mark.parametrize("use", TUPLE_USES.values(), ids=TUPLE_USES)
def test_named_tuple(use: Callable[[Any], object]) -> None:
    """A named tuple of the package behaves as one of the standard library."""
    assert _of(use, Ours) == _of(use, Theirs)


def test_public_values_survive_pickle() -> None:
    """A server with its policy and credentials is the same after pickle."""
    server = Server(
        "mail.example.org",
        Password("ann", "secret"),
        policy=Policy(methods=(Method(465, "implicit"),)),
    )
    again = pickle.loads(pickle.dumps(server))
    assert again == server
    assert hash(again.policy) == hash(server.policy)


def test_the_garbage_collector_runs_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not take the class that the methods are made with before they are."""

    class Pair(NamedTuple):
        left: int
        right: int = 2

    def replacement(_: object, made: object) -> object:
        gc.collect()
        return made

    monkeypatch.setattr(_Deferred, "replacement", replacement)
    assert Pair(1)._replace(left=3) == (3, 2)
    assert repr(Pair(1)) == "Pair(left=1, right=2)"
