"""Whole programs: how they end, and gevent."""

from __future__ import annotations

import importlib.util

import pytest
from leaks import ids, one_port
from programs import HANGING, ran


pytestmark = pytest.mark.usefixtures("no_leaks")


def test_a_deadline_in_a_name_look_up_that_hangs() -> None:
    """The call ends in a typed error, and the process with it."""
    program = """
socket.getaddrinfo = block
for call in (lambda: send(numbered(1), where, **to, timeout=0.2),
             lambda: asyncio.run(send_async(numbered(1), where, **to, timeout=0.2))):
    try:
        call()
    except ConnectError as error:
        say(error.phase, error.timed_out)
"""
    with one_port() as scripted:
        out = ran(HANGING + program, scripted)
    assert out == ["looking up", "resolve True"] * 2


# The end of the process.

AT_EXIT = {
    "send": "send(numbered(1), where, **to)",
    "send_async": "asyncio.run(send_async(numbered(1), where, **to))",
    "Client": """
    with Client(where) as client:
        client.send(numbered(1), **to)
        client.send(numbered(2), **to)""",
    "send_many": """
    with Client(where) as client:
        assert all(o.receipt for o in client.send_many(batch(1, 2, 3)))""",
}


@pytest.mark.parametrize("before", ["pass", "send(numbered(0), where, **to)"])
@pytest.mark.parametrize("how", AT_EXIT)
def test_sends_at_the_end_of_the_process(how: str, before: str) -> None:
    """From an `atexit` handler, where no thread starts any more on 3.12 and newer."""
    program = f"""
@atexit.register
def last():
    {AT_EXIT[how]}
    say("done")

{before}
"""
    with one_port() as scripted:
        assert ran(program, scripted) == ["done"]
    expected = {"Client": [1, 2], "send_many": [1, 2, 3]}.get(how, [1])
    assert ids(scripted) == [0] * (before != "pass") + expected


def test_a_client_left_open_ends_with_the_process() -> None:
    """Nothing is said about it, and its connections end."""
    program = """
client = Client(where)
assert all(o.receipt for o in client.send_many(batch(1, 2, 3)))
"""
    with one_port() as scripted:
        assert ran(program, scripted) == []
        scripted.wait_closed(len(scripted.connections))
    assert ids(scripted) == [1, 2, 3]


def test_an_abandoned_batch_that_the_background_thread_collects() -> None:
    """Left in a cycle with messages in flight: it waits for none of them there."""
    program = """
from smtpsend._client.background import portal

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
        assert ran(program, scripted) == ["alive"]


# gevent.

EARLY = "from gevent import monkey\nmonkey.patch_all()\n"
GEVENT = {
    "patched first": (EARLY, "pass", "sent"),
    "patched late": ("", EARLY, "ConfigError"),
    "patched after a send": (
        "",
        "send(numbered(0), where, **to)\n" + EARLY,
        "ConfigError",
    ),
    "patched but for threads": (EARLY.replace("()", "(thread=False)"), "", "ConfigError"),
}
needs_gevent = pytest.mark.skipif(
    importlib.util.find_spec("gevent") is None, reason="gevent is not installed"
)


# What is refused is refused where all of them hand their work to the background thread.
PATCHED = [(how, "patched first") for how in ("send", "Client", "send_many")]
PATCHED += [("send", patch) for patch in GEVENT if patch != "patched first"]


@needs_gevent
@pytest.mark.parametrize(("how", "patch"), PATCHED)
def test_gevent_works_or_is_refused(how: str, patch: str) -> None:
    """Its monkey-patching never makes a send hang."""
    before, then, expected = GEVENT[patch]
    program = f"""
{then}
try:
    {AT_EXIT[how]}
    say("sent")
except ConfigError as error:
    say("ConfigError")
"""
    with one_port() as scripted:
        assert ran(program, scripted, before) == [expected]
    sent = [n for n in ids(scripted) if n]
    assert bool(sent) == (expected == "sent")


@needs_gevent
def test_greenlets_share_a_client() -> None:
    """Twenty at once; those that wait for the server let the others run."""
    program = """
import gevent
with Client(where) as client:
    jobs = [gevent.spawn(client.send, numbered(n), **to) for n in range(20)]
    gevent.joinall(jobs, raise_error=True)
"""
    with one_port() as scripted:
        assert ran(program, scripted, EARLY) == []
    assert ids(scripted) == list(range(20))


@needs_gevent
def test_a_native_thread_under_gevent_is_refused() -> None:
    """In gevent's own thread pool a wake-up can be lost: an error, and no hang."""
    program = """
import gevent

def refused():
    try:
        send(numbered(1), where, **to)
    except ConfigError:
        return "ConfigError"

say(gevent.get_hub().threadpool.apply(refused))
"""
    with one_port() as scripted:
        assert ran(program, scripted, EARLY) == ["ConfigError"]
    assert ids(scripted) == []


@needs_gevent
def test_a_fork_under_gevent() -> None:
    """With an idle connection in the parent: both go on sending."""
    program = """
with Client(where) as client:
    client.send(numbered(0), **to)
    child = os.fork()
    client.send(numbered(1 if child else 2), **to)
    if child:
        join(child)
        client.send(numbered(3), **to)
"""
    with one_port() as scripted:
        ran(program, scripted, EARLY)
    scripted.assert_clean(auths=2)
    assert ids(scripted) == [0, 1, 2, 3]
