"""What most tests need: a message, a `Server` for a scripted one, both ways to send."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import pytest
from scripted import ScriptedServer

from smtpsend import Method, Password, Policy, Receipt, Server, send, send_async
from smtpsend._client import known_servers
from smtpsend._client.servers import retries
from smtpsend._wire import target


SENDER = "ann@example.org"
RECIPIENT = "bob@example.net"
MESSAGE_ID = "<1@example.org>"
MESSAGE = (
    f"From: {SENDER}\r\nTo: {RECIPIENT}\r\nMessage-ID: {MESSAGE_ID}\r\n"
    "Subject: hello\r\n\r\nHello.\r\n.\r\n..dots\r\n"
).encode()

Send = Callable[..., Receipt]
P = ParamSpec("P")
T = TypeVar("T")


def send_sync(message: object, server: Server | str, **options: Any) -> Receipt:
    """`send`, from a thread without an event loop."""
    return send(message, server, **options)  # type: ignore[arg-type]


def send_in_loop(message: object, server: Server | str, **options: Any) -> Receipt:
    """`send_async`, in an event loop of its own."""
    return asyncio.run(send_async(message, server, **options))  # type: ignore[arg-type]


WAYS = [send_sync, send_in_loop]


def forget() -> None:
    """Ports are used again: a server must not be taken for one of before."""
    known_servers._worked.clear()
    known_servers._quirks.clear()
    retries.in_process.clear()
    target._found.clear()


class _Patience:
    """Whether the running check has short times, and whether its times are stretched.

    Attributes:
        factor: by which times are stretched.
        short: a time was used that a busy machine can miss.
    """

    SHORT, LONG = 1.0, 10.0  # seconds: such a time can be missed; none is made longer

    def __init__(self) -> None:
        self.factor = 1
        self.short = False

    def stretched(self, seconds: float) -> float:
        self.short |= seconds < self.SHORT
        return min(self.factor * seconds, max(self.LONG, seconds))


_patience = _Patience()


def patiently(check: Callable[P, T]) -> Callable[P, T]:
    """Where a check fails that had short times, repeat it with ten times as long ones.

    A time-out that a test can wait for is one that a machine which stands still for a
    moment can miss. What is wrong is wrong at any pace; and a check without such times
    has no excuse.
    """

    @functools.wraps(check)
    def repeated(*args: P.args, **options: P.kwargs) -> T:
        _patience.short = False
        try:
            return check(*args, **options)
        except (Exception, pytest.fail.Exception):
            if not _patience.short:
                raise
            forget()
            _patience.factor = 10
            try:
                return check(*args, **options)
            finally:
                _patience.factor = 1

    return repeated


def stretched(seconds: float) -> float:
    """A time of a test, longer where the test is repeated for want of time."""
    return _patience.stretched(seconds)


CALM = {"reply_timeout": 20, "final_timeout": 20, "deadline": 40, "connect_timeout": 20}
CALM |= {"stagger": 5}
"""Times that only a hang reaches."""

QUICK = {"reply_timeout": 0.5, "final_timeout": 0.5, "deadline": 5}
QUICK |= {"connect_timeout": 0.5, "stagger": 0.1}
"""Times for servers that hang: for what is done `patiently`."""


def policy_for(scripted: ScriptedServer, *names: str, **options: Any) -> Policy:
    """The default policy on the ports of a scripted server, with calm times."""
    pairs = dict(zip(scripted._ports, scripted.methods(), strict=True))
    methods = tuple(Method(*pairs[name]) for name in names or pairs)  # type: ignore[arg-type]
    options = {**CALM, **options}
    for name in CALM:
        options[name] = stretched(options[name])
    return Policy(methods=methods, **options)


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
    if "timeout" in options:
        options["timeout"] = stretched(options["timeout"])
    return {"sender": SENDER, "recipients": [RECIPIENT], **options}
