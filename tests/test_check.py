"""`smtpsend.check`: the facts of each method, one login, and advice that fits."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import pickle
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import tls
from scripted import OFFERS, Script, ScriptedServer, hang, normal, reply, rst, say
from sending import QUICK, patiently, server_for, stretched

from smtpsend import Method, OAuth2, Password, Policy, SendError, Server
from smtpsend._model.diagnosis.advice import advice, verdict
from smtpsend._model.diagnosis.certificate import read_certificate
from smtpsend.check import Certificate, MethodReport, Port25, Report, check, check_async
from smtpsend.errors import (
    AuthError,
    CertificateError,
    ConfigError,
    ConnectError,
    Event,
    Phase,
    Reply,
    TLSError,
)
from smtpsend.testing import capture


pytestmark = pytest.mark.usefixtures("no_leaks")

Check = Callable[..., Report]


@pytest.fixture(autouse=True, scope="module")
def _certificates() -> None:
    """All certificates are made before ports ask for one side by side."""
    for kind in tls.KINDS:
        tls.server_context(kind)


def check_in_loop(server: Server | str, **options: Any) -> Report:
    """`check_async`, in an event loop of its own."""
    return asyncio.run(check_async(server, **options))


@pytest.mark.parametrize("look", [check, check_in_loop])
def test_facts(look: Check) -> None:
    """A healthy server: all facts for each method, one login, no message."""
    with ScriptedServer() as scripted:
        report = look(server_for(scripted))
        methods = [Method(*pair) for pair in scripted.methods()]
    scripted.assert_clean(auths=1)
    assert [m.method for m in report.methods] == methods
    assert (report.ok, report.error, report.chosen) == (True, None, methods[0])
    assert report.advice == ()
    assert report.login is not None
    assert (report.login.mechanism, report.login.method) == ("PLAIN", methods[0])
    assert sum(c.authenticated for c in scripted.connections) == 1
    assert not scripted.accepted
    for method in report.methods:
        assert (method.ready, method.connected, method.address) == (
            True,
            True,
            "127.0.0.1",
        )
        assert str(method.greeting) == "220 scripted.example ESMTP"
        assert method.starttls is (True if method.method.security == "starttls" else None)
        assert (method.tls, method.size_limit) == ("TLSv1.3", 10485760)
        assert method.cipher
        assert method.mechanisms == ("PLAIN", "LOGIN")
        assert method.extensions == OFFERS
        assert method.certificate is not None
        assert method.certificate.verified
        assert method.certificate.names == tls.NAMES


@pytest.mark.parametrize(
    ("security", "phases"),
    [
        ("starttls", "connect greeting ehlo starttls tls ehlo"),
        ("implicit", "connect tls greeting ehlo"),
    ],
)
def test_steps(security: str, phases: str) -> None:
    """Each step is there, in order, with its seconds."""
    with ScriptedServer() as scripted:
        report = check(server_for(scripted, security))
    (method,) = report.methods
    assert " ".join(step.phase for step in method.steps) == phases
    assert 0 < sum(step.seconds for step in method.steps) <= method.elapsed


def test_json_and_pickle() -> None:
    """A report, with errors in it, goes through JSON and pickle, and holds no secret."""
    with ScriptedServer({"auth": reply(535, "5.7.8", "no")}) as scripted:
        report = check(server_for(scripted))
    text = json.dumps(report.as_dict())
    loaded = json.loads(text)
    assert (loaded["ok"], loaded["host"]) == (False, "127.0.0.1")
    assert loaded["error"]["type"] == "AuthError"
    assert loaded["login"]["error"]["reply"]["code"] == 535
    assert loaded["methods"][0]["certificate"]["fingerprint"].startswith("sha256:")
    again = pickle.loads(pickle.dumps(report))
    assert again.advice == report.advice
    for shown in (text, repr(report), repr(again)):
        assert scripted.password not in shown


BAD: dict[str, tuple[Any, type[SendError], Event, str]] = {
    "refused": ("refused", ConnectError, Event.UNREACHABLE, "refuses connections on all"),
    "blackhole": ("blackhole", ConnectError, Event.UNREACHABLE, "blocks outgoing mail"),
    "silent": ("silent", TLSError, Event.HANDSHAKE, "no mail server answers"),
    "greeting": (
        {"greeting": reply(554, "5.3.2", "go away")},
        ConnectError,
        Event.NO_GREETING,
        "turns us away: 554 5.3.2 go away",
    ),
    "wrong-host": (
        Script(certificate="wrong_host"),
        CertificateError,
        Event.CERTIFICATE,
        "is for wrong.example.org, not for 127.0.0.1",
    ),
    "expired": (
        Script(certificate="expired"),
        CertificateError,
        Event.CERTIFICATE,
        "expired on 2020-01-01",
    ),
    "unknown-ca": (
        Script(certificate="unknown_ca"),
        CertificateError,
        Event.CERTIFICATE,
        "not among the CAs",
    ),
    "self-signed": (
        Script(certificate="self_signed"),
        CertificateError,
        Event.CERTIFICATE,
        "signed by itself",
    ),
    "no-mechanism": (
        Script(offers=("AUTH XOAUTH2",)),
        AuthError,
        Event.NO_MECHANISM,
        "OAuth2(...) in place of Password(...)",
    ),
    "no-auth": (
        Script(offers=("SIZE 1000",)),
        AuthError,
        Event.NO_MECHANISM,
        "no login is offered",
    ),
    "old-tls": (Script(certificate="old_tls"), TLSError, Event.HANDSHAKE, "TLS 1.2"),
    "login": (
        {"auth": reply(535, "5.7.8", "no")},
        AuthError,
        Event.AUTH_REFUSED,
        "login refused: check user name",
    ),
    "app-password": (
        {"auth": reply(534, "5.7.9", "Application-specific password required")},
        AuthError,
        Event.AUTH_REFUSED,
        "wants an app password",
    ),
    "login-later": (
        {"auth": reply(454, "4.7.0", "later")},
        AuthError,
        Event.AUTH_REFUSED,
        "cannot check logins now: try again later",
    ),
    "ehlo": (
        {"ehlo": reply(550, "5.7.1", "bad name")},
        ConnectError,
        Event.EHLO_REFUSED,
        "ehlo_name",
    ),
}


@pytest.mark.parametrize("case", BAD)
@patiently
def test_what_is_wrong(case: str) -> None:
    """Each fault on all ports: the error that a send would raise, and what to change."""
    script, kind, event, words = BAD[case]
    with ScriptedServer(script) as scripted:
        report = check(server_for(scripted, **QUICK))
    assert (type(report.error), report.error.event) == (kind, event)  # type: ignore[union-attr]
    assert (report.ok, report.chosen) == (False, None)
    assert len(report.advice) == 1, report.advice
    assert words in report.advice[0]
    assert report.verdict.startswith("Nothing would be sent: ")
    login = sum(c.verbs.count("AUTH") for c in scripted.connections)
    assert login == (event is Event.AUTH_REFUSED)
    assert not scripted.accepted


NEXT: dict[str, tuple[Any, str]] = {
    "refused": ("refused", "nothing listens there"),
    "blackhole": ("blackhole", "a firewall drops it"),
    "no-starttls": (Script(offers_in_clear=("SIZE 1000",)), "no STARTTLS"),
    "rewritten": (Script(offers_in_clear=("XXXXXXXA", "SIZE 1")), "overwrites"),
    "cut": ({"tls": rst()}, "does not speak TLS as it should"),
}


@pytest.mark.parametrize("case", NEXT)
@patiently
def test_fallback(case: str) -> None:
    """Where the first method fails and the next works, both are said."""
    script, words = NEXT[case]
    with ScriptedServer(starttls=script) as scripted:
        report = check(server_for(scripted, **QUICK))
    first, second, _ = report.methods
    assert not first.ready
    assert (report.ok, report.chosen) == (True, second.method)
    assert f"since what comes before it does not work ({first.method}: " in report.verdict
    assert words in " ".join(report.advice)
    assert report.advice[-1].startswith(f"a policy that begins with {second.method}")


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


def test_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name that is unknown is in the report, with nothing tried."""

    def unknown(*args: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    report = check("mail.example.test")
    assert (report.methods, report.addresses, report.port25) == ((), (), None)
    assert report.error is not None
    assert report.error.event is Event.UNRESOLVED
    assert report.advice == (
        "the host name mail.example.test is unknown: check its spelling",
    )


def test_port_25() -> None:
    """With the default policy port 25 is looked at, and not counted as a method."""
    report = check("127.45.6.7", timeout=5)
    assert [m.method.port for m in report.methods] == [587, 465, 2525]
    assert report.port25 is not None
    assert (report.port25.connected, report.port25.greeting) == (False, None)
    assert "refused" in str(report.port25.error)
    assert not report.ok


@patiently
def test_deadline() -> None:
    """A check ends in time where a port never says anything, and the others count."""
    with ScriptedServer(implicit="silent") as scripted:
        server = server_for(scripted, reply_timeout=300, deadline=300)
        report = check(server, timeout=stretched(0.6))
    assert [m.ready for m in report.methods] == [True, False, True]
    assert report.methods[1].error is not None
    assert report.methods[1].error.timed_out
    assert report.ok
    assert report.elapsed < 20


def test_plaintext_sink() -> None:
    """A development sink is checked without TLS and without a login."""
    with ScriptedServer(Script(require_tls=False), implicit=None) as scripted:
        policy = Policy(methods=[Method(scripted.port("starttls"), "plaintext")])
        report = check(Server(scripted.host, policy=policy))
    assert (report.ok, report.login) == (True, None)
    assert (report.methods[0].tls, report.methods[0].certificate) == (None, None)


@pytest.mark.parametrize("look", [check, check_in_loop])
@pytest.mark.parametrize(
    ("server", "options"),
    [
        ("not a host", {}),
        (Server("127.0.0.1", cafile="/nowhere/ca.pem"), {}),
        ("127.0.0.1", {"timeout": -1}),
    ],
)
def test_bad_input(look: Check, server: Server | str, options: Any) -> None:
    """What cannot be used is refused before anything is connected."""
    with pytest.raises(ConfigError):
        look(server, **options)


def test_token_provider() -> None:
    """The token of OAuth is asked for once, by the one login."""
    asked = threading.Semaphore(1)

    def token() -> str:
        assert asked.acquire(blocking=False)
        return "t0ken-abcdef"

    with ScriptedServer(
        Script(offers=("AUTH XOAUTH2",)), password="t0ken-abcdef"
    ) as scripted:
        report = check(server_for(scripted, auth=OAuth2(scripted.user, token)))
    assert report.login is not None
    assert (report.ok, report.login.mechanism) == (True, "XOAUTH2")


def test_cancelled() -> None:
    """A cancelled check leaves nothing behind."""

    async def main(server: Server) -> None:
        task = asyncio.create_task(check_async(server))
        await asyncio.to_thread(scripted.wait_for, lambda: len(scripted.connections) == 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with ScriptedServer({"ehlo": hang()}) as scripted:
        asyncio.run(main(server_for(scripted, reply_timeout=300, deadline=300)))


def test_captured() -> None:
    """While a test captures mail, a check reaches no network either."""
    server = Server("mail.example.test", Password("ann", "s3cret"))
    with capture() as box:
        good = check(server)
        box.fail_next(AuthError)
        bad = check(server)
    assert (good.ok, good.methods, good.port25) == (True, (), None)
    assert (bad.ok, type(bad.error)) == (False, AuthError)
    assert not box.messages


def test_gone_after_the_login() -> None:
    """A server that closes right after the login is still one that lets us in."""
    leave = reply(235, "2.7.0", "ok") + rst()
    with ScriptedServer(starttls="refused", implicit={"auth": leave}) as scripted:
        report = check(server_for(scripted))
        expected = Method(scripted.port("implicit"), "implicit")
    assert (report.ok, report.chosen) == (True, expected)


# the tables, without a network

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CERTIFICATE = Certificate(
    names=("mail.example.org",),
    subject="mail.example.org",
    issuer="Some CA",
    not_before=NOW,
    not_after=NOW + timedelta(days=90),
    days_left=90,
    fingerprint="sha256:" + "0" * 64,
    verified=True,
)


def failure(
    event: Event, phase: Phase, text: str = "it failed", **options: Any
) -> SendError:
    """The error of a method."""
    kinds = {Event.CERTIFICATE: CertificateError, Event.HANDSHAKE: TLSError}
    return kinds.get(event, ConnectError)(text, phase=phase, event=event, **options)


def method(port: int, error: SendError | None = None, **options: Any) -> MethodReport:
    """The report of one method, ready if nothing else is said."""
    facts: dict[str, Any] = {
        "method": Method(port, "implicit" if port == 465 else "starttls"),
        "address": "192.0.2.1",
        "connected": error is None or error.phase is not Phase.CONNECT,
        "certificate": CERTIFICATE if error is None else None,
    }
    missing = dict.fromkeys(
        ["greeting", "starttls", "tls", "cipher", "size_limit", "speaks"], None
    )
    rest = {"mechanisms": (), "extensions": (), "steps": (), "elapsed": 0.1}
    return MethodReport(**(missing | rest | facts | options), error=error)


def report_of(*methods: MethodReport, **options: Any) -> Report:
    """A report in which the first ready method is chosen."""
    ready = [m.method for m in methods if m.ready]
    errors = [m.error for m in methods if m.error is not None]
    facts: dict[str, Any] = {
        "host": "mail.example.org",
        "addresses": ("192.0.2.1",),
        "methods": methods,
        "port25": None,
        "chosen": ready[0] if ready else None,
        "login": None,
        "attempts": (),
        "error": None if ready else errors[0],
        "elapsed": 1.0,
    }
    return Report(**(facts | options))


TIMED_OUT = failure(
    Event.UNREACHABLE, Phase.CONNECT, "no connection (no answer)", timed_out=True
)
REFUSED = failure(Event.UNREACHABLE, Phase.CONNECT, "no connection (connection refused)")
NO_ROUTE = failure(
    Event.UNREACHABLE, Phase.CONNECT, "no connection (network is unreachable)"
)
MISMATCH = failure(Event.CERTIFICATE, Phase.TLS, "refused: Hostname mismatch, ...")
OTHER = dataclasses.replace(CERTIFICATE, names=("*.hoster.example",), verified=False)
MX = Port25("192.0.2.1", True, Reply(220, None, "mx"), None, 0.1)

ADVICE: dict[str, tuple[Report, list[str]]] = {
    "all is well": (report_of(method(587), method(465)), []),
    "all time out": (
        report_of(*(method(port, TIMED_OUT) for port in (587, 465, 2525))),
        ["all three ports time out: your provider or network blocks outgoing mail"],
    ),
    "two time out": (
        report_of(*(method(port, TIMED_OUT) for port in (587, 465))),
        ["both ports time out"],
    ),
    "one pinned port times out": (
        report_of(method(587, TIMED_OUT)),
        ["port 587: no answer: a firewall drops it on the way"],
    ),
    "all refused": (
        report_of(method(587, REFUSED), method(465, REFUSED)),
        ["mail.example.org refuses connections on both ports"],
    ),
    "a provider with other ports": (
        report_of(
            method(587, TIMED_OUT),
            method(465, TIMED_OUT),
            host="email-smtp.eu-west-1.amazonaws.com",
            provider="ses",
        ),
        [
            "both ports time out: your provider or network blocks outgoing mail (SMTP) "
            "ports. Ask for one of them to be opened",
            "Amazon SES also has 2587 STARTTLS and 2465 implicit TLS: Server.at('ses', ",
        ],
    ),
    "a provider, one port refused": (
        report_of(method(587, REFUSED), provider="resend"),
        ["port 587: nothing listens", "Resend also has 465 implicit TLS, 2587 STARTTLS"],
    ),
    "a provider without other ports": (
        report_of(method(587, TIMED_OUT), method(465, TIMED_OUT), provider="gmail"),
        [
            "both ports time out: your provider or network blocks outgoing mail (SMTP) "
            "ports. Ask for one of them to be opened; Gmail, Google Workspace documents "
            "no other port"
        ],
    ),
    "a provider that is reached": (
        report_of(method(587, TIMED_OUT), method(465), provider="ses"),
        ["port 587: no answer", "a policy that begins with"],
    ),
    "a provider, no route": (
        report_of(method(587, NO_ROUTE), provider="ses"),
        ["there is no way to 192.0.2.1"],
    ),
    "no route": (report_of(method(587, NO_ROUTE)), ["there is no way to 192.0.2.1"]),
    "an MX": (
        report_of(method(587, REFUSED), method(465, REFUSED), port25=MX),
        ["mail.example.org refuses", "port 25 answers: mail.example.org seems to be"],
    ),
    "wrong names, on two ports": (
        report_of(
            method(587, MISMATCH, certificate=OTHER),
            method(465, MISMATCH, certificate=OTHER),
        ),
        [
            "ports 587 and 465: the certificate is for *.hoster.example, not for "
            "mail.example.org: use a name that it covers as host"
        ],
    ),
    "no names": (
        report_of(
            method(587, MISMATCH, certificate=dataclasses.replace(OTHER, names=()))
        ),
        ["port 587: the certificate is for no host name at all (a common name"],
    ),
    "not valid yet": (
        report_of(method(587, failure(Event.CERTIFICATE, Phase.TLS, "is not yet valid"))),
        ["port 587: the certificate is not valid yet"],
    ),
    "some other defect": (
        report_of(method(587, failure(Event.CERTIFICATE, Phase.TLS, "odd"))),
        ["port 587: the certificate was refused; verification cannot be turned off"],
    ),
    "expires soon": (
        report_of(method(587, certificate=dataclasses.replace(CERTIFICATE, days_left=6))),
        ["the certificate expires in 6 days"],
    ),
    "one blocked, one refused": (
        report_of(method(587, TIMED_OUT), method(465, REFUSED), method(2525)),
        ["port 587: no answer", "port 465: nothing listens", "a policy that begins with"],
    ),
    "several reasons": (
        report_of(method(587, TIMED_OUT), method(465, REFUSED)),
        ["port 587: no answer", "port 465: nothing listens"],
    ),
}


@pytest.mark.parametrize("case", ADVICE)
def test_advice(case: str) -> None:
    """From facts to sentences, in order."""
    report, words = ADVICE[case]
    found = advice(report)
    assert len(found) == len(words), found
    for sentence, beginning in zip(found, words):
        assert sentence.startswith(beginning), found


VERDICTS: dict[str, tuple[Report, str]] = {
    "first": (report_of(method(587), method(465)), "comes first in the policy"),
    "only": (report_of(method(465)), "by 465 implicit TLS, the only method"),
    "second": (report_of(method(587, REFUSED), method(465)), "does not work (587 START"),
    "slow": (
        report_of(method(587), method(465), chosen=Method(465, "implicit")),
        "it was ready before 587 STARTTLS, which works too, but slowly",
    ),
    "none": (report_of(method(587, REFUSED)), "Nothing would be sent: no connection"),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_verdict(case: str) -> None:
    """What the policy would do, and why."""
    report, words = VERDICTS[case]
    assert words in verdict(report)


def test_certificate_facts() -> None:
    """Our reading of a certificate agrees with that of another library."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    leaf = tls.ca().issue_cert("mail.example.org", "192.0.2.7", "2001:db8::7", "*.x.org")
    known = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    der = known.public_bytes(serialization.Encoding.DER)
    found = read_certificate(der, NOW, verified=True)
    assert found is not None
    assert found.names == ("mail.example.org", "192.0.2.7", "2001:db8::7", "*.x.org")
    assert found.not_after == known.not_valid_after_utc
    assert found.not_before == known.not_valid_before_utc
    assert found.days_left == (known.not_valid_after_utc - NOW).days
    assert found.fingerprint == "sha256:" + known.fingerprint(hashes.SHA256()).hex()
    assert "trustme" in found.issuer
    assert not found.self_signed
    for cut in range(len(der)):
        assert read_certificate(der[:cut], NOW, verified=False) is None
    for n in range(0, len(der), 7):
        read_certificate(der[:n] + b"\xff" + der[n + 1 :], NOW, verified=False)


def test_certificates_cannot_paint() -> None:
    """A name in a certificate that would control a terminal is made harmless."""
    leaf = tls.ca().issue_cert("a.example.org", common_name="\x1b[31mred\u202e")
    import ssl

    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    found = read_certificate(der, NOW, verified=False)
    assert found is not None
    assert found.subject.isprintable()
    assert "?[31mred?" in found.subject


def test_strange_extensions() -> None:
    """What a server offers in odd spelling is read, and shown as it was said."""
    offers = ("SIZE", "auth=plain", "AUTH PLAIN cram-md5", "X-ODD \x1b[31m")
    with ScriptedServer(Script(offers=OFFERS), starttls2=None) as scripted:
        pass
    bug = Script({"ehlo": normal()}, offers=offers)
    with ScriptedServer(bug) as scripted:
        report = check(server_for(scripted, "implicit"))
    (found,) = report.methods
    assert found.mechanisms == ("PLAIN", "CRAM-MD5")
    assert found.size_limit is None
    assert all(line.isprintable() for line in found.extensions)


def test_stray_reply() -> None:
    """A server that says two things at once is reported, and harms nothing."""
    bug = Script({"ehlo2": normal() + say(b"250 stray\r\n")})
    with ScriptedServer(bug) as scripted:
        report = check(server_for(scripted, "starttls"))
    assert report.elapsed < 20
    assert not scripted.accepted
