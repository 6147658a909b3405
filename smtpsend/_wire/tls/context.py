"""Builds and checks the TLS contexts: each verifies the server and needs TLS 1.2."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import ssl
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from smtpsend._model.server.host import literal
from smtpsend._model.shortage import raise_if_short
from smtpsend.errors import CertificateError, ConfigError, Event, Phase, TLSError


if TYPE_CHECKING:
    from smtpsend._model.diagnosis.certificate import Certificate

# CPython's own list for TLS 1.2: forward secrecy, AES or ChaCha20, no SHA-1 (RFC 9325
# section 4.2). CBC with SHA-2 and DHE stay in it, because Windows Server 2012 R2 has no
# AEAD with ECDHE for a certificate with an RSA key. TLS 1.3 has a list of its own.
_CIPHERS = "ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"


def set_ciphers(context: ssl.SSLContext) -> None:
    """Set the cipher suites of TLS 1.2 and the security level of `context`.

    They must be the same on every Python. Debian, for example, builds Python with
    OpenSSL's default list, which has suites without forward secrecy and with SHA-1.
    """
    # Level 2: at least 112 bits, so RSA keys of 2048 bits and no SHA-1 signatures. An
    # administrator may have set a higher level in openssl.cnf.
    level = max(2, context.security_level)
    context.set_ciphers(f"@SECLEVEL={level}:{_CIPHERS}")


def context_for(cafile: str | None, own: ssl.SSLContext | None) -> ssl.SSLContext:
    """Return the context that verifies a server.

    Args:
        cafile: a PEM file of the CAs to trust; None for the CAs of certifi.
        own: the caller's context, used unchanged if it verifies; None to build one.

    Raises:
        ConfigError: `cafile` cannot be read, or `own` does not verify.
        ConnectError: this machine has no file descriptor left to read the CAs.
    """
    if own is not None:
        return require_verifying(own)
    try:
        path = _public_cas() if cafile is None else cafile
    except OSError as error:
        raise_if_short(error, "the CAs of certifi cannot be read")
        raise
    try:
        state = os.stat(path)  # noqa: PTH116 - nothing else of a send needs pathlib
        # Reading a bundle takes about 17 ms, so each file is read once per process, and
        # again only if it has changed (a renewed CA).
        return _build(path, state.st_mtime_ns, state.st_size)
    except ssl.SSLError:
        raise ConfigError(f"cafile holds no PEM certificates: {_shown(path)}") from None
    except ValueError:
        raise ConfigError("cafile is not a path") from None
    except OSError as error:
        raise_if_short(error, f"cafile cannot be read: {_shown(path)}")
        text = f"cafile cannot be read: {_shown(path)}: {error.strerror}"
        raise ConfigError(text) from None


def _shown(path: str) -> str:
    """Format a path for an error text: on one line, without control characters."""
    return path if path.isprintable() else ascii(path)


@lru_cache(maxsize=1)
def pinning_context() -> ssl.SSLContext:
    """Return a context that accepts any certificate.

    It is used only if `check_pin` checks the certificate afterwards, or if nothing is
    sent after the handshake.
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
    """Return the refused certificate, for display; None if it cannot be read.

    The ssl module gives access to the certificate only after a successful handshake. The
    SSLObject of the failed handshake has it, too, and is a local variable of a frame in
    the traceback of the error.
    """
    trace, tls = error.__traceback__, None
    while trace is not None:
        found = trace.tb_frame.f_locals.get("self")
        tls = found if isinstance(found, ssl.SSLObject | ssl.SSLSocket) else tls
        trace = trace.tb_next
    # These private attributes exist in Python 3.11 to 3.15. If they are missing, the
    # error is raised without the certificate.
    with contextlib.suppress(Exception):
        from smtpsend._model.diagnosis.certificate import read_certificate

        chain: Any = tls._sslobj.get_unverified_chain()  # type: ignore[union-attr]
        der = ssl.PEM_cert_to_DER_cert(chain[0].public_bytes())
        return read_certificate(der, datetime.now(UTC), verified=False)
    return None


