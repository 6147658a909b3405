"""One server or several, as the public functions accept them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from smtpsend._model.server.server import Server, server_of
from smtpsend._model.tracebacks import hides_arguments
from smtpsend.errors import ConfigError


@hides_arguments
def servers_of(given: object) -> tuple[Server, ...]:
    """Convert what the caller gave as `server` to the servers, in order of preference.

    Raises:
        ConfigError: one of them cannot be used, there is none, one stands there twice, or
            they redirect to different addresses.
    """
    if isinstance(given, Server | str):
        return (server_of(given),)
    if not isinstance(given, Sequence) or isinstance(given, bytes | bytearray):
        raise ConfigError(
            "server must be a Server, a host name, a URL, or a list or tuple of these"
        )
    servers = tuple([_numbered(number, one) for number, one in enumerate(given, 1)])
    if not servers:
        raise ConfigError("server must not be an empty sequence")
    for number, server in enumerate(servers, 1):
        if any(_same(server, other) for other in servers[: number - 1]):
            raise ConfigError(f"server number {number}, {server.host}, is there twice")
    if len({server.redirect_to for server in servers}) > 1:
        # Else the real recipients would get a message when the first server fails.
        raise ConfigError("redirect_to must be the same for all servers")
    return servers


@hides_arguments
def _numbered(number: int, given: object) -> Server:
    """Convert one of several; an error says which one it is."""
    try:
        return server_of(given)
    except ConfigError as error:
        error.args = (f"server number {number}: {error.message}",)
        raise


def _same(server: Server, other: Server) -> bool:
    """Whether two servers differ by nothing but the case of their host name."""
    if server.host.lower() != other.host.lower():
        return False
    return server == replace(other, host=server.host)
