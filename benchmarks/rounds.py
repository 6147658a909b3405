"""Runs the cases: every driver in turn, again and again, and every message counted."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.places.blocked import blocked
from benchmarks.places.places import Places
from benchmarks.places.sink import SETS, Counts
from benchmarks.processes import run_cold
from benchmarks.works.case import IDLE, OURS, Case
from benchmarks.works.cold import PARTS


# Messages and recipients, at most, of what is done before the clock starts.
_WARM = 10

_KEPT = ("seconds", "cpu", "memory", "trips", *PARTS)


@dataclass
class Runs:
    """What one driver did in one case: the values of each round, by their kind."""

    values: dict[str, list[float]] = field(default_factory=dict)
    error: str | None = None

    def add(self, result: dict[str, Any]) -> None:
        """Add what a round gave."""
        for kind in _KEPT:
            if result.get(kind) is not None:
                self.values.setdefault(kind, []).append(result[kind])

    def as_json(self) -> dict[str, Any]:
        """For the results."""
        if self.error is not None:
            return {"error": self.error}
        median = {
            kind: statistics.median(self.values[kind]) if kind in self.values else None
            for kind in ("seconds", "cpu", "memory", *PARTS)
        }
        trips = self.values.get("trips")
        runs = [round(value, 6) for value in self.values.get("seconds", [])]
        median = {
            kind: value for kind, value in median.items() if kind not in PARTS or value
        }
        return {**median, "trips": min(trips) if trips else None, "runs": runs}


@dataclass(frozen=True)
class Setting:
    """What all cases of a run have in common.

    Attributes:
        places: the servers.
        rounds: how often each driver runs.
        file: a file to attach.
        skip: the drivers that are missing.
        warm: whether each driver works once before the first round.
        budget: the seconds after which no further round of a case begins.
    """

    places: Places
    rounds: int
    file: Path
    skip: frozenset[str]
    warm: bool = True
    budget: float = float("inf")


def run(setting: Setting, case: Case) -> dict[str, Any]:
    """The results of one case, by driver."""
    places, host = setting.places, setting.places.network.host
    drivers = [name for name in case.drivers if name not in setting.skip]
    found = {name: Runs() for name in drivers}
    # What a blocked port costs is shown by a healthy send a moment later.
    beside = [name for name in drivers if name in OURS and case.first is not None]
    found |= {f"{name} healthy": Runs() for name in beside}
    with contextlib.ExitStack() as stack:
        routes = [(places.port(case.server, case.security), case.security)]
        if case.first is not None:
            port = stack.enter_context(blocked(case.first, host))
            routes.insert(0, (port, "starttls"))
        job = case.job(host, routes, str(setting.file))
        if not case.fresh and setting.warm:
            # What is done once in a process is done before the clock starts.
            small = {**job, "count": min(job["count"], _WARM)}
            small["recipients"] = min(job["recipients"], _WARM)
            for name in drivers:
                _one(setting, case, name, small, Runs())
        began = time.perf_counter()
        for round_ in range(case.rounds(setting.rounds)):
            if round_ and time.perf_counter() - began > setting.budget:
                break
            for name in drivers:
                if (round_ and name in case.once) or found[name].error:
                    continue
                pair = [(job, name)]
                if name in beside:
                    pair.append(({**job, "routes": routes[1:]}, f"{name} healthy"))
                # The first of the two finds a process that was idle.
                for what, as_ in pair[:: -1 if round_ % 2 else 1]:
                    _one(setting, case, name, what, found[as_])
    return {name: runs.as_json() for name, runs in found.items()}


def _one(
    setting: Setting, case: Case, driver: str, job: dict[str, Any], runs: Runs
) -> None:
    places = setting.places
    before = places.sink.counts()
    places.network.trips(case.rtt, wait=False)  # of one before, if any
    if case.work.startswith("cold"):
        result = run_cold(driver, job, places.bundle)
    else:
        result = places.work(driver, job, case.rtt, fresh=case.fresh)
    result["trips"] = places.network.trips(case.rtt)
    if "error" in result:
        runs.error = result["error"]
        return
    if case.server in SETS:
        _check(case.key, driver, places.sink.counts() - before, job)
    runs.add(result)


def _check(key: str, driver: str, found: Counts, job: dict[str, Any]) -> None:
    size, count = job["size"], 0 if driver == IDLE else job["count"]
    if job["work"] == "attachment":
        size = Path(job["file"]).stat().st_size * 4 // 3
    elif job["work"].startswith("cold"):
        # A small text; all but the whole process send a second message.
        size, count = 100, 1 if job["work"] == "cold" else 2
    if (
        found.messages != count
        or found.recipients != count * job["recipients"]
        or found.octets < count * size
    ):
        raise SystemExit(f"{key}: {driver} was done, and the sink accepted {found}")


def _parts(result: dict[str, Any]) -> dict[str, Any]:
    """The further rows of a process that sends twice."""
    return {
        f"cold {part}": {
            **result,
            "title": title,
            "drivers": {
                name: {"seconds": driver[part]}
                for name, driver in result["drivers"].items()
                if driver.get(part) is not None
            },
        }
        for part, title in PARTS.items()
    }


def all_cases(
    setting: Setting, chosen: list[Case], tell: Callable[[str], None]
) -> dict[str, Any]:
    """The results of all cases, by key."""
    results = {}
    for case in chosen:
        began = time.perf_counter()
        results[case.key] = {
            "title": case.title,
            "group": case.group,
            "rtt": case.rtt,
            "units": max(
                case.count, case.recipients, case.size if "bytes" in case.key else 1
            ),
            "drivers": run(setting, case),
        }
        if case.work == "cold twice":
            results |= _parts(results[case.key])
        tell(f"{case.key}: {time.perf_counter() - began:.1f} s")
    return results
