"""`send_many` with nobody who iterates, and with one message in place of many."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from sending import MESSAGE, RECIPIENT, SENDER

from smtpsend import AsyncClient, Client, compose, prepare
from smtpsend.errors import ConfigError
from smtpsend.testing import Outbox, capture


URL = "smtp://ann:secret@mail.example.org"
NOTE = compose(sender=SENDER, to=RECIPIENT, text="hello")


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with capture() as box:
        yield box


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_nobody_iterates(outbox: Outbox, kind: type[Any]) -> None:
    """A call whose outcomes nobody asks for sends nothing, and warns."""
    with pytest.warns(RuntimeWarning, match="send_many was never iterated"):
        kind(URL).send_many([NOTE])
    assert not outbox.messages


def test_somebody_iterates(outbox: Outbox) -> None:
    """A batch that was begun warns of nothing, also where it is left early."""

    async def main() -> None:
        async with AsyncClient(URL) as client:
            assert len([o async for o in client.send_many([NOTE])]) == 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Client(URL) as client:
            assert len(list(client.send_many([NOTE, NOTE]))) == 2
            assert list(client.send_many([])) == []
            next(client.send_many([NOTE, NOTE]))
        asyncio.run(main())
        gc.collect()


ONE: dict[str, Any] = {
    "message": NOTE,
    "prepared": prepare(NOTE),
    "bytes": MESSAGE,
    "str": "Subject: hello\n\nhello",
    "tuple": (NOTE, SENDER, [RECIPIENT]),
    "tuple of bytes": (MESSAGE, SENDER, [RECIPIENT]),
    "nothing": None,
}


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_one_message(outbox: Outbox, kind: type[Any], name: str) -> None:
    """One message in place of many is refused at once: its parts are no messages."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConfigError, match="messages in a sequence"):
            kind(URL).send_many(ONE[name])
        gc.collect()
    assert not outbox.messages


def test_a_tuple_of_messages(outbox: Outbox) -> None:
    """A tuple of three messages is a sequence of messages."""
    with Client(URL) as client:
        assert all(o.receipt for o in client.send_many((NOTE, NOTE, NOTE)))
    assert len(outbox) == 3
