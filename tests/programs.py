"""Whole programs as tests: what they begin with, how they are started and looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripted import ScriptedServer


PRELUDE = """
import asyncio, atexit, gc, json, logging, os, socket, sys, threading
logging.basicConfig(stream=sys.stdout, level="WARNING", format="%(message)s")
logging.getLogger("asyncio").setLevel("ERROR")  # -X dev: its opinion on slow machines
from smtpsend import *
from smtpsend.errors import *

config = json.loads(sys.argv[1])
where = Server(
    "localhost",
    Password(config["user"], config["password"]),
    policy=Policy(methods=[Method(config["port"], "starttls")]),
    cafile=config["ca"],
)
to = {"sender": "ann@example.org", "recipients": ["bob@example.net"]}

def numbered(n):
    return b"Message-ID: <%d@example.org>\\r\\n\\r\\nHello.\\r\\n" % n

def batch(*numbers):
    return [(numbered(n), *to.values()) for n in numbers]

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # whole lines, after forks

def join(*children):
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
"""
HANGING = """
def block(*args, **options):
    say("looking up")
    threading.Event().wait()
"""
STRICT = ["-X", "dev", "-W", "error::ResourceWarning", "-W", "ignore::DeprecationWarning"]
ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).parents[1]),
    # Without what -X dev does to find mistakes of C code: it makes a program slower.
    "PYTHONMALLOC": "default",
}
PATIENCE = 20  # far below what the policy above lets a silent server have


@contextmanager
def started(
    program: str, scripted: ScriptedServer, before: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """A program that talks to a scripted server, strict about what it leaves open."""
    config = {"user": scripted.user, "password": scripted.password}
    config |= {"ca": scripted.ca, "port": scripted.port("starttls")}
    with subprocess.Popen(
        [sys.executable, *STRICT, "-c", before + PRELUDE + program, json.dumps(config)],
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)  # its children, too


def finish(process: subprocess.Popen[str]) -> list[str]:
    """Wait for its end: the lines it printed; it complained of nothing."""
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, ""), out
    return out.splitlines()


def ran(program: str, scripted: ScriptedServer, before: str = "") -> list[str]:
    """Start it and wait for its end: the lines it printed."""
    with started(program, scripted, before) as process:
        return finish(process)
