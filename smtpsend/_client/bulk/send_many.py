"""`send_many`, for async and for sync callers: messages in, outcomes out.

A message is read from the caller's iterable only when the dispatcher has room for it, so
that a generator of any length can be given. The iterable runs in the caller's thread or
event loop.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
)
from email.message import Message
from itertools import chain
from typing import Any

from smtpsend._client.background import portal
from smtpsend._client.background.ending import ending, refuse_at_end
from smtpsend._client.bulk.handoff import Handoff
from smtpsend._client.servers.dispatching import AnyDispatcher, dispatcher_for
from smtpsend._client.servers.servers import Terms
from smtpsend._model.delivery import Delivery
from smtpsend._model.message.prepared import Prepared
from smtpsend._model.receipt import Outcome
from smtpsend._wire.callers.code import contained
from smtpsend._wire.deadline import running_loop
from smtpsend.errors import ConfigError, SendError


log = logging.getLogger("smtpsend")

# Seconds for which messages are read in a row before other tasks of the loop may run.
_READ_SLICE = 0.002
# In the place of an item: there are no more.
_END = object()
# The types of a single message.
_ONE = (Message, Prepared, bytes, str)
# The types of the last part of a tuple of four.
_ASKED = (Delivery, type(None))


class Unstarted:
    """Warns when it is deleted, unless the batch that holds it was started.

    A generator that is deleted before its first step runs none of its code. But its
    arguments are deleted with it, and an object of this class is one of them.
    """

    def __init__(self) -> None:
        self.started = False

    def __del__(self, _ending: Callable[[], bool] = ending) -> None:
        # While the interpreter ends, the modules may be empty already.
        if not self.started and not _ending():
            text = "send_many was never iterated, and so has sent nothing"
            warnings.warn(text, RuntimeWarning, stacklevel=2, source=self)


def batch(items: Any, terms: Terms) -> AsyncIterator[Outcome]:
    """Return the outcomes of a batch, for async callers; nothing is started yet.

    Raises:
        ConfigError: `items` is a single message, or is not iterable.
    """
    return _outcomes(_checked(items), terms, Unstarted())


def batch_sync(items: Any, terms: Terms) -> Iterator[Outcome]:
    """Do what `batch` does, for sync callers; the iterable runs in their thread.

    Raises:
        ConfigError: `items` is a single message, or is not iterable.
    """
    return _outcomes_sync(_checked(items), terms, Unstarted())


def _checked(items: Any) -> Any:
    """Return the iterable that was given to `send_many`, after a check of its type.

    Raises:
        ConfigError: `items` is a single message, or is not iterable.
    """
    first = items[0] if isinstance(items, tuple) and items else None
    one = isinstance(items, _ONE) or (
        isinstance(first, _ONE)
        and (len(items) == 3 or (len(items) == 4 and isinstance(items[3], _ASKED)))
        and isinstance(items[1], str)
        # A tuple of three str may be three messages: each of them has a line end, which a
        # sender never has.
        and "\n" not in items[1]
    )
    if one or not isinstance(items, Iterable | AsyncIterable):
        raise ConfigError(
            "send_many needs its messages in a sequence or another iterable",
            hint="give one message to send(), or put it in a list",
        )
    return items


async def _outcomes(
    items: Iterable[Any] | AsyncIterable[Any], terms: Terms, unstarted: Unstarted
) -> AsyncIterator[Outcome]:
    """Yield an outcome for each item, as soon as it is known.

    If the caller stops iterating, the messages in flight are finished; a cancellation
    ends them. If the iterable raises an exception, it is raised after the outcomes of all
    messages that were read before.
    """
    unstarted.started = True
    running_loop()  # raises a `ConfigError` if no asyncio loop runs, as under trio
    changed, room = asyncio.Event(), asyncio.Event()

    def notify() -> None:
        changed.set()
        room.set()

    dispatcher = dispatcher_for(terms.servers, items, notify)
    queue = dispatcher.queue
    feeder = asyncio.create_task(_feed(items, dispatcher, terms, room))
    feeder.add_done_callback(lambda _: changed.set())
    try:
        while not (feeder.done() and dispatcher.is_idle and not queue.outcomes):
            changed.clear()
            if not queue.outcomes:
                await changed.wait()
            while queue.outcomes:
                outcome = queue.get()
                room.set()
                yield outcome
        feeder.result()
    except asyncio.CancelledError:
        dispatcher.cancel()
        raise
    finally:
        feeder.cancel()
        dispatcher.stop()
        await dispatcher.wait_finished()
        await asyncio.gather(feeder, return_exceptions=True)


async def _feed(
    items: Iterable[Any] | AsyncIterable[Any],
    dispatcher: AnyDispatcher,
    terms: Terms,
    room: asyncio.Event,
) -> None:
    """Read messages from the caller whenever the dispatcher has room for one."""
    clock = asyncio.get_running_loop().time
    queue, index, began = dispatcher.queue, 0, clock()
    source: AsyncIterator[Any] | None = None
    plain: Iterator[Any] = iter(())
    try:
        if isinstance(items, AsyncIterable):
            source = aiter(items)
        else:
            plain = iter(items)
        while True:
            while not queue.has_room:
                room.clear()
                await room.wait()
                began = clock()
            item = next(plain, _END) if source is None else await anext(source, _END)
            if item is _END:
                return
            queue.put(terms.submission(index, item))
            index += 1
            dispatcher.wake()
            if clock() - began > _READ_SLICE:
                await asyncio.sleep(0)
                began = clock()
    finally:
        try:
            # A generator is closed here; the garbage collector would close it later, in a
            # task of its own. The caller may still use any other iterator.
            if isinstance(source, AsyncGenerator):
                await _close(source)
        finally:
            dispatcher.end_input()


async def _close(source: AsyncGenerator[Any, Any]) -> None:
    """Close a generator of the caller's; log an error that it raises, and ignore it."""
    try:
        await source.aclose()
    except Exception as error:  # noqa: BLE001  # no caller would see it
        # The text of `error` is left out, since it may hold a secret.
        with contained():
            log.error(  # noqa: TRY400
                "the async generator that was given to send_many raised %s when it was "
                "closed",
                type(error).__name__,
            )


