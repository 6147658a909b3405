"""One driver for each client in Python: the same work, given as jobs (jobs.py).

In a process of its own: ``python -m benchmarks.drivers NAME CAFILE``. It writes
``ready``, then for each job, a line of JSON on its standard input, what it took. The time
is that of the work alone: the message as bytes, the list of recipients and the TLS
context are there before, as in a program that sends more than once; and so are the
messages of a job that wants them made beforehand.
"""

from __future__ import annotations

import functools
import gc
import importlib
import itertools
import json
import logging
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.jobs import (
    NAME,
    PASSWORD,
    SENDER,
    USERNAME,
    Async,
    Job,
    addresses,
    content,
    in_lanes,
    peak,
)


class Ours:
    """What the two faces of smtpsend have in common."""

    def __init__(self, cafile: str) -> None:
        self.lib = importlib.import_module("smtpsend")
        for name in self.lib.__all__:
            getattr(self.lib, name)  # not only when it is first used
        self.cafile = cafile

    @functools.cache  # noqa: B019  # one driver a process
    def server(self, routes: tuple[tuple[int, str], ...]) -> Any:
        """The server, as a program has it at hand."""
        methods = tuple(self.lib.Method(port, security) for port, security in routes)
        return self.lib.Server(
            "127.0.0.1",
            self.lib.Password(USERNAME, PASSWORD),
            policy=self.lib.Policy(methods=methods),
            cafile=self.cafile,
            ehlo_name=NAME,
        )

    def of(self, job: Job) -> tuple[Any, bytes, dict[str, Any]]:
        """The server, the message and the envelope of a job."""
        envelope = {"sender": SENDER, "recipients": addresses(job["recipients"])}
        routes = tuple((port, security) for port, security in job["routes"])
        return self.server(routes), content(job["size"]), envelope

    def bulk(self, job: Job) -> tuple[dict[str, Any], Iterator[Any]]:
        """The arguments of a client, and what its `send_many` takes."""
        server, message, envelope = self.of(job)
        arguments = {
            "server": server,
            "max_connections": job["connections"],
            "max_messages": job["count"],
            "window": job["window"],
        }
        if job["made"] == "bytes":
            one = (message, envelope["sender"], envelope["recipients"])
            return arguments, itertools.repeat(one, job["count"])
        mails = importlib.import_module("benchmarks.mails")
        if job["made"] == "compose":
            compose, fields = self.lib.compose, mails.fields
            numbers = range(job["count"])
            return arguments, (compose(**fields(n, job["size"])) for n in numbers)
        # One caller gives the messages of all connections.
        return arguments, mails.messages({**job, "connections": 1})

    def check(self, outcome: Any) -> None:
        """Each message is to have been taken."""
        if outcome.receipt is None:
            raise outcome.error

    def with_file(self, job: Job) -> Any:
        """A message with a file."""
        return self.lib.compose(
            sender=SENDER,
            to="bob@example.test",
            subject="A file",
            text="It is attached.",
            attachments=[job["file"]],
        )


class Sync(Ours):
    """`smtpsend.send` and `smtpsend.Client`."""

    def once(self, job: Job) -> None:
        """One message."""
        server, message, envelope = self.of(job)
        self.lib.send(message, server, **envelope)

    def kept(self, job: Job) -> None:
        """Many messages over one connection."""
        server, message, envelope = self.of(job)
        with self.lib.Client(server, max_messages=job["count"]) as client:
            for _ in range(job["count"]):
                client.send(message, **envelope)

    def many(self, job: Job) -> None:
        """Many messages at once."""
        arguments, messages = self.bulk(job)
        with self.lib.Client(**arguments) as client:
            for outcome in client.send_many(messages):
                self.check(outcome)

    def attachment(self, job: Job) -> None:
        """A message with a file."""
        server, _, _ = self.of(job)
        self.lib.send(self.with_file(job), server)


class Asynchronous(Ours, Async):
    """`smtpsend.send_async` and `smtpsend.AsyncClient`."""

    def __init__(self, cafile: str) -> None:
        Ours.__init__(self, cafile)
        Async.__init__(self)

    async def send_once(self, job: Job) -> None:
        server, message, envelope = self.of(job)
        await self.lib.send_async(message, server, **envelope)

    async def send_kept(self, job: Job) -> None:
        server, message, envelope = self.of(job)
        async with self.lib.AsyncClient(server, max_messages=job["count"]) as client:
            for _ in range(job["count"]):
                await client.send(message, **envelope)

    async def send_many(self, job: Job) -> None:
        arguments, messages = self.bulk(job)
        async with self.lib.AsyncClient(**arguments) as client:
            async for outcome in client.send_many(messages):
                self.check(outcome)

    async def send_attachment(self, job: Job) -> None:
        server, _, _ = self.of(job)
        await self.lib.send_async(self.with_file(job), server)


class Physical:
    """The limit, in the mode that the server's extensions allow."""

    def __init__(self, cafile: str) -> None:
        self.lib = importlib.import_module("benchmarks.limit")
        self.context = ssl.create_default_context(cafile=cafile)

    def connect(self, job: Job, pipelining: str = "group") -> Any:
        """A connection, and the mode for a server that offers PIPELINING."""
        modes = {"none": "plain", "pipelining": pipelining, "chunking": "bdat"}
        (port, security), *_ = job["routes"]
        login, mode = (USERNAME, PASSWORD), modes[job["extensions"]]
        return self.lib.Limit(port, security, self.context, login, mode)

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
        client = self.connect(job, "cross")
        count = len(range(lane, job["count"], job["connections"]))
        contents = itertools.repeat(content(job["size"]), count)
        to, window = addresses(job["recipients"]), job["window"]
        client.send_many(contents, SENDER, to, window)
        client.quit()

    def attachment(self, job: Job) -> None:
        """A message with a file."""
        with Path(job["file"]).open("rb") as file:
            message = self.lib.attachment(file, SENDER, addresses(1)[0])
        self.send(job, message)


def driver_of(name: str, cafile: str) -> Any:
    """The driver of that name; nothing is imported for the others."""
    if name in ("smtplib", "aiosmtplib"):
        return getattr(importlib.import_module("benchmarks.peers"), name.title())(cafile)
    if name == "flatten":
        return importlib.import_module("benchmarks.mails").Flatten(cafile)
    return {"sync": Sync, "async": Asynchronous, "limit": Physical}[name](cafile)


def prepare(job: Job) -> None:
    """Make what is there before the clock starts."""
    addresses(job["recipients"])
    if job["work"] != "attachment":
        content(job["size"])
    if job["made"] != "bytes":
        importlib.import_module("benchmarks.mails").prepare(job)
        gc.collect()  # what was made is no reason to collect while the clock runs


def main(name: str, cafile: str) -> None:
    """Work until the standard input ends."""
    # The warnings about fallbacks are not wanted here.
    logging.getLogger("smtpsend").addHandler(logging.NullHandler())
    driver = driver_of(name, cafile)
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        prepare(job)
        work, idle = getattr(driver, job["work"]), peak()
        began = time.perf_counter()
        try:
            work(job)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is told
            result: Job = {"error": f"{type(error).__name__}: {error}"}
        else:
            result = {"seconds": time.perf_counter() - began}
            if idle is not None:
                result["memory"] = (peak() or 0) - idle
        if isinstance(driver, Async):
            driver.settle()
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
