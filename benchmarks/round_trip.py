"""What a round trip over TLS costs: a NOOP and its reply, by several transports.

``python -m benchmarks.round_trip [COUNT]`` prints the medians of CPU and time. They
are the figures of docs/decisions/transports.md.
"""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trustme

from benchmarks.places.sink import Sink
from smtpsend._wire.transport.socket_transport import OWN_LOOPS, SocketTransport
from smtpsend._wire.transport.transports import start_tls


_COUNT, _ROUNDS, _HOST = 1000, 9, "localhost"


class _Replies(asyncio.Protocol):
    """Wakes the task that waits for a reply."""

    def __init__(self) -> None:
        self.waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        del data
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


def _connected(port: int) -> socket.socket:
    """A connection after STARTTLS."""
    sock = socket.create_connection((_HOST, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.recv(4096)
    for command in (b"EHLO [127.0.0.1]\r\n", b"STARTTLS\r\n"):
        sock.sendall(command)
        sock.recv(4096)
    sock.setblocking(False)
    return sock


Spent = tuple[float, float]
"""Seconds of CPU and of time."""


def by_smtplib(port: int, context: ssl.SSLContext, count: int) -> Spent:
    """A blocking socket, and a parser of replies."""
    with smtplib.SMTP(_HOST, port) as smtp:
        smtp.starttls(context=context)
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(count):
            smtp.noop()
        return time.process_time() - cpu, time.perf_counter() - wall


async def _by_asyncio(
    port: int, context: ssl.SSLContext, count: int, polls: bool | None
) -> Spent:
    """A transport, without a parser; without polling for False; asyncio's for None."""
    loop, replies, sock = asyncio.get_running_loop(), _Replies(), _connected(port)
    if polls is None:
        await loop.create_connection(lambda: replies, sock=sock)
    else:
        if polls:
            OWN_LOOPS.add(loop)
        SocketTransport(loop, sock, replies)
    secure = await start_tls(replies.transport, replies, context, _HOST, 10)
    assert secure is not None
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(count):
        replies.waiter = loop.create_future()
        secure.write(b"NOOP\r\n")
        if isinstance(secure, SocketTransport):
            secure.poll()
        await replies.waiter
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    secure.abort()
    await asyncio.sleep(0.01)
    return cpu, wall


def main(count: int) -> None:
    """Measure each in turn, several times, and print the medians."""

    def asynchronous(polls: bool | None) -> Callable[[], Spent]:
        return lambda: asyncio.run(_by_asyncio(port, context, count, polls))

    ways: dict[str, Callable[[], Spent]] = {
        "smtplib": lambda: by_smtplib(port, context, count),
        "asyncio's TLS": asynchronous(None),
        "SocketTransport": asynchronous(False),
        "SocketTransport, polls": asynchronous(True),
    }
    with tempfile.TemporaryDirectory() as folder:
        authority, files = trustme.CA(), Path(folder)
        made = authority.issue_cert(_HOST, "127.0.0.1")
        authority.cert_pem.write_to_path(str(files / "ca.pem"))
        made.private_key_pem.write_to_path(str(files / "key.pem"))
        for number, pem in enumerate(made.cert_chain_pems):
            pem.write_to_path(str(files / "chain.pem"), append=number > 0)
        chain, key = str(files / "chain.pem"), str(files / "key.pem")
        context = ssl.create_default_context(cafile=files / "ca.pem")
        with Sink(files, "127.0.0.1", chain, key) as sink:
            port = sink.ports["none"]["starttls"]
            rounds = [{name: way() for name, way in ways.items()} for _ in range(_ROUNDS)]
    for name in ways:
        cpu, wall = (
            statistics.median(spent[name][kind] for spent in rounds) / count * 1e6
            for kind in (0, 1)
        )
        print(f"{name:34} {cpu:4.0f} us of CPU, {wall:4.0f} us")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else _COUNT)
