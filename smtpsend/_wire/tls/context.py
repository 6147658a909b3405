"""TLS contexts that verify the server, with TLS 1.2 or newer."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ssl
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from smtpsend._model.diagnosis.certificate import Certificate, read_certificate
from smtpsend._model.server.host import literal
from smtpsend._model.shortage import raise_if_short
from smtpsend.errors import CertificateError, ConfigError, Event, Phase, TLSError


# CPython's own list for TLS 1.2: forward secrecy, AES or ChaCha20, no SHA-1 (RFC 9325
# section 4.2). CBC with SHA-2 and DHE stay in it, because Windows Server 2012 R2 has no
# AEAD with ECDHE for a certificate with an RSA key. TLS 1.3 has a list of its own.
_CIPHERS = "ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"


def set_ciphers(context: ssl.SSLContext) -> None:
    """Set the cipher suites of TLS 1.2 and the security level: the same on every Python.

    Python can be built with OpenSSL's own list, as Debian builds it: that has suites
    without forward secrecy, and suites with SHA-1.
    """
    # Level 2: at least 112 bits, so RSA keys of 2048 bits and no SHA-1 signatures. An
    # administrator may have set a higher level in openssl.cnf.
    level = max(2, context.security_level)
    context.set_ciphers(f"@SECLEVEL={level}:{_CIPHERS}")


def context_for(cafile: str | None, own: ssl.SSLContext | None) -> ssl.SSLContext:
    """The context to verify a server with.

    Args:
        cafile: a PEM file of the CAs to trust in place of certifi's; None for certifi's.
        own: the caller's context, used unchanged if it verifies; None to build one.

    Raises:
        ConfigError: `cafile` cannot be read, or `own` does not verify.
        ConnectError: this machine has no file descriptor left to read it.
    """
    if own is not None:
        return require_verifying(own)
    try:
        path = Path(_public_cas() if cafile is None else cafile)
    except OSError as error:
        raise_if_short(error, "the CAs of certifi cannot be read")
        raise
    try:
        state = path.stat()
        # Reading a bundle takes some 17 ms, so that each file is read once per process. A
        # file that was replaced (a renewed CA) is read again.
        return _build(str(path), state.st_mtime_ns, state.st_size)
    except ssl.SSLError:
        raise ConfigError(f"cafile holds no PEM certificates: {_shown(path)}") from None
    except ValueError:
        raise ConfigError("cafile is not a path") from None
    except OSError as error:
        raise_if_short(error, f"cafile cannot be read: {_shown(path)}")
        text = f"cafile cannot be read: {_shown(path)}: {error.strerror}"
        raise ConfigError(text) from None


def _shown(path: Path) -> str:
    """A path as an error may quote it: on one line, without control characters."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


