"""Asks an HTTP proxy for a connection: CONNECT (RFC 9110 section 9.3.6).

The reply is read octet by octet. An SMTP server speaks first, so its greeting may come
right after the reply, and belongs to the session. A connection has one such reply.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from smtpsend._model.server.proxy import Proxy, basic_login
from smtpsend._model.server.url import bracketed
from smtpsend._wire.proxy.refusal import Kind, ProxyRefused


if TYPE_CHECKING:
    import h11

# Octets of one reply without its body, which is not read.
_LONGEST_HEAD = 16384
# Interim replies (1xx) before the final one.
_MOST_INTERIM = 5
# tinyproxy refuses a wrong login with 401, and asks for one with 407.
_LOGIN = {401, 407}
# These may pass: the request took too long, or there were too many; any 5xx besides.
_PASSING = {408, 425, 429}


async def ask(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Ask for a connection to a port of a host; it is open when this returns.

    Raises:
        ProxyRefused: the proxy refused it, or sent something that is no HTTP.
        OSError: the connection to the proxy was lost.
    """
    # An optional package, imported by the first connection that needs it.
    import h11

    loop = asyncio.get_running_loop()
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
    await loop.sock_sendall(sock, _request(http, proxy, f"{bracketed(host)}:{port}"))
    for _ in range(_MOST_INTERIM + 1):
        reply = _reply(http, await _head(sock))
        if reply.status_code >= 200:
            break
    else:
        raise ProxyRefused(Kind.GARBAGE, "too many interim responses", temporary=True)
    if reply.status_code >= 300:
        raise _refusal(reply)


def _request(http: h11.Connection, proxy: Proxy, authority: str) -> bytes:
    import h11

    headers = [("Host", authority)]
    if proxy.username is not None:
        login = basic_login(proxy.username, proxy.password or "")
        headers.append(("Proxy-Authorization", f"Basic {login}"))
    request = h11.Request(method="CONNECT", target=authority, headers=headers)
    return (http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b"")


async def _head(sock: socket.socket) -> bytes:
    """Read up to the empty line that ends the headers, and nothing after it."""
    loop = asyncio.get_running_loop()
    head = bytearray()
    # Some proxies end a line with LF alone, as h11 accepts it.
    while not head.endswith((b"\n\r\n", b"\n\n")):
        if len(head) >= _LONGEST_HEAD:
            raise ProxyRefused(Kind.GARBAGE, "a reply without end", temporary=True)
        octet = await loop.sock_recv(sock, 1)
        if not octet:
            words = "it closed the connection"
            raise ProxyRefused(Kind.GARBAGE, words, temporary=True)
        head += octet
    return bytes(head)


def _reply(http: h11.Connection, head: bytes) -> h11.Response | h11.InformationalResponse:
    import h11

    try:
        http.receive_data(head)
        reply = http.next_event()
    except h11.RemoteProtocolError:
        # The text of h11 would quote what the proxy sent.
        raise ProxyRefused(Kind.GARBAGE, "no HTTP response", temporary=True) from None
    if not isinstance(reply, h11.Response | h11.InformationalResponse):
        raise ProxyRefused(Kind.GARBAGE, "no HTTP response", temporary=True)
    return reply


def _refusal(reply: h11.Response | h11.InformationalResponse) -> ProxyRefused:
    code = reply.status_code
    words = f"{code} {reply.reason.decode('utf-8', 'replace')}".rstrip()
    if code in _LOGIN:
        return ProxyRefused(Kind.LOGIN, words)
    if code >= 500 or code in _PASSING:
        return ProxyRefused(Kind.FAILED, words, temporary=True)
    return ProxyRefused(Kind.RULE, words)
