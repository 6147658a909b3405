"""What an error and a check say of a certificate or a handshake: the fitting remedy."""

from __future__ import annotations

import base64
import re
import ssl
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tls
from certificates import FOR_CLIENTS, Issued, issue, root
from cryptography import x509
from scripted import ScriptedServer
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import Server
from smtpsend._model.diagnosis.tls_remedies import CERTIFICATE, HANDSHAKE
from smtpsend.check import check
from smtpsend.cli import main
from smtpsend.errors import CertificateError, Event, TLSError


def between(**options: Any) -> Issued:
    """An intermediate CA."""
    return issue("Intermediate CA", root(), is_ca=True, names=(), **options)


def alone(leaf: Issued) -> Issued:
    """The certificate without what should be sent with it."""
    return Issued(leaf.certificate, leaf.key)


def constrained() -> Issued:
    """A certificate from a CA that may only issue for another domain."""
    names = x509.NameConstraints([x509.DNSName("example.org")], None)
    return issue("leaf", between(more=(names,)))


def below_a_leaf() -> Issued:
    """A certificate that was issued by one that is no CA."""
    return issue("leaf", issue("other", root()))


def forged() -> Issued:
    """A CA with the name of the trusted one, and another key."""
    other = issue("Another CA", is_ca=True, names=())
    return Issued(root().certificate, other.key)


REGION = "eu-west-1"
MANY = tuple(f"mail{n}.example.org" for n in range(6))

CASES: dict[str, tuple[Callable[[], Issued], str]] = {
    "expired": (
        lambda: issue("leaf", root(), begin=-30, end=-1),
        r"^the certificate expired on 20\d\d-\d\d-\d\d: whoever runs the server",
    ),
    "expired in between": (
        lambda: issue("leaf", between(begin=-30, end=-1)),
        "^a CA certificate between leaf and the CA that is trusted here has expired",
    ),
    "not yet valid": (
        lambda: issue("leaf", root(), begin=2),
        r"^the certificate is not valid yet \(it begins on 20.*clock of this machine",
    ),
    "not yet valid in between": (
        lambda: issue("leaf", between(begin=2)),
        "^a CA certificate between leaf and the CA .* is not valid yet: see the clock",
    ),
    "another CA of the same name": (
        lambda: issue("leaf", forged(), identified=False),
        "^the certificate of leaf, issued by Root CA, was not signed by the CA of that",
    ),
    "name of a provider": (
        lambda: issue("leaf", root(), names=("*.sendgrid.net", "sendgrid.net")),
        r"as host \(smtp.sendgrid.net is that of .*SendGrid\); if this host leads",
    ),
    "name of a provider's region": (
        lambda: issue("leaf", root(), names=(f"email-smtp.{REGION}.amazonaws.com",)),
        rf"as host \(email-smtp.{REGION}.amazonaws.com is that of Amazon SES\); if .*tls",
    ),
    "weak key": (
        lambda: issue("weak", root(), bits=1024),
        "^the certificate of weak, issued by Root CA, has a key .* 2048 bits",
    ),
    "weak CA": (
        lambda: issue("leaf", between(bits=1024)),
        "^the certificate of leaf, issued by Intermediate CA, has a key .* its CA's",
    ),
    "wrong name": (
        lambda: issue("leaf", root(), names=("a.example.org", "b.example.org")),
        "^the certificate is for a.example.org and b.example.org, not for localhost: use",
    ),
    "many wrong names": (
        lambda: issue("leaf", root(), names=MANY),
        "mail2.example.org and mail3.example.org and 2 more, not for localhost",
    ),
    "no name": (
        lambda: issue("localhost", root(), names=()),
        r"^the certificate is for no host name at all \(a common name does not count\)",
    ),
    "unknown CA": (
        lambda: issue("leaf", issue("Other CA", is_ca=True, names=())),
        "^the certificate was issued by Other CA, which is not among the CAs.*PEM file",
    ),
    "unknown CA, sent": (
        lambda: Issued(
            (leaf := issue("leaf", other := issue("Other CA", is_ca=True))).certificate,
            leaf.key,
            (other.certificate,),
        ),
        "^the certificate was issued by Other CA, which is not among the CAs.*PEM file",
    ),
    "missing intermediate": (
        lambda: alone(issue("leaf", between())),
        "issued by Intermediate CA, .* fail to send its intermediate certificates",
    ),
    "self-signed": (
        lambda: issue("leaf"),
        r'^the certificate is signed by itself.*\("sha256:[0-9a-f]{64}"\)',
    ),
    "name constraint": (
        constrained,
        r"may not issue certificates for \(name constraints",
    ),
    "for clients": (
        lambda: issue("leaf", root(), more=(FOR_CLIENTS,)),
        "is not meant for a server .* serverAuth",
    ),
    "path length": (
        lambda: issue(
            "leaf",
            issue("Lower CA", between(path_length=0), is_ca=True, names=()),
        ),
        r"from a CA that may not issue it: .* \(path length\)",
    ),
    "no CA": (below_a_leaf, "from a CA that may not issue it: one of the chain is no CA"),
}


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[ssl.SSLContext], None]:
    """Let the scripted server use a context."""

    def use(context: ssl.SSLContext) -> None:
        monkeypatch.setattr(tls, "server_context", lambda kind="good": context)

    return use


