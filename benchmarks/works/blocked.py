"""One message where port 587 is blocked."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.works.case import OURS, PEERS, Case
from benchmarks.works.scale import Scale


_TITLES = {"black hole": "black-holed", "silent": "silent", "refused": "refused"}


def cases(scale: Scale, *, defaults: bool) -> Iterator[Case]:
    """The cases; with `defaults`, the loops that wait for minutes, too."""
    for fresh in (True, False):
        when = "first send of a process" if fresh else "later sends"
        yield Case(
            f"465 {'first' if fresh else 'later'}",
            f"465 healthy, nothing before it: {when}",
            "blocked",
            security="implicit",
            fresh=fresh,
            times=min(2, scale.cheap) if fresh else scale.cheap,
        )
    for kind, title in _TITLES.items():
        waits = kind != "refused"
        for fresh in (True, False):
            when = "first send of a process" if fresh else "later sends"
            yield Case(
                f"{kind} {'first' if fresh else 'later'}",
                f"587 {title}, 465 healthy: {when}",
                "blocked",
                security="implicit",
                first=kind,
                timeout=scale.patience,
                fresh=fresh and scale.processes,
                drivers=(*_peers(kind, fresh=fresh), *OURS),
                times=min(2, scale.cheap) if fresh else scale.cheap,
                once=PEERS if waits else (),
            )
        if defaults and waits:
            yield Case(
                f"{kind} defaults",
                f"587 {title}, 465 healthy: a loop with the default time-outs",
                "blocked",
                security="implicit",
                first=kind,
                fresh=True,
                # smtplib has none: it would wait for ever.
                drivers=PEERS if kind == "black hole" else PEERS[1:],
                once=PEERS,
            )


def _peers(kind: str, *, fresh: bool) -> tuple[str, ...]:
    """The peers that are measured; each of them waits for its time-out, and so long."""
    if kind == "refused":
        return PEERS
    # Every send of a peer waits as its first one did, and all of them as long.
    return () if not fresh else PEERS if kind == "black hole" else PEERS[:1]
