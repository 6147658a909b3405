"""The structure of the package: which module may import which, and how large it is."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import smtpsend


PACKAGE = Path(smtpsend.__file__).parent  # an installed wheel, where that is tested
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the inside to the outside; a module imports its own ring and what lies inside.
RINGS = {
    "_events": 0,
    "_patterns": 0,
    "_plain": 0,
    "_values": 0,
    "errors": 0,
    "_model": 1,
    "_protocol": 2,
    "_wire": 3,
    "_client": 4,
}
FACE = 5

# What does I/O, waits, or reads the time.
IMPURE = {
    *("aiosmtplib", "asyncio", "certifi", "concurrent", "select", "selectors"),
    *("socket", "threading", "time"),
}


def ring(parts: tuple[str, ...]) -> int:
    """The ring of a module, by its path below the package."""
    return RINGS.get(parts[0], FACE) if parts else FACE


def imports(node: ast.AST, *, typing: bool = False) -> Iterator[str]:
    """Every module that is imported when the code runs, or also those for `typing`."""
    for child in ast.iter_child_nodes(node):
        if (
            not typing
            and isinstance(child, ast.If)
            and "TYPE_CHECKING" in ast.unparse(child.test)
        ):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield child.module or ""
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from imports(child, typing=typing)


def parts_of(path: Path) -> tuple[str, ...]:
    """The dotted name of a module below the package, in parts."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


@cache
def found(path: Path, *, typing: bool = False) -> set[str]:
    """What the module at `path` imports."""
    return set(imports(ast.parse(path.read_text("utf-8")), typing=typing))


def below(path: Path) -> str:
    """The path of a module below the package."""
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=below)
def test_imports_go_inwards(path: Path) -> None:
    """No module imports from a ring further out, not even for its types."""
    own = ring(parts_of(path))
    if not own:
        return  # `Attempt` names its `Method`: see `test_no_circle`
    for name in found(path, typing=True):
        head, _, rest = name.partition(".")
        if head == "smtpsend" and rest:
            assert ring(tuple(rest.split("."))) <= own, f"{path} imports {name}"


def test_the_inner_rings_are_pure() -> None:
    """The model and the protocol know no socket, no event loop and no clock."""
    for path in MODULES:
        inner = ring(parts_of(path))
        if inner <= RINGS["_protocol"]:
            heads = {name.partition(".")[0] for name in found(path, typing=True)}
            # The model holds the caller's `ssl_context`.
            forbidden = IMPURE | ({"ssl"} if inner == RINGS["_protocol"] else set())
            assert not heads & forbidden, path


@pytest.mark.parametrize(
    ("library", "owner"),
    [("aiosmtplib", "_wire/aiosmtplib_adapter.py"), ("certifi", "_wire/tls/context.py")],
)
def test_one_importer(library: str, owner: str) -> None:
    """Each dependency is imported in one place."""
    users = {
        below(path)
        for path in MODULES
        if any(name.partition(".")[0] == library for name in found(path))
    }
    assert users == {owner}


def circles() -> set[frozenset[str]]:
    """The groups of modules that import each other, types included."""
    names = {".".join(("smtpsend", *parts_of(path))): path for path in MODULES}
    needs = {
        name: {other for other in found(path, typing=True) if other in names}
        for name, path in names.items()
    }

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [*needs[start]]
        while waiting:
            if (name := waiting.pop()) not in seen:
                seen.add(name)
                waiting += needs[name]
        return seen

    # A package is imported with each of its modules, and is in no circle by that.
    modules = {name for name, path in names.items() if path.stem != "__init__"}
    reach = {name: reached(name) & modules for name in modules}
    return {
        frozenset(other for other in reach[name] if name in reach[other])
        for name in modules
        if name in reach[name]
    }


def test_no_circle() -> None:
    """No modules import each other, but for the type of one field of `Attempt`."""
    allowed = {
        "smtpsend.errors",
        "smtpsend._model.policy.policy",
        "smtpsend._model.policy.servers",
        "smtpsend._model.policy.table",
    }
    assert circles() == {frozenset(allowed)}


@pytest.mark.parametrize("path", MODULES, ids=below)
def test_sizes(path: Path) -> None:
    """No module has more than 400 lines."""
    assert len(path.read_text("utf-8").splitlines()) <= 400


def test_folders() -> None:
    """No folder has more than 14 files."""
    for folder, count in Counter(path.parent for path in MODULES).items():
        assert count <= 14, folder


def test_the_map_names_each_module() -> None:
    """Each module of the inner rings stands in the map for contributors, and no other."""
    text = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text("utf-8")
    places = text.partition("## Where does my change go?")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([\w/]+\.py)`", places))
    names = {below(path) for path in MODULES}
    inner = {
        below(path)
        for path in MODULES
        if ring(parts_of(path)) < FACE and path.name != "__init__.py"
    }
    assert inner - named == set()
    assert named - names == set()


def test_the_walk_sees_an_import() -> None:
    """The walk finds imports in functions, and those for type checking where asked."""
    code = (
        "def f():\n    from smtpsend._client import x\nif TYPE_CHECKING:\n    import a\n"
    )
    tree = ast.parse(code)
    assert set(imports(tree)) == {"smtpsend._client", "smtpsend._client.x"}
    assert "a" in set(imports(tree, typing=True))
