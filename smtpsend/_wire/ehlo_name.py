"""What we call ourselves, and what we expect the server to be called."""

from __future__ import annotations

import asyncio
import re
import socket

from smtpsend._model.server.host import literal


_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+",
    re.IGNORECASE,
)


def own_name(transport: asyncio.BaseTransport) -> str:
    """What to call ourselves in EHLO, found without a look-up (RFC 5321 section 4.1.3).

    The host's name if it is a domain of at least two labels, which is what servers
    insist on; in a container it seldom is, and the address literal is right anywhere.
    """
    name = socket.gethostname()
    if _DOMAIN.fullmatch(name) and literal(name) is None:
        return name
    # A connection that ended has no address, and says nothing any more.
    sockname = transport.get_extra_info("sockname") or ("127.0.0.1",)
    address = sockname[0].partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def tls_name(host: str) -> str:
    """The name to look for in the certificate: no root dot, no zone."""
    return host.removesuffix(".").partition("%")[0]
