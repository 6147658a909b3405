"""Runs the cases: every driver in turn, again and again, and every message counted."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cases import IDLE, OURS, Case
from benchmarks.places import ROOT, Places, blocked


@dataclass
class Runs:
    """What one driver did in one case."""

    seconds: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    trips: list[int] = field(default_factory=list)
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For the results."""
        if self.error is not None:
            return {"error": self.error}
        return {
            "seconds": statistics.median(self.seconds),
            "runs": [round(value, 6) for value in self.seconds],
            "memory": statistics.median(self.memory) if self.memory else None,
            "trips": min(self.trips) if self.trips else None,
        }


def run(
    places: Places, case: Case, rounds: int, file: Path, skip: set[str]
) -> dict[str, Any]:
    """The results of one case, by driver."""
    drivers = [name for name in case.drivers if name not in skip]
    found = {name: Runs() for name in drivers}
    # What a blocked port costs is told by a healthy send a moment later.
    beside = [name for name in drivers if name in OURS and case.first is not None]
    found |= {f"{name} healthy": Runs() for name in beside}
    with contextlib.ExitStack() as stack:
        routes = [(places.port(case.extensions, case.security, case.rtt), case.security)]
        if case.first is not None:
            routes.insert(0, (stack.enter_context(blocked(case.first)), "starttls"))
        job = case.job(routes, str(file))
        if not case.fresh:
            for name in drivers:
                if name not in case.once:
                    _one(places, case, name, job, Runs())
        for round_ in range(rounds * case.times):
            for name in drivers:
                if (round_ and name in case.once) or found[name].error:
                    continue
                pair = [(job, name)]
                if name in beside:
                    pair.append(({**job, "routes": routes[1:]}, f"{name} healthy"))
                # The first of the two finds a process that was idle.
                for what, as_ in pair[:: -1 if round_ % 2 else 1]:
                    _one(places, case, name, what, found[as_])
    return {name: runs.as_json() for name, runs in found.items()}


def _one(
    places: Places, case: Case, driver: str, job: dict[str, Any], runs: Runs
) -> None:
    before = places.taken()
    places.trips(case.rtt, wait=False)  # of one before, if any
    result = places.work(driver, job, fresh=case.fresh)
    trips = places.trips(case.rtt)
    if "error" in result:
        runs.error = result["error"]
        return
    _check(case, driver, before, places.taken(), job)
    runs.seconds.append(result["seconds"])
    if result.get("memory") is not None:
        runs.memory.append(result["memory"])
    if trips is not None:
        runs.trips.append(trips)


def _check(
    case: Case,
    driver: str,
    before: dict[str, int],
    after: dict[str, int],
    job: dict[str, Any],
) -> None:
    took = {name: after[name] - before[name] for name in after}
    size = case.size
    if case.work == "attachment":
        size = Path(job["file"]).stat().st_size * 4 // 3
    count = 0 if driver == IDLE else case.count
    if (
        took["messages"] != count
        or took["recipients"] != count * case.recipients
        or took["bytes"] < count * size
    ):
        raise SystemExit(f"{case.key}: {driver} was done, and the sink took {took}")


IMPORTS = {
    "Python alone": "pass",
    "smtplib": "import smtplib, ssl, email.message",
    "aiosmtplib": "import aiosmtplib",
    "smtpsend": "import smtpsend",
    "smtpsend.send": "from smtpsend import send",
}


def imports(rounds: int) -> dict[str, Any]:
    """How long a whole process takes that imports something and ends."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    found = {name: Runs() for name in IMPORTS}
    for round_ in range(rounds + 1):
        for name, code in IMPORTS.items():
            began = time.perf_counter()
            command = [sys.executable, "-c", code]
            subprocess.run(command, env=environment, check=True)
            if round_:  # before it, the bytecode may not have been there
                found[name].seconds.append(time.perf_counter() - began)
    return {name: runs.as_json() for name, runs in found.items()}


def all_cases(
    places: Places,
    chosen: list[Case],
    rounds: int,
    file: Path,
    skip: set[str],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """The results of all cases, by key."""
    results = {}
    for case in chosen:
        began = time.perf_counter()
        results[case.key] = {
            "title": case.title,
            "group": case.group,
            "units": max(
                case.count, case.recipients, case.size if "bytes" in case.key else 1
            ),
            "drivers": run(places, case, rounds, file, skip),
        }
        tell(f"{case.title}: {time.perf_counter() - began:.1f} s")
    return results
