"""The channel binding of a TLS connection, for the -PLUS mechanisms of SCRAM.

Python's ssl gives no exporter (tls-exporter, RFC 9266), and its tls-unique is not for TLS
1.3. The binding tls-server-end-point (RFC 5929 section 4) is a hash of the certificate.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl

from smtpsend._model.diagnosis.certificate import signature_hash


def server_end_point(transport: asyncio.BaseTransport) -> bytes | None:
    """The binding tls-server-end-point; None without TLS, or without a hash function."""
    tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    der = None if tls is None else tls.getpeercert(binary_form=True)
    if der is None or (name := signature_hash(der)) is None:
        return None
    # RFC 5929 section 4.1: SHA-256 takes the place of MD5 and SHA-1.
    weak = name in ("md5", "sha1")
    return hashlib.new("sha256" if weak else name, der).digest()
