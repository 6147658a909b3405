"""`send_many`, for async and for sync callers: messages in, outcomes out.

Messages are taken as there is room for them, so that a generator of any length will do.
The caller's iterable runs where the caller is: in its thread, or in its event loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Iterator,
)
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from smtpsend._client.background import portal
from smtpsend._client.bulk.dispatcher import Bulk
from smtpsend._client.pool import Pool
from smtpsend._client.submission import Order, order_of
from smtpsend._client.submit import submit
from smtpsend._model.receipt import Outcome
from smtpsend.errors import SendError


# Seconds for which the caller's messages may be taken in a row, before the loop goes on.
_SLICE = 0.002
# Seconds that an outcome may wait for others before a sync caller is woken.
_TOGETHER = 0.002


@dataclass(frozen=True, slots=True)
class Terms:
    """What goes for each message of a `send_many`."""

    pool: Pool
    require_all: bool
    timeout: float | None

    def order(self, index: int, item: Any) -> Order | Outcome:
        """One item of the iterable as an order; a bad one has its outcome at once."""
        message, sender, recipients = item, None, None
        if isinstance(item, tuple) and len(item) == 3:
            message, sender, recipients = item
        try:
            return order_of(
                self.pool.server,
                message,
                sender,
                recipients,
                require_all=self.require_all,
                timeout=self.timeout,
                index=index,
            )
        except SendError as error:
            return Outcome(index, message, None, error)


def _put(bulk: Bulk, order: Order | Outcome) -> None:
    if isinstance(order, Outcome):
        bulk.add(order)
    else:
        bulk.put(order)


async def outcomes(
    items: Iterable[Any] | AsyncIterable[Any], terms: Terms
) -> AsyncIterator[Outcome]:
    """An outcome for each item as it comes.

    If the caller leaves early, what is in flight is finished; a cancellation ends it.
    What the iterable raises is raised when all that it gave has its outcome.
    """
    news, room = asyncio.Event(), asyncio.Event()

    def ring() -> None:
        news.set()
        room.set()

    bulk = Bulk(terms.pool, ring)
    feeder = asyncio.create_task(_feed(items, bulk, terms, room))
    feeder.add_done_callback(lambda _: news.set())
    try:
        while not (feeder.done() and bulk.idle and not bulk.outcomes):
            news.clear()
            if not bulk.outcomes:
                await news.wait()
            while bulk.outcomes:
                outcome = bulk.get()
                room.set()
                yield outcome
        feeder.result()
    except asyncio.CancelledError:
        bulk.cancel()
        raise
    finally:
        feeder.cancel()
        bulk.leave()
        await bulk.finished()
        await asyncio.gather(feeder, return_exceptions=True)


async def _feed(
    items: Iterable[Any] | AsyncIterable[Any],
    bulk: Bulk,
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
                while not bulk.room:
                    room.clear()
                    await room.wait()
                    began = clock()
                try:
                    index, item = await anext(source)
                except StopAsyncIteration:
                    return
                _put(bulk, terms.order(index, item))
                bulk.wake()
                if clock() - began > _SLICE:
                    await asyncio.sleep(0)
                    began = clock()
    finally:
        bulk.end()


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
    batch = _Batch(source, terms)
    batch.call.start()
    try:
        while (outcome := batch.next()) is not None:
            yield outcome
    except (Exception, GeneratorExit):
        # The garbage collector may close a generator anywhere, on the background thread,
        # too, which must not wait for itself; what is in flight finishes all the same.
        batch.leave(wait=not portal.inside())
        raise
    except BaseException:
        batch.call.cancel()
        raise
    if batch.raised is not None:
        raise batch.raised


class _Batch:
    """The caller's side of a `Bulk` that runs on the background thread."""

    def __init__(self, source: Iterator[tuple[int, Any]], terms: Terms) -> None:
        self._source = source
        self._terms = terms
        self._more = True
        self._bell: concurrent.futures.Future[None] | None = None
        self._rings: asyncio.Handle | None = None  # is about to
        self._waking = False  # the workers are told soon
        self._bulk = Bulk(terms.pool, self._ring)
        self.call = portal.Call(self._bulk.run)
        self.call.future.add_done_callback(lambda _: self._wake())
        self.raised: Exception | None = None  # by the iterable

    def next(self) -> Outcome | None:
        """The next outcome; takes messages while there is none. None: it was the last."""
        bulk = self._bulk
        while True:
            if bulk.outcomes:
                return bulk.get()
            if self._more and bulk.room:
                self._take()
            elif self.call.future.done():
                # Its last act was to add an outcome, perhaps.
                if not bulk.outcomes:
                    self.call.future.result()
                    return None
            else:
                self._wait()

    def _take(self) -> None:
        """Take one message from the caller."""
        try:
            pair = next(self._source, None)
        except Exception as error:  # noqa: BLE001  # raised when the others are done
            pair, self.raised = None, error
        if pair is None:
            self._more = False
            self.call.soon(self._bulk.end)
            return
        _put(self._bulk, self._terms.order(*pair))
        if self._bulk.hungry and not self._waking:
            self._waking = True
            self.call.soon(self._feed)

    def _feed(self) -> None:
        """Let the workers see what was put: called in the background thread."""
        # First: what is put from here on asks again.
        self._waking = False
        self._bulk.wake()

    def _wait(self) -> None:
        """Wait for what is new."""
        bell = self._bell = concurrent.futures.Future()
        bulk = self._bulk
        try:
            # It may have come before there was a bell to ring.
            come = bulk.outcomes or (self._more and bulk.room)
            if not (come or self.call.future.done()):
                bell.result()
        finally:
            self._bell = None

    def _ring(self) -> None:
        """Something is new: called in the background thread, if anybody waits.

        To wake the caller for each outcome would cost more than to send a message: where
        no connection waits for what it would do then, a few outcomes come together.
        """
        if self._bell is None or self._rings is not None:
            return
        loop = asyncio.get_running_loop()
        if self._bulk.low:
            # Not before what goes on now has gone out.
            self._rings = loop.call_soon(self._wake)
        else:
            self._rings = loop.call_later(_TOGETHER, self._wake)

    def _wake(self) -> None:
        self._rings = None
        bell = self._bell
        if bell is not None and not bell.done():
            bell.set_result(None)

    def leave(self, *, wait: bool) -> None:
        """Begin nothing more; wait for what is in flight."""
        self.call.soon(self._bulk.leave)
        if not wait:
            return
        try:
            concurrent.futures.wait([self.call.future])
        except BaseException:
            self.call.cancel()
            raise


def _alone(terms: Terms, index: int, item: Any) -> Outcome:
    order = terms.order(index, item)
    if isinstance(order, Outcome):
        return order
    pool = terms.pool
    try:
        receipt = portal.run(lambda: submit(pool.server, order, pool))
    except SendError as error:
        return Outcome(index, order.message, None, error)
    return Outcome(index, order.message, receipt, None)
