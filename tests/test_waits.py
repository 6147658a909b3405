"""The waits of a channel: bounded, fair to the loop, and logged."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest

from smtpsend._protocol.failures import TimedOut
from smtpsend._protocol.redaction.redact import Redactor
from smtpsend._wire.channel import Channel
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.transport.polling import OWN_LOOPS
from smtpsend._wire.transport.socket_transport import SocketTransport


pytestmark = pytest.mark.usefixtures("no_leaks")


@asynccontextmanager
async def connected(*, polls: bool) -> AsyncIterator[tuple[Channel, socket.socket]]:
    """A channel, and the socket of its server."""
    loop = asyncio.get_running_loop()
    if polls:
        OWN_LOOPS.add(loop)
    mine, server = socket.socketpair()
    mine.setblocking(False)
    channel = Channel(Redactor())
    SocketTransport(loop, mine, channel)
    try:
        yield channel, server
    finally:
        channel.abort()
        server.close()
        await channel.wait_closed(20)


@pytest.mark.parametrize("polls", [True, False])
def test_no_time_is_left(*, polls: bool) -> None:
    """A reply that has arrived is not read if no time is left to wait for it."""

    async def run() -> None:
        async with connected(polls=polls) as (channel, server):
            server.send(b"250 ok\r\n")
            with pytest.raises(TimedOut):
                await channel.wait_reply(0.0)
            assert not channel.unread
            assert (await channel.reply(20)).code == 250

    asyncio.run(run())


def test_data_that_is_no_reply_yet() -> None:
    """The loop has a turn, however often a poll finds a further octet."""
    octets = list(b"250 ok\r\n")
    turns: list[int] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def turn() -> None:
            turns.append(len(octets))
            if octets:
                loop.call_soon(turn)
                channel.data_received(bytes([octets.pop(0)]))

        def poll() -> bool:
            if not turns:
                loop.call_soon(turn)
                channel.data_received(bytes([octets.pop(0)]))
            return True

        async with connected(polls=True) as (channel, _):
            channel._poll = poll
            assert (await channel.reply(20)).code == 250

    asyncio.run(run())
    assert turns[0] == len(b"250 ok\r\n") - 1


@pytest.mark.parametrize("in_group", [False, True])
def test_a_log_that_is_enabled_meanwhile(
    caplog: pytest.LogCaptureFixture, *, in_group: bool
) -> None:
    """A reply is logged if the logger is enabled while it is waited for."""

    async def read(channel: Channel) -> None:
        if in_group:
            await channel.wait_reply(20)
            channel.read_received(deque.clear)
        else:
            await channel.reply(20)

    async def run() -> None:
        async with connected(polls=True) as (channel, server):
            waiting = asyncio.create_task(read(channel))
            await asyncio.sleep(0)
            with caplog.at_level(logging.DEBUG, "smtpsend.wire"):
                server.send(b"250 queued\r\n")
                await waiting

    asyncio.run(run())
    assert [record.getMessage() for record in caplog.records] == ["? < 250 queued"]


@pytest.mark.parametrize(
    ("sizes", "seconds", "looks"),
    [
        ([100, 50, 50], 60, 3),  # it goes on once, and then nothing was sent
        (range(100, 0, -1), 0.15, None),  # something was sent each time
    ],
)
def test_an_upload(sizes: Iterable[int], seconds: float, looks: int | None) -> None:
    """The wait goes on while octets are sent, as long as the deadline allows."""
    left = list(sizes)
    count = len(left)

    async def run() -> None:
        async with connected(polls=False) as (channel, _):
            channel.write(bytes(10_000_000))
            channel.transport.get_write_buffer_size = lambda: left.pop(0)  # type: ignore[method-assign]
            with pytest.raises(TimedOut, match=r"no upload progress within 0\.05 s"):
                await channel.drain(0.05, Deadline(seconds))

    asyncio.run(run())
    assert looks is None or count - len(left) == looks


def test_a_lost_channel_drops_its_transport() -> None:
    """An error that is kept keeps the channel, and not what TLS has in memory."""

    async def run() -> None:
        async with connected(polls=True) as (channel, _):
            transport = weakref.ref(channel.transport)
        await asyncio.sleep(0)
        gc.collect()
        assert transport() is None
        assert not channel._poll()

    asyncio.run(run())
