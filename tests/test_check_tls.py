"""What a check says about TLS: a refused certificate, a pin, the wrong kind of port."""

from __future__ import annotations

import dataclasses

from scripted import Script, ScriptedServer
from sending import server_for

from smtpsend import Method, Password, Policy, Server
from smtpsend.check import check
from smtpsend.errors import (
    CertificateError,
    TLSError,
)


def test_refused_certificate_is_shown() -> None:
    """A refused certificate is fetched for display; nothing is said inside its TLS."""
    with ScriptedServer(Script(certificate="wrong_host")) as scripted:
        report = check(server_for(scripted, "implicit"))
    (method,) = report.methods
    assert method.certificate is not None
    assert method.certificate.names == ("wrong.example.org",)
    assert not method.certificate.verified
    assert method.tls is None
    first, second = scripted.connections
    for connection in (first, second):
        assert (connection.commands, bytes(connection.received)) == ([], b"")
    scripted.assert_clean(auths=0)


def test_certificate_error_stops() -> None:
    """One refused certificate stops a send, and so the check says: nothing is sent."""
    bad = Script(certificate="expired")
    with ScriptedServer(starttls=[bad, bad, bad, bad]) as scripted:
        report = check(server_for(scripted, stagger=3))
    assert isinstance(report.error, CertificateError)
    assert [m.ready for m in report.methods] == [False, True, True]
    assert report.chosen is None


def test_pinned() -> None:
    """A pinned certificate is verified; with a wrong pin its own fingerprint is shown."""
    with ScriptedServer(Script(certificate="self_signed"), implicit=None) as scripted:
        methods = [Method(scripted.port("starttls"), "starttls")]
        login = Password(scripted.user, scripted.password)
        free = Server(scripted.host, login, policy=Policy(methods=methods))
        (refused,) = check(free).methods
        assert refused.certificate is not None
        pin = refused.certificate.fingerprint
        pinned = check(dataclasses.replace(free, fingerprint=pin))
        wrong = check(dataclasses.replace(free, fingerprint="sha256:" + "1" * 64))
    assert pinned.ok
    assert pinned.methods[0].certificate == dataclasses.replace(
        refused.certificate, verified=True
    )
    assert isinstance(wrong.error, CertificateError)
    assert wrong.methods[0].certificate == refused.certificate
    assert "not the pinned one" in wrong.advice[0]


def test_the_other_way_round() -> None:
    """TLS where STARTTLS was meant, and the reverse, are found out and named."""
    with ScriptedServer() as scripted:
        ports = scripted.port("implicit"), scripted.port("starttls")
        methods = Method(ports[0], "starttls"), Method(ports[1], "implicit")
        policy = Policy(methods=methods)
        login = Password(scripted.user, scripted.password)
        server = Server(scripted.host, login, policy=policy, cafile=scripted.ca)
        report = check(server, timeout=3)
    assert [m.speaks for m in report.methods] == ["implicit", "starttls"]
    assert [f"port {port}: " in text for port, text in zip(ports, report.advice)] == [
        True,
        True,
    ]
    assert f"Method({ports[0]}, 'implicit')" in report.advice[0]
    assert f"Method({ports[1]}, 'starttls')" in report.advice[1]
    assert isinstance(report.error, TLSError)
    for connection in scripted.connections:
        assert "AUTH" not in connection.verbs
        assert scripted.password.encode() not in bytes(connection.plaintext)
