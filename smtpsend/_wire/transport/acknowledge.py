"""Lets the system acknowledge replies at once, where it has an option for that.

A system delays the acknowledgement of what it received, by up to 40 ms on Linux, to send
it together with data of its own. A server that writes a reply in two parts waits for the
acknowledgement of the first (RFC 1122 section 4.2.3.4), and each reply takes 40 ms.
"""

from __future__ import annotations

import asyncio
import socket


# Only Linux has the option. It holds for a short time, and so is set before each wait.
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class Acknowledger:
    """Acknowledges at once what a connection received."""

    __slots__ = ("_socket",)

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def use(self, transport: asyncio.BaseTransport | None) -> None:
        """Use the socket of `transport`, if it has one; None for no further use."""
        usable = transport is not None and _QUICK_ACK is not None
        self._socket = (
            transport.get_extra_info("socket") if usable and transport else None
        )

    def acknowledge(self) -> None:
        """Acknowledge now, and for a short time what comes next."""
        if self._socket is None or _QUICK_ACK is None:
            return
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
        except (OSError, AttributeError):
            # It is closed, or no socket of TCP.
            self._socket = None
