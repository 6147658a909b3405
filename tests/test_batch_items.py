"""The items of a batch: a bad one never stops the rest, and a left source is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from email.message import EmailMessage
from typing import Any

import pytest
from leaks import InLoop, ids, numbered, one_port, run
from sending import RECIPIENT, SENDER, envelope, send_in_loop, send_sync, server_for

from smtpsend import AsyncClient, Client, Delivery
from smtpsend.errors import ConfigError, ConnectError
from smtpsend.prepared import Prepared, prepare


pytestmark = pytest.mark.usefixtures("no_leaks")

CLIENTS = [Client, InLoop]
SECRET = "s3cret-of-the-error"


def raising(kind: type[BaseException]) -> Callable[..., Any]:
    """A method that raises it."""

    def method(*_: object, **__: object) -> Any:
        raise kind(SECRET)

    return method


def generator(kind: type[BaseException]) -> Iterator[str]:
    """Recipients from a database that fails."""
    yield RECIPIENT
    raise kind(SECRET)


def subclass(base: type, *names: str, **facts: Any) -> Any:
    """An instance of a subclass with methods that raise."""
    methods = dict.fromkeys(names, raising(RuntimeError))
    return type("Own", (base,), methods | facts)


def recursive() -> EmailMessage:
    """A message that holds itself."""
    message = EmailMessage()
    message["From"], message["To"] = SENDER, RECIPIENT
    message.make_mixed()
    message.attach(message)
    return message


class Proxy:
    """As `LocalProxy` and other lazy objects: whatever is asked of it raises."""

    __class__ = property(raising(RuntimeError))  # type: ignore[assignment]


TEXT = numbered(9)
BAD: dict[str, Callable[[], object]] = {
    "recipients: generator": lambda: (TEXT, SENDER, generator(KeyError)),
    "recipients: OSError": lambda: (TEXT, SENDER, generator(ConnectionResetError)),
    "recipients: cancelled": lambda: (TEXT, SENDER, generator(asyncio.CancelledError)),
    "recipients: GeneratorExit": lambda: (TEXT, SENDER, generator(GeneratorExit)),
    "recipients: recursion": lambda: (TEXT, SENDER, generator(RecursionError)),
    "recipients: __iter__": lambda: (TEXT, SENDER, subclass(list, "__iter__")()),
    "sender: __eq__": lambda: (TEXT, subclass(str, "__eq__")(SENDER), [RECIPIENT]),
    "message: __class__": Proxy,
    "message: header": lambda: subclass(EmailMessage, "raw_items", "get_all", "keys")(),
    "message: holds itself": recursive,
    "item: tuple": lambda: subclass(tuple, "__len__")((TEXT, SENDER, [RECIPIENT])),
    "item: iteration": lambda: subclass(tuple, "__iter__")((TEXT, SENDER, [RECIPIENT])),
    "prepared": lambda: subclass(Prepared, "__getattribute__")("", (), b"", None),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("client", CLIENTS)
def test_whatever_raises_while_an_item_is_read(client: Any, case: str) -> None:
    """It is the outcome of that item, and the others have theirs."""
    good = [(numbered(n), SENDER, [RECIPIENT]) for n in range(4)]
    bad = BAD[case]()
    with one_port() as scripted, client(server_for(scripted)) as sending:
        outcomes = list(sending.send_many([*good[:2], bad, *good[2:]]))
    assert sorted(one.index for one in outcomes) == [0, 1, 2, 3, 4]
    failed = [one for one in outcomes if one.error is not None]
    assert [one.index for one in failed] == [2]
    assert isinstance(failed[0].error, ConfigError)
    assert not failed[0].error.temporary
    assert SECRET not in str(failed[0].error)
    assert ids(scripted) == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", [KeyError, OSError, asyncio.CancelledError])
@pytest.mark.parametrize("send", [send_sync, send_in_loop])
def test_a_single_send_whose_recipients_raise(
    send: Any, kind: type[BaseException]
) -> None:
    """It is typed, and nothing was connected."""
    with one_port() as scripted:
        options = envelope(recipients=generator(kind))
        with pytest.raises(ConfigError) as caught:
            send(numbered(0), server_for(scripted), **options)
    assert caught.value.__suppress_context__
    assert not scripted.connections


def test_a_prepared_message_whose_recipients_raise() -> None:
    """It is typed, too."""
    with pytest.raises(ConfigError):
        prepare(TEXT, sender=SENDER, recipients=generator(KeyError))


def test_a_message_for_which_there_is_no_memory() -> None:
    """It is not the fault of the message: the error is temporary."""
    with one_port() as scripted, Client(server_for(scripted)) as client:
        (outcome,) = client.send_many([(numbered(0), SENDER, generator(MemoryError))])
    assert isinstance(outcome.error, ConnectError)
    assert outcome.error.temporary


@pytest.mark.parametrize("client", CLIENTS)
def test_a_message_of_a_class_that_raises_later(client: Any) -> None:
    """What was read once is not asked again: bytes and text are only that."""
    names = ("__len__", "__getitem__", "__iter__", "__bytes__", "isascii", "replace")
    kinds = [subclass(bytes, *names), subclass(str, *names, "encode")]
    text = numbered(1).replace(b"<1@", b"<2@").decode()
    items = [(kinds[0](numbered(1)), SENDER, [RECIPIENT])]
    items.append((kinds[1](text), SENDER, [RECIPIENT]))
    with one_port() as scripted, client(server_for(scripted)) as sending:
        outcomes = list(sending.send_many(items))
    assert all(one.receipt for one in outcomes), outcomes
    assert ids(scripted) == [1, 2]


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit])
def test_an_iterable_that_raises_what_is_no_exception(kind: type[BaseException]) -> None:
    """It is raised when all that it gave before has its outcome."""

    def items() -> Iterator[Any]:
        for n in range(3):
            yield numbered(n), SENDER, [RECIPIENT]
        raise kind

    class Items:
        def __iter__(self) -> Iterator[Any]:
            return self

        def __next__(self) -> Any:
            return next(self.source)

        source = items()

    outcomes = []
    with one_port() as scripted, Client(server_for(scripted)) as client:
        with pytest.raises(kind):
            outcomes.extend(client.send_many(Items()))
    assert ids(scripted) == [0, 1, 2]


# Sources that are left.


def sync_source(closed: list[str]) -> Iterator[Any]:
    """Messages without end, from something that is to be closed."""
    try:
        n = 0
        while True:
            yield numbered(n), SENDER, [RECIPIENT]
            n += 1
    finally:
        closed.append("closed")


async def async_source(closed: list[str]) -> AsyncIterator[Any]:
    """The same, with a goodbye that takes a turn of the loop."""
    try:
        for item in sync_source([]):
            yield item
            await asyncio.sleep(0)
    finally:
        await asyncio.sleep(0)
        closed.append("closed")


class Reusable:
    """An async iterable whose iterator is an async generator."""

    def __init__(self, closed: list[str]) -> None:
        self.closed = closed

    async def __aiter__(self) -> AsyncIterator[Any]:
        async for item in async_source(self.closed):
            yield item


LEFT = [
    (source, how)
    for source in (async_source, Reusable, sync_source)
    for how in ("aclose", "break", "cancelled", "error")
    # What the error keeps, by its traceback, is kept from being closed in any loop.
    if source is not sync_source or how in ("aclose", "break")
]


@pytest.mark.parametrize(("source", "how"), LEFT)
def test_a_generator_whose_batch_is_left(source: Any, how: str) -> None:
    """It is closed when the batch is, not some time later."""
    closed: list[str] = []

    async def leave(client: AsyncClient) -> None:
        outcomes = client.send_many(source(closed))
        async for _ in outcomes:
            if how == "cancelled":
                asyncio.current_task().cancel()
            elif how == "error":
                await outcomes.athrow(KeyError)
            elif how == "break":
                break
            else:
                await outcomes.aclose()
        if how == "break":
            del outcomes
            while len(asyncio.all_tasks()) > 2:  # this one and its parent
                await asyncio.sleep(0)

    async def main() -> None:
        async with AsyncClient(server_for(scripted)) as client:
            task = asyncio.create_task(leave(client))
            await asyncio.wait([task])
            assert closed == ["closed"]
            task.cancelled() or task.exception()

    with one_port() as scripted:
        run(main())


def test_a_source_of_which_more_can_be_used() -> None:
    """An iterator that is no generator is the caller's, who may go on with it."""

    class Stream:
        def __init__(self) -> None:
            self.given, self.closed = 0, False

        def __aiter__(self) -> Stream:
            return self

        async def __anext__(self) -> Any:
            self.given += 1
            return numbered(self.given), SENDER, [RECIPIENT]

        async def aclose(self) -> None:
            self.closed = True

    async def main() -> None:
        async with AsyncClient(server_for(scripted)) as client:
            outcomes = client.send_many(stream)
            await anext(outcomes)
            await outcomes.aclose()

    stream = Stream()
    with one_port() as scripted:
        run(main())
    assert stream.given
    assert not stream.closed


