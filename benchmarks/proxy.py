"""A TCP proxy that makes the way to a server long: half a round trip in each direction.

In a process of its own: ``python -m benchmarks.proxy MILLISECONDS PORT...``. It writes
its ports, one for each given, as a line of JSON; then it answers each line on its
standard input with the round trips of each connection that ended since, and ends with
the input. Order and bandwidth stay as they are.

A connection is accepted at once, whatever lies behind it: so that the three ways of a TCP
handshake count, nothing reaches the server before one and a half round trips.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import sys
import threading
import time
from typing import NamedTuple


_READ = 262144


class _Piece(NamedTuple):
    due: float
    data: bytes


class Trips:
    """Counts the round trips of a connection, as its client sees them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = True  # the end of TCP's handshake
        self._gone = False
        self.count = 1  # its beginning

    def asked(self) -> None:
        """The client sent something."""
        with self._lock:
            self._asked = True

    def heard(self) -> None:
        """Something reached the client."""
        with self._lock:
            self.count += self._asked and not self._gone
            self._asked = False

    def gone(self) -> None:
        """The client hung up: what still comes, it did not wait for."""
        with self._lock:
            self._gone = True


class Proxy:
    """Everything between the clients and one process of servers."""

    def __init__(self, round_trip: float) -> None:
        self._round_trip = round_trip
        self._lock = threading.Lock()
        self._ended: list[int] = []

    def listen(self, port: int) -> int:
        """The port that leads to `port`, slowly."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        threading.Thread(target=self._accept, args=(listener, port), daemon=True).start()
        return int(listener.getsockname()[1])

    def ended(self) -> list[int]:
        """The round trips of the connections that ended since the last call."""
        with self._lock:
            ended, self._ended = self._ended, []
        return ended

    def _accept(self, listener: socket.socket, port: int) -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=self._serve, args=(client, port), daemon=True).start()

    def _serve(self, client: socket.socket, port: int) -> None:
        began = time.perf_counter()
        trips = Trips()
        to_server: queue.SimpleQueue[_Piece] = queue.SimpleQueue()
        to_client: queue.SimpleQueue[_Piece] = queue.SimpleQueue()
        earliest = began + 1.5 * self._round_trip
        reading = threading.Thread(
            target=self._read, args=(client, to_server, earliest, trips)
        )
        reading.start()
        time.sleep(max(0.0, earliest - time.perf_counter()))
        server = socket.create_connection(("127.0.0.1", port))
        threads = [
            reading,
            threading.Thread(target=self._write, args=(server, to_server)),
            threading.Thread(target=self._read, args=(server, to_client)),
            threading.Thread(target=self._write, args=(client, to_client, trips)),
        ]
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()
        server.close()
        with self._lock:
            self._ended.append(trips.count)

    def _read(
        self,
        sock: socket.socket,
        pieces: queue.SimpleQueue[_Piece],
        earliest: float = 0.0,
        trips: Trips | None = None,
    ) -> None:
        data = b"-"
        while data:
            try:
                data = sock.recv(_READ)
            except OSError:
                data = b""
            if trips is not None:
                (trips.asked if data else trips.gone)()
            due = max(earliest, time.perf_counter() + self._round_trip / 2)
            pieces.put(_Piece(due, data))

    def _write(
        self,
        sock: socket.socket,
        pieces: queue.SimpleQueue[_Piece],
        trips: Trips | None = None,
    ) -> None:
        while True:
            due, data = pieces.get()
            if (left := due - time.perf_counter()) > 0:
                time.sleep(left)
            # Who hung up hears nothing more.
            with contextlib.suppress(OSError):
                if data:
                    if trips is not None:
                        trips.heard()  # before the client can answer it
                    sock.sendall(data)
                else:
                    sock.shutdown(socket.SHUT_WR)
            if not data:
                return


def main(milliseconds: float, ports: list[int]) -> None:
    """Serve until the standard input ends."""
    proxy = Proxy(milliseconds / 1000)
    print(json.dumps([proxy.listen(port) for port in ports]), flush=True)
    for _ in sys.stdin:
        print(json.dumps(proxy.ended()), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(float(sys.argv[1]), [int(port) for port in sys.argv[2:]])
