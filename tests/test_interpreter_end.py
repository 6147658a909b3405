"""The sync face while the interpreter ends: no call waits for what cannot run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from leaks import ids, one_port
from programs import HANGING, PATIENCE, STRICT, ran


pytestmark = pytest.mark.usefixtures("no_leaks")

SENT = "send(numbered(0), where, **to)"

# From a finalizer: daemon threads stand still, and modules are emptied bit by bit.

LATE = """
from smtpsend.check import check as examine

client = Client(where, max_connections=2)
outcomes = client.send_many(batch(*range(10, 40)))
{before}
uses = {uses}

class Late:
    def __del__(self):
        for name, use in uses.items():
            try:
                use()
            except SendError as error:
                say(name, type(error).__name__, error.temporary, bool(error.hint))
            else:
                say(name, "ended")

late = Late()
"""
USES = """{
    "send": lambda: send(numbered(1), where, **to),
    "Client.send": lambda: client.send(numbered(1), **to),
    "Client.check": lambda: client.check(),
    "Client.send_many": lambda: list(client.send_many(batch(1, 2))),
    "check": lambda: examine(where),
}"""
CLOSES = """{
    "a batch": outcomes.close,
    "a context manager": lambda: client.__exit__(None, None, None),
    "Client.close": client.close,
}"""
WARM = {"cold": "pass", "warm": SENT, "in flight": "next(outcomes)"}


@pytest.mark.parametrize("before", WARM)
def test_a_use_in_a_finalizer(before: str) -> None:
    """It ends by a typed error that says that nothing was sent."""
    with one_port() as scripted:
        out = ran(LATE.format(uses=USES, before=WARM[before]), scripted)
    names = ["send", "Client.send", "Client.check", "Client.send_many", "check"]
    assert out == [f"{name} ConnectError True True" for name in names]
    assert 1 not in ids(scripted)


@pytest.mark.parametrize("before", WARM)
def test_a_close_in_a_finalizer(before: str) -> None:
    """It waits for nothing, and raises nothing."""
    with one_port() as scripted:
        out = ran(LATE.format(uses=CLOSES, before=WARM[before]), scripted)
        scripted.wait_closed(len(scripted.connections))
    assert out == ["a batch ended", "a context manager ended", "Client.close ended"]


HOLDERS = {
    "a module's global": "late = Late()",
    "a cycle": "late = Late()\nlate.itself = late",
    "the interpreter's own modules": "import builtins\nbuiltins.late = Late()",
    "a thread's own data": "late = threading.local()\nlate.it = Late()",
    "an extension's module": "import _ssl\n_ssl.late = Late()",
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_client_that_its_owner_closes_late(holder: str) -> None:
    """Whoever holds the owner, and however much is left of the modules by then."""
    program = """
class Late:
    def __init__(self, write=os.write):
        self.client, self.write = Client(where), write

    def __del__(self):
        self.client.close()
        try:
            self.client.send(None)
        except self.expected:
            self.write(1, b"done\\n")

Late.expected = ConnectError
"""
    program += f"{SENT}\n{HOLDERS[holder]}\n"
    with one_port() as scripted:
        assert ran(program, scripted) == ["done"]


def test_a_batch_that_a_module_still_holds() -> None:
    """The collector closes it when nothing moves any more: it waits for nothing."""
    program = """
client = Client(where, max_connections=2)
outcomes = client.send_many(batch(*range(30)))
next(outcomes)
"""
    with one_port() as scripted:
        assert ran(program, scripted) == []
        scripted.wait_closed(len(scripted.connections))
    assert len(ids(scripted)) == len(set(ids(scripted)))


def test_what_a_batch_had_in_flight_is_accounted_for() -> None:
    """Each message has one outcome, and what was not begun is safe to send again."""
    program = """
import builtins

client = Client(where, max_connections=1, window=4)
given, had = [], []

def mails():
    for n in range(100):
        given.append(n)
        yield batch(n)[0]

class Late:
    def __del__(self):
        try:
            for outcome in outcomes:
                had.append(outcome.index)
                if outcome.error is not None:
                    say(type(outcome.error).__name__, outcome.error.message_id)
        except ConnectError as error:
            say("the rest:", error.temporary, sorted(had) == given)

outcomes = client.send_many(mails())
had.append(next(outcomes).index)
builtins.late = Late()  # its module is not emptied before
"""
    with one_port() as scripted:
        out = ran(program, scripted)
    assert out[-1] == "the rest: True True"
    sent = set(ids(scripted))
    for kind, message_id in (line.split() for line in out[:-1]):
        if kind == "ConnectError":
            assert int(message_id[1:].partition("@")[0]) not in sent
        else:
            assert kind == "DeliveryUnknown"


NAMES = {
    "nothing used before": ("", "RuntimeError"),
    "the same used before": ("smtpsend.send", "ConnectError"),
    "an error used before": ("import smtpsend.errors", "SendError RuntimeError"),
}


@pytest.mark.parametrize("case", NAMES)
def test_a_name_that_is_asked_for_late(case: str) -> None:
    """The package imports its parts on first use, and says so where it is too late."""
    before, expected = NAMES[case]
    program = f"""
import os, smtpsend
{before}

