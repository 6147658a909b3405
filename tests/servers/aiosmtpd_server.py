"""aiosmtpd, in the supervisor's own process. It needs neither root nor a package."""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from servers.setup import Setup


CAPABILITIES = frozenset({"8BITMIME", "SMTPUTF8", "SIZE", "AUTH"})
MECHANISMS = frozenset({"LOGIN", "PLAIN"})
REFUSES_SENDER_AT = "MAIL"


def missing() -> str | None:
    if importlib.util.find_spec("aiosmtpd"):
        return None
    return "no aiosmtpd here; pip install -e '.[dev]'"


async def prepare(setup: Setup) -> None:
    # Here, so that a test run without it can still import this module.
    from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

    from servers.relay import Policy

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(setup.cert, setup.key)
    policy = Policy(setup.out, keep=setup.keep)

    def authenticate(server, session, envelope, mechanism, data):
        good = isinstance(data, LoginPassword) and (
            (data.login.decode(), data.password.decode()) == (setup.user, setup.password)
        )
        # Not handled: a refusal then gets aiosmtpd's own 535.
        return AuthResult(success=good, handled=False)

    def protocol(implicit: bool):
        return lambda: SMTP(
            policy,
            hostname=setup.hostname,
            data_size_limit=setup.max_size,
            enable_SMTPUTF8=True,
            authenticator=authenticate,
            auth_required=True,
            # aiosmtpd doesn't see the TLS layer of an implicit port.
            auth_require_tls=not implicit,
            tls_context=None if implicit else context,
            require_starttls=not implicit,
        )

    for place, port in enumerate(setup.ports):
        implicit = place == 1
        await asyncio.get_running_loop().create_server(
            protocol(implicit), setup.host, port, ssl=context if implicit else None
        )
