"""What sends the messages of a `send_many`: to one server, or to several."""

from __future__ import annotations

from collections.abc import Callable

from smtpsend._client.bulk.dispatcher import Dispatcher
from smtpsend._client.bulk.queue import Queue
from smtpsend._client.bulk.worker import Worker
from smtpsend._client.servers.dispatchers import Dispatchers
from smtpsend._client.servers.servers import Servers


AnyDispatcher = Dispatcher | Dispatchers


def dispatcher_for(servers: Servers, notify: Callable[[], None]) -> AnyDispatcher:
    """Build what sends the messages of a `send_many`.

    Args:
        notify: called after a change that the caller may wait for: a new outcome, room
            for a message, the end of a worker.
    """
    if servers.several is not None:
        several = servers.several
        return Dispatchers(several.pools, several.new_route, notify)
    return Dispatcher(Queue(servers.pools[0], notify), Worker)
