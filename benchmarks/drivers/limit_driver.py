"""The driver for the limit."""

from __future__ import annotations

import itertools
import ssl
from pathlib import Path
from typing import Any

from benchmarks.drivers import limit
from benchmarks.drivers.jobs import (
    PASSWORD,
    SENDER,
    USERNAME,
    Job,
    addresses,
    content,
    in_lanes,
)


# Messages in one write; more would not be faster.
_WINDOW = 64


class TheLimit:
    """The limit, in the modes of the job."""

    def __init__(self, cafile: str) -> None:
        self.context = ssl.create_default_context(cafile=cafile)

    def connect(self, job: Job, *, many: bool = False) -> Any:
        """A connection, in the mode for one message or for many."""
        (port, security), *_ = job["routes"]
        login, mode = (USERNAME, PASSWORD), job["modes"][many]
        return limit.Limit(job["host"], port, security, self.context, login, mode)

    def send(self, job: Job, message: bytes, count: int = 1) -> None:
        """Send a message as often, over one connection."""
        client = self.connect(job)
        for _ in range(count):
            client.send(message, SENDER, addresses(job["recipients"]))
        client.quit()

    def once(self, job: Job) -> None:
        """One message."""
        self.send(job, content(job["size"]))

    def kept(self, job: Job) -> None:
        """Many messages over one connection."""
        self.send(job, content(job["size"]), job["count"])

    def many(self, job: Job) -> None:
        """Many messages at once."""
        in_lanes(job, self.lane)

    def lane(self, job: Job, lane: int) -> None:
        """The messages of one connection."""
        client = self.connect(job, many=True)
        count = len(range(lane, job["count"], job["connections"]))
        contents = itertools.repeat(content(job["size"]), count)
        client.send_many(contents, SENDER, addresses(job["recipients"]), _WINDOW)
        client.quit()

    def attachment(self, job: Job) -> None:
        """A message with a file."""
        with Path(job["file"]).open("rb") as file:
            message = limit.attachment(file, SENDER, addresses(1)[0])
        self.send(job, message)
