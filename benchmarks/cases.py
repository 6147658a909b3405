"""What is measured: a table of cases, for a whole run and for a quick one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


PEERS = ("smtplib", "aiosmtplib", "nodemailer")
IDLE = "flatten"
"""Sends nothing: what making messages, and bytes of them, costs alone."""
OURS = ("sync", "async")
ALL = (*PEERS, *OURS, "limit")

KB, MIB = 1024, 1048576


@dataclass(frozen=True)
class Case:
    """One kind of work, done by several drivers in turn.

    Attributes:
        key, title: its name in the results and in the tables.
        group: which table it is in (report.py), or ``growth``.
        work, size, recipients, count, connections, window, made: of the job (jobs.py).
        extensions, security: of the sink's port.
        rtt: milliseconds to it and back.
        first: what stands in front of it on the way: a kind of `places.blocked`.
        timeout: what the peers are told, where a port is blocked; None: nothing.
        fresh: each run in a new process.
        drivers: who takes part.
        times: how often the number of rounds.
        once: drivers that are too slow for more than one run.
    """

    key: str
    title: str
    group: str = "one"
    work: str = "once"
    size: int = 10 * KB
    recipients: int = 1
    count: int = 1
    connections: int = 1
    window: int = 64
    made: str = "bytes"
    extensions: str = "chunking"
    security: str = "starttls"
    rtt: int = 0
    first: str | None = None
    timeout: float | None = None
    fresh: bool = False
    drivers: tuple[str, ...] = ALL
    times: int = 1
    once: tuple[str, ...] = ()

    def job(self, routes: list[tuple[int, str]], file: str) -> dict[str, Any]:
        """What a driver is told."""
        return {
            "work": self.work,
            "routes": routes,
            "timeout": self.timeout,
            "size": self.size,
            "recipients": self.recipients,
            "count": self.count,
            "connections": self.connections,
            "window": self.window,
            "made": self.made,
            "extensions": self.extensions,
            "file": file,
        }


_OFFERS = {
    "none": "neither",
    "pipelining": "PIPELINING",
    "chunking": "PIPELINING and CHUNKING",
}


@dataclass(frozen=True)
class Scale:
    """How large a run is."""

    rtt: int
    patience: float  # seconds that a careful loop gives each port
    file: int
    recipients: int
    bulk: tuple[int, int]  # messages far away, and near
    wide: int  # messages far away, over ten connections
    cheap: int  # rounds of what is quick, as a multiple
    growth: int  # divides the sizes in the cases about growth


WHOLE = Scale(20, 10.0, 10 * MIB, 100_000, (50, 2000), 200, 10, 1)
QUICK = Scale(10, 0.1, MIB, 1000, (3, 70), 20, 1, 20)


def cases(scale: Scale, *, defaults: bool) -> list[Case]:
    """All cases of a run; with `defaults`, the loops that wait for minutes, too."""
    return [
        *_blocked(scale, defaults=defaults),
        *_one(scale),
        *_large(scale),
        *_bulk(scale),
        *_objects(scale),
        *_growth(scale),
    ]


def _blocked(scale: Scale, *, defaults: bool) -> Iterator[Case]:
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
    for kind in ("black hole", "silent", "refused"):
        waits = kind != "refused"
        for fresh in (True, False):
            when = "first send of a process" if fresh else "later sends"
            yield Case(
                f"{kind} {'first' if fresh else 'later'}",
                f"587 {_SAID[kind]}, 465 healthy: {when}",
                "blocked",
                security="implicit",
                first=kind,
                timeout=scale.patience,
                fresh=fresh,
                # Every send of a peer waits as its first one did.
                drivers=OURS if waits and not fresh else (*PEERS, *OURS),
                times=min(2, scale.cheap) if fresh else scale.cheap,
                once=PEERS if waits else (),
            )
        if defaults and waits:
            yield Case(
                f"{kind} defaults",
                f"587 {_SAID[kind]}, 465 healthy: a loop with the default time-outs",
                "blocked",
                security="implicit",
                first=kind,
                fresh=True,
                # smtplib has none: it would wait for ever.
                drivers=PEERS if kind == "black hole" else PEERS[1:],
                once=PEERS,
            )


_SAID = {"black hole": "black-holed", "silent": "silent", "refused": "refused"}


def _one(scale: Scale) -> Iterator[Case]:
    for rtt in (0, scale.rtt):
        for extensions, offers in _OFFERS.items():
            yield Case(
                f"one {extensions} {'far' if rtt else 'near'}",
                f"one 10 KB message, RTT {rtt} ms, server offers {offers}",
                extensions=extensions,
                rtt=rtt,
                times=min(2, scale.cheap) if rtt else scale.cheap,
            )
    yield Case(
        "50 far",
        f"one 10 KB message to 50 recipients, RTT {scale.rtt} ms",
        recipients=50,
        rtt=scale.rtt,
    )


def _large(scale: Scale) -> Iterator[Case]:
    yield Case(
        "many recipients",
        f"one 10 KB message to {scale.recipients:,} recipients, RTT 0",
        recipients=scale.recipients,
        once=PEERS,
    )
    yield Case(
        "attachment",
        f"make and send a message with a file of {scale.file // MIB} MiB, RTT 0",
        work="attachment",
        fresh=True,
    )


def _bulk(scale: Scale) -> Iterator[Case]:
    places = ("far", scale.bulk[0], scale.rtt), ("near", scale.bulk[1], 0)
    for where, count, rtt in places:
        for extensions, offers in _OFFERS.items():
            yield Case(
                f"bulk {extensions} {where}",
                f"{count:,} messages of 2 KB, one connection, RTT {rtt} ms, {offers}",
                "bulk",
                work="many",
                size=2 * KB,
                count=count,
                extensions=extensions,
                rtt=rtt,
            )
    yield Case(
        "bulk wide",
        f"{scale.wide:,} messages of 2 KB, ten connections, RTT {scale.rtt} ms, "
        f"{_OFFERS['chunking']}",
        "bulk",
        work="many",
        size=2 * KB,
        count=scale.wide,
        connections=10,
        rtt=scale.rtt,
    )
    for where, count, rtt in places:
        yield Case(
            f"kept {where}",
            f"{count:,} messages of 2 KB, one connection, RTT {rtt} ms, "
            f"{_OFFERS['chunking']}: a call of `send` for each",
            "bulk",
            work="kept",
            size=2 * KB,
            count=count,
            rtt=rtt,
            # Theirs are those of the case above.
            drivers=(*OURS, "limit") if rtt else ALL,
        )


def _objects(scale: Scale) -> Iterator[Case]:
    count = scale.bulk[1]
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
            drivers=drivers,
        )


def _growth(scale: Scale) -> Iterator[Case]:
    for step in range(4):
        many = 4000 * 2**step // scale.growth
        yield Case(
            f"growth recipients {step}",
            f"one message to {many:,} recipients",
            "growth",
            recipients=many,
            drivers=OURS,
        )
        size = 2 * MIB * 2**step // scale.growth
        yield Case(
            f"growth bytes {step}",
            f"one message of {size / MIB:.3g} MiB",
            "growth",
            size=size,
            drivers=OURS,
        )
        count = 4000 * 2**step // scale.growth
        yield Case(
            f"growth messages {step}",
            f"{count:,} messages of 2 KB on one connection",
            "growth",
            work="many",
            size=2 * KB,
            count=count,
            drivers=OURS,
        )
