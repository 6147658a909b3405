"""Links with a long round-trip time: packets between TUN devices, delayed.

In a process of its own: ``python -m benchmarks.places.link MILLISECONDS,NEAR,FAR ...``
gets one argument for each link: the round-trip time, and the descriptors of the TUN
devices at its two ends (that of the client is NEAR). It writes ``ready``. Then it replies
to each line on its standard input with the round trips of each connection that was closed
since, by link, as JSON, and ends with the input.

Each packet reaches the other end after half a round trip. Order and bandwidth stay as
they are. The kernels of both ends talk TCP with each other, so that acknowledgements
travel, too, and are delayed as a kernel delays them.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from collections import deque


_PACKET = 65536
_TCP = 6
_FIN, _SYN, _RST = 1, 2, 4
_AT_ONCE = 64


class Trips:
    """Counts the round trips of a connection, as its client sees them."""

    def __init__(self) -> None:
        self._asked = True  # the end of TCP's handshake
        self.count = 1  # its beginning

    def asked(self) -> None:
        """The client sent data."""
        self._asked = True

    def received(self) -> None:
        """Data reached the client."""
        self.count += self._asked
        self._asked = False


class Link:
    """One link, and the connections over it."""

    def __init__(self, milliseconds: float, near: int, far: int) -> None:
        self.milliseconds = milliseconds
        self.other = {near: far, far: near}
        self._near = near
        self._delay = milliseconds / 2000
        self._under_way: deque[tuple[float, int, bytes]] = deque()
        self._open: dict[bytes, Trips] = {}
        self.ended: list[int] = []

    def read(self, device: int) -> None:
        """Accept what a device has to send, some packets at a time."""
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(device, _PACKET)
            except BlockingIOError:
                return
            if device == self._near:
                self._from_client(packet)
            due = time.perf_counter() + self._delay
            self._under_way.append((due, self.other[device], packet))

    def deliver(self) -> float | None:
        """Deliver what is due; the seconds until more is, or None."""
        while self._under_way:
            due, device, packet = self._under_way[0]
            if (left := due - time.perf_counter()) > 0:
                return left
            self._under_way.popleft()
            if device == self._near:
                self._to_client(packet)
            # A full device drops packets, as links do.
            with contextlib.suppress(OSError):
                os.write(device, packet)
        return None

    def _from_client(self, packet: bytes) -> None:
        found = _tcp(packet)
        if found is None:
            return
        ports, flags, size = found
        if flags & _SYN:
            self._open[ports[:2]] = Trips()
        elif (trips := self._open.get(ports[:2])) is not None:
            if size:
                trips.asked()
            if flags & (_FIN | _RST):
                # What still comes, the client does not wait for.
                del self._open[ports[:2]]
                self.ended.append(trips.count)

    def _to_client(self, packet: bytes) -> None:
        found = _tcp(packet)
        if found is not None and found[2]:
            trips = self._open.get(found[0][2:])
            if trips is not None:
                trips.received()


def _tcp(packet: bytes) -> tuple[bytes, int, int] | None:
    """The ports, the flags and the size of the data of a TCP packet over IPv4."""
    if packet[0] >> 4 != 4 or packet[9] != _TCP:
        return None
    head = (packet[0] & 15) * 4
    size = len(packet) - head - (packet[head + 12] >> 4) * 4
    return packet[head : head + 4], packet[head + 13], size


def main(arguments: list[str]) -> None:
    """Forward until the standard input ends."""
    links = []
    for argument in arguments:
        milliseconds, near, far = argument.split(",")
        links.append(Link(float(milliseconds), int(near), int(far)))
    devices = {device: link for link in links for device in link.other}
    for device in devices:
        os.set_blocking(device, False)
    print("ready", flush=True)
    while True:
        waits = [left for link in links if (left := link.deliver()) is not None]
        ready, _, _ = select.select([0, *devices], [], [], min(waits, default=None))
        for device in ready:
            if device:
                devices[device].read(device)
            elif not os.read(0, _PACKET):
                return
            else:
                print(json.dumps([link.ended for link in links]), flush=True)
                for link in links:
                    link.ended = []


if __name__ == "__main__":
    main(sys.argv[1:])
