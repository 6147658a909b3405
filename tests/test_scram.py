"""SCRAM (RFC 5802, RFC 7677): against vectors, against scramp, and lying servers."""

from __future__ import annotations

import base64
import datetime
import hashlib
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import scripted.sasl
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from scripted import Action, Script, ScriptedServer, reply, say
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import Password, SendError
from smtpsend._model.diagnosis.certificate import signature_hash
from smtpsend._protocol.failures import Garbage
from smtpsend._protocol.scram import HASHES, Scram, WrongSignature, saslprep
from smtpsend.errors import AuthError, ConnectionLost, Event, Phase


scramp = pytest.importorskip("scramp")

USER, SECRET = "user@example.org", "s3cret-Pa55word"


def login(hash_name: str, nonce: str, **options: Any) -> Scram:
    """The login of the examples of the RFCs."""
    return Scram(hash_name, "user", "pencil", nonce=lambda: nonce, **options)


def test_rfc_5802() -> None:
    """The example of RFC 5802 section 5."""
    scram = login("sha1", "fyko+d2lbbFgONRv9qkxdawL")
    assert next(scram) == b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
    final = scram.send(
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
    )
    assert final == (
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,"
        b"p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    )
    assert scram.send(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=") == b""
    assert scram.verified


def test_rfc_7677() -> None:
    """The example of RFC 7677 section 3."""
    scram = login("sha256", "rOprNGfwEbeRWgbNEkqO")
    assert next(scram) == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    final = scram.send(
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    assert final == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert scram.send(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""
    assert scram.verified


NAMES = ["user", "usér,=b", "I\u00adX", "ａｂ"]
PASSWORDS = ["pencil", "pässwörd €", "a\u00a0b", "Ⅸ", "ﬁ,=", "\u05d0\u05d1"]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mechanism", HASHES)
@pytest.mark.parametrize("plus", [False, True])
def test_scramp(mechanism: str, plus: bool, name: str, password: str) -> None:
    """Each login agrees with scramp: names, passwords, with and without binding."""
    binding = b"\x07" * 32
    server_side = scramp.ScramMechanism(mechanism + "-PLUS" * plus)
    info = server_side.make_auth_info(password)
    asked = []
    server = server_side.make_server(
        lambda who: asked.append(who) or info,
        channel_binding=("tls-server-end-point", binding) if plus else None,
    )
    options: dict[str, Any] = {"binding": binding, "plus": True} if plus else {}
    scram = Scram(HASHES[mechanism], name, password, offered=plus, **options)
    server.set_client_first((next(scram) or b"").decode())
    server.set_client_final(
        (scram.send(server.get_server_first().encode()) or b"").decode()
    )
    assert scram.proof_sent
    assert scram.send(server.get_server_final().encode()) == b""
    assert scram.verified
    assert asked == [saslprep(name)]


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),  # the examples of RFC 4013 section 3
        ("user", "user"),
        ("ª", "a"),
        ("Ⅸ", "IX"),
        ("\u0007", "\u0007"),
        ("\u0627\u0031", "\u0627\u0031"),  # prohibited: as it is
        ("a\u2003b", "a b"),
        ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),
        ("\ue000ª", "\ue000ª"),  # private use: prohibited
    ],
)
def test_saslprep(text: str, prepared: str) -> None:
    """Names and passwords are prepared by RFC 4013; what it prohibits is left alone."""
    assert saslprep(text) == prepared


FIRST = b"s=QSXCR+Q6sek8bf92,i=4096"
BAD_FIRST: dict[str, bytes | None] = {
    "no base64": None,
    "empty": b"",
    "no nonce": FIRST,
    "another nonce": b"r=other," + FIRST,
    "the nonce alone": b"r=nonce," + FIRST,
    "no salt that is base64": b"r=nonceX,s=!,i=4096",
    "no count": b"r=nonceX,s=QSXC",
    "count 0": b"r=nonceX,s=QSXC,i=0",
    "count -1": b"r=nonceX,s=QSXC,i=-1",
    "a count in other digits": "r=nonceX,s=QSXC,i=४".encode(),
    "a count that would take minutes": b"r=nonceX,s=QSXC,i=99999999",
    "a count without end": b"r=nonceX,s=QSXC,i=" + b"9" * 5000,
    "an extension": b"m=x,r=nonceX," + FIRST,
}


@pytest.mark.parametrize("case", BAD_FIRST)
def test_bad_first(case: str) -> None:
    """A first message of the server that is not well formed gets no proof."""
    scram = login("sha256", "nonce")
    next(scram)
    with pytest.raises(Garbage):
        scram.send(BAD_FIRST[case])
    assert not scram.proof_sent


@pytest.mark.parametrize("final", [b"v=", b"", b"x", b"v=AAAA", b"r=nonce"])
def test_bad_signature(final: bytes) -> None:
    """Any other signature than the right one, and none, is refused."""
    scram = login("sha256", "nonce")
    next(scram)
    scram.send(b"r=nonceX," + FIRST)
    with pytest.raises(WrongSignature):
        scram.send(final)
    assert not scram.verified


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        ({}, b"n,,"),
        ({"binding": b"x"}, b"y,,"),
        ({"binding": b"x", "offered": True}, b"n,,"),
        ({"binding": b"x", "offered": True, "plus": True}, b"p=tls-server-end-point,,"),
    ],
)
def test_flags(options: dict[str, Any], flag: bytes) -> None:
    """The flag tells a server that offers -PLUS whether its offer was removed."""
    first = next(login("sha256", "nonce", **options))
    assert first is not None
    assert first.startswith(flag + b"n=user")


# Over the wire.


def offering(mechanisms: str, on: dict[str, Action] | None = None) -> Script:
    """A server that offers these mechanisms."""
    return Script(on or {}, offers=("ENHANCEDSTATUSCODES", f"AUTH {mechanisms}"))


