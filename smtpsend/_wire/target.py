"""What a session is opened to: one server, its addresses, and what is known of it."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpsend._model.policy.policy import Policy
from smtpsend._model.server.credentials import Auth, known_secret
from smtpsend._model.server.host import check_private
from smtpsend._protocol.quirks import Quirks
from smtpsend._protocol.redact import Redactor
from smtpsend._wire.dial import Address, resolve


if TYPE_CHECKING:
    from smtpsend._model.server.server import Server
    from smtpsend._wire.deadline import Deadline


@dataclass(frozen=True, slots=True)
class Target:
    """What a session is opened to; the arguments of `Server`, resolved."""

    host: str
    addresses: Sequence[Address]
    context: ssl.SSLContext
    fingerprint: str | None
    auth: Auth | None
    ehlo_name: str | None
    policy: Policy
    quirks: Quirks
    redact: Redactor


async def find_target(
    server: Server, context: ssl.SSLContext, quirks: Quirks, deadline: Deadline
) -> Target:
    """Look up where a server is.

    Raises:
        ConnectError: the name is unknown, or could not be looked up.
        ConfigError: a plaintext method would lead to a public address.
    """
    limit = deadline.within(server.policy.connect_timeout)
    addresses = await resolve(server.host, limit)
    if server.plaintext:
        for _, address in addresses:
            check_private(str(address[0]))
    redact = Redactor()
    if (secret := known_secret(server.auth)) is not None:
        redact.add(secret)
    return Target(
        host=server.host,
        addresses=addresses,
        context=context,
        fingerprint=server.fingerprint,
        auth=server.auth,
        ehlo_name=server.ehlo_name,
        policy=server.policy,
        quirks=quirks,
        redact=redact,
    )