@lru_cache(maxsize=1)
def pinning_context() -> ssl.SSLContext:
    """A context that accepts any certificate.

    It is used with `check_pin`, and where nothing is sent after the handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    set_ciphers(context)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options |= ssl.OP_NO_COMPRESSION
    return context


def check_pin(certificate: bytes | None, fingerprint: str) -> None:
    """Refuse a certificate (DER) that is not the pinned one.

    The handshake has proved that the server has the private key of the certificate.

    Raises:
        CertificateError: the certificate has another fingerprint.
    """
    actual = "sha256:" + hashlib.sha256(certificate or b"").hexdigest()
    if not hmac.compare_digest(actual, fingerprint):
        raise CertificateError(
            f"the server's certificate is not the pinned one, but {actual}",
            phase=Phase.TLS,
            event=Event.CERTIFICATE,
            hint="if the server's certificate was renewed, check its new fingerprint by "
            "another way before you change Server(fingerprint=...)",
        )


def refused_by(error: ssl.SSLCertVerificationError) -> Certificate | None:
    """The certificate that was refused, to be shown to a person; None if out of reach.

    The standard library shows it only where the handshake came about. It is known to the
    object that did the handshake, which stands in the traceback of the error.
    """
    trace, tls = error.__traceback__, None
    while trace is not None:
        found = trace.tb_frame.f_locals.get("self")
        tls = found if isinstance(found, ssl.SSLObject) else tls
        trace = trace.tb_next
    # Whatever is not as it is known to be (3.11 to 3.15), the error is right without it.
    with contextlib.suppress(Exception):
        chain: Any = tls._sslobj.get_unverified_chain()  # type: ignore[union-attr]
        der = ssl.PEM_cert_to_DER_cert(chain[0].public_bytes())
        return read_certificate(der, datetime.now(UTC), verified=False)
    return None


def _public_cas() -> str:
    # Imported here, because it imports more than the rest of a send together.
    import certifi

    return certifi.where()


def require_verifying(context: ssl.SSLContext) -> ssl.SSLContext:
    """`context`, if it verifies; called at each connection, since a context can change.

    Raises:
        ConfigError: it accepts any certificate, any name, no certificate at all or no
            encryption, or was made for TLS older than 1.2.
    """
    if context.protocol is ssl.PROTOCOL_TLS_SERVER:
        raise ConfigError("ssl_context must be for a client: use ssl.PROTOCOL_TLS_CLIENT")
    if context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname:
        raise ConfigError(
            "ssl_context does not verify: it needs verify_mode=CERT_REQUIRED and "
            "check_hostname=True, as ssl.create_default_context() has them"
        )
    _check_versions(context)
    if names := unsafe_ciphers(context):
        raise ConfigError(
            "ssl_context has ciphers that verify no server or do not encrypt "
            f"({', '.join(names[:3])}): leave them out, as "
            "context.set_ciphers('DEFAULT') does, or add ':!aNULL:!eNULL' to the string"
        )
    return context


# Versions of TLS that are not to be used (RFC 7568, RFC 8996), and what rules them out.
_OLD = {
    ssl.TLSVersion.SSLv3: ssl.OP_NO_SSLv3,
    ssl.TLSVersion.TLSv1: ssl.OP_NO_TLSv1,
    ssl.TLSVersion.TLSv1_1: ssl.OP_NO_TLSv1_1,
}
_OLD_NAMES = {"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"}


def _check_versions(context: ssl.SSLContext) -> None:
    """Refuse a context that was made for old TLS.

    One without a minimum is accepted: `ssl.create_default_context()` has none where
    Python was built to follow OpenSSL's configuration, as Debian and Ubuntu do, and that
    rules old TLS out. What is negotiated with it is looked at by `check_version`.

    Raises:
        ConfigError: its minimum or maximum is older than 1.2.
    """
    lowest, highest = context.minimum_version, context.maximum_version
    if highest in _OLD or highest is ssl.TLSVersion.MINIMUM_SUPPORTED:
        raise ConfigError(
            "ssl_context allows no TLS newer than 1.1, which is not safe (RFC 8996): "
            "leave context.maximum_version as it is"
        )
    allowed = [old for old in _OLD if old >= lowest and not context.options & _OLD[old]]
    if lowest in _OLD and allowed:
        raise ConfigError(
            "ssl_context allows TLS older than 1.2 (RFC 8997): set "
            "context.minimum_version = ssl.TLSVersion.TLSv1_2"
        )


def check_version(version: str | None) -> None:
    """Refuse a connection whose TLS is older than 1.2, before anything goes out in it.

    Raises:
        TLSError: it is older.
    """
    if version is None or version in _OLD_NAMES:
        raise TLSError(
            f"the TLS handshake failed (the server negotiated the old version {version})",
            phase=Phase.TLS,
            event=Event.HANDSHAKE,
            hint="TLS 1.2 or newer is required (RFC 8997): whoever runs the server has "
            "to turn it on",
        )


def unsafe_ciphers(context: ssl.SSLContext) -> list[str]:
    """The names of the ciphers without authentication or without encryption.

    With an anonymous cipher the server shows no certificate, so that nothing is verified
    whatever `verify_mode` says (RFC 5246 appendix F.1.1.1).
    """
    return [
        cipher["name"]
        for cipher in context.get_ciphers()
        if cipher["auth"] == "auth-null" or not cipher["strength_bits"]
    ]


def check_peer(tls: ssl.SSLObject) -> None:
    """Refuse a server that proved nothing by a certificate, after the handshake.

    A pre-shared key (Python 3.13) and a context that hides its ciphers lead here.

    Raises:
        CertificateError: it showed no certificate.
    """
    if tls.getpeercert(binary_form=True) is None:
        raise CertificateError(
            "the server showed no certificate",
            phase=Phase.TLS,
            event=Event.CERTIFICATE,
            hint="nothing says who the server is: give a context without anonymous "
            "ciphers and pre-shared keys, and see that the server has a certificate",
        )


def check_names(tls: ssl.SSLObject, host: str) -> None:
    """Refuse a server whose certificate has its name as a common name only.

    Without a DNS name in subjectAltName, OpenSSL falls back to the common name, unless
    the context says otherwise; `ssl.create_default_context()` does not.

    Raises:
        CertificateError: it has no such name, and `host` is one (RFC 9525 section 2).
    """
    names = (tls.getpeercert() or {}).get("subjectAltName", ())
    if literal(host) is None and not any(name[0] == "DNS" for name in names):
        raise CertificateError(
            f"the certificate of {host} was refused: hostname mismatch, it names the "
            "host as its common name only",
            phase=Phase.TLS,
            event=Event.CERTIFICATE,
            hint="a name counts where it stands in subjectAltName (RFC 9525): the "
            "server needs a new certificate",
        )


@lru_cache(maxsize=32)
def _build(cafile: str, _changed: int, _size: int) -> ssl.SSLContext:
    context = verifying(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.load_verify_locations(cafile=cafile)
    return context


def verifying(context: ssl.SSLContext) -> ssl.SSLContext:
    """`context`, with all that verification depends on set, and nothing inherited."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    set_ciphers(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    # RFC 9525 section 2: the name of a server is in subjectAltName only.
    context.hostname_checks_common_name = False
    # The flags are set, and not inherited, because VERIFY_X509_STRICT is a default of
    # Python 3.13, and many private CAs fail it for a missing key identifier. With
    # PARTIAL_CHAIN, an intermediate CA or the server's own certificate in the file is a
    # trust anchor by itself.
    context.verify_flags = (
        ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
        | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    )
    context.options |= ssl.OP_NO_COMPRESSION
    return context


def tls_name(host: str) -> str:
    """The name that the certificate must have: `host` without root dot and zone."""
    return host.removesuffix(".").partition("%")[0]
