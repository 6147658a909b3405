"""Which worker of pytest-xdist runs which tests; tests/conftest.py loads this module.

The scheduler of pytest-xdist for `--dist loadgroup` gives out each test by itself, and
counts all that it gave out before each time, so that ten thousand short tests cost the
process that gives them out more than the workers.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest


_TOGETHER = 8  # tests in a row of one file, which one worker gets at a time


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
