"""Chooses the transport of a connection: `SocketTransport`, or that of the event loop."""

from __future__ import annotations

import asyncio
import socket
import ssl

from smtpsend._wire.tls.alerts import alert_of
from smtpsend._wire.transport.acknowledge import Acknowledger
from smtpsend._wire.transport.socket_transport import SocketTransport


# Octets to read from the socket: enough for an alert and the session tickets before it.
_RECORDS = 65536


async def open_transport(
    sock: socket.socket,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    *,
    given: bool = False,
) -> None:
    """Connect `protocol` to a socket, which its transport owns from then on.

    Args:
        sock: a connected, non-blocking socket.
        protocol: the protocol.
        context: the TLS context that may be used later.
        given: whether the caller made the context.
    """
    loop = asyncio.get_running_loop()
    # Other loops, uvloop's and Windows' default one, do not watch descriptors, or have
    # TLS of their own.
    watches = isinstance(loop, asyncio.SelectorEventLoop)
    try:
        if watches and not given and _is_usual(context):
            SocketTransport(loop, sock, protocol)
        else:
            await loop.create_connection(lambda: protocol, sock=sock)
    except BaseException:
        # The system may refuse to watch it.
        sock.close()
        raise


def _is_usual(context: ssl.SSLContext) -> bool:
    """Whether nobody has put code of their own into the TLS of a context of ours.

    Such code, of gevent and truststore for example, may check more than the standard
    library does, and may do so only in what asyncio uses.
    """
    cls = type(context)
    return (
        cls is ssl.SSLContext
        and cls.__module__ == "ssl"
        and context.sslobject_class is ssl.SSLObject
        and context.sslsocket_class is ssl.SSLSocket
        and (cls.wrap_bio, ssl.SSLObject.do_handshake) == _USUAL
    )


_USUAL = ssl.SSLContext.wrap_bio, ssl.SSLObject.do_handshake


async def start_tls(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    context: ssl.SSLContext,
    name: str,
    limit: float,
) -> asyncio.Transport | None:
    """Do the TLS handshake; return the transport inside TLS.

    Args:
        transport: the transport of the connection.
        protocol: its protocol.
        context: the context that verifies the server.
        name: the name that the certificate must be for.
        limit: seconds for the handshake.

    Returns:
        The transport; None if the connection was closed meanwhile.

    Raises:
        ssl.SSLError: the handshake failed.
        OSError: the connection ended, or the time was over.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(limit):
        if isinstance(transport, SocketTransport):
            await transport.start_tls(context, name)
            return transport
        # The server's first flight is acknowledged at once; see `SocketTransport`. The
        # ClientHello is written in the next turn of the loop, and so the option is set in
        # the turn after that.
        acknowledger = Acknowledger()
        acknowledger.use(transport)
        loop.call_soon(loop.call_soon, acknowledger.acknowledge)
        return await loop.start_tls(
            transport,
            protocol,
            context,
            server_hostname=name,
            ssl_handshake_timeout=limit + 1,
        )


def unread_alert(secure: asyncio.Transport, below: asyncio.Transport) -> str | None:
    """Read an alert from the socket after a write failed; return its name, or None.

    A server that refuses a client sends the alert and resets the connection. If a write
    fails because of the reset, asyncio reads nothing more, and the alert would be lost.
    Until the socket is closed, this function can still read it. It uses private
    attributes of asyncio's TLS; with another event loop, it returns None.

    Args:
        secure: the transport inside TLS.
        below: the transport that has the socket.
    """
    if isinstance(secure, SocketTransport):
        return alert_of(secure.error)
    incoming = getattr(getattr(secure, "_ssl_protocol", None), "_incoming", None)
    tls, sock = secure.get_extra_info("ssl_object"), below.get_extra_info("socket")
    if incoming is None or tls is None or sock is None:
        return None
    try:
        with sock.dup() as again:
            again.setblocking(False)  # noqa: FBT003  # the standard library's signature
            incoming.write(again.recv(_RECORDS))
        tls.read(1)
    except OSError as error:
        return alert_of(error)
    return None
