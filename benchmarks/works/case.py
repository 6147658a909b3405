"""One case: some work, at some place, by several drivers in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


PEERS = ("smtplib", "aiosmtplib", "nodemailer")
OURS = ("sync", "async")
ALL = (*PEERS, *OURS, "limit")
IDLE = "flatten"
"""Sends nothing: what making messages, and bytes of them, costs alone."""

KB, MIB = 1024, 1048576

# How the limit sends one message to a server, and many (drivers/limit.py). chasquid 1.11
# and Dovecot 2.3 do not survive commands after the final dot, nor Dovecot BDAT in a group
# that its relay refuses.
_MODES = {
    "none": ("plain", "plain"),
    "pipelining": ("group", "cross"),
    "chunking": ("bdat", "bdat"),
    "postfix": ("bdat", "bdat"),
    "exim": ("bdat", "bdat"),
    "dovecot": ("group", "group"),
    "chasquid": ("group", "group"),
    "smtp-server": ("group", "cross"),
}


@dataclass(frozen=True)
class Case:
    """One kind of work at one place, done by several drivers in turn.

    Attributes:
        key, title: its name in the results and in the tables.
        group: which table it is in (report/tables.py), or ``growth``.
        work, size, recipients, count, connections, made: of the job (drivers/jobs.py);
            or ``cold`` and ``first`` (drivers/cold.py).
        client: the arguments of `smtpsend.Client`; none: the client as it is by default.
        server: a real server, or the sink by what it offers.
        security: of the server's port.
        rtt: milliseconds to it and back.
        first: what stands in front of it on the way: a kind of `places.blocked`.
        timeout: what the peers are told, where a port is blocked; None: nothing.
        fresh: each run in a new process.
        drivers: who takes part.
        times: how often the number of rounds.
        most: the most rounds, for what takes long; None: no limit.
        once: drivers that are too slow for more than one round.
    """

    key: str
    title: str
    group: str = "one"
    work: str = "once"
    size: int = 10 * KB
    recipients: int = 1
    count: int = 1
    connections: int = 1
    made: str = "bytes"
    client: Mapping[str, Any] = field(default_factory=dict)
    server: str = "chunking"
    security: str = "starttls"
    rtt: int = 0
    first: str | None = None
    timeout: float | None = None
    fresh: bool = False
    drivers: tuple[str, ...] = ALL
    times: int = 1
    most: int | None = None
    once: tuple[str, ...] = ()

    def job(self, host: str, routes: list[tuple[int, str]], file: str) -> dict[str, Any]:
        """What a driver is told."""
        return {
            "work": self.work,
            "host": host,
            "routes": routes,
            "timeout": self.timeout,
            "size": self.size,
            "recipients": self.recipients,
            "count": self.count,
            "connections": self.connections,
            "made": self.made,
            "client": dict(self.client),
            "modes": _MODES[self.server],
            "file": file,
        }

    def rounds(self, rounds: int) -> int:
        """How often it is done, if a run has so many rounds."""
        return min(rounds * self.times, self.most or rounds * self.times)
