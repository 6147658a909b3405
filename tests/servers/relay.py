"""An SMTP server that stores the messages it accepts.

Postfix and Dovecot relay their messages to it, and the aiosmtpd server uses its `Policy`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiosmtpd.smtp import SMTP

from servers.store import store


if TYPE_CHECKING:
    from servers.setup import Setup


class Policy:
    """The handler: which senders and recipients it accepts; it stores the message."""

    def __init__(self, out: str, *, keep: bool = True) -> None:
        self.out, self.keep = out, keep

    async def handle_MAIL(self, server, session, envelope, address, options):
        if address.startswith("banned@"):
            return "550 5.7.1 Sender refused"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith(("unknown", "returned")):
            return "550 5.1.1 User unknown"
        if address.startswith("later"):
            return "450 4.2.0 Try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server, session, envelope):
        if self.keep:
            to = envelope.rcpt_tos
            store(self.out, envelope.mail_from, to, envelope.original_content)
        return "250 2.0.0 Stored"


class Relay(SMTP):
    # The server in front of the relay decides about lines that SMTP does not allow.
    line_length_limit = 1 << 20


async def listen(setup: Setup) -> int:
    """Start a relay on a free port of the server's address; return the port."""
    policy = Policy(setup.out, keep=setup.keep)
    listener = await asyncio.get_running_loop().create_server(
        lambda: Relay(
            policy,
            # Not the name of the server in front: to Postfix that would be a mail loop.
            hostname="relay.invalid",
            data_size_limit=setup.max_size + (1 << 20),  # for trace fields
            enable_SMTPUTF8=True,
            timeout=3600,  # Dovecot keeps its connection as long as its client does
        ),
        setup.host,
        0,
    )
    return listener.sockets[0].getsockname()[1]
