"""Looks a host name up, in a thread of its own, with the address families in turn."""

from __future__ import annotations

import asyncio

# getaddrinfo and ssl encode host names by this codec, and import it for the first one. A
# fork while a thread imports it would leave the child half a module.
import encodings.idna  # noqa: F401
import socket
import threading
import time
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import cast

from smtpsend._model.server.host import literal
from smtpsend._model.shortage import HINT, shortage
from smtpsend._wire.callers.threads import in_thread
from smtpsend.errors import ConnectError, Event, Phase


_UNKNOWN_NAME = {
    getattr(socket, name)
    for name in ("EAI_NONAME", "EAI_NODATA")
    if hasattr(socket, name)
}

LOOK_UPS: set[int] = set()
"""The threads of this process that look a name up, by their idents."""

# A fork waits this many seconds for name look-ups, and looks for their end this often.
_LOOK_UP_GRACE, _LOOK_UP_INTERVAL = 0.2, 0.005

Address = tuple[socket.AddressFamily, tuple[str | int, ...]]


async def resolve(
    host: str, timeout: float, what: str = "the host name"
) -> list[Address]:
    """Look up the addresses of `host`, with the address families in turn.

    Args:
        host: a host name or an address literal.
        timeout: seconds for the look-up.
        what: what the host is, for an error.

    Raises:
        ConnectError: the name is unknown, or could not be looked up in time.
    """
    ip = literal(host)
    if ip is not None:
        family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
        return [(family, (host, 0) if ip.version == 4 else (host, 0, 0, 0))]

    def look_up() -> list[Address]:
        thread = threading.get_ident()
        LOOK_UPS.add(thread)
        try:
            found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        finally:
            LOOK_UPS.discard(thread)
        return [(family, _without_zone(address)) for family, _, _, _, address in found]

    timer = asyncio.timeout(timeout)
    try:
        async with timer:
            found = await in_thread(look_up, f"smtpsend-resolve-{host[:40]}")
    except socket.gaierror as error:
        unknown = error.errno in _UNKNOWN_NAME
        # Without a descriptor to ask the DNS by, every name is unknown.
        if (why := _no_descriptor()) is not None:
            raise _unresolved(
                _cannot(what, host, why), temporary=True, hint=HINT
            ) from None
        raise _unresolved(
            f"{what} {host} " + ("is unknown" if unknown else "cannot be looked up"),
            temporary=not unknown,
        ) from None
    except (OSError, UnicodeError, RuntimeError, MemoryError) as error:
        if timer.expired():
            raise _unresolved(
                f"the look-up of {what} {host} took longer than {timeout:.3g} s",
                temporary=True,
                timed_out=True,
            ) from None
        why = shortage(error)
        if why is None and isinstance(error, RuntimeError | MemoryError):
            raise
        hint = HINT if why else ""
        raise _unresolved(_cannot(what, host, why), temporary=True, hint=hint) from None
    addresses = interleave(list(dict.fromkeys(found)))
    if not addresses:
        raise _unresolved(f"{what} {host} has no address", temporary=False)
    return addresses


def finish_look_ups() -> None:
    """Wait for a moment until no thread looks a name up, because the process forks.

    The child would wait forever for a lock of the C library that such a thread holds. A
    look-up that waits for a name server holds none, and may take long.
    """
    until = time.monotonic() + _LOOK_UP_GRACE
    while LOOK_UPS and time.monotonic() < until:
        threading.Event().wait(_LOOK_UP_INTERVAL)


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


def _cannot(what: str, host: str, why: str | None) -> str:
    text = f"{what} {host} cannot be looked up"
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
