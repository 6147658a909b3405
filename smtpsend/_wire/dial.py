"""Connects a socket, and races the addresses of a name (RFC 8305).

What is dialled is the server, or the proxy that is to connect to it (proxy/connect.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from weakref import WeakSet

from smtpsend._model.server.host import literal
from smtpsend._model.shortage import HINT, shortage
from smtpsend._protocol.failures import lost
from smtpsend._values import NamedTuple
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.look_up import Address
from smtpsend._wire.progress import Track
from smtpsend._wire.transport.polling import poller_for
from smtpsend.errors import Phase, SendError


# RFC 8305 section 5: seconds until the next address is tried beside the last.
_ADDRESS_STAGGER = 0.25

OPEN: WeakSet[socket.socket] = WeakSet()
"""Every socket connected in this process; a forked child closes its copies."""

Source = tuple[str, int]


class Peer(NamedTuple):
    """The other end of a socket, the server or a proxy, and where we connect from.

    Attributes:
        port: the port to connect to.
        source: the address and the port to connect from; None for any.
        to: names the other end in an error, as in "no connection to ..."; "" for the
            server.
        hint: what to do where the other end cannot be reached; "" for the usual hint.
        shown: makes `Track.address` from the IP address.
    """

    port: int
    source: Source | None = None
    to: str = ""
    hint: str = ""
    shown: Callable[[str], str] = str


async def dial(
    addresses: Sequence[Address],
    timeout: float,
    deadline: Deadline,
    track: Track,
    peer: Peer,
) -> socket.socket:
    """Connect to the first of `addresses` that accepts a connection.

    Args:
        addresses: the addresses, in the order in which they are tried.
        timeout: seconds for all of them together.
        deadline: the deadline of the call.
        track: receives the address.
        peer: the port, and the address to connect from.

    Raises:
        ConnectError: none accepted a connection in time.
    """
    limit = deadline.within(timeout)
    targets = [
        (family, (a[0], peer.port, *a[2:]))
        for family, a in addresses
        if _fits(family, peer.source)
    ]
    if not targets:
        raise _no_address(peer)
    track.address = peer.shown(str(targets[0][1][0]))
    try:
        async with asyncio.timeout(limit):
            if len(targets) == 1:
                sock, address = await _connect(*targets[0], *_from(peer.source))
            else:
                sock, address = await _race(targets, peer.source)
    except TimeoutError as error:
        if error.errno is not None:
            # The ETIMEDOUT of the kernel is a TimeoutError, too.
            raise _unreachable(error, peer) from None
        why = f"no answer within {limit:.3g} s"
        raise _lost(peer, why, timed_out=True) from None
    except OSError as error:
        raise _unreachable(error, peer) from None
    # Not getpeername(): it raises if the server has reset the connection by now.
    track.address = peer.shown(address)
    return sock


def _lost(peer: Peer, why: str, *, timed_out: bool = False) -> SendError:
    failure = lost(Phase.CONNECT, why, timed_out=timed_out)
    if peer.to:
        failure.args = (f"no connection to {peer.to} ({why})",)
    failure.hint = peer.hint or failure.hint
    return failure


def _fits(family: socket.AddressFamily, source: Source | None) -> bool:
    """Whether an address of a family can be connected to from `source`."""
    if source is None or (ip := literal(source[0])) is None:
        return True
    return (family == socket.AF_INET6) == (ip.version == 6)


def _from(source: Source | None) -> tuple[Source, ...]:
    return () if source is None else (source,)


def _no_address(peer: Peer) -> SendError:
    ip = literal("" if peer.source is None else peer.source[0])
    kind = "IPv6" if ip is not None and ip.version == 6 else "IPv4"
    failure = _lost(peer, f"it has no {kind} address, as source_address is one")
    failure.temporary = False
    failure.hint = "leave source_address out, or give one of the other family"
    return failure


class _NotBound(OSError):
    """This machine does not let a connection come from the source address."""


def _unreachable(error: OSError, peer: Peer) -> SendError:
    if (short := shortage(error)) is not None:
        failure = _lost(peer, short)
        failure.hint = HINT
        return failure
    why = os.strerror(error.errno).lower() if error.errno else "no route"
    if isinstance(error, _NotBound) and peer.source is not None:
        failure = _lost(peer, f"source_address {peer.source[0]}: {why}")
        failure.hint = (
            "source_address must be an address of this machine, and its port, if it has "
            "one, must be free"
        )
        return failure
    return _lost(peer, why)


Dialled = tuple[socket.socket, str]
"""A socket, and the address that it is connected to."""


async def _connect(
    family: socket.AddressFamily,
    address: tuple[str | int, ...],
    source: Source | None = None,
) -> Dialled:
    # IPPROTO_TCP, not 0: asyncio sets TCP_NODELAY only where the socket says that it is
    # TCP, and without it each small write can wait 40 ms for a delayed ACK.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setblocking(False)  # noqa: FBT003  # the standard library's signature
        OPEN.add(sock)
        if source is not None:
            _bind(sock, source)
        await _connect_socket(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock, str(address[0])


async def _connect_socket(sock: socket.socket, address: tuple[str | int, ...]) -> None:
    loop = asyncio.get_running_loop()
    poller = poller_for(loop, sock.fileno(), writes=True)
    if poller is None:
        await loop.sock_connect(sock, address)
        return
    with contextlib.suppress(BlockingIOError, InterruptedError):
        sock.connect(address)
        return
    # A server nearby accepts the connection while it is polled for.
    if not poller.wait():
        await _writable(sock)
    if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(error, os.strerror(error))


async def _writable(sock: socket.socket) -> None:
    """Wait until a socket has connected, or has failed to."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def end_wait() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_writer(sock, end_wait)
    try:
        await ready
    finally:
        loop.remove_writer(sock)


def _bind(sock: socket.socket, source: Source) -> None:
    """Let a connection come from `source`.

    Raises:
        _NotBound: it is no address of this machine, or its port is in use.
    """
    try:
        sock.bind(source)
    except OSError as error:
        raise _NotBound(error.errno, error.strerror) from None


async def _race(
    targets: Sequence[tuple[socket.AddressFamily, tuple[str | int, ...]]],
    source: Source | None,
) -> Dialled:
    """Try the targets one by one; the next follows a failure at once, or a pause."""
    waiting = list(targets)
    running: set[asyncio.Task[Dialled]] = set()
    errors: list[OSError] = []
    try:
        while True:
            if waiting:
                one = _connect(*waiting.pop(0), *_from(source))
                running.add(asyncio.create_task(one))
            if not running:
                raise errors[0]
            done, _ = await asyncio.wait(
                running,
                timeout=_ADDRESS_STAGGER if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                running.discard(task)
                error = task.exception()
                if error is None:
                    return task.result()
                if not isinstance(error, OSError):
                    raise error
                errors.append(error)
    finally:
        # No await here: a cancellation during it would leak the socket of the winner.
        for task in running:
            task.cancel()
            task.add_done_callback(_close_late)


def _close_late(task: asyncio.Task[Dialled]) -> None:
    """Close the socket of a connection that was made when it was no longer wanted."""
    if not task.cancelled() and task.exception() is None:
        task.result()[0].close()
