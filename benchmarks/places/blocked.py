"""Ports where nothing goes on."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator


@contextlib.contextmanager
def blocked(kind: str, host: str) -> Iterator[int]:
    """A port where nothing goes on.

    ``refused`` refuses connections, ``silent`` accepts them and sends nothing, and
    ``black hole`` does not even accept (on Linux, where a full backlog drops what comes).
    """
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind((host, 0))
        if kind == "silent":
            sock.listen(1024)
        elif kind == "black hole":
            sock.listen(0)
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(sock.getsockname())
            time.sleep(0.1)
        yield int(sock.getsockname()[1])
