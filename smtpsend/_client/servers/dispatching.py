"""What sends the messages of a `send_many`: to one server, or to several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import length_hint

from smtpsend._client import transport
from smtpsend._client.bulk.dispatcher import Dispatcher
from smtpsend._client.bulk.queue import Queue
from smtpsend._client.bulk.worker import Worker
from smtpsend._client.servers.dispatchers import Dispatchers
from smtpsend._client.servers.servers import Servers
from smtpsend._client.submission import RAISED_WHILE_READING


AnyDispatcher = Dispatcher | Dispatchers

# How many messages of a sequence are read for each connection, beside that in flight.
_AHEAD = 4


def dispatcher_for(
    servers: Servers, items: object, notify: Callable[[], None]
) -> AnyDispatcher:
    """Build what sends the messages of a `send_many`.

    Args:
        items: the caller's iterable.
        notify: called after a change that the caller may wait for: a new outcome, room
            for a message, the end of a worker.
    """
    if servers.several is not None:
        several = servers.several
        dispatchers = Dispatchers(several.pools, several.new_route, notify)
        dispatchers.queue.ahead = _ahead(items)
        return dispatchers
    queue = Queue(servers.pools[0], notify)
    queue.expected, queue.ahead = _length(items), _ahead(items)
    return Dispatcher(queue, Worker)


def _ahead(items: object) -> int:
    """How many messages may be read for each connection beyond the one that it sends.

    Reading changes nothing in a sequence. Any other iterable, such as a generator, may do
    something with each message that it yields, like marking its row in a database as
    sent. So no message of it is read before a connection can begin with it. Nothing is
    gained where a test has replaced the network, and it sees the same each time.
    """
    if transport.replacement is not None:
        return 0
    return _AHEAD if isinstance(items, Sequence) else 0


def _length(items: object) -> int:
    """How many items an iterable has, as far as it tells; a generator does not."""
    try:
        return length_hint(items, 0)
    except RAISED_WHILE_READING:  # it is the caller's code
        return 0
