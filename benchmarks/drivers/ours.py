"""The drivers for the two faces of smtpsend."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable
from typing import Any

from benchmarks.drivers.jobs import (
    NAME,
    PASSWORD,
    SENDER,
    USERNAME,
    Async,
    Job,
    addresses,
    content,
)


class Ours:
    """What the two faces of smtpsend have in common."""

    def __init__(self, cafile: str) -> None:
        self.lib = importlib.import_module("smtpsend")
        for name in self.lib.__all__:
            getattr(self.lib, name)  # not only when it is first used
        self.cafile = cafile

    @functools.cache  # noqa: B019  # one driver a process
    def server(self, host: str, routes: tuple[tuple[int, str], ...]) -> Any:
        """The server, as a program has it at hand."""
        methods = tuple(self.lib.Method(port, security) for port, security in routes)
        return self.lib.Server(
            host,
            self.lib.Password(USERNAME, PASSWORD),
            policy=self.lib.Policy(methods=methods),
            cafile=self.cafile,
            ehlo_name=NAME,
        )

    def of(self, job: Job) -> tuple[Any, bytes, dict[str, Any]]:
        """The server, the message and the envelope of a job."""
        envelope = {"sender": SENDER, "recipients": addresses(job["recipients"])}
        routes = tuple((port, security) for port, security in job["routes"])
        return self.server(job["host"], routes), content(job["size"]), envelope

    def bulk(self, job: Job) -> tuple[dict[str, Any], Iterable[Any]]:
        """The arguments of a client, and what its `send_many` sends."""
        server, message, envelope = self.of(job)
        arguments = {"server": server, **job["client"]}
        if job["made"] == "bytes":
            one = (message, envelope["sender"], envelope["recipients"])
            return arguments, [one] * job["count"]
        mails = importlib.import_module("benchmarks.drivers.mails")
        if job["made"] == "compose":
            compose, fields = self.lib.compose, mails.fields
            numbers = range(job["count"])
            return arguments, (compose(**fields(n, job["size"])) for n in numbers)
        # One caller gives the messages of all connections.
        return arguments, mails.messages({**job, "connections": 1})

    def check(self, outcome: Any) -> None:
        """Each message is to have been accepted."""
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
        with self.lib.Client(server, **job["client"]) as client:
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
        async with self.lib.AsyncClient(server, **job["client"]) as client:
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
