"""Dataclasses and named tuples that cost little until they are used.

`dataclasses.dataclass` writes the source of six methods for each class and compiles it,
and `typing.NamedTuple` compiles the annotation of each field. A process that sends one
message and ends would compile for longer than it sends, although it uses few of these
methods. So each class that such a process imports is defined by `dataclass` or
`NamedTuple` of this module. A class is the same as one of the standard library, but what
it seldom needs is made by the standard library when it is first used.
"""

from __future__ import annotations

import collections
import dataclasses
import sys
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, field
from operator import attrgetter, itemgetter
from types import MethodType
from typing import TYPE_CHECKING, Any


__all__ = ["NamedTuple", "dataclass", "field", "wrap_init"]

# A class with more instances than this gets its compiled `__init__` or `__new__`, which
# are several times faster than `_Init.assign` and `_New.create`.
_FIRST_INSTANCES = 50


class _Deferred:
    """An attribute of a class that the standard library makes when it is first used.

    It then makes all of the class that were deferred, and they replace these objects. Two
    threads may both make them: they make the same.

    Args:
        make: a function that returns the class as the standard library makes it.
    """

    cls: type
    name: str

    def __init__(self, make: Callable[[], type]) -> None:
        self.make = make
        self.left = _FIRST_INSTANCES

    def __set_name__(self, owner: type, name: str) -> None:
        self.cls, self.name = owner, name

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        # The garbage collector would empty the dictionary of a class that nothing holds.
        made = self.make()
        for name, deferred in list(vars(self.cls).items()):
            if isinstance(deferred, _Deferred):
                setattr(self.cls, name, deferred.replacement(vars(made)[name]))
        found = vars(self.cls)[self.name]
        return found.__get__(instance, owner) if hasattr(found, "__get__") else found

    def replacement(self, made: Any) -> Any:
        """Return what takes the place of this object."""
        return made


class _Init(_Deferred):
    """The `__init__` of a dataclass, which assigns the fields itself at first."""

    def __init__(self, make: Callable[[], type], fields: _Fields) -> None:
        super().__init__(make)
        self.fields = fields
        self.wrapper: Callable[[Any], Any] | None = None

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None or self.left <= 0:  # `inspect.signature` asks the class
            return super().__get__(instance, owner)
        self.left -= 1
        return MethodType(self.assign, instance)

    def assign(self, instance: Any, *arguments: Any, **named: Any) -> None:
        """Assign the fields of `instance`, as the compiled `__init__` does."""
        fields = self.fields
        given = dict(zip(fields.positional, arguments, strict=False))
        values = {**fields.defaults, **given, **named}
        for name, factory in fields.factories.items():
            if name not in values:
                values[name] = factory()
        if (
            len(given) < len(arguments)
            or not given.keys().isdisjoint(named)
            or not fields.keywords.issuperset(named)
            or not fields.required <= values.keys()
        ):
            # The compiled `__init__` raises the TypeError that says what is wrong.
            super().__get__(instance, self.cls)(*arguments, **named)
            return
        for name, value in values.items():
            object.__setattr__(instance, name, value)
        if fields.post_init:
            instance.__post_init__()

    def replacement(self, made: Any) -> Any:
        return made if self.wrapper is None else self.wrapper(made)


class _New(_Deferred):
    """The `__new__` of a named tuple, which makes the tuple itself at first."""

    def __init__(
        self, make: Callable[[], type], names: tuple[str, ...], defaults: dict[str, Any]
    ) -> None:
        super().__init__(make)
        self.names, self.defaults = names, defaults

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if self.left <= 0:
            return super().__get__(instance, owner)
        self.left -= 1
        return self.create

    def create(self, cls: type, *arguments: Any, **named: Any) -> Any:
        """Return a tuple of `cls`, as the compiled `__new__` does."""
        if named or len(arguments) != len(self.names):
            given = dict(zip(self.names, arguments, strict=False))
            values = {**self.defaults, **given, **named}
            if (
                len(given) < len(arguments)
                or not given.keys().isdisjoint(named)
                or values.keys() != {*self.names}
            ):
                # The compiled `__new__` raises the TypeError that says what is wrong.
                return super().__get__(None, cls)(cls, *arguments, **named)
            arguments = tuple([values[name] for name in self.names])
        return tuple.__new__(cls, arguments)


class _Fields:
    """The fields of a dataclass, by what its methods do with them.

    Args:
        body: the class body; the default values are moved out of it.
        names: the names of the fields, in order.
        kw_only: whether `__init__` accepts keyword arguments only.

    Attributes:
        post_init: whether the class has a `__post_init__`.
    """

    post_init: bool

    def __init__(self, body: dict[str, Any], names: list[str], *, kw_only: bool) -> None:
        self.positional: list[str] = []
        self.keywords: set[str] = set()
        self.required: set[str] = set()
        self.defaults: dict[str, Any] = {}
        self.factories: dict[str, Callable[[], Any]] = {}
        self.compared: list[str] = []
        self.hashed: list[str] = []
        for name in names:
            given = body.pop(name, MISSING)
            if not isinstance(given, dataclasses.Field):
                given = field(default=given)
            self._add(name, given, keyword=kw_only or given.kw_only is True)

    def _add(self, name: str, given: dataclasses.Field[Any], *, keyword: bool) -> None:
        if given.init:
            self.keywords.add(name)
            if not keyword:
                self.positional.append(name)
        if given.default is not MISSING:
            self.defaults[name] = given.default
        elif given.default_factory is not MISSING:
            self.factories[name] = given.default_factory
        elif given.init:
            self.required.add(name)
        if given.compare:
            self.compared.append(name)
        if given.compare if given.hash is None else given.hash:
            self.hashed.append(name)


