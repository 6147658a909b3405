"""Which worker of pytest-xdist runs which tests; tests/conftest.py loads this module.

The scheduler of pytest-xdist for `--dist loadgroup` gives out each test by itself, and
counts all that it gave out before each time, so that ten thousand short tests cost the
process that gives them out more than the workers. Nor is it told more of a test than it
needs: six messages of each would cost it, and the workers, ten seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from _pytest.runner import runtestprotocol


_TOGETHER = 8  # tests in a row of one file, which one worker gets at a time


class _Collection(list[str]):
    """The tests of a worker, whose places are looked up and not searched for."""

    def __init__(self, tests: Sequence[str]) -> None:
        super().__init__(tests)
        self._places = {test: place for place, test in enumerate(tests)}

    def index(self, test: str, *_: Any) -> int:
        return self._places[test]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups by a mark, because one of them takes longer than all else.

    Else one worker would have such a group left when the others have ended.
    """
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may be switched off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A scheduler that gives out several tests at a time."""
    from xdist.scheduler import LoadGroupScheduling

    class Scheduling(LoadGroupScheduling):
        """A group by a mark goes to one worker, and so do some tests in a row."""

        def __init__(self) -> None:
            super().__init__(config, log)
            self._scopes: dict[str, str] = {}
            self._seen: Counter[str] = Counter()

        def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
            super().add_node_collection(node, collection)
            if node in self.registered_collections:
                self.registered_collections[node] = _Collection(collection)

        def _split_scope(self, nodeid: str) -> str:
            if nodeid not in self._scopes:
                scope = super()._split_scope(nodeid)
                if scope == nodeid:  # no group
                    file = nodeid.partition("::")[0]
                    scope = f"{file}::{self._seen[file] // _TOGETHER}"
                    self._seen[file] += 1
                self._scopes[nodeid] = scope
            return self._scopes[nodeid]

        def _pending_of(self, workload: dict[str, dict[str, bool]]) -> int:
            for scope in [one for one, unit in workload.items() if all(unit.values())]:
                del workload[scope]  # what is done is not counted again each time
            return super()._pending_of(workload)

    return Scheduling() if config.getvalue("dist") == "loadgroup" else None


def _is_all_shown(config: pytest.Config) -> bool:
    """Whether an option needs more of a test than how its call ended."""
    of = config.getoption
    return bool(
        (of("verbose", None) or 0) > 0
        or of("maxfail", 0)  # the worker must know of a failure before the tear-down
        or {"A", "P"} & {*(of("reportchars", None) or "")}
        or of("durations", None) is not None
        or of("xmlpath", None)
        or of("setupshow", None)
        or of("setuponly", None)
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> object:
    """Report of a test that passed its call alone, where a worker runs it.

    A set-up and a tear-down are reported if they fail or skip the test.
    """
    if not hasattr(item.config, "workerinput") or _is_all_shown(item.config):
        return None  # pytest's own way
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    return True
