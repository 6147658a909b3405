"""TLS alerts of the server (RFC 8446 section 6), above all those about our certificate.

A server judges the client's certificate, or its absence, after the client has done its
part of the handshake. With TLS 1.3 the handshake is over for the client by then, and the
alert comes where the greeting, or the reply to the EHLO after STARTTLS, is expected.
"""

from __future__ import annotations

import asyncio
import re
import ssl

from smtpsend.errors import Event, Phase, TLSError


# OpenSSL's names for an alert that came in.
_ALERT = re.compile(
    r"(?:SSLV3|TLSV1|TLSV11|TLSV12|TLSV13)_ALERT_(\w+)"
    r"|TLSV1_(BAD_CERTIFICATE_HASH_VALUE|CERTIFICATE_UNOBTAINABLE|UNRECOGNIZED_NAME)"
)

# A server has only the client's certificate to say this of.
_OF_CERTIFICATES = {
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
# These can be about something else, but not once the client has done its part.
_AFTERWARDS = {"decrypt error", "handshake failure"}

# Some records of TLS: an alert, and the session tickets before it.
_RECORDS = 65536


def alert_of(error: BaseException | None) -> str | None:
    """The alert that the server sent, in the RFC's words; None if `error` is none."""
    if not isinstance(error, ssl.SSLError):
        return None
    # One that was not made by the interpreter has no reason.
    found = _ALERT.fullmatch(getattr(error, "reason", None) or "")
    return found and (found[1] or found[2]).replace("_", " ").lower()


def about_client(alert: str, *, afterwards: bool = False) -> bool:
    """Whether an alert is about the certificate of the client.

    Args:
        alert: its name.
        afterwards: it came when the client had done its part of the handshake.
    """
    return alert in _OF_CERTIFICATES or (afterwards and alert in _AFTERWARDS)


def client_refused(alert: str) -> TLSError:
    """The error of a client whose certificate was refused, or that has none."""
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
    """The alert that has arrived, where a write failed before it was read.

    A server that refuses a client sends the alert and resets the connection. asyncio
    reads nothing more from a connection on which a write failed, so that the alert would
    be lost; until the socket is closed, it can be read. (Of asyncio's own TLS only: where
    another event loop has no such attributes, the reset is all that is known.)

    Args:
        secure: the transport inside TLS.
        below: the one that has the socket.
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
