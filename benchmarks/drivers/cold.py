"""A program that makes and sends one message, as a cron job does.

``python cold.py NAME HOST PORT CAFILE [COUNT]`` imports what the client NAME needs, when
it needs it. With a COUNT, it sends as many messages one after the other, and prints the
seconds of each and those that the CAs take to load, as JSON.
"""

from __future__ import annotations

import sys
import time


# What is only for a type checker must not be imported: it would be measured.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from email.message import EmailMessage
    from typing import Any

USER, PASSWORD, NAME = "ann@example.test", "correct-horse", "client.example.test"
TO, SUBJECT, TEXT = "bob@example.test", "The report", "All is well.\n"


def _message() -> EmailMessage:
    from email.message import EmailMessage as Message
    from email.utils import formatdate, make_msgid

    message = Message()
    message["From"], message["To"], message["Subject"] = USER, TO, SUBJECT
    message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain=NAME)
    message.set_content(TEXT)
    return message


def _smtplib(host: str, port: int, cafile: str) -> None:
    import smtplib
    import ssl

    context = ssl.create_default_context(cafile=cafile)
    with smtplib.SMTP(host, port, local_hostname=NAME) as smtp:
        smtp.starttls(context=context)
        smtp.login(USER, PASSWORD)
        smtp.send_message(_message())


def _aiosmtplib(host: str, port: int, cafile: str) -> None:
    import asyncio
    import ssl

    import aiosmtplib

    context = ssl.create_default_context(cafile=cafile)
    sent = aiosmtplib.send(
        _message(),
        hostname=host,
        port=port,
        start_tls=True,
        tls_context=context,
        username=USER,
        password=PASSWORD,
        local_hostname=NAME,
    )
    asyncio.run(sent)


def _ours(host: str, port: int, cafile: str) -> tuple[Any, Any]:
    from smtpsend import Method, Password, Policy, Server, compose

    message = compose(sender=USER, to=TO, subject=SUBJECT, text=TEXT)
    policy = Policy(methods=(Method(port, "starttls"),))
    auth = Password(USER, PASSWORD)
    return message, Server(host, auth, policy=policy, cafile=cafile, ehlo_name=NAME)


def _sync(host: str, port: int, cafile: str) -> None:
    from smtpsend import send

    send(*_ours(host, port, cafile))


def _async(host: str, port: int, cafile: str) -> None:
    import asyncio

    from smtpsend import send_async

    asyncio.run(send_async(*_ours(host, port, cafile)))


_CLIENTS = {
    "smtplib": _smtplib,
    "aiosmtplib": _aiosmtplib,
    "sync": _sync,
    "async": _async,
}


def main(name: str, host: str, port: str, cafile: str, count: str = "") -> None:
    """Send."""
    client = _CLIENTS[name]
    if not count:
        client(host, int(port), cafile)
        return
    found = []
    for _ in range(int(count)):
        began = time.perf_counter()
        client(host, int(port), cafile)
        found.append(time.perf_counter() - began)
    import json
    import ssl

    began = time.perf_counter()
    ssl.create_default_context(cafile=cafile)
    print(json.dumps([*found, time.perf_counter() - began]))


if __name__ == "__main__":
    main(*sys.argv[1:])
