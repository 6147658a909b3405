"""The drivers for smtplib and aiosmtplib."""

from __future__ import annotations

import asyncio
import functools
import importlib
import itertools
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
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
    in_lanes,
)


def with_file(email: Any, file: str) -> Any:
    """A message with a file, as programs make it with the standard library."""
    message = email.EmailMessage()
    message["From"], message["To"] = SENDER, "bob@example.test"
    message["Subject"] = "A file"
    message.set_content("It is attached.")
    message.add_attachment(
        Path(file).read_bytes(),
        maintype="application",
        subtype="octet-stream",
        filename="file.bin",
    )
    return message


def lane_of(job: Job, lane: int) -> Iterator[Any]:
    """The messages of one connection: bytes or `EmailMessage`s."""
    if job["made"] == "bytes":
        count = len(range(lane, job["count"], job["connections"]))
        return itertools.repeat(content(job["size"]), count)
    found: Iterator[Any] = importlib.import_module("benchmarks.drivers.mails").messages(
        job, lane
    )
    return found


class Smtplib:
    """The standard library."""

    def __init__(self, cafile: str) -> None:
        self.lib = importlib.import_module("smtplib")
        self.email = importlib.import_module("email.message")
        self.context = ssl.create_default_context(cafile=cafile)

    def connect(self, job: Job) -> Any:
        """A connection over the first route that works."""
        options = {"local_hostname": NAME}
        if job["timeout"] is not None:
            options["timeout"] = job["timeout"]
        for port, security in job["routes"]:
            try:
                if security == "implicit":
                    smtp = self.lib.SMTP_SSL(
                        job["host"], port, context=self.context, **options
                    )
                else:
                    smtp = self.lib.SMTP(job["host"], port, **options)
                    smtp.starttls(context=self.context)
                smtp.login(USERNAME, PASSWORD)
            except OSError as error:
                failure = error
            else:
                return smtp
        raise failure

    def once(self, job: Job) -> None:
        """One message."""
        message, to = content(job["size"]), addresses(job["recipients"])
        smtp = self.connect(job)
        smtp.sendmail(SENDER, to, message)
        smtp.quit()

    def kept(self, job: Job) -> None:
        """Many messages over one connection."""
        self.lane(job, 0)

    def many(self, job: Job) -> None:
        """Many messages, a thread for each connection."""
        in_lanes(job, self.lane)

    def lane(self, job: Job, lane: int) -> None:
        """The messages of one connection."""
        to, smtp = addresses(job["recipients"]), self.connect(job)
        for message in lane_of(job, lane):
            if isinstance(message, bytes):
                smtp.sendmail(SENDER, to, message)
            else:
                smtp.send_message(message)
        smtp.quit()

    def attachment(self, job: Job) -> None:
        """A message with a file."""
        smtp = self.connect(job)
        smtp.send_message(with_file(self.email, job["file"]))
        smtp.quit()


class Aiosmtplib(Async):
    """aiosmtplib: `send` for one message, an `SMTP` object for many."""

    def __init__(self, cafile: str) -> None:
        super().__init__()
        self.lib = importlib.import_module("aiosmtplib")
        self.email = importlib.import_module("email.message")
        self.context = ssl.create_default_context(cafile=cafile)

    async def over_routes(self, job: Job, send: Callable[..., Any]) -> None:
        """Try the routes in turn."""
        options = {
            "hostname": job["host"],
            "username": USERNAME,
            "password": PASSWORD,
            "local_hostname": NAME,
            "tls_context": self.context,
        }
        if job["timeout"] is not None:
            options["timeout"] = job["timeout"]
        for port, security in job["routes"]:
            tls = "use_tls" if security == "implicit" else "start_tls"
            try:
                await send(port=port, **{tls: True}, **options)
            except (OSError, self.lib.SMTPException) as error:
                failure = error
            else:
                return
        raise failure

    async def send_once(self, job: Job) -> None:
        message, to = content(job["size"]), addresses(job["recipients"])
        send = functools.partial(self.lib.send, message, sender=SENDER, recipients=to)
        await self.over_routes(job, send)

    async def send_kept(self, job: Job) -> None:
        await self.send_many(job)

    async def send_many(self, job: Job) -> None:
        async def send(lane: int, **options: Any) -> None:
            to, smtp = addresses(job["recipients"]), self.lib.SMTP(**options)
            await smtp.connect()
            for message in lane_of(job, lane):
                if isinstance(message, bytes):
                    await smtp.sendmail(SENDER, to, message)
                else:
                    await smtp.send_message(message)
            await smtp.quit()

        sends = [functools.partial(send, lane) for lane in range(job["connections"])]
        await asyncio.gather(*(self.over_routes(job, send) for send in sends))

    async def send_attachment(self, job: Job) -> None:
        message = with_file(self.email, job["file"])
        await self.over_routes(job, functools.partial(self.lib.send, message))
