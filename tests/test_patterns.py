"""P4: every regular expression of the package takes linear time, whatever it sees."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from regex_steps import Matcher, TooMany, attacks

import smtpsend
from smtpsend import _patterns
from smtpsend._protocol.redaction import redact


pytestmark = pytest.mark.scan

ROOT = Path(smtpsend.__file__).parent
SCANNING = ("search", "sub", "subn", "split", "findall", "finditer")
METHODS = (*SCANNING, "match", "fullmatch")
LENGTH = 320
FEW, MOST = 12, 150  # steps a character
_ENOUGH = 3
# What stands in local variables where a pattern is made.
LOCAL: dict[str, Any] = {
    "name": "RCPTMAX",
    "patterns": ["s3cret-Pa55word", r"s3cret-P\S*", r"czNjcm[A-Za-z0-9+/=_-]*"],
}


@dataclass(frozen=True)
class Use:
    """A pattern, and what is done with it."""

    where: str
    pattern: re.Pattern[Any]
    methods: frozenset[str]


def modules() -> Iterator[tuple[str, str]]:
    """The modules of the package, by name, with their text."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        yield name, path.read_text("utf-8")


TEXTS = dict(modules())


@cache
def nodes(module: str) -> list[ast.AST]:
    """The nodes of a module."""
    return [*ast.walk(ast.parse(TEXTS[module]))]


def having(words: str) -> list[str]:
    """The modules in which an expression is found: to parse all would take long."""
    return [module for module, text in TEXTS.items() if re.search(words, text)]


@cache
def called(module: str) -> dict[str, set[str]]:
    """The methods that are called in a module, by the name of what they belong to."""
    found: dict[str, set[str]] = {}
    for node in nodes(module):
        if isinstance(node, ast.Attribute) and node.attr in METHODS:
            name = ast.unparse(node.value).rpartition(".")[2]
            found.setdefault(name, set()).add(node.attr)
    return found


def used_as(name: str, module: str) -> frozenset[str]:
    """What is done with a pattern of this name: in its module, if the name is private."""
    used = rf"(?<!\w){re.escape(name)}\s*\.\s*(?:{'|'.join(METHODS)})\b"
    places = [module] if name.startswith("_") else having(used) if name else []
    return frozenset().union(*(called(place).get(name, ()) for place in places))


def uses() -> Iterator[Use]:
    """Every call of a function of `re` in the package."""
    for module in having(r"\b(?:pattern|re\s*\.\s*\w+)\s*\("):
        tree = nodes(module)
        names = {
            id(node.value): ast.unparse(node.targets[0]).rpartition(".")[2]
            for node in tree
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        }
        for node in tree:
            if not isinstance(node, ast.Call):
                continue
            match node.func:
                case ast.Name("pattern" as function):
                    pass
                case ast.Attribute(ast.Name("re"), function):
                    pass
                case _:
                    continue
            if function == "escape" or module == _patterns.__name__:
                continue
            scope = {**vars(importlib.import_module(module)), **LOCAL}
            flags = [k.value for k in node.keywords if k.arg == "flags"]
            first = {"pattern": 1, "compile": 1, "split": 2, "sub": 3, "subn": 3}
            flags += node.args[first.get(function, 2) :]
            made = re.compile(*(evaluated(x, scope) for x in [node.args[0], *flags]))
            methods = frozenset({function})
            if function in ("pattern", "compile"):
                methods = used_as(names.get(id(node), ""), module) or frozenset(METHODS)
            yield Use(f"{module}:{node.lineno}", made, methods)


def evaluated(node: ast.expr, scope: dict[str, Any]) -> Any:
    """The value of an expression of a module."""
    return eval(compile(ast.Expression(node), "<pattern>", "eval"), scope)


USES = list(uses())


