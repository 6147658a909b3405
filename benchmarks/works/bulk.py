"""Many messages, as bytes: over one connection and four, kept or by `send_many`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from benchmarks.works.case import ALL, KB, OURS, PEERS, Case
from benchmarks.works.one import NAMES, OFFERS
from benchmarks.works.scale import Scale


# These two take a multiple of the others' time for each message.
_SLOW = {"dovecot": 3, "chasquid": 3}

_ONE = {"max_connections": 1}
_TITLES = {1: "one connection", 4: "four connections"}


def cases(scale: Scale, servers: Iterable[str]) -> Iterator[Case]:
    """The cases, those of real servers for `servers` alone."""
    far, near = scale.bulk
    for extensions in OFFERS:
        yield _bulk("near", near, extensions)
    for extensions in OFFERS:
        # With neither, every client is as slow, and a few messages show it.
        count = max(3, far // 5) if extensions == "none" else far
        yield _bulk("far", count, extensions, rtt=scale.far, once=PEERS, most=3)
    yield _bulk("wide near", near, "chunking", connections=4)
    yield _bulk(
        "wide far", scale.window, "chunking", connections=4, rtt=scale.far, most=3
    )
    yield from _tuned(scale)
    for server in servers:
        count = scale.real // (_SLOW.get(server, 1) if scale.real > 100 else 1)
        most = 3 if server in _SLOW else None
        yield _bulk("one", count, server, most=most)
        yield _bulk("four", count, server, connections=4, most=most)
    if "postfix" in servers:
        yield _bulk("far", far, "postfix", rtt=scale.far, once=PEERS, most=3)
    yield from _kept(scale, servers)


def _tuned(scale: Scale) -> Iterator[Case]:
    """The default window beside a larger one; all messages over one connection."""
    far, near = scale.window, scale.bulk[1]
    for where, count, rtt in (("far", far, scale.far), ("near", near, 0)):
        tuned = {**_ONE, "window": 64, "max_messages": count}
        for name, client in (("default", _ONE), ("tuned", tuned)):
            if name == "default" and not rtt:
                continue  # that is one of the cases above
            yield _bulk(
                f"{name} {where}",
                count,
                "chunking",
                rtt=rtt,
                client=client,
                drivers=(*OURS, "limit"),
            )


def _bulk(
    where: str,
    count: int,
    server: str,
    *,
    connections: int = 1,
    rtt: int = 0,
    client: Mapping[str, Any] | None = None,
    drivers: tuple[str, ...] = ALL,
    once: tuple[str, ...] = (),
    most: int | None = None,
) -> Case:
    # Four connections are the default of a client: that is the client as it is.
    given = (_ONE if connections == 1 else {}) if client is None else client
    changed = ", ".join(f"{key}={value}" for key, value in given.items())
    place = NAMES.get(server) or f"sink ({OFFERS[server]})"
    return Case(
        f"bulk {server} {where}",
        f"{count:,} to {place}, {_TITLES[connections]}, RTT {rtt} ms: "
        f"`Client({changed})`",
        "bulk real" if server in NAMES else "bulk",
        work="many",
        size=2 * KB,
        count=count,
        connections=connections,
        client=given,
        server=server,
        rtt=rtt,
        drivers=drivers,
        once=once,
        most=most,
    )


def _kept(scale: Scale, servers: Iterable[str]) -> Iterator[Case]:
    """A call of `send` for each message, over a connection that is kept."""
    far, near = scale.bulk
    for server, count, rtt in (
        ("chunking", near // 2, 0),
        ("chunking", max(3, far // 2), scale.far),
        *((server, scale.kept, 0) for server in servers),
    ):
        where = server if server in NAMES else "far" if rtt else "near"
        yield Case(
            f"kept {where}",
            f"{count:,} to {NAMES.get(server, 'sink')}, RTT {rtt} ms",
            "kept",
            work="kept",
            size=2 * KB,
            count=count,
            server=server,
            rtt=rtt,
            once=PEERS if rtt else (),
            most=3 if rtt or server in _SLOW else None,
        )
