"""The target of a session: the arguments of a `Server`, with its addresses."""

from __future__ import annotations

import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from smtpsend._model.policy.policy import Policy
from smtpsend._model.server.credentials import Auth
from smtpsend._model.server.host import check_private
from smtpsend._protocol.quirks import Quirks
from smtpsend._protocol.redaction.redact import Redactor, redactor_for
from smtpsend._values import NamedTuple
from smtpsend._wire.dial import Source
from smtpsend._wire.look_up import Address, resolve
from smtpsend._wire.tls.context import context_for, tls_name


if TYPE_CHECKING:
    from smtpsend._model.server.proxy import Proxy
    from smtpsend._model.server.server import Server
    from smtpsend._wire.deadline import Deadline


class Target(NamedTuple):
    """The server that a session is opened to.

    Attributes:
        host: the host name, as given to `Server`.
        name: the name that the certificate must be for; the host, or another one.
        addresses: the addresses of the host, or of the proxy, in the order in which they
            are tried.
        proxy: the proxy that connects to the host; None for a direct connection.
        source: the address and the port that connections come from; None for any.
        context: the TLS context to verify the server with.
        context_is_given: the caller made it, and not this library.
        fingerprint: the pinned certificate, ``sha256:...``; None to verify by `context`.
        auth: the credentials; None to send without a login.
        ehlo_name: our name for EHLO; None to find one (see `default_ehlo_name`).
        policy: the methods and the time limits.
        quirks: what earlier connections found out about the server.
        redact: hides the secrets of the call.
    """

    host: str
    name: str
    addresses: Sequence[Address]
    proxy: Proxy | None
    source: Source | None
    context: ssl.SSLContext
    context_is_given: bool
    fingerprint: str | None
    auth: Auth | None
    ehlo_name: str | None
    policy: Policy
    quirks: Quirks
    redact: Redactor


def context_of(server: Server) -> ssl.SSLContext:
    """Return the context that verifies a server; see `context_for`."""
    cafile = None if server.cafile is None else str(server.cafile)
    return context_for(cafile, server.ssl_context)


# The addresses of a name are used again for this many seconds, or `Policy.remember` if
# that is less. A look-up takes a thread, and often a round trip.
_ADDRESSES_LAST = 5.0
# If more names than this are looked up, all addresses are forgotten.
_MOST_NAMES = 256

# By the name: when its addresses were found, by which function, and the addresses. A
# program may replace the function.
_found: dict[str, tuple[float, Callable[..., Any], Sequence[Address]]] = {}


def forget_addresses(target: Target) -> None:
    """Look the name up again next time, because a connection could not be opened."""
    host = target.host if target.proxy is None else target.proxy.host
    _found.pop(host, None)


async def _addresses(
    server: Server, deadline: Deadline, *, fresh: bool
) -> Sequence[Address]:
    limit = deadline.within(server.policy.connect_timeout)
    # The proxy looks up the name of the server, which this machine may not know.
    host, what = server.host, "the host name"
    if server.proxy is not None:
        host, what = server.proxy.host, "the proxy's host name"
    look_up = socket.getaddrinfo
    last = min(_ADDRESSES_LAST, server.policy.remember)
    when, by, addresses = _found.get(host, (0.0, look_up, ()))
    if (
        addresses
        and not fresh
        and by is look_up
        and time.monotonic() < when + last
        and not sys.is_finalizing()  # the look-up refuses what can no longer be sent
    ):
        return addresses
    addresses = await resolve(host, limit, what)
    if len(_found) >= _MOST_NAMES:
        _found.clear()
    _found[host] = time.monotonic(), look_up, addresses
    return addresses


async def find_target(
    server: Server, quirks: Quirks, deadline: Deadline, *, fresh: bool = False
) -> Target:
    """Find the addresses of a server or its proxy, and build the target from them.

    Args:
        server: the server.
        quirks: what earlier connections found out about it.
        deadline: the deadline of the call.
        fresh: whether the name is looked up even if it was a moment ago.

    Raises:
        ConnectError: the host name is unknown, or could not be looked up.
        ConfigError: the CA file or the TLS context cannot be used, or a plaintext method
            would connect to a public address.
    """
    proxy = server.proxy
    # An unusable CA file or context is refused first. The look-up does not run at the
    # same time: it may fail for want of the descriptor that the CA file uses, and this
    # cannot be told from an unknown name afterwards.
    context = context_of(server)
    addresses = await _addresses(server, deadline, fresh=fresh)
    if server.plaintext:
        for _, address in addresses:
            check_private(str(address[0]))
    return Target(
        host=server.host,
        name=tls_name(server.tls_name or server.host),
        addresses=addresses,
        proxy=proxy,
        source=server.source_address,
        context=context,
        context_is_given=server.ssl_context is not None,
        fingerprint=server.fingerprint,
        auth=server.auth,
        ehlo_name=server.ehlo_name,
        policy=server.policy,
        quirks=quirks,
        redact=redactor_for(server.auth, () if proxy is None else proxy.secrets),
    )