def _define(source: type, **options: bool) -> type:
    """Return the dataclass with slots that `source` describes."""
    if any(map(dataclasses.is_dataclass, source.__bases__)):
        raise TypeError("use dataclasses.dataclass for a class that inherits fields")
    source_body = dict(vars(source))
    del source_body["__dict__"], source_body["__weakref__"]

    def make() -> type:
        """Return the class that `dataclasses` makes of `source`."""
        copied = _class(source, dict(source_body))
        return dataclasses.dataclass(**options)(copied)

    names, body = list(source.__annotations__), dict(source_body)
    fields = _Fields(body, names, kw_only=options.get("kw_only", False))
    fields.post_init = hasattr(source, "__post_init__")
    body["__slots__"] = tuple(names)
    if options.get("weakref_slot"):
        body["__slots__"] += ("__weakref__",)
    body["__match_args__"] = tuple(fields.positional)
    body["__init__"] = _Init(make, fields)
    deferred = ["__dataclass_fields__", "__dataclass_params__"]
    deferred += ["__repr__"] if options.get("repr", True) else []
    deferred += ["__getstate__", "__setstate__"] if options.get("frozen") else []
    deferred += ["__replace__"] if sys.version_info >= (3, 13) else []
    for name in deferred:
        body.setdefault(name, _Deferred(make))
    if options.get("eq", True):
        _make_comparable(body, fields, frozen=options.get("frozen", False))
    cls = _class(source, body)
    if options.get("frozen"):
        _freeze(cls, frozenset(names))
    return cls


def _class(source: type, body: dict[str, Any]) -> type:
    """Return a class like `source` that has another body."""
    body["__qualname__"] = source.__qualname__
    return type(source)(source.__name__, source.__bases__, body)


def _make_comparable(body: dict[str, Any], fields: _Fields, *, frozen: bool) -> None:
    """Add the methods of a class whose instances are equal if their fields are."""
    compared, hashed = _getter(fields.compared), _getter(fields.hashed)

    def __eq__(self: Any, other: object) -> Any:  # noqa: N807
        if other.__class__ is self.__class__:
            return compared(self) == compared(other)
        return NotImplemented

    def __hash__(self: Any) -> int:  # noqa: N807
        return hash(hashed(self))

    body["__eq__"], body["__hash__"] = __eq__, __hash__ if frozen else None


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that returns the fields `names` of an instance as a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda instance: tuple([getattr(instance, name) for name in names])


def _freeze(cls: Any, names: frozenset[str]) -> None:
    """Refuse every change of an instance of `cls`, and of the fields of a subclass."""

    def __setattr__(self: Any, name: str, value: object) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: Any, name: str) -> None:  # noqa: N807
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    cls.__setattr__, cls.__delattr__ = __setattr__, __delattr__


def _define_tuple(name: str, body: dict[str, Any]) -> type:
    """Return the named tuple with this name and class body."""
    names = tuple(body.get("__annotations__", ()))
    defaults = {each: body.pop(each) for each in names if each in body}

    def make() -> type:
        """Return the named tuple that `collections` makes."""
        given = tuple(defaults.values())
        return collections.namedtuple(name, names, defaults=given)

    body |= {
        "__slots__": (),
        "_fields": names,
        "_field_defaults": defaults,
        "__match_args__": names,
        "__new__": _New(make, names, defaults),
    }
    deferred = ["_make", "_replace", "_asdict", "__repr__", "__getnewargs__"]
    deferred += ["__replace__"] if sys.version_info >= (3, 13) else []
    for method in deferred:
        body.setdefault(method, _Deferred(make))
    for index, each in enumerate(names):
        body[each] = _GETTER(index, f"Alias for field number {index}")
    return type(name, (tuple,), body)


# As `collections` has it.
_GETTER: Callable[[int, str], Any] = getattr(
    collections,
    "_tuplegetter",
    lambda index, doc: property(itemgetter(index), doc=doc),
)


def wrap_init(cls: Any, wrapper: Callable[[Any], Any]) -> None:
    """Replace the `__init__` of a dataclass by `wrapper` of it."""
    init = vars(cls)["__init__"]
    if isinstance(init, _Init):
        init.assign, init.wrapper = wrapper(init.assign), wrapper  # type: ignore[method-assign]
    else:
        cls.__init__ = wrapper(init)


if TYPE_CHECKING:
    from dataclasses import dataclass
    from typing import NamedTuple
else:

    def dataclass(*, slots, **options):
        """Decorate a class, as `dataclasses.dataclass` does; `slots` must be True."""
        options["slots"] = slots
        return lambda source: _define(source, **options)

    class _NamedTupleType(type):
        """Makes named tuples of the class bodies that name `NamedTuple` as their base."""

        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            return _define_tuple(name, body)

    class NamedTuple(metaclass=_NamedTupleType):
        """The base of a named tuple, as `typing.NamedTuple` is."""
