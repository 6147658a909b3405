"""Recognises TLS alerts of the server (RFC 8446 section 6).

Most of them are about the client's certificate. A server checks the client's certificate
after the client has sent its last handshake message. With TLS 1.3 the handshake is over
for the client by then, so the alert arrives when the client expects the greeting, or the
reply to the EHLO after STARTTLS.
"""

from __future__ import annotations

import asyncio
import ssl

from smtpsend._patterns import pattern
from smtpsend.errors import Event, Phase, TLSError


# OpenSSL's names for a received alert.
_ALERT = pattern(
    r"(?:SSLV3|TLSV1|TLSV11|TLSV12|TLSV13)_ALERT_(\w+)"
    r"|TLSV1_(BAD_CERTIFICATE_HASH_VALUE|CERTIFICATE_UNOBTAINABLE|UNRECOGNIZED_NAME)"
)

# If the server sends one of these, it is about the client's certificate.
_CLIENT_CERTIFICATE_ALERTS = {
    "access denied",
    "bad certificate",
    "bad certificate hash value",
    "certificate expired",
    "certificate required",
    "certificate revoked",
    "certificate unknown",
    "certificate unobtainable",
    "no certificate",
    "unknown ca",
    "unsupported certificate",
}
# These are about the client's certificate only if they arrive after the client has sent
# its last handshake message.
_LATE_ALERTS = {"decrypt error", "handshake failure"}

# Octets to read from the socket: enough for an alert and the session tickets before it.
_RECORDS = 65536


def alert_of(error: BaseException | None) -> str | None:
    """Return the RFC's name of the alert in `error`; None if it holds no alert."""
    if not isinstance(error, ssl.SSLError):
        return None
    # An SSLError has no `reason` if Python code created it, and not the ssl module.
    found = _ALERT.fullmatch(getattr(error, "reason", None) or "")
    return found and (found[1] or found[2]).replace("_", " ").lower()


def about_client(alert: str, *, afterwards: bool = False) -> bool:
    """Return whether an alert is about the client's certificate.

    Args:
        alert: the name of the alert.
        afterwards: whether it arrived after the client's last handshake message.
    """
    return alert in _CLIENT_CERTIFICATE_ALERTS or (afterwards and alert in _LATE_ALERTS)


def client_refused(alert: str) -> TLSError:
    """Make the error for a server that refused the client's certificate or wants one."""
    what = (
        "the server wants a certificate of the client"
        if alert == "certificate required"
        else "the server refused the certificate of the client, or the lack of one"
    )
    return TLSError(
        f"{what} (TLS alert: {alert})",
        phase=Phase.TLS,
        event=Event.CLIENT_CERTIFICATE,
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
