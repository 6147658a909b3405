"""Asks a SOCKS5 proxy for a connection, by python-socks (RFC 1928, RFC 1929)."""

from __future__ import annotations

import socket
from typing import Any, cast

from smtpsend._model.server.proxy import Proxy
from smtpsend._wire.proxy.refusal import Kind, ProxyRefused


# RFC 1928 section 6: what the proxy may say, and what that is about. The rest are
# failures that may pass.
_RULE = 2
_UNSUPPORTED = {7, 8}


class _Connected:
    """Stands for the proxy that python-socks would reach the next one by.

    So python-socks opens no socket and looks no name up: the socket is dialled here, with
    the addresses raced, and the look-up outside the executor of the loop.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def connect(self, **_: object) -> socket.socket:
        return self._sock


async def ask(
    sock: socket.socket, proxy: Proxy, host: str, port: int, timeout: float
) -> None:
    """Ask for a connection to a port of a host; it is open when this returns.

    The name is sent as it is, and looked up by the proxy.

    Raises:
        ProxyRefused: the proxy refused it, or sent something that is not SOCKS5.
        OSError: the connection to the proxy was lost.
    """
    # An optional package, imported by the first connection that needs it.
    from python_socks import ProxyError, ProxyType
    from python_socks.async_.asyncio import Proxy as Socks

    socks = Socks(
        ProxyType.SOCKS5,
        proxy.host,
        proxy.port,
        username=proxy.username,
        password=proxy.password,
        rdns=True,
        forward=cast("Any", _Connected(sock)),
    )
    try:
        # The timer of the caller is shorter, and decides.
        await socks.connect(host, port, timeout=timeout + 1)
    except ProxyError as error:
        raise _refusal(error.error_code, str(error)) from None
    except (OSError, MemoryError):
        raise
    except Exception:  # noqa: BLE001  # a reply that the library cannot decode
        words = "a reply that cannot be read"
        raise ProxyRefused(Kind.GARBAGE, words, temporary=True) from None


def _refusal(code: int | None, words: str) -> ProxyRefused:
    if code is None:
        # There is a code in the reply to the request alone, and not in that to the login.
        if "authenticat" in words.lower():
            return ProxyRefused(Kind.LOGIN, words)
        return ProxyRefused(Kind.GARBAGE, words, temporary=True)
    if code == _RULE:
        return ProxyRefused(Kind.RULE, words)
    return ProxyRefused(Kind.FAILED, words, temporary=code not in _UNSUPPORTED)
