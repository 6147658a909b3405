"""The drivers for smtplib and aiosmtplib."""

from __future__ import annotations

import functools
import importlib
import ssl
from collections.abc import Callable
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
                        "127.0.0.1", port, context=self.context, **options
                    )
                else:
                    smtp = self.lib.SMTP("127.0.0.1", port, **options)
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
        message, to = content(job["size"]), addresses(job["recipients"])
        smtp = self.connect(job)
        for _ in range(job["count"]):
            smtp.sendmail(SENDER, to, message)
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
            "hostname": "127.0.0.1",
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
        message, to = content(job["size"]), addresses(job["recipients"])

        async def send(**options: Any) -> None:
            smtp = self.lib.SMTP(**options)
            await smtp.connect()
            for _ in range(job["count"]):
                await smtp.sendmail(SENDER, to, message)
            await smtp.quit()

        await self.over_routes(job, send)

    async def send_attachment(self, job: Job) -> None:
        message = with_file(self.email, job["file"])
        await self.over_routes(job, functools.partial(self.lib.send, message))
