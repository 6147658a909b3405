"""Twice as much from step to step: is the time linear?"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.works.case import KB, MIB, OURS, Case
from benchmarks.works.scale import Scale


_STEPS = 4


def cases(scale: Scale) -> Iterator[Case]:
    """The cases; the number at the end of a key is the step."""
    for step in range(_STEPS):
        many = 4000 * 2**step // scale.growth
        yield Case(
            f"growth recipients {step}",
            f"one message to {many:,} recipients",
            "growth",
            recipients=many,
            drivers=OURS,
            most=3,
        )
        size = 2 * MIB * 2**step // scale.growth
        yield Case(
            f"growth bytes {step}",
            f"one message of {size / MIB:.3g} MiB",
            "growth",
            size=size,
            drivers=OURS,
            most=3,
        )
        count = 4000 * 2**step // scale.growth
        yield Case(
            f"growth messages {step}",
            f"{count:,} messages of 2 KB on one connection",
            "growth",
            work="many",
            size=2 * KB,
            count=count,
            client={"max_connections": 1, "max_messages": count},
            drivers=OURS,
            most=3,
        )