def _outcomes_sync(
    items: Iterable[Any],
    terms: Terms,
    unstarted: Unstarted,
    *,
    at_end: Callable[[], bool] = ending,
) -> Iterator[Outcome]:
    """Do what `_outcomes` does, for sync callers."""
    refuse_at_end()
    unstarted.started = True
    source: Iterator[tuple[int, Any]] = enumerate(items)
    if not portal.has_thread():
        # The interpreter is ending and starts no more threads, so the messages are sent
        # one at a time in this thread.
        yield from (_send_one(terms, index, item) for index, item in source)
        return
    while True:
        handoff = Handoff(source, terms, items)
        handoff.call.start()
        try:
            while (outcome := handoff.next()) is not None:
                yield outcome
        except (Exception, GeneratorExit):
            # The garbage collector may close this generator on the background thread,
            # which must not wait for itself. It may also close it while the interpreter
            # ends, when that thread no longer runs. In all other cases, the messages in
            # flight are finished.
            if not at_end():
                handoff.stop(wait=not portal.inside())
            raise
        except BaseException:
            handoff.call.cancel()
            raise
        if handoff.raised is not None:
            raise handoff.raised
        if not (handoff.has_input or handoff.rest):
            return
        # The background thread has ended, so a new one sends the remaining messages.
        refuse_at_end()
        source = chain(handoff.rest, source)


def _send_one(terms: Terms, index: int, item: Any) -> Outcome:
    submission = terms.submission(index, item)
    if isinstance(submission, Outcome):
        return submission
    servers = terms.servers
    try:
        receipt = portal.run(
            lambda: servers.submit(submission), submission.timeout, submission
        )
    except SendError as error:
        return Outcome(index, submission.message, None, error)
    return Outcome(index, submission.message, receipt, None)
