"""Signatures stay valid: what is signed arrives at the other end as it was signed."""

from __future__ import annotations

import base64
import datetime
import email
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from email import policy
from email.message import EmailMessage, Message
from email.mime.application import MIMEApplication
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID
from scripted import Script, ScriptedServer
from sending import server_for
from servers import RealServer

from smtpsend import Method, Password, Policy, Server, compose, prepare, send


A, B = "ann@example.org", "bob@example.net"
LONG = "a long name " * 12 + "end"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    """A key for S/MIME and DKIM."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    """A certificate of this key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ann")])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


def part_to_sign() -> Message:
    """A part with a long header, which folding would change."""
    part = MIMEText("Grüße\n\nFrom here  \n", "plain", "utf-8")
    part["X-Long"] = LONG
    part["Content-Description"] = "ü" * 60
    return part


def arrived(message: Any, **options: Any) -> bytes:
    """The content that a server gets."""
    script = Script(offers=("8BITMIME", "AUTH PLAIN"))
    with ScriptedServer(script) as server:
        send(message, server_for(server, "starttls"), **options)
        (mail,) = server.accepted
    return mail.content


def as_bytes(source: bytes) -> tuple[Any, dict[str, Any]]:
    """The message as bytes."""
    return source, {"sender": A, "recipients": [B]}


def as_old(source: bytes) -> tuple[Any, dict[str, Any]]:
    """The message as an object of the policy compat32."""
    return email.message_from_bytes(source), {}


def as_new(source: bytes) -> tuple[Any, dict[str, Any]]:
    """The message as an object of the default policy."""
    return email.message_from_bytes(source, policy=policy.default), {}


def as_attached(source: bytes) -> tuple[Any, dict[str, Any]]:
    """The message attached to another one."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = A, B, "Fwd: ü"
    message.set_content("see below")
    message.add_attachment(email.message_from_bytes(source, policy=policy.default))
    return message, {}


WAYS = [as_bytes, as_old, as_new, as_attached]
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
HEAD = f"From: {A}\r\nTo: {B}\r\nSubject: {LONG}\r\nDate: x\r\n".encode()


@ways
def test_smime(
    way: Callable[[bytes], tuple[Any, dict[str, Any]]],
    key: rsa.RSAPrivateKey,
    certificate: x509.Certificate,
    tmp_path: Path,
) -> None:
    """A detached S/MIME signature verifies by openssl after the trip (RFC 8551)."""
    openssl = program("openssl")
    part = part_to_sign().as_bytes(policy=policy.SMTP)
    signed = (
        pkcs7.PKCS7SignatureBuilder()
        .set_data(part)
        .add_signer(certificate, key, hashes.SHA256())
        .sign(serialization.Encoding.SMIME, [pkcs7.PKCS7Options.DetachedSignature])
    )
    message, options = way(HEAD + signed.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    content = arrived(message, **options)
    if way is as_attached:
        content = content[content.index(b"message/rfc822") :]
        content = content[content.index(b"\r\n\r\n") + 4 :]
    mail, pem = tmp_path / "mail.eml", tmp_path / "ca.pem"
    mail.write_bytes(content)
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    done = subprocess.run(
        [openssl, "cms", "-verify", "-noverify", "-certfile", pem, "-in", mail],
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


def test_smime_signature_built_as_an_object(
    key: rsa.RSAPrivateKey, certificate: x509.Certificate, tmp_path: Path
) -> None:
    """An object of the old classes, put together by hand, keeps its signature."""
    openssl = program("openssl")
    part = MIMEText("Hello", "plain", "utf-8")
    data = part.as_bytes(policy=policy.compat32.clone(linesep="\r\n"))
    signature = (
        pkcs7.PKCS7SignatureBuilder()
        .set_data(data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        .add_signer(certificate, key, hashes.SHA256())
        .sign(
            serialization.Encoding.DER,
            [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary],
        )
    )
    message = MIMEMultipart("signed", protocol="application/pkcs7-signature")
    message["From"], message["To"], message["Subject"] = A, B, "Grüße"
    message.attach(part)
    message.attach(MIMEApplication(signature, "pkcs7-signature", name="smime.p7s"))
    mail = tmp_path / "mail.eml"
    mail.write_bytes(arrived(message))
    pem = tmp_path / "ca.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    done = subprocess.run(
        [openssl, "cms", "-verify", "-noverify", "-certfile", pem, "-in", mail],
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr


def program(name: str) -> str:
    """The path of a program; skips the test if it is missing."""
    found = shutil.which(name)
    if found is None:
        assert os.environ.get("SMTPSEND_REQUIRE_SERVERS") != "1", f"no {name}"
        pytest.skip(f"no {name}")
    return found


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A command of gpg, with a key of its own."""
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    command = [program("gpg"), "--homedir", str(home), "--batch", "--quiet", "--yes"]
    subprocess.run(
        [*command, "--passphrase", "", "--quick-gen-key", A, "ed25519", "sign", "never"],
        check=True,
        capture_output=True,
    )
    yield command
    subprocess.run(
        ["gpgconf", "--homedir", str(home), "--kill", "all"], capture_output=True
    )


