"""All cases of a run."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.works import blocked, bulk, cold, growth, objects, one
from benchmarks.works.case import Case
from benchmarks.works.scale import Scale


def cases(
    scale: Scale, servers: Iterable[str], *, links: bool = True, defaults: bool = False
) -> list[Case]:
    """All cases.

    Args:
        scale: how large they are.
        servers: the real servers that are there.
        links: whether there are links with a round-trip time.
        defaults: also the loops that wait for minutes.
    """
    found = [
        *one.cases(scale, servers),
        *bulk.cases(scale, servers),
        *cold.cases(scale, servers),
        *blocked.cases(scale, defaults=defaults),
        *objects.cases(scale),
        *growth.cases(scale),
    ]
    return [case for case in found if links or not case.rtt]
