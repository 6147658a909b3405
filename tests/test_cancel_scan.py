"""Cancellation at each turn of the event loop in turn, and Ctrl-C at each command."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import selectors
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from scripted import OFFERS, Action, Script, ScriptedServer, hang, reply
from sending import MESSAGE, envelope, server_for

from smtpsend import AsyncClient, Client, Outcome, Receipt, Server, send, send_async
from smtpsend.errors import DeliveryUnknown, RecipientsRefused


pytestmark = pytest.mark.scan

BEFORE = MESSAGE.replace(b"<1@", b"<0@")
AFTER = MESSAGE.replace(b"<1@", b"<2@")
Send = Coroutine[Any, Any, Receipt]


class Turns(selectors.DefaultSelector):
    """Counts the turns of the loop that it selects for, and cancels a task at some."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0
        self._at: set[int] = set()
        self._task: asyncio.Task[Any] | None = None

    def cancel(self, task: asyncio.Task[Any] | None, at: set[int]) -> None:
        """Cancel `task` when these turns, counted from now, begin; None for no more."""
        self._task, self._at, self._turn = task, at, 0

    @property
    def all_past(self) -> bool:
        """Whether the last turn at which to cancel has come."""
        return self._turn >= max(self._at)

    def select(self, timeout: float | None = None) -> list[Any]:
        if self._task is not None and self._turn in self._at:
            self._task.cancel()
            timeout = 0  # what it woke is run in this turn
        self._turn += 1
        return super().select(timeout)


def sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        except OSError:  # the folder's own
            continue
    return found


TOLD: list[Outcome] = []


async def settled() -> None:
    """What was aborted needs a turn or two; nothing needs more."""
    for _ in range(4):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def cancelled(turns: Turns, sending: Send, at: set[int]) -> Receipt | None:
    """The receipt, or None where the send was cancelled."""
    task = asyncio.create_task(sending)
    turns.cancel(task, at)
    try:
        receipt = await task
    except asyncio.CancelledError:
        receipt = None
    over = not turns.all_past
    turns.cancel(None, at)
    assert receipt is not None or not over, "cancelled, and by whom?"
    await settled()
    return receipt


async def one_shot(server: Server, turns: Turns, at: set[int]) -> Receipt | None:
    """Cancel a `send_async`; the next one works."""
    found = await cancelled(turns, send_async(MESSAGE, server, **envelope()), at)
    assert await send_async(AFTER, server, **envelope())
    return found


async def by_client(server: Server, turns: Turns, at: set[int]) -> Receipt | None:
    """Cancel the first send of a client, which has one connection; the next one works."""
    async with AsyncClient(server, max_connections=1, on_outcome=TOLD.append) as client:
        found = await cancelled(turns, client.send(MESSAGE, **envelope()), at)
        assert await client.send(AFTER, **envelope())
    return found


async def kept(server: Server, turns: Turns, at: set[int]) -> Receipt | None:
    """Cancel a send over a kept connection; the next one works."""
    async with AsyncClient(server, max_connections=1, on_outcome=TOLD.append) as client:
        assert await client.send(BEFORE, **envelope())
        found = await cancelled(turns, client.send(MESSAGE, **envelope()), at)
        assert await client.send(AFTER, **envelope())
    return found


async def after_rset(server: Server, turns: Turns, at: set[int]) -> Receipt | None:
    """The same, where RSET comes first."""
    async with AsyncClient(server, max_connections=1, on_outcome=TOLD.append) as client:
        with pytest.raises(RecipientsRefused):
            await client.send(BEFORE, **envelope())
        found = await cancelled(turns, client.send(MESSAGE, **envelope()), at)
        assert await client.send(AFTER, **envelope())
    return found


async def waiting(server: Server, turns: Turns, at: set[int]) -> Receipt | None:
    """Cancel a send that waits for the one connection; all others work."""
    async with AsyncClient(server, max_connections=1, on_outcome=TOLD.append) as client:
        first = asyncio.create_task(client.send(BEFORE, **envelope()))
        await asyncio.sleep(0)
        task = asyncio.create_task(client.send(MESSAGE, **envelope()))
        turns.cancel(task, at)
        found = (await asyncio.gather(task, return_exceptions=True))[0]
        turns.cancel(None, at)
        assert await first
        assert await client.send(AFTER, **envelope())
    if isinstance(found, asyncio.CancelledError):
        return None
    assert isinstance(found, Receipt)
    return found


SLOW_GREETING = {
    "greeting": Action("late", lambda talk: (talk.pause(0.02), talk.do_normal()))
}
GROUPS = (*OFFERS, "PIPELINING", "CHUNKING")
REFUSES_ONE = [{"rcpt:1": reply(550, "5.1.1", "unknown")}, {}]
WAYS: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = {
    "one shot": (one_shot, {}, {}),
    "race of three": (one_shot, {"default": SLOW_GREETING}, {"stagger": 0}),
    "by name": (one_shot, {}, {"name": "localhost"}),
    "fallback": (one_shot, {"starttls": "refused"}, {}),
    "client": (by_client, {}, {}),
    "client race": (by_client, {"default": SLOW_GREETING}, {"stagger": 0}),
    "kept": (kept, {}, {}),
    "groups": (one_shot, {"default": Script(offers=GROUPS)}, {}),
    "kept groups": (kept, {"default": Script(offers=GROUPS)}, {}),
    "rset": (after_rset, {"starttls": REFUSES_ONE}, {}),
    "pool": (waiting, {}, {}),
}


