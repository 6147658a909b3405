"""`smtpsend.check`: the facts of each method, one login, and advice that fits."""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
import tls
from scripted import OFFERS, Script, ScriptedServer, hang, normal, reply, rst, say
from sending import QUICK, patiently, server_for, stretched

from smtpsend import Method, OAuth2, Password, Policy, SendError, Server
from smtpsend.check import Report, check, check_async
from smtpsend.errors import (
    AuthError,
    CertificateError,
    ConfigError,
    ConnectError,
    Event,
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


# There, the examination also waits for what never comes.
WAITING = ("silent", "old-tls")


@pytest.mark.parametrize("case", BAD)
@patiently
def test_what_is_wrong(case: str, request: pytest.FixtureRequest) -> None:
    """Each fault on all ports: the error that a send would raise, and what to change."""
    if case in WAITING:
        request.getfixturevalue("probed_soon")
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
        "the host name mail.example.test is unknown: check its spelling, and that the "
        "DNS of this machine knows it",
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
