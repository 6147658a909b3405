"""One message: to the sink and to real servers, near and far; large ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.works.case import MIB, OURS, PEERS, Case
from benchmarks.works.scale import Scale


OFFERS = {
    "none": "neither",
    "pipelining": "PIPELINING",
    "chunking": "PIPELINING and CHUNKING",
}
"""What the sink offers, in words."""

NAMES = {
    "postfix": "Postfix",
    "exim": "Exim",
    "dovecot": "Dovecot",
    "chasquid": "chasquid",
    "smtp-server": "smtp-server",
}
"""The real servers, as they call themselves."""


def cases(scale: Scale, servers: Iterable[str]) -> Iterator[Case]:
    """The cases, those of real servers for `servers` alone."""
    for rtt in (0, scale.far):
        for extensions, offers in OFFERS.items():
            yield Case(
                f"one {extensions} {'far' if rtt else 'near'}",
                f"RTT {rtt} ms, sink offers {offers}",
                server=extensions,
                rtt=rtt,
                times=1 if rtt else scale.cheap,
            )
    for server in servers:
        for security in ("starttls", "implicit"):
            yield Case(
                f"one {server} {security}",
                f"{NAMES[server]}, {_SECURITIES[security]}",
                "one real",
                server=server,
                security=security,
                times=min(4, scale.cheap) if server in _QUICK else 1,
            )
    yield from _distances(scale, [name for name in ("postfix",) if name in servers])
    yield from _large(scale)


# The others wait on purpose: a login of chasquid takes 0.1 s, as does a greeting of
# smtp-server.
_QUICK = ("postfix", "exim", "dovecot")

_SECURITIES = {"starttls": "STARTTLS", "implicit": "implicit TLS"}


def _distances(scale: Scale, servers: list[str]) -> Iterator[Case]:
    """The round-trip times that the cases above have not."""
    for server in ("chunking", *servers):
        for rtt in scale.round_trips:
            if server == "chunking" and rtt == scale.far:
                continue
            yield Case(
                f"one {server} {rtt}",
                f"{NAMES.get(server, 'sink')}, STARTTLS, RTT {rtt} ms",
                "distance",
                server=server,
                rtt=rtt,
                times=min(4, scale.cheap) if rtt == 1 else 1,
                most=None if rtt < 50 else 2,
            )


def _large(scale: Scale) -> Iterator[Case]:
    yield Case(
        "50 far",
        f"to 50 recipients, RTT {scale.far} ms, sink",
        recipients=50,
        rtt=scale.far,
        most=3,
    )
    yield Case(
        "many recipients",
        f"to {scale.recipients:,} recipients, RTT 0, sink",
        recipients=scale.recipients,
        most=3,
        # Each of the other peers takes longer, and it is minutes with all of them.
        drivers=("smtplib", *OURS, "limit"),
        once=PEERS,
    )
    yield Case(
        "attachment",
        f"made and sent with a file of {scale.file / MIB:.3g} MiB, RTT 0, sink",
        work="attachment",
        fresh=scale.processes,
    )
