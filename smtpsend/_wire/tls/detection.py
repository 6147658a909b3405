"""Detects implicit TLS on a port that sends no greeting.

A port with implicit TLS (RFC 8314 section 3.3) waits for the ClientHello, while a client
that expects STARTTLS waits for the greeting, so neither sends anything. A TLS handshake
on a second connection shows whether the port has implicit TLS or sends nothing at all.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from smtpsend._model.diagnosis.tls_remedies import handshake_remedy
from smtpsend._model.policy.policy import Method
from smtpsend._wire.progress import Track
from smtpsend._wire.proxy.connect import open_socket
from smtpsend._wire.tls.alerts import alert_of
from smtpsend._wire.tls.context import pinning_context
from smtpsend.errors import SendError


if TYPE_CHECKING:
    from smtpsend._wire.deadline import Deadline
    from smtpsend._wire.target import Target

# The longest time in seconds for the second connection and its handshake.
_LIMIT = 5.0


async def speaks_tls(target: Target, track: Track, deadline: Deadline) -> bool:
    """Return whether a port completes or refuses a TLS handshake on a second connection.

    The certificate is not verified, because only the handshake is sent, and the
    connection is aborted right after it.

    Args:
        target: the server.
        track: the progress of the method; it has the port and the address.
        deadline: the deadline of the call.
    """
    second = Track(Method(track.method.port, "implicit"), deadline.elapsed)
    same = [one for one in target.addresses if str(one[1][0]) == track.address]
    limit = deadline.within(_LIMIT)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limit):
            sock = await open_socket(target, second, deadline, limit, same)
            transport, _ = await loop.create_connection(
                asyncio.Protocol,
                sock=sock,
                ssl=pinning_context(),
                server_hostname=target.name,
                ssl_handshake_timeout=limit + 1,
            )
    except ssl.SSLError as error:
        # The port has TLS, too, if the server refused the handshake with an alert, or if
        # OpenSSL refused the version or the keys of the server as too weak.
        reason = (getattr(error, "reason", None) or "").replace("_", " ")
        return alert_of(error) is not None or bool(handshake_remedy(reason))
    except (SendError, OSError):
        return False
    transport.abort()
    return True