def _public_cas() -> str:
    """Return the path of the CA file of certifi."""
    # certifi asks importlib.resources where its file is, and to import that takes longer
    # than a send. The file is in the folder of the package, unless the package is an
    # archive, or a distribution replaced the file by that of the system. A program that
    # has imported certifi may have replaced `certifi.where`.
    if "certifi" not in sys.modules:
        from importlib.util import find_spec

        spec = find_spec("certifi")
        for folder in (spec and spec.submodule_search_locations) or ():
            path = os.path.join(folder, "cacert.pem")  # noqa: PTH118
            if os.path.isfile(path):  # noqa: PTH113
                return path
    import certifi

    return certifi.where()


def require_verifying(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return `context` if it verifies the server.

    It is called for each connection, because the caller can change a context.

    Raises:
        ConfigError: the context accepts any certificate, any name, no certificate or no
            encryption, or it was made for TLS older than 1.2.
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


# Versions that must not be used (RFC 7568, RFC 8996), and the options that disable them.
_OLD = {
    ssl.TLSVersion.SSLv3: ssl.OP_NO_SSLv3,
    ssl.TLSVersion.TLSv1: ssl.OP_NO_TLSv1,
    ssl.TLSVersion.TLSv1_1: ssl.OP_NO_TLSv1_1,
}
_OLD_NAMES = {"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"}


def _check_versions(context: ssl.SSLContext) -> None:
    """Refuse a context that was made for old TLS.

    A context without a minimum version is accepted. On Debian and Ubuntu,
    `ssl.create_default_context()` returns such a context, because Python follows the
    configuration of OpenSSL there, which disables old TLS. `check_version` checks the
    negotiated version after the handshake.

    Raises:
        ConfigError: the minimum or maximum version is older than 1.2.
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
    """Refuse a connection with TLS older than 1.2, before anything is sent over it.

    Raises:
        TLSError: the negotiated version is older than 1.2.
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
    """Return the names of the ciphers without authentication or without encryption.

    With an anonymous cipher, the server sends no certificate, so nothing is verified,
    regardless of `verify_mode` (RFC 5246 appendix F.1.1.1).
    """
    return [
        cipher["name"]
        for cipher in context.get_ciphers()
        if cipher["auth"] == "auth-null" or not cipher["strength_bits"]
    ]


def check_peer(tls: ssl.SSLObject) -> None:
    """Refuse a server that sent no certificate in the handshake.

    This can happen with a pre-shared key (Python 3.13), or with a subclass of SSLContext
    that does not list its anonymous ciphers.

    Raises:
        CertificateError: the server sent no certificate.
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
    """Refuse a certificate that has the host name in its common name only.

    If subjectAltName has no DNS name, OpenSSL compares the common name, unless
    `hostname_checks_common_name` of the context is False; the contexts of
    `ssl.create_default_context()` have True.

    Raises:
        CertificateError: `host` is a DNS name, and subjectAltName has none (RFC 9525
            section 2).
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
    """Set all that verification depends on in `context`, and return it."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    set_ciphers(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    # Only a name in subjectAltName counts (RFC 9525 section 2).
    context.hostname_checks_common_name = False
    # The default flags are replaced: since Python 3.13 they include VERIFY_X509_STRICT,
    # which refuses many private CAs because they have no key identifier. PARTIAL_CHAIN
    # makes an intermediate CA, or the server's own certificate, a trust anchor if the
    # file holds it.
    context.verify_flags = (
        ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
        | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    )
    context.options |= ssl.OP_NO_COMPRESSION
    return context


def tls_name(host: str) -> str:
    """Return the name to verify: `host` without root dot and zone."""
    return host.removesuffix(".").partition("%")[0]