def test_an_async_generator_whose_goodbye_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged without its text, and the batch ends as it would."""

    async def source() -> AsyncIterator[Any]:
        try:
            for item in sync_source([]):
                yield item
        finally:
            raise KeyError(SECRET)

    async def main() -> None:
        async with AsyncClient(server_for(scripted)) as client:
            outcomes = client.send_many(source())
            await anext(outcomes)
            await outcomes.aclose()

    with one_port() as scripted:
        run(main())
    assert any("raised KeyError" in text for text in caplog.messages)
    assert SECRET not in caplog.text


def test_a_generator_whose_sync_batch_is_left() -> None:
    """As in a `for` loop that is left: it is closed unless the caller still has it."""
    closed: list[str] = []
    with one_port() as scripted, Client(server_for(scripted)) as client:
        outcomes = client.send_many(sync_source(closed))
        next(outcomes)
        outcomes.close()
        assert closed == ["closed"]
        kept = sync_source(closed)
        outcomes = client.send_many(kept)
        next(outcomes)
        outcomes.close()
        assert next(kept)
        assert closed == ["closed"]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_tuple_that_is_no_item(client: Any) -> None:
    """The error of a tuple of two parts names the tuples that can be given."""
    with one_port() as scripted, client(server_for(scripted)) as sending:
        asked = Delivery(notify=("failure",))
        (outcome,) = sending.send_many([(numbered(1), asked)])
    assert isinstance(outcome.error, ConfigError)
    assert "(message, sender, recipients, delivery)" in outcome.error.hint