@ways
def test_pgp_mime(
    way: Callable[[bytes], tuple[Any, dict[str, Any]]], gpg: list[str], tmp_path: Path
) -> None:
    """A PGP/MIME signature verifies by gpg after the trip (RFC 3156)."""
    part = part_to_sign().as_bytes(policy=policy.SMTP)
    done = subprocess.run(
        [*gpg, "--detach-sign", "--armor"], input=part, check=True, capture_output=True
    )
    message = MIMEMultipart(
        "signed", "the-boundary", protocol="application/pgp-signature"
    )
    signature = MIMEBase("application", "pgp-signature")
    signature.set_payload(done.stdout.decode())
    message.attach(email.message_from_bytes(part))
    message.attach(signature)
    sent, options = way(HEAD + message.as_bytes(policy=policy.SMTP))
    content = arrived(sent, **options)
    start = content.index(b"--the-boundary\r\n") + len(b"--the-boundary\r\n")
    paths = tmp_path / "signature", tmp_path / "part"
    paths[0].write_bytes(done.stdout)
    paths[1].write_bytes(content[start : content.index(b"\r\n--the-bound", start)])
    checked = subprocess.run([*gpg, "--verify", *paths], capture_output=True)
    assert checked.returncode == 0, checked.stderr


def test_encrypted_content_is_not_changed() -> None:
    """An application/pkcs7-mime body is the same base64 after the trip."""
    message = MIMEApplication(os.urandom(500), "pkcs7-mime", name="smime.p7m")
    message["From"], message["To"] = A, B
    content = arrived(message)
    body = content.partition(b"\r\n\r\n")[2]
    payload = message.get_payload()
    assert isinstance(payload, str)
    assert body == payload.replace("\n", "\r\n").encode()


def keys(key: rsa.RSAPrivateKey) -> tuple[bytes, bytes]:
    """The private key for dkimpy, and the record that a domain publishes."""
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem, b"v=DKIM1; p=" + base64.b64encode(public)


def test_dkim_by_a_real_server(real_server: RealServer, key: rsa.RSAPrivateKey) -> None:
    """Each of the real servers delivers a message with a valid DKIM signature."""
    pem, record = keys(key)
    message = compose(
        sender=real_server.user,
        to=real_server.address("bob"),
        subject=f"Grüße {LONG}",
        text="Grüße\n",
        headers={"List-Unsubscribe": f"<https://example.org/{'0' * 90}>"},
    )
    prepared = prepare(message)
    relaxed = (b"relaxed", b"relaxed")
    signed = dkim.sign(prepared.content, b"s", b"x.org", pem, canonicalize=relaxed)
    method = Method(real_server.starttls, "starttls")
    server = Server(
        real_server.host,
        Password(real_server.user, real_server.password),
        policy=Policy(methods=(method,)),
        cafile=real_server.ca,
    )
    send(replace(prepared, content=signed + prepared.content), server)
    (found,) = real_server.delivered(str(prepared.message_id), 1, timeout=60)
    content = found.content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert dkim.verify(content, dnsfunc=lambda *_, **__: record)


@pytest.mark.parametrize("canonical", [b"relaxed/relaxed", b"simple/simple"])
@pytest.mark.parametrize("made", ["bytes", "prepared", "parsed", "old", "modern"])
def test_dkim(made: str, canonical: bytes, key: rsa.RSAPrivateKey) -> None:
    """A DKIM signature verifies by dkimpy after the trip (RFC 6376)."""
    pem, record = keys(key)
    message: Any = EmailMessage() if made == "modern" else part_to_sign()
    message["From"], message["To"] = f"Jörg <{A}>" if made == "modern" else A, B
    message["Subject"] = f"Grüße {LONG}" if made == "modern" else LONG
    message["Date"], message["Message-ID"] = "Tue, 24 Nov 2026 10:00:00 +0000", "<1@x.y>"
    if made == "modern":
        message.set_content("Grüße\n", cte="quoted-printable")
    prepared = prepare(message)
    source = prepared.content
    if made in ("old", "modern"):
        source = message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
        source = source.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    first, _, second = canonical.partition(b"/")
    signature = dkim.sign(source, b"s", b"example.org", pem, canonicalize=(first, second))
    options: dict[str, Any] = {"sender": A, "recipients": [B]}
    if made in ("bytes", "prepared"):
        sent: Any = signature + source
    elif made == "parsed":
        sent = email.message_from_bytes(signature + source)
    else:
        value = signature.partition(b": ")[2].decode().removesuffix("\r\n")
        message.set_raw("DKIM-Signature", value)
        sent = message
    content = arrived(sent, **options)
    assert dkim.verify(content, dnsfunc=lambda *_, **__: record)
