"""Whole programs: forks, Ctrl-C, the end of the process, and gevent."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from leaks import ids, one_port
from scripted import Script, ScriptedServer, hang


pytestmark = pytest.mark.usefixtures("no_leaks")

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

def letter(n):
    return b"Message-ID: <%d@example.org>\\r\\n\\r\\nHello.\\r\\n" % n

def batch(*numbers):
    return [(letter(n), *to.values()) for n in numbers]

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # whole lines, after forks

def join(*children):
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
"""
STRICT = ["-X", "dev", "-W", "error::ResourceWarning", "-W", "ignore::DeprecationWarning"]
PATIENCE = 20  # far below what the policy above lets a silent server have

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a program that talks to a scripted server; none outlives the test."""
    started = []

    def start(
        program: str, scripted: ScriptedServer, before: str = ""
    ) -> subprocess.Popen[str]:
        config = {"user": scripted.user, "password": scripted.password}
        config |= {"ca": scripted.ca, "port": scripted.port("starttls")}
        process = subprocess.Popen(
            [
                sys.executable,
                *STRICT,
                "-c",
                before + PRELUDE + program,
                json.dumps(config),
            ],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()


def finish(process: subprocess.Popen[str]) -> list[str]:
    """Wait for its end: the lines it printed; it complained of nothing."""
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, ""), out
    return out.splitlines()


# Forks.


def test_parent_and_child_send_at_once(start: Start) -> None:
    """Idle connections in the parent stay the parent's; the child opens its own."""
    program = """
with Client(where) as client:
    client.send(letter(0), **to)
    child = os.fork()
    first = 10 if child else 20
    for n in range(3):
        assert client.send(letter(first + n), **to).attempts == ()
    if child:
        join(child)
        assert client.send(letter(13), **to).attempts == ()
"""
    with one_port() as scripted:
        finish(start(program, scripted))
    scripted.assert_clean(auths=2)
    assert ids(scripted) == [0, 10, 11, 12, 13, 20, 21, 22]
    assert [len(c.accepted) for c in scripted.connections] == [5, 3]


def test_forks_while_threads_send(start: Start) -> None:
    """Six children are forked in the middle of forty sends; each sends two."""
    program = """
def ten(first):
    for n in range(10):
        client.send(letter(first + n), **to)

with Client(where) as client:
    threads = [threading.Thread(target=ten, args=[n]) for n in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    children = []
    for n in (100, 200, 300, 400, 500, 600):
        children.append(os.fork())
        if not children[-1]:
            client.send(letter(n), **to)
            send(letter(n + 1), where, **to)
            client.close()
            os._exit(0)
    join(*children)
    for thread in threads:
        thread.join()
"""
    with one_port() as scripted:
        finish(start(program, scripted))
    scripted.assert_clean(auths=None)
    children = [n + more for n in range(100, 700, 100) for more in (0, 1)]
    assert ids(scripted) == [*range(40), *children]


def test_prefork_workers_use_the_client_of_the_master(start: Start) -> None:
    """As gunicorn does it: made and used in the master, then used in three workers."""
    program = """
client = Client(where)
client.check()
workers = []
for worker in (1, 2, 3):
    workers.append(os.fork())
    if not workers[-1]:
        for n in range(2):
            assert client.send(letter(10 * worker + n), **to).attempts == ()
        assert all(o.receipt for o in client.send_many(batch(10 * worker + 2)))
        sys.exit()
join(*workers)
client.send(letter(1), **to)
"""
    with one_port() as scripted:
        finish(start(program, scripted))
    scripted.assert_clean(auths=4)
    assert ids(scripted) == [1, *(10 * w + n for w in (1, 2, 3) for n in range(3))]
    assert len(scripted.connections) == 4


def test_a_pool_of_forked_workers(start: Start) -> None:
    """As Celery does it: multiprocessing's workers use a client of the parent."""
    program = """
import multiprocessing

client = Client(where)
client.send(letter(100), **to)

def task(n):
    return client.send(letter(n), **to).message_id

with multiprocessing.get_context("fork").Pool(3) as pool:
    say(len(set(pool.map(task, range(12), chunksize=1))))
    pool.close()
    pool.join()
client.close()
"""
    with one_port() as scripted:
        assert finish(start(program, scripted)) == ["12"]
    scripted.assert_clean(auths=4)
    assert ids(scripted) == [*range(12), 100]


def test_a_child_holds_no_copy_of_a_connection(start: Start) -> None:
    """The server sees the parent hang up while the child, which sends, goes on."""
    program = """
client, plain = Client(where), AsyncClient(where)
client.send(letter(0), **to)

async def main():
    await plain.send(letter(1), **to)
    child = os.fork()
    if child:
        client.close()
        await plain.aclose()
        join(child)
    else:
        sys.stdin.readline()
        os._exit(0)

asyncio.run(main())
"""
    with one_port(Script({"quit": hang()})) as scripted:
        process = start(program, scripted)
        scripted.wait_closed(2)
        assert process.poll() is None
        process.stdin.write("go\n")
        finish(process)
    assert [c.verbs[-1] for c in scripted.connections] == ["QUIT", "QUIT"]


# Ctrl-C.

SENDS = {
    "send": "send(letter(1), where, **to)",
    "send_async": "asyncio.run(send_async(letter(1), where, **to))",
    "Client.send": "Client(where).send(letter(1), **to)",
    "Client.send_many": "list(Client(where, max_connections=1).send_many(batch(1, 2)))",
    "Client.check": "Client(where).check()",
    "AsyncClient.send_many": """
    async def main():
        async with AsyncClient(where, max_connections=1) as client:
            async for _ in client.send_many(batch(1, 2)):
                pass
    asyncio.run(main())""",
}
INTERRUPTED = """
idle = Client(where)
idle.send(letter(0), **to)
try:
    {}
except KeyboardInterrupt:
    say("interrupted")
"""