@pytest.fixture(autouse=True)
def _deep() -> Iterator[None]:
    """The matcher recurses for each repetition."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    yield
    sys.setrecursionlimit(before)


def slow(use: Use) -> list[str]:
    """The texts on which a pattern takes more than linear time."""
    found = []
    # To look at each position is what makes the difference.
    methods = {m if m in ("match", "fullmatch") else "finditer" for m in use.methods}
    for text in sorted(attacks(use.pattern, LENGTH)):
        for method in sorted(methods):
            if grows(use.pattern, method, text):
                found.append(f"{method} of {text[:40]!r}...{text[-5:]!r}")
                if len(found) == _ENOUGH:
                    return found
    return found


def grows(pattern: re.Pattern[Any], method: str, text: str) -> bool:
    """Whether twice as long a text takes more than twice as many steps."""
    head, tail = text[:-1], text[-1:]
    try:
        steps = steps_of(pattern, method, text)
        if steps <= FEW * LENGTH:
            return False
        half = steps_of(pattern, method, head[: LENGTH // 2] + tail)
        quarter = steps_of(pattern, method, head[: LENGTH // 4] + tail)
    except TooMany:
        return True
    return steps - half > 2.5 * (half - quarter) + LENGTH


def steps_of(pattern: re.Pattern[Any], method: str, text: str) -> int:
    """How many steps a method takes for a text."""
    matcher = Matcher(pattern, text, MOST * LENGTH)
    matcher.spans(method)
    return matcher.steps


@pytest.mark.parametrize("use", USES, ids=lambda use: use.where)
def test_linear(use: Use) -> None:
    """No pattern takes more than twice as many steps for twice as long a text."""
    assert slow(use) == []


def test_all_are_looked_at() -> None:
    """Each pattern that a module has was found, and none is made in another way."""
    looked_at = {use.pattern.pattern for use in USES}
    for module in {use.where.partition(":")[0] for use in USES}:
        values = vars(importlib.import_module(module)).values()
        assert not [one for one in values if isinstance(one, re.Pattern)], module
        made: Any = _patterns.pattern
        own = {one.pattern for one in values if isinstance(one, made)}
        assert own <= looked_at
    for module in having(r"\bre\b"):
        tree = nodes(module)
        imports = [node for node in tree if isinstance(node, ast.ImportFrom)]
        assert "re" not in [node.module for node in imports]
        names = [a for n in tree if isinstance(n, ast.Import) for a in n.names]
        assert not [name for name in names if name.name == "re" and name.asname]
    assert len(USES) > 50


def test_what_hides_secrets() -> None:
    """Nor does the pattern that is made of a secret."""
    redactor = redact.Redactor()
    redactor.add("s3cret-Pa55word", "aaaaaaaaaaaaaaaaaaaaaaaa", "ya29." + "aB3-_xY9" * 20)
    assert redactor.hide._found is not None
    made = re.compile(redactor.hide._found._pattern.pattern, re.IGNORECASE)
    use = Use("redact", made, frozenset({"sub"}))
    texts = attacks(use.pattern, LENGTH) | {"a" * LENGTH, "ya29." * (LENGTH // 5)}
    for text in texts:
        Matcher(use.pattern, text, 400 * LENGTH).spans("finditer")


# The test itself: what it finds, and that it matches as `re` does.

SLOW = {
    "nested": (r"(a+)+b", "match"),
    "adjacent": (r"[a-z]*[a-z0-9]*!", "match"),
    "alternatives": (r"(a|aa)*b", "fullmatch"),
    "searched": (r"(server|system|service)[a-z ]* busy", "search"),
    "searched, possessive": (r"[a-z]++@", "sub"),
    "searched, spec": (r'[^\s<>(),;:"@]+@[^\s<>(),;:"@]+', "search"),
    "lazy": (r"<.*?>.*?;", "search"),
    "lines": (r"(?m)^(\s*a)*$", "search"),
    "bytes": (rb"[ \t]*\r?\n", "sub"),
}
FAST = {
    "once": (r"[a-z]+@", "match"),
    "bounded": (r"(server|system|service)[a-z ]{0,40} busy", "search"),
    "atomic": (r"(?>[a-z]+)[a-z0-9]*!", "match"),
    "behind": (r"(?<![a-z])[a-z]++@", "sub"),
    "disjoint": (r"@[a-z]*[0-9]", "search"),
}


@pytest.mark.parametrize("case", [*SLOW, *FAST])
def test_the_test(case: str) -> None:
    """What is slow is found, and what is not, is not."""
    pattern, method = {**SLOW, **FAST}[case]
    found = slow(Use(case, re.compile(pattern), frozenset({method})))
    assert bool(found) == (case in SLOW), found


# Some patterns are enough to show that the matcher is right.
@pytest.mark.parametrize("use", USES[::6], ids=lambda use: use.where)
def test_the_matcher(use: Use) -> None:
    """The matcher that counts finds what `re` finds."""
    binary = isinstance(use.pattern.pattern, bytes)
    for text in sorted(attacks(use.pattern, 12)):
        if binary and max(text, default=" ") > "\xff":
            continue
        real = text.encode("latin-1") if binary else text
        found = [one.span() for one in use.pattern.finditer(real)]
        # `re` looks for an empty match after one that is not, which finds nothing new.
        wanted = [(a, b) for a, b in found if a != b]
        spans = Matcher(use.pattern, text, 10**6).spans("finditer")
        assert [(a, b) for a, b in spans if a != b] == wanted
        for method in ("match", "fullmatch"):
            one = getattr(use.pattern, method)(real)
            spans = Matcher(use.pattern, text, 10**6).spans(method)
            assert spans == ([] if one is None else [one.span()])