def trial(way: str, at: set[int], caplog: pytest.LogCaptureFixture) -> bool:
    """One cancelled send and what must be true after it; whether it was cancelled."""
    run, ports, options = WAYS[way]
    options = {"stagger": 5, "connect_timeout": 5, "reply_timeout": 5, **options}
    name = options.pop("name", None)
    before = sockets()
    caplog.clear()
    TOLD.clear()
    with ScriptedServer(**ports) as scripted:
        server = server_for(scripted, final_timeout=5, deadline=15, **options)
        if name is not None:
            server = Server(name, server.auth, policy=server.policy, cafile=server.cafile)
        turns = Turns()
        loop = asyncio.SelectorEventLoop(turns)
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            found = runner.run(run(server, turns, at))
            scripted.wait_for(lambda: all(c.closed for c in scripted.connections))
    gc.collect()
    assert sockets() == before
    scripted.assert_clean(auths=None)
    ours = [
        m
        for c in scripted.connections
        for m in c.messages
        if m.message_id == "<1@example.org>"
    ]
    warnings = [
        r.getMessage() for r in caplog.records if "fell back" not in r.getMessage()
    ]
    assert all("<1@example.org>" in text for text in warnings)
    told = [type(o.receipt or o.error) for o in TOLD if o.message == MESSAGE]
    if run is one_shot:
        assert not TOLD  # it has no hooks
    elif found is not None:
        assert told == [Receipt]
    else:
        assert told == [DeliveryUnknown] * len(warnings)
    if found is not None:
        assert [m.state for m in ours] == ["accepted"]
        assert not warnings
    else:
        # It warns if, and only if, the end of the message went out; in a group with it go
        # commands, in whose answers the server may notice first that the client left.
        ended = sum(m.state in ("unknown", "accepted") for m in ours)
        assert ended <= len(warnings) <= (1 if "groups" in way else ended)
    return found is None


# A second and a third cancellation meet the same code in each way, so that two ways stand
# for all.
CANCELLED = [(way, 1) for way in WAYS]
CANCELLED += [(way, times) for way in ("one shot", "kept groups") for times in (2, 3)]


@pytest.mark.parametrize(("way", "times"), CANCELLED)
def test_cancelled_at_each_turn(
    way: str, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Cancelled at any turn, or at two or three that follow: clean, and it is told."""
    caplog.set_level(logging.WARNING, logger="smtpsend")
    count = survived = 0
    while survived < 3:  # the number of turns varies by a few
        at = {count * times + n for n in range(times)}
        try:
            survived = 0 if trial(way, at, caplog) else survived + 1
        except AssertionError as error:
            error.add_note(f"cancelled at turns {sorted(at)}")
            raise
        count += 1
    assert count * times > (2 if way == "pool" else 6)


def interrupt() -> Action:
    """Ctrl-C, as the terminal sends it: a signal for the main thread."""
    main = threading.main_thread().ident
    assert main is not None
    return Action("Ctrl-C", lambda talk: signal.pthread_kill(main, signal.SIGINT))


def interrupted_send(server: Server) -> None:
    send(MESSAGE, server, **envelope())


def interrupted_client(server: Server) -> None:
    with Client(server) as client:
        client.send(MESSAGE, **envelope())


def interrupted_many(server: Server) -> None:
    with Client(server) as client:
        list(client.send_many([(MESSAGE, *envelope().values())]))


MOMENTS = ["connect", "greeting", "ehlo", "starttls", "tls", "ehlo2", "auth"]
MOMENTS += ["mail", "rcpt", "data", "final"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("way", [interrupted_send, interrupted_client, interrupted_many])
def test_ctrl_c(
    way: Callable[[Server], None], moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Ctrl-C ends a sync send at once; what is unknown by then is in the log."""
    bad = Script({moment: interrupt() + hang()})
    with ScriptedServer(starttls=[bad, {}], implicit=None, starttls2=None) as scripted:
        limits = {"reply_timeout": 30, "final_timeout": 30, "deadline": 60}
        server = server_for(scripted, stagger=5, connect_timeout=5, **limits)
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            way(server)
        assert time.monotonic() - start < 5
        scripted.wait_closed(1)
        assert send(AFTER, server, **envelope()).method == server.policy.methods[0]
        scripted.wait_closed(2)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == (moment == "final")
    assert all("<1@example.org>" in text for text in warnings)
    assert [m.message_id for m in scripted.accepted] == ["<2@example.org>"]
    scripted.assert_clean(auths=2)
