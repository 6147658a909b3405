"""Changes the tables of the protocol core, row by row; run by hand.

For each change, the tests of test_pipeline.py and a part of those of test_simulation.py
run in this process, then those of test_protocol_tables.py, and the first that fails is
printed. The exit status is the number of changes that no test notices:

    PYTHONPATH=. python tests/simulation/mutations.py
"""

from __future__ import annotations

import inspect
import itertools
import random
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any


sys.path.insert(0, str(Path(__file__).parents[1]))

import test_pipeline
import test_protocol_tables
import test_simulation

from simulation.cases import MODES
from simulation.places import PAIRED_MODES, paired_faults, random_case, single_faults
from simulation.world import FAULTS
from smtpsend._protocol import ordering, pipeline, transaction
from smtpsend._protocol.ordering import IS_SYNCHRONISATION_POINT, MAY_FOLLOW, Verb


Mutation = tuple[str, str, Callable[[], AbstractContextManager[None]]]
"""A row, the change to it, and what makes the change."""


@contextmanager
def changed(table: dict[Any, Any], key: Any, value: Any) -> Iterator[None]:
    """Change one row of a table, or remove it: `value` is None then."""
    before = dict(table)
    if value is None:
        del table[key]
    else:
        table[key] = value
    try:
        yield
    finally:
        table.clear()
        table.update(before)


SOURCE = textwrap.dedent(inspect.getsource(transaction.fate))


@contextmanager
def rewritten(old: str, new: str) -> Iterator[None]:
    """Replace a part of `fate`."""
    assert SOURCE.count(old) == 1, old
    scope = vars(transaction).copy()
    changed_source = SOURCE.replace(old, new)
    exec("from __future__ import annotations\n" + changed_source, scope)
    before = transaction.fate
    pipeline.fate = transaction.fate = scope["fate"]  # type: ignore[attr-defined]
    try:
        yield
    finally:
        pipeline.fate = transaction.fate = before  # type: ignore[attr-defined]


def never(*_: object) -> bool:
    return False


def always(*_: object) -> bool:
    return True


FATES = [
    # The row, the change, a part of `fate`, and its replacement.
    ("QUEUED, STARTED", "none is to blame", "transaction is not broken.blamed", "True"),
    ("QUEUED, STARTED", "all are to blame", "transaction is not broken.blamed", "False"),
    ("STARTED", "no refusal", "refusal\n                or broken", "broken"),
    ("STARTED", "no reply of a wrong class", "or broken.wrong_class", ""),
    ("STARTED", "no 421", "or broken.closing\n", "\n"),
    ("STARTED", "no loss", "or broken.error(broken.phase)", ""),
    (
        "STARTED, ENDED",
        "a refusal that is contradicted stands",
        "None if broken.contradiction else transaction.certain_refusal()",
        "transaction.certain_refusal()",
    ),
    ("ENDED", "no 421", "broken.closing or refusal)", "refusal)"),
    ("ENDED", "no refusal", "broken.closing or refusal)", "broken.closing)"),
    (
        "ENDED",
        "no doubt",
        "if broken.in_doubt:\n                return unpaired()",
        "pass",
    ),
    ("ENDED", "no server without BDAT", "broken.not_bdat or", ""),
    (
        "ENDED",
        "no loss",
        "broken.not_bdat or broken.error(Phase.FINAL)",
        "broken.not_bdat",
    ),
    ("REPLIED", "no doubt", "broken.in_doubt or (\n", "(\n"),
    ("REPLIED", "no negative reply after its own", "broken.negative_after_end", "False"),
    (
        "REPLIED",
        "a negative reply after a refusal",
        "broken.negative_after_end and transaction.error is None",
        "broken.negative_after_end",
    ),
    (
        "REPLIED",
        "its reply never stands",
        "return transaction.error",
        "return unpaired()",
    ),
]


def mutations() -> Iterator[Mutation]:
    """Each change to each table."""
    for pair, condition in MAY_FOLLOW.items():
        row = " -> ".join(verb.name for verb in pair)
        yield row, "removed", lambda pair=pair: changed(MAY_FOLLOW, pair, None)
        if condition is not ordering._always:
            yield row, "always", lambda pair=pair: changed(MAY_FOLLOW, pair, always)
    for pair in ((Verb.DATA, Verb.CONTENT), (Verb.BDAT, Verb.MAIL)):
        row = " -> ".join(verb.name for verb in pair)
        yield row, "added", lambda pair=pair: changed(MAY_FOLLOW, pair, always)
    points = IS_SYNCHRONISATION_POINT
    for verb in points:
        yield verb.name, "never", lambda verb=verb: changed(points, verb, never)
        yield verb.name, "any reply", lambda verb=verb: changed(points, verb, always)
    for row, change, old, new in FATES:
        yield row, change, lambda old=old, new=new: rewritten(old, new)


Check = tuple[str, Callable[[], object]]


def plain(module: Any) -> Iterator[Check]:
    """The tests of a module that have no parameters."""
    for key, test in vars(module).items():
        if key.startswith("test_") and not getattr(test, "pytestmark", None):
            yield key, test


def checks() -> Iterator[Check]:
    """The tests, by name: the quick ones, the simulation, the comparison of tables."""
    for key in ("stated", "written"):
        test = getattr(test_pipeline, f"test_{key}")
        for number, row in enumerate(getattr(test_pipeline, key.upper())):
            yield f"test_{key}[{number}]", lambda test=test, row=row: test(*row)
    yield from plain(test_pipeline)
    for key, make, modes in (
        ("test_one_fault", single_faults, MODES),
        ("test_two_faults", paired_faults, PAIRED_MODES),
    ):
        for mode, fault in itertools.product(modes, FAULTS):
            cases = itertools.islice(make(mode, fault), 400)
            yield f"{key}[{mode}-{fault}]", lambda x=cases: test_simulation.judged(x)
    r = random.Random(0)
    servers = (random_case(r) for _ in range(10_000))
    yield "test_random_servers", lambda: test_simulation.judged(servers)
    yield from plain(test_protocol_tables)
    for row in test_protocol_tables.table("command | next command"):
        yield "test_conditions", lambda row=row: test_protocol_tables.test_conditions(row)


def first_failure() -> str:
    """The first test that fails; empty if none does."""
    for key, check in checks():
        try:
            check()
        except Exception as error:
            return key if isinstance(error, AssertionError) else f"{key} ({error!r})"
    return ""


def main() -> int:
    """Try each change; print a table; return the number of changes that none noticed."""
    if failed := first_failure():
        raise SystemExit(f"without a change: {failed} fails")
    missed = 0
    print("| row | change | the test that fails |\n|---|---|---|")
    for row, change, context in mutations():
        with context():
            found = first_failure()
        missed += not found
        print(f"| {row} | {change} | {found or 'NONE'} |", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())
