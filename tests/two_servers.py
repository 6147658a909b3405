"""Two scripted servers for one send, and what their records must agree on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from leaks import one_port
from scripted import ScriptedServer
from sending import WAYS, forget, server_for

from smtpsend import Client, DeliveryUnknown, Outcome, Receipt, SendError, Server


FIRST, SECOND = "127.0.0.1", "localhost"
"""The hosts of the two servers, by which results name them."""


class Pair:
    """Two scripted servers with one port each.

    Attributes:
        first, second: the servers that record.
    """

    def __init__(self, first: ScriptedServer, second: ScriptedServer) -> None:
        self.first, self.second = first, second

    def servers(self, *options: dict[str, Any], **common: Any) -> list[Server]:
        """Both as `Server`; `options` are those of the one and of the other."""
        own = (*options, {}, {})
        return [
            server_for(self.first, **common, **own[0]),
            replace(server_for(self.second, **common, **own[1]), host=SECOND),
        ]

    def taken(self) -> Counter[tuple[str | None, str]]:
        """How often each message was accepted for each recipient, by both."""
        return Counter(
            (message.message_id, recipient)
            for server in (self.first, self.second)
            for message in server.accepted
            for recipient in message.recipients
        )

    def wait_closed(self) -> None:
        """Wait until every connection has ended."""
        for server in (self.first, self.second):
            server.wait_for(lambda s=server: all(c.closed for c in s.connections))  # type: ignore[misc]

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections each had."""
        return len(self.first.connections), len(self.second.connections)

    @property
    def accepted(self) -> tuple[int, int]:
        """How many messages each accepted."""
        return len(self.first.accepted), len(self.second.accepted)


@contextmanager
def two_servers(
    first: Sequence[Any] | Any, second: Sequence[Any] | Any = ()
) -> Iterator[Pair]:
    """Two servers by their scripts; a list has a script for each connection in turn."""
    forget()
    ones = first if isinstance(first, list) else [first]
    twos = second if isinstance(second, list) else [second or {}]
    with one_port(*ones) as one, one_port(*twos) as two:
        yield Pair(one, two)


def check_true(
    taken: Counter[tuple[str | None, str]],
    message_id: str,
    recipients: Sequence[str],
    result: Receipt | SendError | Outcome,
) -> None:
    """What is reported of a message is what both servers together know of it."""
    if isinstance(result, Outcome):
        assert (result.receipt is None) != (result.error is None)
        found = result.receipt or result.error
    else:
        found = result
    counts = {address: taken[message_id, address] for address in recipients}
    assert max(counts.values()) <= 1, f"{message_id} accepted twice: {counts}"
    assert found is not None
    for address, count in counts.items():
        if address in found.accepted:
            assert count == 1, f"{message_id} was not accepted for {address}: {found!r}"
        elif isinstance(found, Receipt):
            assert address in found.refused
            assert not count
        elif not isinstance(found, DeliveryUnknown):
            assert not count, f"{message_id} was accepted for {address}: {found!r}"
    if isinstance(found, SendError) and found.accepted:
        assert not found.temporary


def by_batch(message: Any, servers: Any, **options: Any) -> Receipt:
    """One message by `send_many`."""
    item = (message, options["sender"], options["recipients"])
    with Client(servers) as client:
        (outcome,) = client.send_many([item])
    return outcome.result()


def by_client(message: Any, servers: Any, **options: Any) -> Receipt:
    """One message by `Client.send`."""
    with Client(servers) as client:
        return client.send(message, **options)


each_way = pytest.mark.parametrize("way", [*WAYS, by_client, by_batch])