def serving(issued: Issued, folder: Path) -> ssl.SSLContext:
    """The server's side, with a certificate."""
    file = folder / "served.pem"
    file.write_bytes(issued.served)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(file)
    return context


def trusting(folder: Path) -> str:
    """A file with the CA that is trusted."""
    file = folder / "root.pem"
    file.write_bytes(root().pem)
    return str(file)


def refused(send: Send, server: Server) -> tuple[Any, str]:
    """The error of a send, and the first advice of a check."""
    with pytest.raises((CertificateError, TLSError)) as caught:
        send(MESSAGE, server, **envelope())
    report = check(server)
    head, _, advice = report.advice[0].partition(": ")
    assert head.startswith("port")
    assert not caught.value.temporary
    return caught.value, advice


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("security", ["implicit", "starttls"])
@pytest.mark.parametrize("send", WAYS)
def test_certificates(
    case: str, security: str, send: Send, tmp_path: Path, serve: Any
) -> None:
    """Each cause has its own remedy, the same in the hint and in the advice."""
    make, words = CASES[case]
    serve(serving(make(), tmp_path))
    with ScriptedServer(host="127.0.0.1") as scripted:
        server = server_for(scripted, security, cafile=trusting(tmp_path))
        named = Server("localhost", policy=server.policy, cafile=server.cafile)
        error, advice = refused(send, named)
    assert (type(error), error.event) == (CertificateError, Event.CERTIFICATE)
    assert error.hint == advice
    assert re.search(words, error.hint), error.hint
    scripted.assert_clean(auths=0)


def test_strict(tmp_path: Path, serve: Any) -> None:
    """An own context that checks strictly: the flag to clear, or cafile=, which works."""
    serve(serving(issue("leaf", root(), identified=False), tmp_path))
    context = ssl.create_default_context(cafile=trusting(tmp_path))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with ScriptedServer() as scripted:
        policy = server_for(scripted, "implicit").policy
        server = Server("localhost", policy=policy, ssl_context=context)
        error, advice = refused(WAYS[0], server)
        assert "Missing Authority Key Identifier" in error.message
        assert "context.verify_flags &= ~ssl.VERIFY_X509_STRICT" in error.hint
        assert "Server(cafile=...)" in error.hint
        assert error.hint == advice
        named = Server("localhost", policy=policy, cafile=trusting(tmp_path))
        assert check(named).ok
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        assert check(server).ok


