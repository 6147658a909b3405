"""What sends the messages of a `send_many`: to one server, or to several."""

from __future__ import annotations

from collections.abc import Callable
from operator import length_hint

from smtpsend._client.bulk.dispatcher import Dispatcher
from smtpsend._client.bulk.queue import Queue
from smtpsend._client.bulk.worker import Worker
from smtpsend._client.servers.dispatchers import Dispatchers
from smtpsend._client.servers.servers import Servers
from smtpsend._client.submission import RAISED_WHILE_READING


AnyDispatcher = Dispatcher | Dispatchers


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
        return Dispatchers(several.pools, several.new_route, notify)
    queue = Queue(servers.pools[0], notify)
    queue.expected = _length(items)
    return Dispatcher(queue, Worker)


def _length(items: object) -> int:
    """How many items an iterable has, as far as it tells; a generator does not."""
    try:
        return length_hint(items, 0)
    except RAISED_WHILE_READING:  # it is the caller's code
        return 0
