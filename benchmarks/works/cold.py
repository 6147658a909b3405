"""A process that makes and sends one message, and ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.works.case import Case
from benchmarks.works.one import NAMES
from benchmarks.works.scale import Scale


CLIENTS = ("smtplib", "aiosmtplib", "sync", "async")
COMMAND = "command"
"""`python -m smtpsend send`."""

PARTS = {
    "second": "the second send, sink",
    "bundle": "loading as many CAs as certifi has",
}
"""What the process with two sends measures besides the first: each is a row, too."""


def cases(scale: Scale, servers: Iterable[str]) -> Iterator[Case]:
    """The cases; the message is to the sink, and to Postfix if it is among `servers`."""
    real = [name for name in servers if name == "postfix" and scale.processes]
    for server in ("chunking", *real):
        place = NAMES.get(server, "sink")
        yield Case(
            f"cold {server}",
            f"from the start of the process to its end, {place}",
            "cold",
            work="cold",
            server=server,
            drivers=(*CLIENTS, COMMAND),
            times=min(2, scale.cheap),
        )
    yield Case(
        "cold first",
        "the first send of the process, sink",
        "cold",
        work="cold twice",
        drivers=CLIENTS,
        times=min(2, scale.cheap),
    )
