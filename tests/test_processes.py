"""Whole programs: forks with connections open, and Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from leaks import ids, one_port
from programs import HANGING, finish, ran, started
from scripted import Script, ScriptedServer, hang

from smtpsend._client.background import portal


pytestmark = pytest.mark.usefixtures("no_leaks")


# Forks.


def test_parent_and_child_send_at_once() -> None:
    """Idle connections in the parent stay the parent's; the child opens its own."""
    program = """
with Client(where) as client:
    client.send(numbered(0), **to)
    child = os.fork()
    first = 10 if child else 20
    for n in range(3):
        assert client.send(numbered(first + n), **to).attempts == ()
    if child:
        join(child)
        assert client.send(numbered(13), **to).attempts == ()
"""
    with one_port() as scripted:
        ran(program, scripted)
    scripted.assert_clean(auths=2)
    assert ids(scripted) == [0, 10, 11, 12, 13, 20, 21, 22]
    assert [len(c.accepted) for c in scripted.connections] == [5, 3]


def test_forks_while_threads_send() -> None:
    """Six children are forked in the middle of forty sends; each sends two."""
    program = """
def ten(first):
    for n in range(10):
        client.send(numbered(first + n), **to)

with Client(where) as client:
    threads = [threading.Thread(target=ten, args=[n]) for n in (0, 10, 20, 30)]
    for thread in threads:
        thread.start()
    children = []
    for n in (100, 200, 300, 400, 500, 600):
        children.append(os.fork())
        if not children[-1]:
            client.send(numbered(n), **to)
            send(numbered(n + 1), where, **to)
            client.close()
            os._exit(0)
    join(*children)
    for thread in threads:
        thread.join()
"""
    with one_port() as scripted:
        ran(program, scripted)
    scripted.assert_clean(auths=None)
    children = [n + more for n in range(100, 700, 100) for more in (0, 1)]
    assert ids(scripted) == [*range(40), *children]


LOOKS_UP = {
    "send": "send(numbered(1), where, **to)",
    "send_async": "asyncio.run(send_async(numbered(1), where, **to))",
}


@pytest.mark.parametrize("how", LOOKS_UP)
@pytest.mark.parametrize("hangs", [False, True])
def test_a_fork_during_a_name_look_up(how: str, *, hangs: bool) -> None:
    """It waits for the look-up, whose locks the child would never get, but not for long.

    Python calls the functions that a fork begins with in the reverse order.
    """
    program = f"""
from smtpsend._wire import look_up

asked, forking, ended = threading.Event(), threading.Event(), threading.Event()
original, hangs = socket.getaddrinfo, {hangs}

def look_up(*args, **options):
    asked.set()
    forking.wait()
    threading.Event().wait(None if hangs else 0.1)
    ended.set()
    return original(*args, **options)

if not hangs:
    look_up._LOOK_UP_GRACE = 20  # this machine may be slow

socket.getaddrinfo = look_up
os.register_at_fork(before=forking.set)
thread = threading.Thread(target=lambda: {LOOKS_UP[how]}, daemon=True)
thread.start()
asked.wait()
child = os.fork()
if not child:
    socket.getaddrinfo = original
    assert ended.is_set() is not hangs
    send(numbered(2), where, **to)
    os._exit(0)
join(child)
if not hangs:
    thread.join()
"""
    with one_port() as scripted:
        ran(program, scripted)
    assert ids(scripted) == ([2] if hangs else [1, 2])


def test_prefork_workers_use_the_client_of_the_master() -> None:
    """As gunicorn does it: made and used in the master, then used in three workers."""
    program = """
client = Client(where)
client.check()
workers = []
for worker in (1, 2, 3):
    workers.append(os.fork())
    if not workers[-1]:
        for n in range(2):
            assert client.send(numbered(10 * worker + n), **to).attempts == ()
        assert all(o.receipt for o in client.send_many(batch(10 * worker + 2)))
        sys.exit()
join(*workers)
client.send(numbered(1), **to)
"""
    with one_port() as scripted:
        ran(program, scripted)
    scripted.assert_clean(auths=4)
    assert ids(scripted) == [1, *(10 * w + n for w in (1, 2, 3) for n in range(3))]
    assert len(scripted.connections) == 4


