"""What most tests need: a message, a `Server` for a scripted one, both ways to send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from scripted import ScriptedServer

from smtpsend import Method, Password, Policy, Receipt, Server, send, send_async


SENDER = "ann@example.org"
RECIPIENT = "bob@example.net"
MESSAGE_ID = "<1@example.org>"
MESSAGE = (
    f"From: {SENDER}\r\nTo: {RECIPIENT}\r\nMessage-ID: {MESSAGE_ID}\r\n"
    "Subject: hello\r\n\r\nHello.\r\n.\r\n..dots\r\n"
).encode()

Send = Callable[..., Receipt]


def send_sync(message: object, server: Server | str, **options: Any) -> Receipt:
    """`send`, from a thread without an event loop."""
    return send(message, server, **options)  # type: ignore[arg-type]


def send_in_loop(message: object, server: Server | str, **options: Any) -> Receipt:
    """`send_async`, in an event loop of its own."""
    return asyncio.run(send_async(message, server, **options))  # type: ignore[arg-type]


WAYS = [send_sync, send_in_loop]


def policy_for(scripted: ScriptedServer, *names: str, **options: Any) -> Policy:
    """The default policy on the ports of a scripted server, with short times."""
    pairs = dict(zip(scripted._ports, scripted.methods(), strict=True))
    methods = tuple(Method(*pairs[name]) for name in names or pairs)  # type: ignore[arg-type]
    quick = {"stagger": 0.1, "connect_timeout": 0.5, "reply_timeout": 0.5}
    quick |= {"final_timeout": 0.5, "deadline": 5}
    return Policy(methods=methods, **{**quick, **options})


def server_for(scripted: ScriptedServer, *names: str, **options: Any) -> Server:
    """A scripted server as a `Server`: all its ports, or those named."""
    trust = {k: options.pop(k) for k in ("ehlo_name", "ssl_context") if k in options}
    if "ssl_context" not in trust:
        trust["cafile"] = options.pop("cafile", scripted.ca)
    auth = options.pop("auth", Password(scripted.user, scripted.password))
    policy = policy_for(scripted, *names, **options)
    return Server(scripted.host, auth, policy=policy, **trust)


def envelope(**options: Any) -> dict[str, Any]:
    """Sender and recipients for `MESSAGE`."""
    return {"sender": SENDER, "recipients": [RECIPIENT], **options}