@pytest.mark.parametrize("moment", ["auth", "mail", "data", "final"])
@pytest.mark.parametrize("how", SENDS)
def test_ctrl_c(start: Start, how: str, moment: str) -> None:
    """It reaches the caller at once, nothing is sent again, and the program ends."""
    if how == "Client.check":
        moment = "auth"
    with one_port({}, Script({moment: hang()})) as scripted:
        process = start(INTERRUPTED.format(SENDS[how]), scripted)
        scripted.wait_for(lambda: stuck(scripted, moment))
        process.send_signal(signal.SIGINT)
        out = finish(process)
    assert out[-1] == "interrupted"
    warned = [line for line in out if "unknown whether delivered: <1@" in line]
    assert len(warned) == (moment == "final")
    assert ids(scripted) == [0]
    assert len(scripted.connections) == 2


def stuck(scripted: ScriptedServer, moment: str) -> bool:
    """Whether the second connection has come to where the server falls silent."""
    if len(scripted.connections) < 2:
        return False
    record = scripted.connections[1]
    if moment == "final":
        return any(m.state == "unknown" for m in record.messages)
    return moment.upper() in record.verbs


HANGING = """
def block(*args, **options):
    say("looking up")
    threading.Event().wait()
"""


@pytest.mark.parametrize("how", [how for how in SENDS if how != "Client.check"])
def test_ctrl_c_in_a_name_look_up_that_hangs(start: Start, how: str) -> None:
    """The thread that hangs holds up neither the caller nor the end of the process."""
    hanging = "    socket.getaddrinfo = block\n    " + SENDS[how].lstrip()
    with one_port() as scripted:
        process = start(HANGING + INTERRUPTED.format(hanging.lstrip()), scripted)
        assert process.stdout.readline() == "looking up\n"
        process.send_signal(signal.SIGINT)
        assert finish(process) == ["interrupted"]
    assert ids(scripted) == [0]


def test_a_deadline_in_a_name_look_up_that_hangs(start: Start) -> None:
    """The call ends in a typed error, and the process with it."""
    program = """
socket.getaddrinfo = block
for call in (lambda: send(letter(1), where, **to, timeout=0.2),
             lambda: asyncio.run(send_async(letter(1), where, **to, timeout=0.2))):
    try:
        call()
    except ConnectError as error:
        say(error.phase, error.timed_out)
"""
    with one_port() as scripted:
        out = finish(start(HANGING + program, scripted))
    assert out == ["looking up", "resolve True"] * 2


# The end of the process.

AT_EXIT = {
    "send": "send(letter(1), where, **to)",
    "send_async": "asyncio.run(send_async(letter(1), where, **to))",
    "Client": """
    with Client(where) as client:
        client.send(letter(1), **to)
        client.send(letter(2), **to)""",
    "send_many": """
    with Client(where) as client:
        assert all(o.receipt for o in client.send_many(batch(1, 2, 3)))""",
}


@pytest.mark.parametrize("before", ["pass", "send(letter(0), where, **to)"])
@pytest.mark.parametrize("how", AT_EXIT)
def test_sends_at_the_end_of_the_process(start: Start, how: str, before: str) -> None:
    """From an `atexit` handler, where no thread starts any more on 3.12 and newer."""
    program = f"""
@atexit.register
def last():
    {AT_EXIT[how]}
    say("done")

{before}
"""
    with one_port() as scripted:
        assert finish(start(program, scripted)) == ["done"]
    expected = {"Client": [1, 2], "send_many": [1, 2, 3]}.get(how, [1])
    assert ids(scripted) == [0] * (before != "pass") + expected


def test_a_client_left_open_ends_with_the_process(start: Start) -> None:
    """Nothing is said about it, and its connections end."""
    program = """
client = Client(where)
assert all(o.receipt for o in client.send_many(batch(1, 2, 3)))
"""
    with one_port() as scripted:
        assert finish(start(program, scripted)) == []
        scripted.wait_closed(len(scripted.connections))
    assert ids(scripted) == [1, 2, 3]


def test_an_abandoned_batch_that_the_background_thread_collects(start: Start) -> None:
    """Left in a cycle with messages in flight: the collector over there waits for none."""
    program = """
from smtpsend._client import portal

async def collect():
    gc.collect()

gc.disable()
with Client(where, max_connections=2) as client:
    cycle = [client.send_many(batch(*range(20)))]
    cycle.append(cycle)
    next(cycle[0])
    del cycle
    portal.run(collect)
    say("alive")
"""
    with one_port() as scripted:
        assert finish(start(program, scripted)) == ["alive"]


# gevent.


@pytest.mark.skipif(
    importlib.util.find_spec("gevent") is None, reason="gevent is not installed"
)
@pytest.mark.parametrize("how", AT_EXIT)
def test_gevent(start: Start, how: str) -> None:
    """Its monkey-patching either works or is refused with a typed error, at once."""
    program = f"""
try:
    {AT_EXIT[how]}
    say("sent")
except SendError as error:
    say(type(error).__name__)
"""
    before = "from gevent import monkey\nmonkey.patch_all()\n"
    with one_port() as scripted:
        (out,) = finish(start(program, scripted, before))
    assert out in ("sent", "ConfigError")
    assert bool(ids(scripted)) == (out == "sent")
