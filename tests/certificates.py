"""Certificates with any defect, for tests of what is said about them."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate, its key, and the certificates that a server sends with it."""

    certificate: x509.Certificate
    key: Key
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def served(self) -> bytes:
        """Key, certificate and chain, as a server loads them."""
        sent = (self.certificate, *self.chain)
        key = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        pem = serialization.Encoding.PEM
        return key + b"".join(one.public_bytes(pem) for one in sent)


def issue(
    name: str,
    by: Issued | None = None,
    *,
    names: tuple[str, ...] = ("localhost",),
    is_ca: bool = False,
    path_length: int | None = None,
    begin: int = -1,
    end: int = 30,
    bits: int = 0,
    identified: bool = True,
    more: tuple[x509.ExtensionType, ...] = (),
) -> Issued:
    """A certificate.

    Args:
        name: its common name.
        by: who issues it; itself if None.
        names: the host names that it is for; a CA has none.
        is_ca: whether it may issue others.
        path_length: how many CAs may stand below it.
        begin: from when it is valid, in days from now.
        end: until when it is valid, in days from now.
        bits: the size of an RSA key; 0 for an elliptic curve.
        identified: with an authority key identifier.
        more: further extensions, marked critical.
    """
    key = _key(bits, name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = subject if by is None else by.certificate.subject
    signer = key if by is None else by.key
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begin * DAY)
        .not_valid_after(now + end * DAY)
        .add_extension(x509.BasicConstraints(is_ca, path_length), critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    )
    if is_ca:
        builder = builder.add_extension(_CA_USAGE, critical=True)
    elif names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(n) for n in names])
        builder = builder.add_extension(alternatives, critical=False)
    if identified:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(
            signer.public_key()
        )
        builder = builder.add_extension(authority, critical=False)
    for extension in more:
        builder = builder.add_extension(extension, critical=True)
    above = () if by is None or by.certificate.issuer == by.certificate.subject else by
    chain = (above.certificate, *above.chain) if isinstance(above, Issued) else ()
    return Issued(builder.sign(signer, hashes.SHA256()), key, chain)


_CA_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
FOR_CLIENTS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


@cache
def _key(bits: int, name: str) -> Key:
    if bits:
        return rsa.generate_private_key(65537, bits)
    return ec.generate_private_key(ec.SECP256R1())


@cache
def root() -> Issued:
    """The CA that is trusted."""
    return issue("Root CA", is_ca=True, names=(), end=400)
