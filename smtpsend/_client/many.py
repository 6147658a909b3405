"""Many messages, one after the other over a client's connections.

Never more than one message for each connection is in memory, and none is taken from the
iterable before there is a connection for it: the caller's pace is ours.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
)
from functools import partial
from typing import Any

from smtpsend._client import portal
from smtpsend._client.pool import Pool
from smtpsend._client.submit import order_of, submit
from smtpsend._model.receipt import Outcome
from smtpsend.errors import SendError


def _parts(item: Any) -> tuple[Any, Any, Any]:
    """Message, sender, recipients of one item of the iterable."""
    if isinstance(item, tuple):
        return item if len(item) == 3 else (item, None, None)
    return item, None, None


async def one(
    pool: Pool, index: int, item: Any, *, require_all: bool, timeout: float | None
) -> Outcome:
    """What became of one item; a bad one is an outcome, too."""
    message, sender, recipients = _parts(item)
    server = pool.server
    try:
        order = order_of(
            server,
            message,
            sender,
            recipients,
            require_all=require_all,
            timeout=timeout,
            index=index,
        )
        return Outcome(index, message, await submit(server, order, pool), None)
    except SendError as error:
        return Outcome(index, message, None, error)


Start = Callable[[int, Any], Coroutine[Any, Any, Outcome]]


async def outcomes(
    items: Iterable[Any] | AsyncIterable[Any], start: Start, width: int
) -> AsyncIterator[Outcome]:
    """An outcome for each item as it comes, up to `width` at a time.

    If the caller leaves early, what is in flight is finished; a cancellation ends it.
    """
    source = _numbered(items)
    running: set[asyncio.Task[Outcome]] = set()
    try:
        more = True
        while more or running:
            while more and len(running) < width:
                try:
                    index, item = await anext(source)
                except StopAsyncIteration:
                    more = False
                else:
                    running.add(asyncio.create_task(start(index, item)))
            if running:
                done, running = await asyncio.wait(
                    running, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    yield task.result()
    except asyncio.CancelledError:
        for task in running:
            task.cancel()
        raise
    finally:
        if running:
            await asyncio.wait(running)


async def _numbered(
    items: Iterable[Any] | AsyncIterable[Any],
) -> AsyncIterator[tuple[int, Any]]:
    index = 0
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield index, item
            index += 1
    else:
        for item in items:
            yield index, item
            index += 1


def outcomes_sync(items: Iterable[Any], start: Start, width: int) -> Iterator[Outcome]:
    """The same for sync callers: the iterable runs in the caller's thread."""
    source = iter(enumerate(items))
    running: dict[concurrent.futures.Future[Outcome], portal.Call[Outcome]] = {}
    try:
        more = True
        while more or running:
            while more and len(running) < width:
                pair = next(source, None)
                if pair is None:
                    more = False
                else:
                    call = portal.Call(partial(start, *pair))
                    running[call.future] = call
                    try:
                        call.start()
                    except Exception:
                        del running[call.future]
                        raise
            if running:
                done, _ = concurrent.futures.wait(
                    running, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in done:
                    running.pop(future)
                    yield future.result()
    except (Exception, GeneratorExit):
        # The garbage collector may close a generator anywhere, on the background thread,
        # too, which must not wait for itself; what is in flight finishes all the same.
        if not portal.inside():
            _finish(running)
        raise
    except BaseException:
        _cancel(running)
        raise


def _finish(
    running: dict[concurrent.futures.Future[Outcome], portal.Call[Outcome]],
) -> None:
    try:
        concurrent.futures.wait(running)
    except BaseException:
        _cancel(running)
        raise


def _cancel(
    running: dict[concurrent.futures.Future[Outcome], portal.Call[Outcome]],
) -> None:
    for call in running.values():
        call.cancel()