def challenge(text: bytes) -> Action:
    """A 334 with this text."""
    return say(b"334 " + base64.b64encode(text) + b"\r\n")


LIES: dict[str, tuple[dict[str, Action], type[SendError], Event]] = {
    "235 at once": ({"auth": reply(235, "", "ok")}, AuthError, Event.AUTH_REFUSED),
    "235 to the proof": (
        {"auth-step:1": reply(235, "", "ok")},
        AuthError,
        Event.AUTH_REFUSED,
    ),
    "a wrong signature": (
        {"auth-step:1": challenge(b"v=AAAA")},
        AuthError,
        Event.AUTH_REFUSED,
    ),
    "an error": (
        {
            "auth-step:1": challenge(b"e=invalid-proof"),
            "auth-step:2": reply(535, "5.7.8", "no"),
        },
        AuthError,
        Event.AUTH_REFUSED,
    ),
    "an error and then 235": (
        {
            "auth-step:1": challenge(b"e=other-error"),
            "auth-step:2": reply(235, "", "ok"),
        },
        AuthError,
        Event.AUTH_REFUSED,
    ),
    "another nonce": (
        {"auth": challenge(b"r=x," + FIRST)},
        ConnectionLost,
        Event.AUTH_LOST,
    ),
}


@pytest.mark.parametrize("case", LIES)
@pytest.mark.parametrize("send", WAYS)
def test_lies(case: str, send: Send) -> None:
    """A server that does not prove that it knows the password gets no message."""
    on, kind, event = LIES[case]
    with ScriptedServer(offering("SCRAM-SHA-256", on)) as server:
        with pytest.raises(SendError) as caught:
            send(MESSAGE, server_for(server, "implicit"), **envelope())
    error = caught.value
    assert (type(error), error.event, error.phase) == (kind, event, Phase.AUTH)
    assert not server.connections[0].messages
    assert len(server.connections) == 1


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedServer], None]:
    """Lets a server bind the -PLUS mechanisms to its own certificate."""

    def bind(server: ScriptedServer) -> None:
        pem = ssl.get_server_certificate((server.host, server.port("implicit")))
        algorithm = x509.load_pem_x509_certificate(pem.encode()).signature_hash_algorithm
        assert algorithm is not None
        der = ssl.PEM_cert_to_DER_cert(pem)
        binding = ("tls-server-end-point", hashlib.new(algorithm.name, der).digest())
        for name in ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"):
            mechanism = scripted.sasl.scram(name, binding)
            monkeypatch.setitem(scripted.sasl.MECHANISMS, name, mechanism)

    return bind


@pytest.mark.parametrize("offers", ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS SCRAM-SHA-1"])
@pytest.mark.parametrize("send", WAYS)
def test_plus(offers: str, send: Send, bound: Callable[[ScriptedServer], None]) -> None:
    """A -PLUS mechanism is bound to the certificate of the server."""
    with ScriptedServer(offering(offers)) as server:
        bound(server)
        send(MESSAGE, server_for(server, "implicit"), **envelope())
    (line,) = [c for _, c in server.connections[-1].commands if c.startswith(b"AUTH")]
    assert line.split()[1] == offers.split()[0].encode()
    assert len(server.accepted) == 1


@pytest.mark.parametrize("code", [504, 535, 501])
def test_plus_with_another_binding(code: int) -> None:
    """A -PLUS that is refused before the proof gives way to the same without PLUS."""
    script = offering(
        "SCRAM-SHA-256-PLUS SCRAM-SHA-256", {"auth:1": reply(code, "", "no such binding")}
    )
    with ScriptedServer(script) as server:
        WAYS[0](MESSAGE, server_for(server, "implicit"), **envelope())
    verbs = [
        line.split()[1] for _, line in server.connections[0].commands if b"AUTH" in line
    ]
    assert verbs == [b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256"]


def test_wrong_password_with_plus(bound: Callable[[ScriptedServer], None]) -> None:
    """A refused proof is not followed by another mechanism."""
    with ScriptedServer(offering("SCRAM-SHA-256-PLUS SCRAM-SHA-256")) as server:
        bound(server)
        wrong = server_for(server, "implicit", auth=Password(USER, "wrong-s3cret"))
        with pytest.raises(AuthError):
            WAYS[0](MESSAGE, wrong, **envelope())
    assert server.connections[-1].verbs.count("AUTH") == 1


def certificate(key: Any, algorithm: Any, **options: Any) -> bytes:
    """A certificate in DER, signed with this key and hash."""
    name = x509.Name([])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=1))
        .sign(key, algorithm, **options)
    )
    return made.public_bytes(serialization.Encoding.DER)


RSA, EC = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
ALGORITHMS = [hashes.SHA224(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
@pytest.mark.parametrize("kind", ["RSA", "RSA-PSS", "EC"])
def test_signature_hash(kind: str, algorithm: Any) -> None:
    """The hash of a certificate's signature is found, as cryptography finds it."""
    options: dict[str, Any] = {}
    if kind == "RSA-PSS":
        mask = padding.MGF1(algorithm)
        options["rsa_padding"] = padding.PSS(mask, padding.PSS.DIGEST_LENGTH)
    der = certificate(EC if kind == "EC" else RSA, algorithm, **options)
    assert signature_hash(der) == algorithm.name


def test_no_signature_hash() -> None:
    """Ed25519 has no hash of its own, and what is no certificate has none."""
    assert signature_hash(certificate(ed25519.Ed25519PrivateKey.generate(), None)) is None
    for der in (b"", b"x", b"\x30\x80", b"\x30\x03\x02\x01\x01"):
        assert signature_hash(der) is None
