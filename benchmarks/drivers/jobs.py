"""The jobs that the drivers do, and what they need for them.

A job has these fields::

    work        "once": connect, send one message, hang up
                "kept": connect, send `count` messages, one call for each, hang up
                "many": the same by the best that the library has for it, over up to
                `connections` connections
                "attachment": make a message with a file in it, and send that
    host        the address of the server
    routes      [[port, security], ...]: tried in turn, as far as needed
    timeout     seconds that each route may take, or null for the library's default
    size, recipients, count, connections, file
    client      the arguments of `smtpsend.Client` besides the server: {} as it is
    modes       of the limit alone: how it sends one message, and many (limit.py)
    made        what "many" sends (mails.py):
                "bytes": the same bytes each time
                "before": `EmailMessage`s that are there before the clock starts
                "loop": `EmailMessage`s made by the standard library as they are sent
                "compose": by `smtpsend.compose`; by the peers as with "loop"
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any


Job = dict[str, Any]

SENDER, NAME = "ann@example.test", "client.example.test"
USERNAME, PASSWORD = SENDER, "correct-horse"


@functools.cache
def content(size: int) -> bytes:
    """A message of `size` bytes, in lines of text."""
    head = (
        f"From: {SENDER}\r\nTo: bob@example.test\r\nSubject: Speed\r\n"
        "Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.test>\r\n\r\n"
    ).encode()
    line = b"The quick brown fox jumps over the lazy dog, again and again and again.\r\n"
    left = size - len(head)
    return head + (line * (left // len(line) + 1))[: left - 2] + b"\r\n"


@functools.cache
def addresses(count: int) -> list[str]:
    """As many recipients."""
    return [f"bob{number}@example.test" for number in range(count)]


def in_lanes(job: Job, work: Callable[[Job, int], None]) -> None:
    """Do `work` once for each connection, each in a thread if there are several."""
    lanes = range(job["connections"])
    if len(lanes) == 1:
        work(job, 0)
        return
    with concurrent.futures.ThreadPoolExecutor(len(lanes)) as threads:
        list(threads.map(functools.partial(work, job), lanes))


def peak() -> int | None:
    """The most memory that this process held so far, in bytes; None where unknown."""
    # Not getrusage: what it says of a new process begins with its parent's memory.
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return None
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


class Async:
    """A driver whose work is async; its loop lives as long as the process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def settle(self) -> None:
        """Let connections that are being closed be closed; no part of the work."""
        self.loop.run_until_complete(asyncio.sleep(0.01))

    def once(self, job: Job) -> None:
        """One message."""
        self.loop.run_until_complete(self.send_once(job))

    def kept(self, job: Job) -> None:
        """Many messages over one connection."""
        self.loop.run_until_complete(self.send_kept(job))

    def many(self, job: Job) -> None:
        """Many messages at once."""
        self.loop.run_until_complete(self.send_many(job))

    def attachment(self, job: Job) -> None:
        """A message with a file."""
        self.loop.run_until_complete(self.send_attachment(job))

    async def send_once(self, job: Job) -> None:
        """One message."""
        raise NotImplementedError

    async def send_kept(self, job: Job) -> None:
        """Many messages over one connection."""
        raise NotImplementedError

    async def send_many(self, job: Job) -> None:
        """Many messages at once."""
        raise NotImplementedError

    async def send_attachment(self, job: Job) -> None:
        """A message with a file."""
        raise NotImplementedError