def test_revocation_list(tmp_path: Path, serve: Any) -> None:
    """An own context that asks for revocation lists and has none."""
    serve(serving(issue("leaf", root()), tmp_path))
    context = ssl.create_default_context(cafile=trusting(tmp_path))
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    with ScriptedServer() as scripted:
        policy = server_for(scripted, "implicit").policy
        server = Server("localhost", policy=policy, ssl_context=context)
        error, advice = refused(WAYS[0], server)
    assert error.hint == advice
    assert "revocation lists" in error.hint


# The second Oakley group (RFC 2409 section 6.2): 1024 bits.
OAKLEY = bytes.fromhex(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A"
    "08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9"
    "A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFF"
    "FFFF"
)


def small_dh(folder: Path) -> ssl.SSLContext:
    """A server with Diffie-Hellman parameters of 1024 bits, and TLS 1.2."""
    context = serving(issue("leaf", root(), bits=2048), folder)
    der = b"\x30\x81\x87\x02\x81\x81\x00" + OAKLEY + b"\x02\x01\x02"
    body = base64.encodebytes(der).decode()
    file = folder / "dh.pem"
    file.write_text(f"-----BEGIN DH PARAMETERS-----\n{body}-----END DH PARAMETERS-----\n")
    context.load_dh_params(file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DHE:@SECLEVEL=0")
    return context


def old(folder: Path) -> ssl.SSLContext:
    """A server with TLS 1.1 at most."""
    context = serving(issue("leaf", root()), folder)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def nothing_shared(folder: Path) -> ssl.SSLContext:
    """A server with one cipher suite of TLS 1.2, that no client offers by itself."""
    context = serving(issue("leaf", root(), bits=2048), folder)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("NULL-SHA256:@SECLEVEL=0")
    return context


def wanting(folder: Path) -> ssl.SSLContext:
    """A server with TLS 1.2 that wants a certificate of the client."""
    context = serving(issue("leaf", root()), folder)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=root().pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    return context


HANDSHAKES: dict[str, tuple[Callable[[Path], ssl.SSLContext], str]] = {
    "small DH": (small_dh, "Diffie-Hellman parameters are too small"),
    "old TLS": (old, "nothing newer than TLS 1.1, and TLS 1.2 or newer is required"),
    "no cipher": (nothing_shared, "share no cipher suite"),
    "client": (wanting, "wants a certificate of the client, which Server(ssl_context"),
}


@pytest.mark.usefixtures("probed_soon")
@pytest.mark.parametrize("case", HANDSHAKES)
@pytest.mark.parametrize("security", ["implicit", "starttls"])
@pytest.mark.parametrize("send", WAYS)
def test_handshakes(
    case: str, security: str, send: Send, tmp_path: Path, serve: Any
) -> None:
    """The same for a handshake that failed: no advice on ports where TLS was spoken."""
    make, words = HANDSHAKES[case]
    serve(make(tmp_path))
    with ScriptedServer() as scripted:
        policy = server_for(scripted, security).policy
        server = Server("localhost", policy=policy, cafile=trusting(tmp_path))
        error, advice = refused(send, server)
    assert (type(error), error.event) == (TLSError, Event.HANDSHAKE)
    assert words in error.hint
    assert error.hint == advice
    assert "Method(" not in error.hint


def test_the_command(tmp_path: Path, serve: Any, capsys: Any) -> None:
    """The command says it with its own options."""
    serve(serving(issue("leaf"), tmp_path))
    with ScriptedServer() as scripted:
        url = f"smtps://localhost:{scripted.port('implicit')}"
        main(["check", url, "--cafile", trusting(tmp_path)])
    shown = " ".join(capsys.readouterr().out.split())
    assert "trust it by its file with --cafile, or by its fingerprint" in shown
    assert "Server(" not in shown


def test_no_row_twice() -> None:
    """No row is out of reach after one whose words are part of its own."""
    for table in (CERTIFICATE, HANDSHAKE):
        for n, cause in enumerate(table):
            for word in cause.words:
                before = [w for earlier in table[:n] for w in earlier.words]
                assert not [w for w in before if w in word], word
