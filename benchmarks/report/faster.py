"""Where a peer is faster: the cases of a run, by how much."""

from __future__ import annotations

from typing import Any

from benchmarks.report.times import Times
from benchmarks.works.case import OURS, PEERS


# Less than that is no difference that a second run would show again.
_LEVEL = 1.05


def rows(results: dict[str, Any], titles: dict[str, str]) -> list[list[str]]:
    """The table, the largest difference first.

    Args:
        results: those of a run.
        titles: the titles of the tables, by group; cases of other groups are left out.
    """
    times, found = Times(results), []
    for key, case in results["cases"].items():
        known = {peer: times.of(key, peer) for peer in PEERS}
        peers = {peer: value for peer, value in known.items() if value is not None}
        if case["group"] not in titles or not peers:
            continue
        fastest = min(peers, key=peers.__getitem__)
        ratios = times.over(key, peers[fastest])
        if ratios is None or max(ratios) <= _LEVEL:
            continue
        work = f"{titles[case['group']]}: {case['title']}"
        found.append((max(ratios), [work, fastest, *(f"{each:.2f}" for each in ratios)]))
    found.sort(key=lambda row: -row[0])
    head = ["work", "fastest peer", *(f"{face}, as a multiple" for face in OURS)]
    return [head, *(cells for _, cells in found)]
