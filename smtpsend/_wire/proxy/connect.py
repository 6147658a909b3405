"""Opens the socket of a session: to the server itself, or through a proxy."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from smtpsend._model.shortage import importing
from smtpsend._wire.dial import Peer, dial
from smtpsend._wire.look_up import Address


if TYPE_CHECKING:
    from smtpsend._wire.deadline import Deadline
    from smtpsend._wire.progress import Track
    from smtpsend._wire.target import Target


async def open_socket(
    target: Target,
    track: Track,
    deadline: Deadline,
    timeout: float | None = None,
    addresses: Sequence[Address] | None = None,
) -> socket.socket:
    """Connect to the port of `track.method`, through the proxy if there is one.

    Args:
        target: the server.
        track: has the method, and receives the address and the progress.
        deadline: the deadline of the call.
        timeout: seconds for all of it; by default `connect_timeout` of the policy.
        addresses: those to try; by default all of the target.

    Raises:
        ConnectError: there is no connection to the server.
    """
    limit = deadline.within(target.policy.connect_timeout if timeout is None else timeout)
    addresses = addresses or target.addresses
    if target.proxy is None:
        peer = Peer(track.method.port, target.source)
        sock = await dial(addresses, limit, deadline, track, peer)
    else:
        # Imported only where it is used, as most programs have no proxy.
        with importing():
            from smtpsend._wire.proxy.tunnel import open_tunnel

        proxy = target.proxy
        sock = await open_tunnel(proxy, target, track, deadline, limit, addresses)
    track.connected()
    return sock
