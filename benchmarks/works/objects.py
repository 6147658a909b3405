"""Many messages as `EmailMessage`s, to the sink."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.works.case import IDLE, KB, OURS, PEERS, Case
from benchmarks.works.scale import Scale


def cases(scale: Scale) -> Iterator[Case]:
    """The cases."""
    count = scale.bulk[1] // 2
    for made, how, drivers in (
        ("before", "made beforehand", ("smtplib", "aiosmtplib", *OURS, IDLE)),
        ("loop", "each made as it is sent", (*PEERS, *OURS, IDLE)),
        ("compose", "made by `compose` (smtplib: as above)", ("smtplib", *OURS)),
    ):
        yield Case(
            f"objects {made}",
            f"{count:,} `EmailMessage`s of 2 KB, one connection, RTT 0, {how}",
            "objects",
            work="many",
            size=2 * KB,
            count=count,
            made=made,
            client={"max_connections": 1},
            drivers=drivers,
            most=3,
        )
