"""The types of the public face, for mypy --strict and pyright. Never run."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Iterator
from email.headerregistry import Address
from email.message import EmailMessage
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any, assert_type

import smtpsend
from smtpsend import (
    AsyncClient,
    Client,
    ConfigError,
    Delivery,
    DeliveryUnknown,
    External,
    Method,
    OAuth2,
    Outcome,
    Password,
    Policy,
    Prepared,
    Receipt,
    RecipientsRefused,
    Report,
    SendError,
    Server,
    compose,
    diagnose,
    diagnose_async,
    prepare,
    send,
    send_async,
)
from smtpsend.check import MethodReport
from smtpsend.errors import Attempt, Event, Phase, Reply
from smtpsend.oauth import (
    ClientCredentials,
    RefreshToken,
    SecretFile,
    ServiceAccount,
    stored_login,
)


assert_type(smtpsend.__version__, str)


# Credentials and servers


def token() -> str:
    """A token provider."""
    return "token"


async def token_async() -> str:
    """Another one."""
    return "token"


Password("ann", "secret")
Password("ann", token)
External()
External("ann")
Password("ann", token_async)
Server("mail.example.org", ("ann", token))
Server(
    "mail.example.org", proxy="socks5://proxy.example.org:1080", tls_name="tls.example"
)
Server("mail.example.org", source_address="192.0.2.1")
assert_type(
    Server("mail.example.org", source_address=("192.0.2.1", 0)).source_address,
    tuple[str, int] | None,
)
OAuth2("ann", "token")
OAuth2("ann", token)
OAuth2("ann", token_async)
OAuth2("ann", ClientCredentials.microsoft("tenant", "id", SecretFile(Path("secret"))))
OAuth2("ann", RefreshToken("https://x", "id", token, scope="a", on_rotation=print))
OAuth2("ann", ServiceAccount({"type": "service_account"}, "ann@example.org", timeout=5))
OAuth2("ann", stored_login("smtp.gmail.com", "ann@gmail.com"))
assert_type(RefreshToken.google("id", "secret", "refresh")(), str)

policy = Policy(
    methods=(Method(587, "starttls"), Method(465, "implicit")),
    stagger=0.5,
    connect_timeout=5,
    reply_timeout=30,
    final_timeout=300,
    deadline=600,
    on_certificate_error="next",
    remember=0,
    pipelining=False,
    chunking=False,
    on_temporary_refusal="stop",
    retry_interval=60,
)
assert_type(policy.explain(), str)
assert_type(policy.methods, tuple[Method, ...])

server = Server("mail.example.org")
server = Server("mail.example.org", Password("ann", "secret"), policy=policy)
server = Server("mail.example.org", OAuth2("ann", token), cafile=Path("ca.pem"))
server = Server("mail.example.org", ssl_context=ssl.create_default_context())
server = Server("mail.example.org", ehlo_name="app.example.org", cafile="ca.pem")
server = Server("mail.example.org", fingerprint="sha256:" + 64 * "0")
server = Server("mail.example.org", redirect_to="ann@example.org")
server = Server("mail.example.org", redirect_to=("Ann", "ann@example.org"))
assert_type(Server.at("ses", ("ann", "secret"), region="eu-west-1"), Server)
assert_type(Server.at("gmail", OAuth2("ann", token), ehlo_name="app.example.org"), Server)
assert_type(Server.from_url("smtp://mail.example.org"), Server)
assert_type(Server.from_env(), Server)
assert_type(Server.from_env(os.environ, cafile="ca.pem"), Server)


# Messages

message = compose(sender="ann@example.org", to="bob@example.net")
assert_type(message, EmailMessage)
compose(
    sender="Ann <ann@example.org>",
    to=["bob@example.net"],
    cc=("carol@example.net",),
    bcc="dave@example.net",
    reply_to=["ann@example.org"],
    subject="Hello",
    text="Hello.",
    html="<p>Hello.</p>",
    attachments=["a.txt", Path("b.txt"), ("c.txt", b"c"), ("d", b"d", "text/plain")],
    inline={"logo": "logo.png"},
    headers={"X-Campaign": "1"},
)
with Path("a.txt").open("rb") as file:
    compose(
        sender="ann@example.org",
        attachments=[file, ("b", file), ("c", bytearray(b"c"), "text/plain"), message],
        calendar="BEGIN:VCALENDAR",
        in_reply_to=message,
        references="<1@example.org>",
        unsubscribe="https://example.org/leave",
    )
compose(
    sender="ann@example.org",
    attachments=[("d", memoryview(b"d")), ("e.eml", message)],
    calendar=b"BEGIN:VCALENDAR",
    in_reply_to="<2@example.org>",
    references=["<1@example.org>"],
    unsubscribe=("https://example.org/leave", "mailto:leave@example.org"),
)
compose(sender="ann@example.org", to={"bob@example.net"}, cc=iter(["carol@example.net"]))
ann = Address("Ann", "ann", "example.org")
compose(sender=ann, to=[ann, ("Bob", "bob@example.net"), "carol@example.net"])
compose(sender=("Ann", "ann@example.org"), to=("Bob", "bob@example.net"), cc=ann)
prepare(message, sender=ann, recipients=("Bob", "bob@example.net"))
prepare(message, sender=("Ann", "ann@example.org"), recipients=[ann, "bob@example.net"])
prepared = prepare(message, sender="ann@example.org", recipients=["bob@example.net"])
assert_type(prepared, Prepared)
assert_type(prepared.to_dict(), dict[str, Any])
assert_type(Prepared.from_dict(prepared.to_dict()), Prepared)
delivery = Delivery(notify=("failure", "delay"), ret="headers", envid="17")
assert_type(prepare(message, delivery=delivery).delivery, Delivery | None)
assert_type(delivery.envid, str | None)


# One message

receipt = send(message, server)
assert_type(receipt, Receipt)
send(MIMEText("Hello."), "mail.example.org")
send(b"bytes", server, sender="ann@example.org", recipients=["bob@example.net"])
send(message, server, sender=ann, recipients=ann)
send("text", server, sender="", recipients=("bob@example.net",), require_all=True)
send(prepared, server, timeout=30)
send(prepared, server, delivery=Delivery(require_tls=True))
send(message, server, delivery=None)

assert_type(receipt.message_id, str | None)
assert_type(receipt.to_dict(), dict[str, Any])
assert_type(Receipt.from_dict(receipt.to_dict()), Receipt)
assert_type(SendError.from_dict({}), SendError)
assert_type(receipt.method, Method)
assert_type(receipt.server, str | None)
assert_type(receipt.attempts[0].server, str | None)
assert_type(send(message, [server, "b.example.org"]), Receipt)
assert_type(send(message, ["a.example.org", "b.example.org"]), Receipt)
assert_type(Client([server, server]), Client)
assert_type(AsyncClient((server, "b.example.org")), AsyncClient)
assert_type(receipt.address, str)
assert_type(receipt.tls, str | None)
assert_type(receipt.reply, Reply)
assert_type(receipt.accepted, tuple[str, ...])
assert_type(receipt.refused, dict[str, Reply])
assert_type(receipt.attempts, tuple[Attempt, ...])
assert_type(receipt.elapsed, float)
receipt.raise_for_refused()


async def one() -> None:
    """The same in async code."""
    assert_type(await send_async(message, server, timeout=10), Receipt)
    assert_type(await send_async(message, (server, "b.example.org")), Receipt)
    await send_async(message, server, delivery=delivery)
    assert_type(await diagnose_async(server), Report)


# Many messages


def on_attempt(attempt: Attempt) -> None:
    """A hook."""


def on_outcome(outcome: Outcome) -> None:
    """Another one."""


with Client(
    server,
    max_connections=2,
    max_messages=50,
    idle_timeout=10,
    max_age=60,
    window=8,
    max_rate=2.5,
    on_attempt=on_attempt,
    on_outcome=on_outcome,
) as client:
    assert_type(client, Client)
    assert_type(client.send(message), Receipt)
    assert_type(client.send_many([message]), Iterator[Outcome])
    for outcome in client.send_many((message, None, ["bob@example.net"]) for _ in "12"):
        assert_type(outcome.index, int)
        assert_type(outcome.receipt, Receipt | None)
        assert_type(outcome.error, SendError | None)
    client.send(message, delivery=delivery)
    client.send_many([(message, None, None, delivery)], delivery=delivery)
    client.check(timeout=5)
    assert_type(client.explain(), str)
    client.close()


async def mails() -> AsyncIterator[EmailMessage]:
    """An async iterable."""
    yield message


async def many() -> None:
    """The same in async code."""
    async with AsyncClient(server) as client:
        assert_type(client, AsyncClient)
        assert_type(await client.send(message), Receipt)
        assert_type(client.send_many(mails()), AsyncIterator[Outcome])
        await client.send(message, delivery=delivery)
        client.send_many(mails(), delivery=delivery)
        await client.check()
        assert_type(client.explain(), str)
        await client.aclose()


# Errors

try:
    send(message, server)
except DeliveryUnknown as error:
    assert_type(error.message_id, str | None)
except RecipientsRefused as error:
    assert_type(error.refused, dict[str, Reply])
except SendError as error:
    assert_type(error.temporary, bool)
    assert_type(error.timed_out, bool)
    assert_type(error.phase, Phase)
    assert_type(error.event, Event | None)
    assert_type(error.reply, Reply | None)
    assert_type(error.attempts, tuple[Attempt, ...])
    assert_type(error.hint, str)
    assert_type(error.accepted, tuple[str, ...])
    assert_type(error.message, str)
    assert_type(error.server, str | None)
    if error.reply is not None:
        assert_type(error.reply.code, int)
        assert_type(error.reply.enhanced, str | None)
        assert_type(error.reply.text, str)


# Looking at a server

report = diagnose("mail.example.org", timeout=10)
assert_type(report, Report)
assert_type(report.ok, bool)
assert_type(report.verdict, str)
assert_type(report.advice, tuple[str, ...])
assert_type(report.chosen, Method | None)
assert_type(report.as_dict(), dict[str, Any])


# What is refused

send(message)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
compose(sender=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Delivery(ret="hdrs")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Method(587, "ssl")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
compose("ann@example.org")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# A pair in place of a Password, and the result of an outcome

assert_type(
    Server("mail.example.org", ("ann", "secret")).auth,
    Password | OAuth2 | External | None,
)


def results(outcome: Outcome) -> Receipt:
    """`result` gives a receipt, or raises."""
    return outcome.result()


def config(error: ConfigError) -> list[MethodReport]:
    """The names of the first release stay."""
    assert_type(error.temporary, bool)
    return list(report.methods)
