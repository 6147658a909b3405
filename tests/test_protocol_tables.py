"""The tables of docs/explanation/pipelining.md are those of the code."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from smtpsend._protocol.ordering import (
    IS_SYNCHRONISATION_POINT,
    MAY_FOLLOW,
    Terms,
    Verb,
)
from smtpsend._protocol.transaction import Stage, Transaction, fate
from smtpsend.errors import Reply


PAGE = Path(__file__).parents[1] / "docs/explanation/pipelining.md"

CONDITIONS: dict[str, Callable[[Terms, Transaction], bool]] = {
    "the server offers PIPELINING": lambda terms, _: terms.pipelining,
    "the server offers PIPELINING, without `require_all`": (
        lambda terms, transaction: terms.pipelining and not transaction.require_all
    ),
    "the server is known to reply to commands after the final dot, or this is being "
    "tried": lambda terms, _: terms.after_content(),
    "the connection ends after this message, and the server offers PIPELINING": (
        lambda terms, _: terms.quit_after_content
    ),
    "a window of messages is sent": lambda terms, _: terms.windows,
    "always": lambda _, __: True,
}
"""What the words of the page mean."""


def verb(name: str) -> Verb:
    """The verb of this name."""
    found: Verb = getattr(Verb, name)
    return found


EVERY = [
    (
        Terms(pipelining, lambda after=after: after, windows, end, end_after),
        Transaction(mail=b"", recipients=[], content=b"", require_all=require_all),
    )
    for pipelining, after, windows, end, end_after, require_all in itertools.product(
        (False, True), repeat=6
    )
]


def table(first: str) -> list[list[str]]:
    """The rows of the table whose heading begins with this."""
    _, rows = PAGE.read_text("utf-8").split(f"\n| {first} |", 1)
    lines = rows.split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]


def test_what_may_follow():
    """The page has each pair of the table, and no other."""
    rows = [
        (getattr(Verb, a), getattr(Verb, b))
        for a, b, _ in table("command | next command")
    ]
    assert rows == list(MAY_FOLLOW)


@pytest.mark.parametrize("row", table("command | next command"), ids=" ".join)
def test_conditions(row):
    """Each pair goes out together under the condition of the page, and no other."""
    first, then, words = row
    condition, stated = (
        MAY_FOLLOW[getattr(Verb, first), getattr(Verb, then)],
        CONDITIONS[words],
    )
    for terms, transaction in EVERY:
        assert condition(terms, transaction) == stated(terms, transaction), terms


def test_synchronisation_points():
    """Each reply of the page is a synchronisation point for its command, and only it."""
    rows = {verb(name): reply for name, reply in table("command | reply")}
    assert list(rows) == list(IS_SYNCHRONISATION_POINT)
    for command, is_point in IS_SYNCHRONISATION_POINT.items():
        code, several = re.fullmatch(
            r"`(\d+)`( with several lines)?", rows[command]
        ).groups()
        for other, text in itertools.product(range(200, 600), ("a", "a\nb")):
            right = other == int(code) and (not several or "\n" in text)
            assert is_point(Reply(other, None, text)) == right, (verb, other, text)


def test_fate():
    """The page has each stage, with the outcome that the docstring of `fate` has."""
    assert fate.__doc__ is not None
    rows = fate.__doc__.split("    ========  ")[2].splitlines()[1:]
    stated: dict[str, str] = {}
    for line in rows:
        stage, words = line[4:12].strip(), line[14:].strip()
        name = stage or list(stated)[-1]
        stated[name] = f"{stated.get(name, '')} {words}".strip()
    stages = {stage: outcome for stage, _, outcome in table("stage")}
    plain = {stage: words.replace("`", "") for stage, words in stages.items()}
    assert list(plain) == [stage.name for stage in Stage]
    assert plain == {stage: words.replace("`", "") for stage, words in stated.items()}