class Late:
    def __del__(self, write=os.write):
        if "errors" in {before!r}:
            write(1, smtpsend.SendError.__name__.encode() + b" ")
        try:
            smtpsend.send(None, None)
        except Exception as error:
            write(1, type(error).__name__.encode())

late = Late()
"""
    done = subprocess.run(
        [sys.executable, *STRICT, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.stdout, done.stderr) == (expected, "")


# While threads are waited for: no other thread starts on 3.12 and newer.


@pytest.mark.parametrize("before", ["cold", "warm"])
def test_the_workers_of_a_pool(before: str) -> None:
    """The interpreter waits for them: what they have to send goes out."""
    program = """
from concurrent.futures import ThreadPoolExecutor

client = Client(where, max_connections=2)
{before}
pool = ThreadPoolExecutor(4)
go = threading.Event()

def job(n):
    go.wait()
    client.send(numbered(n), **to)
    send(numbered(10 + n), where, **to)
    return "done"

jobs = [pool.submit(job, n) for n in (1, 2, 3, 4)]
threading._register_atexit(go.set)
atexit.register(lambda: say(*[job.result() for job in jobs]))
""".replace("{before}", WARM[before])
    with one_port() as scripted:
        assert ran(program, scripted) == ["done done done done"]
    sent = [n for n in ids(scripted) if n]
    assert sent == [1, 2, 3, 4, 11, 12, 13, 14]


@pytest.mark.parametrize("before", ["cold", "warm"])
def test_a_daemon_thread_that_sends_to_the_end(before: str) -> None:
    """It is stopped in the middle, and holds nothing that the end waits for."""
    program = """
client = Client(where, max_connections=2)
{before}
gone = threading.Event()

def forever():
    while True:
        client.send(numbered(1), **to)
        gone.set()

for _ in range(3):
    threading.Thread(target=forever, daemon=True).start()
gone.wait()

class Late:
    def __del__(self):
        client.close()
        say("closed")

import builtins
builtins.late = Late()  # the threads keep what the module has
""".replace("{before}", WARM[before])
    with one_port() as scripted:
        assert ran(program, scripted) == ["closed"]


def test_an_exit_handler_with_an_event_loop() -> None:
    """A sync call in it blocks it, or is refused where it would need two loops."""
    program = """
async def main():
    try:
        send(numbered(1), where, **to)
    except ConnectError as error:
        say(error.temporary, "send_async" in str(error))
    else:
        say("sent")

atexit.register(lambda: asyncio.run(main()))
"""
    with one_port() as scripted:
        out = ran(program, scripted)
    assert out in (["sent"], ["True True"])
    assert ids(scripted) == ([1] if out == ["sent"] else [])


def test_a_finalizer_in_the_thread_that_runs_the_loop() -> None:
    """In an exit handler, or in the background: the collector may come anywhere."""
    program = """
class Owner:
    def __init__(self):
        self.client = Client(where)
        self.client.send(numbered(1), **to)
        self.cycle = self

    def __del__(self):
        self.client.close()
        say("closed")

def collect(outcome):
    gc.collect()

def last():
    global owner
    gc.disable()
    owner = Owner()
    del owner
    with Client(where, on_outcome=collect) as client:
        client.send(numbered(2), **to)
    say("done")

atexit.register(last)
"""
    with one_port() as scripted:
        assert ran(program, scripted) == ["closed", "done"]
        scripted.wait_closed(2)
    assert ids(scripted) == [1, 2]


def test_async_code_in_a_finalizer() -> None:
    """A name look-up needs a thread, and is refused in place of a wait without end."""
    program = """
class Late:
    def __del__(self):
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(send_async(numbered(1), where, **to))
        except SendError as error:
            say(type(error).__name__, error.temporary)
        finally:
            loop.close()

send(numbered(0), where, **to)
late = Late()
"""
    with one_port() as scripted:
        assert ran(program, scripted) == ["ConnectError True"]
    assert ids(scripted) == [0]


def test_a_warm_process_whose_look_up_hangs_at_the_end() -> None:
    """No thread starts on 3.12 and newer, so that it holds up the background thread."""
    program = """
from smtpsend._client.background import portal

portal._GRACE = 0.5
send(numbered(0), where, **to)
socket.getaddrinfo = block

@atexit.register
def last():
    try:
        send(numbered(1), where, **to, timeout=0.2)
    except (ConnectError, DeliveryUnknown) as error:
        say("ended", error.timed_out)
"""
    with one_port() as scripted:
        out = ran(HANGING + program, scripted)
    assert out == ["looking up", "ended True"]
    assert ids(scripted) == [0]


def test_a_logging_handler_in_a_finalizer() -> None:
    """What is logged that late is counted, and neither it nor a flush waits."""
    program = """
from smtpsend.contrib.logging import MailHandler

handler = MailHandler(where, sender="ann@example.org", recipients=["bob@example.net"])
shop = logging.getLogger("shop")
shop.propagate = False
shop.addHandler(handler)

class Late:
    def __del__(self):
        handler._changed.acquire()  # as a thread does that stands still now
        shop.error("late")
        handler.flush()
        handler.close()
        say(handler.dropped)

send(numbered(0), where, **to)
late = Late()
"""
    with one_port() as scripted:
        assert ran(program, scripted) == ["1"]
    assert ids(scripted) == [0]