def test_a_pool_of_forked_workers() -> None:
    """As Celery does it: multiprocessing's workers use a client of the parent."""
    program = """
import multiprocessing

client = Client(where)
client.send(numbered(100), **to)

def task(n):
    return client.send(numbered(n), **to).message_id

with multiprocessing.get_context("fork").Pool(3) as pool:
    say(len(set(pool.map(task, range(12), chunksize=1))))
    pool.close()
    pool.join()
client.close()
"""
    with one_port() as scripted:
        assert ran(program, scripted) == ["12"]
    scripted.assert_clean(auths=4)
    assert ids(scripted) == [*range(12), 100]


def test_a_child_holds_no_copy_of_a_connection() -> None:
    """The server sees the parent hang up while the child, which sends, goes on."""
    program = """
client, plain = Client(where), AsyncClient(where)
client.send(numbered(0), **to)

async def main():
    await plain.send(numbered(1), **to)
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
        with started(program, scripted) as process:
            scripted.wait_closed(2)
            assert process.poll() is None
            process.stdin.write("go\n")
            finish(process)
    assert [c.verbs[-1] for c in scripted.connections] == ["QUIT", "QUIT"]


# Ctrl-C.

SENDS = {
    "send": "send(numbered(1), where, **to)",
    "send_async": "asyncio.run(send_async(numbered(1), where, **to))",
    "Client.send": "Client(where).send(numbered(1), **to)",
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
idle.send(numbered(0), **to)
try:
    {}
except KeyboardInterrupt:
    say("interrupted")
"""


# All moments, in one process, are those of test_cancel_scan.py.
CTRL_C = [("send", "auth"), ("send", "data"), ("Client.check", "auth")]
CTRL_C += [
    (how, moment)
    for how in SENDS
    if how != "Client.check"
    for moment in ("mail", "final")
]


@pytest.mark.parametrize(("how", "moment"), CTRL_C)
def test_ctrl_c(how: str, moment: str) -> None:
    """It reaches the caller at once, nothing is sent again, and the program ends."""
    with one_port({}, Script({moment: hang()})) as scripted:
        with started(INTERRUPTED.format(SENDS[how]), scripted) as process:
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


def test_a_second_ctrl_c() -> None:
    """The first met the caller's own code, and what is in flight would be finished."""
    program = """
import contextlib, signal

def main():
    with contextlib.closing(client.send_many(batch(1, 2))) as outcomes:
        next(outcomes)
        say("one")
        threading.Event().wait()

client = Client(where, max_connections=2)
try:
    main()
except KeyboardInterrupt:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    say("interrupted")
"""
    with one_port(Script({"final:2": hang()})) as scripted:
        with started(program, scripted) as process:
            assert process.stdout.readline() == "one\n"
            scripted.wait_for(lambda: len(scripted.connections[0].messages) == 2)
            for _ in range(100):
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
                    break
            out = finish(process)
    assert "unknown whether delivered" in out[0]
    assert out[1:] == ["interrupted"]
    assert len(ids(scripted)) == 1


@pytest.mark.parametrize("how", [how for how in SENDS if how != "Client.check"])
def test_ctrl_c_in_a_name_look_up_that_hangs(how: str) -> None:
    """The thread that hangs holds up neither the caller nor the end of the process."""
    hanging = "socket.getaddrinfo = block\n    " + SENDS[how].lstrip()
    program = HANGING + INTERRUPTED.format(hanging)
    with one_port() as scripted:
        with started(program, scripted) as process:
            assert process.stdout.readline() == "looking up\n"
            process.send_signal(signal.SIGINT)
            assert finish(process) == ["interrupted"]
    assert ids(scripted) == [0]


def test_a_call_that_is_cancelled_before_it_runs_ends_at_once() -> None:
    """The background thread is busy meanwhile; then nothing is sent, and nobody waits."""
    busy, go = threading.Event(), threading.Event()

    async def block() -> None:
        busy.set()
        go.wait(20)

    async def never() -> None:
        pytest.fail("it ran")

    blocking, call = portal.Call(block), portal.Call(never)
    blocking.start()
    assert busy.wait(20)
    call.start()
    with ThreadPoolExecutor(1) as threads:
        cancelling = threads.submit(call.cancel)
        go.set()
        cancelling.result(portal._GRACE / 2)
    assert call.future.cancelled()
