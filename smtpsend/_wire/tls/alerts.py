"""Recognises TLS alerts of the server (RFC 8446 section 6).

Most of them are about the client's certificate. A server checks the client's certificate
after the client has sent its last handshake message. With TLS 1.3 the handshake is over
for the client by then, so the alert arrives when the client expects the greeting, or the
reply to the EHLO after STARTTLS.
"""

from __future__ import annotations

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
