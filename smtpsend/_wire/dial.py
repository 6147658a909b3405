"""Connects a socket: looks the name up once, and races its addresses (RFC 8305)."""

from __future__ import annotations

import asyncio
import codecs
import os
import socket
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import cast
from weakref import WeakSet

from smtpsend._model.server.host import literal
from smtpsend._model.shortage import HINT, shortage
from smtpsend._protocol.failures import lost
from smtpsend._wire.callers.threads import in_thread
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.progress import Track
from smtpsend.errors import ConnectError, Event, Phase, SendError


# RFC 8305 section 5: seconds until the next address is tried beside the last.
_ADDRESS_STAGGER = 0.25

_UNKNOWN_NAME = {
    getattr(socket, name)
    for name in ("EAI_NONAME", "EAI_NODATA")
    if hasattr(socket, name)
}

OPEN: WeakSet[socket.socket] = WeakSet()
"""Every socket connected in this process; a forked child closes its copies."""

Address = tuple[socket.AddressFamily, tuple[str | int, ...]]


async def resolve(host: str, timeout: float) -> list[Address]:
    """Look up the addresses of `host`, with the address families in turn.

    Args:
        host: a host name or an address literal.
        timeout: seconds for the look-up.

    Raises:
        ConnectError: the name is unknown, or could not be looked up in time.
    """
    ip = literal(host)
    if ip is not None:
        family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
        return [(family, (host, 0) if ip.version == 4 else (host, 0, 0, 0))]

    # getaddrinfo imports this codec on first use. It is imported here and not in the
    # thread, because a fork during the import would leave the child half a module.
    codecs.lookup("idna")

    def look_up() -> list[Address]:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        return [(family, _without_zone(address)) for family, _, _, _, address in found]

    timer = asyncio.timeout(timeout)
    try:
        async with timer:
            found = await in_thread(look_up, f"smtpsend-resolve-{host[:40]}")
    except socket.gaierror as error:
        unknown = error.errno in _UNKNOWN_NAME
        # Without a descriptor to ask the DNS by, every name is unknown.
        if (why := _no_descriptor()) is not None:
            raise _unresolved(_cannot(host, why), temporary=True, hint=HINT) from None
        raise _unresolved(
            f"the host name {host} "
            + ("is unknown" if unknown else "cannot be looked up"),
            temporary=not unknown,
        ) from None
    except (OSError, UnicodeError, RuntimeError, MemoryError) as error:
        if timer.expired():
            raise _unresolved(
                f"the look-up of the host name {host} took longer than {timeout:.3g} s",
                temporary=True,
                timed_out=True,
            ) from None
        why = shortage(error)
        if why is None and isinstance(error, RuntimeError | MemoryError):
            raise
        hint = HINT if why else ""
        raise _unresolved(_cannot(host, why), temporary=True, hint=hint) from None
    addresses = interleave(list(dict.fromkeys(found)))
    if not addresses:
        raise _unresolved(f"the host name {host} has no address", temporary=False)
    return addresses


def _without_zone(address: tuple[object, ...]) -> tuple[str | int, ...]:
    """A socket address without the zone in its text; its scope number has it as well.

    asyncio would treat a text with a zone as a name, and look it up in the loop's
    executor.
    """
    host, *rest = cast("tuple[str | int, ...]", address)
    return (str(host).partition("%")[0], *rest)


def _no_descriptor() -> str | None:
    """What keeps this process from opening a socket now, in words; None: nothing."""
    try:
        socket.socket().close()
    except OSError as error:
        return shortage(error)
    return None


def _cannot(host: str, why: str | None) -> str:
    text = f"the host name {host} cannot be looked up"
    return text if why is None else f"{text}: {why}"


def _unresolved(
    text: str, *, temporary: bool, timed_out: bool = False, hint: str = ""
) -> ConnectError:
    return ConnectError(
        text,
        phase=Phase.RESOLVE,
        event=Event.UNRESOLVED,
        temporary=temporary,
        timed_out=timed_out,
        hint=hint,
    )


def interleave(addresses: Sequence[Address]) -> list[Address]:
    """Alternate the address families, beginning with the first (RFC 8305 section 4)."""
    first = [a for a in addresses if a[0] == addresses[0][0]]
    other = [a for a in addresses if a[0] != addresses[0][0]]
    pairs = chain.from_iterable(zip_longest(first, other))
    return [address for address in pairs if address is not None]


async def dial(
    addresses: Sequence[Address], timeout: float, deadline: Deadline, track: Track
) -> socket.socket:
    """Connect to the first of `addresses` that accepts a connection.

    Args:
        addresses: the addresses, in the order in which they are tried.
        timeout: seconds for all of them together.
        deadline: the deadline of the call.
        track: has the port, and receives the address.

    Raises:
        ConnectError: none accepted a connection in time.
    """
    limit = deadline.within(timeout)
    port = track.method.port
    targets = [(family, (a[0], port, *a[2:])) for family, a in addresses]
    track.address = str(targets[0][1][0])
    try:
        async with asyncio.timeout(limit):
            if len(targets) == 1:
                sock, address = await _connect(*targets[0])
            else:
                sock, address = await _race(targets)
    except TimeoutError as error:
        if error.errno is not None:
            # The ETIMEDOUT of the kernel is a TimeoutError, too.
            raise _unreachable(error) from None
        why = f"no answer within {limit:.3g} s"
        raise lost(Phase.CONNECT, why, timed_out=True) from None
    except OSError as error:
        raise _unreachable(error) from None
    # Not getpeername(): it raises if the server has reset the connection by now.
    track.address = address
    track.progress()
    return sock


def _unreachable(error: OSError) -> SendError:
    if (short := shortage(error)) is not None:
        failure = lost(Phase.CONNECT, short)
        failure.hint = HINT
        return failure
    why = os.strerror(error.errno).lower() if error.errno else "no route"
    return lost(Phase.CONNECT, why)


Dialled = tuple[socket.socket, str]
"""A socket, and the address that it is connected to."""


async def _connect(
    family: socket.AddressFamily, address: tuple[str | int, ...]
) -> Dialled:
    # IPPROTO_TCP, not 0: asyncio sets TCP_NODELAY only where the socket says that it is
    # TCP, and without it each small write can wait 40 ms for a delayed ACK.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setblocking(False)  # noqa: FBT003  # the standard library's signature
        OPEN.add(sock)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock, str(address[0])


async def _race(
    targets: Sequence[tuple[socket.AddressFamily, tuple[str | int, ...]]],
) -> Dialled:
    """Try the targets one by one; the next follows a failure at once, or a pause."""
    waiting = list(targets)
    running: set[asyncio.Task[Dialled]] = set()
    errors: list[OSError] = []
    try:
        while True:
            if waiting:
                running.add(asyncio.create_task(_connect(*waiting.pop(0))))
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
