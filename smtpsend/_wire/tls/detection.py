"""Whether a port that sends no greeting speaks TLS from the first byte.

A port with implicit TLS (RFC 8314 section 3.3) waits for the ClientHello, and a client of
STARTTLS waits for the greeting: neither would ever send anything. A handshake
on a second connection tells such a port from a dead one.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from smtpsend._model.diagnosis.tls_remedies import handshake_remedy
from smtpsend._model.policy.policy import Method
from smtpsend._wire.dial import dial
from smtpsend._wire.progress import Track
from smtpsend._wire.tls.alerts import alert_of
from smtpsend._wire.tls.context import pinning_context, tls_name
from smtpsend.errors import SendError


if TYPE_CHECKING:
    from smtpsend._wire.deadline import Deadline
    from smtpsend._wire.target import Target

# Seconds that the second connection may take, with its handshake.
_LIMIT = 5.0


async def speaks_tls(target: Target, track: Track, deadline: Deadline) -> bool:
    """Whether the port of `track` replies to a TLS handshake on a second connection.

    Nothing but the handshake is sent, and the connection is aborted right after it, so
    that the certificate does not matter.

    Args:
        target: the server.
        track: the progress of the method; it has the address that is connected to.
        deadline: the deadline of the call.
    """
    second = Track(Method(track.method.port, "implicit"), deadline.elapsed)
    same = [one for one in target.addresses if str(one[1][0]) == track.address]
    limit = deadline.within(_LIMIT)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(limit):
            sock = await dial(same or target.addresses, limit, deadline, second)
            transport, _ = await loop.create_connection(
                asyncio.Protocol,
                sock=sock,
                ssl=pinning_context(),
                server_hostname=tls_name(target.host),
                ssl_handshake_timeout=limit + 1,
            )
    except ssl.SSLError as error:
        # TLS was spoken if the server refused the handshake by an alert, or if this side
        # found the server's part of it too weak.
        reason = (getattr(error, "reason", None) or "").replace("_", " ")
        return alert_of(error) is not None or bool(handshake_remedy(reason))
    except (SendError, OSError):
        return False
    transport.abort()
    return True
