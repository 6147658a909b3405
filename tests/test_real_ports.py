"""The ports 587, 465 and 2525 for real, behind a firewall that blocks some of them.

Server and client run in a network namespace of their own (see servers/namespace.py).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from email.utils import make_msgid
from typing import Any

import pytest
from servers import Certificates, RealServer
from servers.namespace import Namespace, run


# Sends messages by the methods of the default policy; prints what became of each.
# A longer stagger than the default, since a busy machine may be slow on an open port.
CLIENT = """\
import asyncio, json, sys
import smtpsend

host, cafile, user, password, timeout, way, *ids = sys.argv[1:]
policy = smtpsend.Policy(stagger=1)
auth = smtpsend.Password(user, password)
server = smtpsend.Server(host, auth, policy=policy, cafile=cafile)
seconds = float(timeout)


def message(id):
    headers = {"Message-ID": id}
    return smtpsend.compose(sender=user, to=user, text=".", headers=headers)


def sync():
    with smtpsend.Client(server, idle_timeout=0) as client:
        for id in ids:
            yield lambda: client.send(message(id), timeout=seconds)


def asynchronous():
    for id in ids:
        yield lambda: asyncio.run(
            smtpsend.send_async(message(id), server, timeout=seconds)
        )


for send in {"sync": sync, "async": asynchronous}[way]():
    tried = {"port": None, "error": None}
    try:
        result = send()
        tried["port"] = result.method.port
    except smtpsend.SendError as error:
        result = error
        tried["error"] = [type(error).__name__, error.temporary, error.timed_out]
    tried["attempts"] = [
        [a.method.port, a.event, a.phase] for a in result.attempts
    ]
    print(json.dumps(tried))
"""


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest,
    real_servers: Any,
    namespace: Namespace,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RealServer]:
    """A server in the namespace, on the three ports of the default policy."""
    real_servers.get(request.param)  # skips where it can't run
    started = RealServer(
        request.param,
        tmp_path_factory.mktemp("ports"),
        certificates,
        ports=(587, 465, 2525),
        prefix=namespace.prefix,
    )
    yield started
    started.stop()


DROP, REJECT = "-j DROP", "-j REJECT --reject-with tcp-reset"
LATE, UNREACHABLE = ["abandoned", "connect"], ["unreachable", "connect"]
NOWHERE = {587: UNREACHABLE, 465: UNREACHABLE, 2525: UNREACHABLE}
# For each firewall: its rules, the port that delivers, what was tried before; and the
# error where no port does: its type, .temporary and .timed_out.
WALLS: dict[str, tuple[list[str], int | None, dict[int, list[str]], list[Any] | None]] = {
    "none": ([], 587, {}, None),
    "587 dropped": ([f"--dport 587 {DROP}"], 465, {587: LATE}, None),
    "465 dropped": ([f"--dport 465 {DROP}"], 587, {}, None),
    "587 and 465 dropped": (
        [f"--dport 587 {DROP}", f"--dport 465 {DROP}"],
        2525,
        {587: LATE, 465: LATE},
        None,
    ),
    "587 rejected": ([f"--dport 587 {REJECT}"], 465, {587: UNREACHABLE}, None),
    "587 unreachable": (
        [f"--dport 587 {DROP[:-4]}REJECT"],
        465,
        {587: UNREACHABLE},
        None,
    ),
    "587 rejected, 465 dropped": (
        [f"--dport 587 {REJECT}", f"--dport 465 {DROP}"],
        2525,
        {587: UNREACHABLE, 465: LATE},
        None,
    ),
    # The connection is made and the server greets, but hears nothing.
    "587 deaf": (
        [f"--dport 587 --tcp-flags PSH PSH {DROP}"],
        465,
        {587: ["abandoned", "ehlo"]},
        None,
    ),
    "all rejected": (
        [f"-m multiport --dports 587,465,2525 {REJECT}"],
        None,
        NOWHERE,
        ["ConnectError", True, False],
    ),
    "all dropped": (
        [f"-m multiport --dports 587,465,2525 {DROP}"],
        None,
        NOWHERE,
        ["ConnectError", True, True],
    ),
}


# How the client runs on each server, and the name that it knows the server by. Nothing
# listens on ::1, the other address of localhost.
WAYS = {"aiosmtpd": ("sync", "localhost"), "postfix": ("async", "127.0.0.1")}


# What a firewall does depends on no server; what the two differ in is the way.
FEW = ("none", "587 dropped", "587 rejected")
WALLED = [("aiosmtpd", wall) for wall in WALLS] + [("postfix", wall) for wall in FEW]


# With this scope, as otherwise each test would start a server of its own.
@pytest.mark.parametrize(("server", "wall"), WALLED, indirect=["server"], scope="module")
def test_firewall(server: RealServer, namespace: Namespace, wall: str) -> None:
    """The first open port delivers, and a blocked one costs but the first message."""
    rules, port, before, error = WALLS[wall]
    way, host = WAYS[server.name]
    # Where no port works, one message will do: it takes as long as it may.
    ids = [make_msgid(domain=server.domain) for _ in range(2 if port else 1)]
    who = (host, server.ca, server.user, server.password, "30" if port else "4")
    python = (sys.executable, "-W", "always", "-c", CLIENT)
    with namespace.rules(*rules):
        ran = run(*namespace.prefix, *python, *who, way, *ids)
    assert ran.returncode == 0, ran.stderr
    first, *second = map(json.loads, ran.stdout.splitlines())
    assert (first["port"], first["error"]) == (port, error)
    assert {number: rest for number, *rest in first["attempts"]} == before
    # The port that worked is remembered, by both of the ways.
    assert second == [{"port": port, "error": None, "attempts": []}] * bool(port)
    # The one warning, and nothing else such as a ResourceWarning.
    warned = f"{host}: fell back to {port} " if port and before else ""
    assert (ran.stderr[: len(warned)], ran.stderr.count("\n")) == (warned, bool(warned))
    found = [len(server.delivered(one, bool(port))) for one in ids]
    assert found == [bool(port)] * len(ids)
