"""The house: imports go inwards only, and modules stay small enough to read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import smtpsend


PACKAGE = Path(smtpsend.__file__).parent  # an installed wheel, where that is tested
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the inside to the outside; a module imports its own ring and what lies inside.
RINGS = {"_events": 0, "errors": 0, "_model": 1, "_protocol": 2, "_wire": 3, "_client": 4}
FACE = 5


def ring(parts: tuple[str, ...]) -> int:
    """The ring of a module, by its path below the package."""
    return RINGS.get(parts[0], FACE) if parts else FACE


def imports(node: ast.AST) -> Iterator[str]:
    """Every module that is imported when the code runs; not those for type checking."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield child.module or ""
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from imports(child)


def parts_of(path: Path) -> tuple[str, ...]:
    """The dotted name of a module below the package, in parts."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def found(path: Path) -> set[str]:
    """What the module at `path` imports."""
    return set(imports(ast.parse(path.read_text("utf-8"))))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_inwards(path: Path) -> None:
    """No module imports from a ring further out."""
    own = ring(parts_of(path))
    for name in found(path):
        head, _, rest = name.partition(".")
        if head == "smtpsend" and rest:
            assert ring(tuple(rest.split("."))) <= own, f"{path} imports {name}"


def test_the_model_is_pure() -> None:
    """The inner rings know no socket, no event loop and no clock."""
    forbidden = {"asyncio", "socket", "time", "threading", "aiosmtplib", "certifi"}
    for path in MODULES:
        if ring(parts_of(path)) <= RINGS["_model"]:
            heads = {name.partition(".")[0] for name in found(path)}
            assert not heads & forbidden, path


@pytest.mark.parametrize(
    ("library", "owner"),
    [("aiosmtplib", "_wire/connection.py"), ("certifi", "_wire/tls.py")],
)
def test_one_importer(library: str, owner: str) -> None:
    """Each dependency is imported in one place."""
    users = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if any(name.partition(".")[0] == library for name in found(path))
    }
    assert users == {owner}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_sizes(path: Path) -> None:
    """No module over 300 lines."""
    assert len(path.read_text("utf-8").splitlines()) <= 300


def test_the_map_names_each_module() -> None:
    """Each module of the inner rings stands in the map for contributors, and no other."""
    text = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text("utf-8")
    places = text.partition("## Where does my change go?")[2].partition("\n## ")[0]
    named = {Path(name).name for name in re.findall(r"`([\w/]+\.py)`", places)}
    names = {path.name for path in MODULES}
    inner = {p.name for p in MODULES if ring(parts_of(p)) < FACE} - {"__init__.py"}
    assert inner - named == set()
    assert named - names == set()


def test_the_walk_sees_an_import() -> None:
    """The walk finds imports in functions, and leaves those for type checking out."""
    code = (
        "def f():\n    from smtpsend._client import x\nif TYPE_CHECKING:\n    import a\n"
    )
    assert set(imports(ast.parse(code))) == {"smtpsend._client", "smtpsend._client.x"}
