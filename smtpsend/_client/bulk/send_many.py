"""`send_many`, for async and for sync callers: messages in, outcomes out.

Messages are taken as there is room for them, so that a generator of any length will do.
The caller's iterable runs where the caller is: in its thread, or in its event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Iterator,
)
from contextlib import aclosing
from typing import Any

from smtpsend._client.background import portal
from smtpsend._client.bulk.dispatcher import Dispatcher
from smtpsend._client.bulk.handoff import Handoff
from smtpsend._client.bulk.worker import work
from smtpsend._client.submission import Terms
from smtpsend._client.submit import submit
from smtpsend._model.receipt import Outcome
from smtpsend._wire.deadline import running_loop
from smtpsend.errors import SendError


# Seconds for which the caller's messages may be taken in a row, before the loop goes on.
_SLICE = 0.002
# Seconds that an outcome may wait for others before a sync caller is woken.
_TOGETHER = 0.002


async def outcomes(
    items: Iterable[Any] | AsyncIterable[Any], terms: Terms
) -> AsyncIterator[Outcome]:
    """An outcome for each item as it comes.

    If the caller leaves early, what is in flight is finished; a cancellation ends it.
    What the iterable raises is raised when all that it gave has its outcome.
    """
    running_loop()
    news, room = asyncio.Event(), asyncio.Event()

    def ring() -> None:
        news.set()
        room.set()

    dispatcher = Dispatcher(terms.pool, work, ring)
    feeder = asyncio.create_task(_feed(items, dispatcher, terms, room))
    feeder.add_done_callback(lambda _: news.set())
    try:
        while not (feeder.done() and dispatcher.idle and not dispatcher.outcomes):
            news.clear()
            if not dispatcher.outcomes:
                await news.wait()
            while dispatcher.outcomes:
                outcome = dispatcher.get()
                room.set()
                yield outcome
        feeder.result()
    except asyncio.CancelledError:
        dispatcher.cancel()
        raise
    finally:
        feeder.cancel()
        dispatcher.leave()
        await dispatcher.finished()
        await asyncio.gather(feeder, return_exceptions=True)


async def _feed(
    items: Iterable[Any] | AsyncIterable[Any],
    dispatcher: Dispatcher,
    terms: Terms,
    room: asyncio.Event,
) -> None:
    """Take messages from the caller as there is room for them."""
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        # Closed here, and not by the garbage collector in a task of its own.
        async with aclosing(_numbered(items)) as source:
            while True:
                while not dispatcher.room:
                    room.clear()
                    await room.wait()
                    began = clock()
                try:
                    index, item = await anext(source)
                except StopAsyncIteration:
                    return
                dispatcher.put(terms.submission(index, item))
                dispatcher.wake()
                if clock() - began > _SLICE:
                    await asyncio.sleep(0)
                    began = clock()
    finally:
        dispatcher.end()


async def _numbered(
    items: Iterable[Any] | AsyncIterable[Any],
) -> AsyncGenerator[tuple[int, Any], None]:
    index = 0
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield index, item
            index += 1
    else:
        for item in items:
            yield index, item
            index += 1


def outcomes_sync(items: Iterable[Any], terms: Terms) -> Iterator[Outcome]:
    """The same for sync callers: the iterable runs in the caller's thread."""
    source = enumerate(items)
    if not portal.threaded():
        # The interpreter is ending: one after the other, in this thread.
        yield from (_alone(terms, index, item) for index, item in source)
        return
    handoff = Handoff(source, terms)
    handoff.call.start()
    try:
        while (outcome := handoff.next()) is not None:
            yield outcome
    except (Exception, GeneratorExit):
        # The garbage collector may close a generator anywhere, on the background thread,
        # too, which must not wait for itself; what is in flight finishes all the same.
        handoff.leave(wait=not portal.inside())
        raise
    except BaseException:
        handoff.call.cancel()
        raise
    if handoff.raised is not None:
        raise handoff.raised


def _alone(terms: Terms, index: int, item: Any) -> Outcome:
    submission = terms.submission(index, item)
    if isinstance(submission, Outcome):
        return submission
    pool = terms.pool
    try:
        receipt = portal.run(lambda: submit(pool.server, submission, pool))
    except SendError as error:
        return Outcome(index, submission.message, None, error)
    return Outcome(index, submission.message, receipt, None)
