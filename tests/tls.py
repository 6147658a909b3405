"""Certificates for the scripted server, good and bad, built once per process.

`server_context(kind)` is the server's side, `ca_file()` the PEM file that a client has to
trust. Every kind but the good one has exactly one defect, so that a refusal can only be
about that.
"""

from __future__ import annotations

import atexit
import datetime
import ipaddress
import ssl
import sys
import tempfile
import threading
import warnings
from functools import cache
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


NAMES = ("localhost", "127.0.0.1", "::1")
KINDS = {
    "good": "signed by our CA, for localhost, 127.0.0.1 and ::1",
    "wrong_host": "signed by our CA, for wrong.example.org only",
    "expired": "signed by our CA, not valid since 2020",
    "self_signed": "right names, signed by itself",
    "unknown_ca": "right names, signed by a CA that nobody trusts",
    "cn_only": "signed by our CA, 'localhost' as common name, no subjectAltName",
    "cn_and_ip": "the same, and 127.0.0.1 as subjectAltName",
    "old_tls": "the good certificate, but TLS 1.0 and 1.1 only",
    "tls12": "the good certificate, TLS 1.2 at most",
    "anonymous": "no certificate: an anonymous key exchange (AECDH), TLS 1.2",
    "unencrypted": "a good certificate, and no encryption (NULL-SHA256), TLS 1.2",
}
if sys.version_info >= (3, 13):
    KINDS["pre_shared_key"] = "no certificate: a key that both sides have, TLS 1.2"
_CIPHERS = {
    "anonymous": "AECDH-AES256-SHA:@SECLEVEL=0",
    "unencrypted": "NULL-SHA256:@SECLEVEL=0",
    "pre_shared_key": "PSK:@SECLEVEL=0",
}


@cache
def ca() -> trustme.CA:
    """The CA that clients trust."""
    return trustme.CA()


@cache
def ca_file() -> str:
    """The path of the PEM file with the CA that clients trust."""
    path = _folder() / "ca.pem"
    ca().cert_pem.write_to_path(str(path))
    return str(path)


def server_context(kind: str = "good") -> ssl.SSLContext:
    """The server's side of TLS with a certificate of this kind, one of `KINDS`."""
    with _one_at_a_time:  # three ports may ask at once
        return _server_context(kind)


_one_at_a_time = threading.Lock()


@cache
def _server_context(kind: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if kind in ("self_signed", "cn_only", "cn_and_ip"):
        context.load_cert_chain(_built(kind))
        return context
    authority = trustme.CA() if kind == "unknown_ca" else ca()
    names = ("wrong.example.org",) if kind == "wrong_host" else NAMES
    ended = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    until = {"not_after": ended} if kind == "expired" else {}
    authority.issue_cert(*names, **until).configure_cert(context)
    if kind == "old_tls":
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    if kind in _CIPHERS:
        context.set_ciphers(_CIPHERS[kind])
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if sys.version_info >= (3, 13) and kind == "pre_shared_key":
        context.set_psk_server_callback(lambda _: b"key")
    if kind == "tls12":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def client_context() -> ssl.SSLContext:
    """A client's side that verifies against our CA."""
    return ssl.create_default_context(cafile=ca_file())


@cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="smtpsend-tls-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _built(kind: str) -> Path:
    """Write key and certificate of the two kinds that trustme refuses to make."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    issuer, signer = subject, key
    if kind in ("cn_only", "cn_and_ip"):
        issuer = x509.load_pem_x509_certificate(ca().cert_pem.bytes()).subject
        signer = serialization.load_pem_private_key(ca().private_key_pem.bytes(), None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2038, 1, 1, tzinfo=datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
    )
    if kind in ("self_signed", "cn_and_ip"):
        names = [x509.DNSName(NAMES[0])] if kind == "self_signed" else []
        names += [x509.IPAddress(ipaddress.ip_address(name)) for name in NAMES[1:]]
        builder = builder.add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
    certificate = builder.sign(signer, hashes.SHA256())
    path = _folder() / f"{kind}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
