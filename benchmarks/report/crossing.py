"""From which round-trip time on a one-shot send is faster than that of a peer."""

from __future__ import annotations

from typing import Any

from benchmarks.report.times import Times
from benchmarks.works.case import OURS, PEERS
from benchmarks.works.one import NAMES


Points = list[tuple[float, float]]
"""Milliseconds of round trip, and the seconds that a send took there."""


def points(results: dict[str, Any], server: str, driver: str) -> Points:
    """What a driver needed for one message by STARTTLS, by round-trip time."""
    times, found = Times(results), {}
    for key, case in results["cases"].items():
        if key.startswith(f"one {server} ") and not key.endswith(" implicit"):
            seconds = times.of(key, driver)
            if seconds is not None:
                found[float(case["rtt"])] = seconds
    return sorted(found.items())


def crossing(ours: Points, theirs: Points) -> float | None:
    """The milliseconds from which on ours is no slower; None if it is at the longest.

    Between two round-trip times that were measured, both are taken to be linear.
    """
    shared = {rtt: (seconds, dict(theirs).get(rtt)) for rtt, seconds in ours}
    behind = [(rtt, mine - its) for rtt, (mine, its) in shared.items() if its is not None]
    if not behind or behind[-1][1] > 0:
        return None
    later = behind[-1]
    for rtt, difference in reversed(behind):
        if difference > 0:
            share = difference / (difference - later[1])
            return rtt + share * (later[0] - rtt)
        later = rtt, difference
    return 0.0


def rows(results: dict[str, Any]) -> list[list[str]]:
    """The table: a row for each server and face, a column for each peer."""
    found = [["one-shot send", *(f"no slower than {peer} from" for peer in PEERS)]]
    for server, name in (("chunking", "sink"), *NAMES.items()):
        if len(points(results, server, OURS[0])) < 2:
            continue
        for face in OURS:
            ours = points(results, server, face)
            cells = []
            for peer in PEERS:
                theirs = points(results, server, peer)
                at = crossing(ours, theirs)
                most = max((rtt for rtt, _ in theirs), default=0)
                text = f"never, up to {most:g} ms" if at is None else f"{at:.2g} ms"
                cells.append(text if theirs else "")
            found.append([f"{name}, {face}", *cells])
    return found
