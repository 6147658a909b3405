"""A process that makes and sends one message, and ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.works.case import Case
from benchmarks.works.one import NAMES
from benchmarks.works.scale import Scale


CLIENTS = ("smtplib", "aiosmtplib", "sync", "async")
COMMAND = "command"
"""`python -m smtpsend send`."""


def cases(scale: Scale, servers: Iterable[str]) -> Iterator[Case]:
    """The cases; the message is to the sink, and to Postfix if it is among `servers`."""
    for server in ("chunking", *(name for name in ("postfix",) if name in servers)):
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
    for which, title in (
        ("first", "the first send of the process"),
        ("second", "the second send"),
        ("bundle", "loading as many CAs as certifi has"),
    ):
        yield Case(
            f"cold {which}",
            f"{title}, sink",
            "cold",
            work=f"cold {which}",
            drivers=CLIENTS,
            times=min(2, scale.cheap),
        )
