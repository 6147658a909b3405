"""The table over several servers, and what reads it: pure, without a socket."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from smtpsend import ConfigError, Method, Policy, Server
from smtpsend._client.hooks import Hooks
from smtpsend._client.servers import retries
from smtpsend._client.servers.retries import Availability, Retries
from smtpsend._client.servers.route import Route
from smtpsend._model.policy.servers import (
    SERVER_TABLE,
    Pause,
    Refusal,
    ServerThen,
    goes_on,
    pause_after,
    row_of,
)
from smtpsend._model.server.several import servers_of
from smtpsend._protocol.failures import lost, recipients_refused, refusal
from smtpsend._protocol.negotiation import unsupported
from smtpsend.errors import (
    Attempt,
    AuthError,
    CertificateError,
    ConnectError,
    ConnectionLost,
    DeliveryUnknown,
    Event,
    Phase,
    Rejected,
    Reply,
    SendError,
    TLSError,
    attempt_from,
    named,
)


DOCUMENT = Path(__file__).parent.parent / "docs" / "policy.md"
A, B, C = (Server(f"{name}.example.org", ("u", "p")) for name in "abc")
METHOD = Method(587, "starttls")
LATER, NEVER = Reply(451, "4.3.0", "later"), Reply(550, "5.7.1", "no")


def tried(error: SendError, server: str = A.host) -> SendError:
    """The error, after an attempt."""
    event = error.event or Event.REFUSED
    error.attempts = (
        Attempt(METHOD, None, error.phase, error.said(), 0.0, 1.0, event, server),
    )
    return error


def test_document() -> None:
    """docs/policy.md holds the same table as the code, row by row."""
    text = DOCUMENT.read_text("utf-8").partition("## Several servers")[2]
    rows = re.findall(
        r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$",
        text.partition("\n## ")[0],
        re.MULTILINE,
    )
    assert rows[0] == ("what happened at a server", "then", "who leaves it alone", "why")
    table = [
        (row.what, str(row.then), str(row.pause), row.why)
        for row in SERVER_TABLE.values()
    ]
    assert [row for row in rows[1:] if set(row[0]) != {"-"}] == table


def test_table_is_whole() -> None:
    """Each event that can end a send at a server has a row, and each kind of refusal."""
    never_an_end = {Event.INJECTED, Event.ABANDONED}
    assert set(SERVER_TABLE) == (set(Event) - never_an_end) | set(Refusal)


def test_what_may_have_been_accepted_stops() -> None:
    """No option lets a message go on that a server may have accepted, or refused."""
    for event in (
        Event.UNKNOWN,
        Event.ACCEPTED_EARLY,
        Event.WRONG_CLASS,
        Event.REFUSED,
        Refusal.LOCAL,
    ):
        assert SERVER_TABLE[event].then is ServerThen.STOP
    errors = [
        lost(Phase.FINAL, "gone"),
        DeliveryUnknown("early", event=Event.ACCEPTED_EARLY),
        refusal(Phase.DATA, Reply(250, None, "what?")),
        refusal(Phase.MAIL, NEVER),
        refusal(Phase.FINAL, NEVER),
        recipients_refused({"a@b.c": NEVER}, 0),
        recipients_refused({"a@b.c": NEVER, "b@b.c": LATER}, 0),
        ConfigError("no"),
    ]
    for error in errors:
        assert not goes_on(tried(error), "next", "next"), error


SESSION = [Phase.CONNECT, Phase.GREETING, Phase.EHLO, Phase.STARTTLS, Phase.TLS]
SESSION += [Phase.AUTH, Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.CONTENT]


@pytest.mark.parametrize("phase", SESSION)
def test_what_is_lost_before_the_end_goes_on(phase: Phase) -> None:
    """A session that is lost before the end of the message: the next server is tried."""
    error = tried(lost(phase, "gone"))
    assert goes_on(error)
    assert pause_after(error) is Pause.PROCESS


def test_a_temporary_refusal() -> None:
    """A 4yz goes on by default and stops by choice; a 421 goes on always."""
    for error in (
        refusal(Phase.MAIL, LATER),
        refusal(Phase.DATA, LATER),
        refusal(Phase.FINAL, LATER),
        recipients_refused({"a@b.c": LATER, "b@b.c": LATER}, 0),
        recipients_refused({"a@b.c": LATER}, 1),
    ):
        assert row_of(error) is SERVER_TABLE[Refusal.TEMPORARY]
        assert goes_on(error)
        assert not goes_on(error, on_temporary_refusal="stop")
        assert pause_after(error) is Pause.NONE
    closing = refusal(Phase.FINAL, Reply(421, "4.3.2", "bye"))
    assert goes_on(closing, on_temporary_refusal="stop")
    assert pause_after(closing) is Pause.PROCESS


def test_a_certificate_is_an_alarm() -> None:
    """It stops, and the next send meets it again; by choice it goes on, and is left."""
    error = CertificateError("wrong", phase=Phase.TLS, event=Event.CERTIFICATE)
    assert not goes_on(error)
    assert pause_after(error) is Pause.NONE
    assert goes_on(error, on_certificate_error="next")
    assert pause_after(error, "next") is Pause.CLIENT


def test_what_a_server_cannot_carry() -> None:
    """Where EHLO rules a message out, another server may carry it."""
    error = tried(unsupported("too large", "send less"))
    assert goes_on(error)
    assert pause_after(error) is Pause.NONE


def test_limits_of_the_client_are_no_fault_of_a_server() -> None:
    """All connections in use: the send stops, and the server is not left alone."""
    busy = lost(Phase.CONNECT, "all 4 connections were in use", timed_out=True)
    assert row_of(busy) is SERVER_TABLE[Refusal.LOCAL]
    assert not goes_on(busy)
    assert pause_after(busy) is Pause.NONE
    assert goes_on(tried(busy))


def test_explain() -> None:
    """The policy in words has each row, and says what its own options do."""
    text = Policy().explain()
    for row in SERVER_TABLE.values():
        assert row.what in text
        assert row.why in text
    options: dict[str, Any] = {"on_certificate_error": "next"}
    other = Policy(on_temporary_refusal="stop", retry_interval=7, **options).explain()
    refused = f"{SERVER_TABLE[Refusal.TEMPORARY].what}:\n      "
    certificate = f"{SERVER_TABLE[Event.CERTIFICATE].what}:\n      "
    servers = other.partition("Where several servers are given")[2]
    assert refused + "next (" in text
    assert refused + "stop (" in servers
    assert certificate + "next (" in servers
    assert "another may now" not in servers
    assert "a delivery by another server would hide" not in servers
    assert "for 7 s" in servers
    assert "for 7 s" not in text


# What is given as servers.


def test_one_or_several() -> None:
    """A server, a host name, a URL, or a sequence of any of these."""
    assert servers_of(A) == (A,)
    assert [s.host for s in servers_of("a.example.org")] == ["a.example.org"]
    given = [A, "b.example.org", "smtps://u:p@c.example.org"]
    for sequence in (given, tuple(given)):
        found = servers_of(sequence)
        assert [s.host for s in found] == [
            "a.example.org",
            "b.example.org",
            "c.example.org",
        ]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "empty"),
        ([A, B, A], "number 3, a.example.org, is there twice"),
        (["a.example.org", "A.example.org"], "twice"),
        ([A, 1], "^server number 2: server must be a Server"),
        ([A, "http://b.example.org"], "^server number 2: the URL must begin"),
        (["a.example.org,b.example.org", A], "^server number 1: the host"),
        (("a.example.org", ("ann", "pw")), "^server number 2: server must be a Server"),
        ([[A]], "must be a Server"),
        ({A, B}, "or a list or tuple of these"),
        (iter([A]), "or a list or tuple of these"),
        (b"a.example.org", "must be a Server"),
        (None, "or a list or tuple of these"),
        ([Server("a.b", redirect_to="x@y.z"), "c.d"], "redirect_to must be the same"),
    ],
)
def test_what_is_no_server(given: Any, why: str) -> None:
    """Anything else is refused before any network, and no URL is quoted."""
    with pytest.raises(ConfigError, match=why):
        servers_of(given)


def test_one_host_with_two_logins() -> None:
    """Two accounts at one host are two servers."""
    assert len(servers_of([A, Server(A.host, ("v", "q"))])) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"on_temporary_refusal": "fail"},
        {"retry_interval": -1},
        {"retry_interval": float("inf")},
    ],
)
def test_refused_policies(options: dict[str, Any]) -> None:
    """A policy that makes no sense is refused when it is made."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        Policy(**options)


# When a server is tried again.


class Clock:
    """The monotonic clock of the module, set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still."""
    found = Clock()
    monkeypatch.setattr(retries, "time", found)
    return found


def test_pauses_grow_and_end(clock: Clock) -> None:
    """Each failed trial doubles the pause, to 32 intervals; a success ends it."""
    servers, pauses = Retries(), []
    assert not servers.has_failed("a")
    for _ in range(8):
        pauses.append(servers.failed("a", 10))
        assert servers.failed("a", 10) == 0.0  # several sends that fail at once
        assert not servers.begin_trial("a", 5)
        clock.now += pauses[-1]
        assert servers.begin_trial("a", 5)
    assert pauses == [10, 20, 40, 80, 160, 320, 320, 320]
    assert servers.worked("a")
    assert not servers.worked("a")
    assert servers.failed("a", 10) == 10
    assert servers.failed("b", 0) == 0.0
    assert not servers.has_failed("b")


def test_one_trial_at_a_time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """One send tries the server again; another may when that ended, or never ends."""
    servers = Retries()
    servers.failed("a", 10)
    clock.now += 11
    assert servers.begin_trial("a", 60)
    assert not servers.begin_trial("a", 60)
    servers.end_trial("a")
    assert servers.begin_trial("a", 60)
    clock.now += 61
    assert servers.begin_trial("a", 60)
    assert not servers.begin_trial("a", 60)
    monkeypatch.setattr("os.getpid", lambda: -1)  # a forked child
    assert servers.begin_trial("a", 60)


def test_the_memory_is_bounded() -> None:
    """A thousand servers are kept, the last ones."""
    servers = Retries()
    for n in range(1005):
        servers.failed(n, 10)
    assert not servers.has_failed(4)
    assert servers.has_failed(5)


def test_what_is_shared(clock: Clock) -> None:
    """An unreachable server is known in the process, a refused login in its client."""
    one, two = Availability([A, B]), Availability([A, B])
    one.failed(0, tried(lost(Phase.CONNECT, "refused")))
    assert [a.is_good(0) for a in (one, two)] == [False, False]
    assert two.is_good(1)
    two.worked(0)
    assert one.is_good(0)
    one.failed(0, tried(refused_login()))
    assert [a.is_good(0) for a in (one, two)] == [False, True]
    assert not one.begin_trial(0, 5)
    clock.now += 31
    assert one.begin_trial(0, 5)
    other = Availability([Server(A.host, ("v", "q"), policy=Policy(remember=1))])
    other.failed(0, tried(lost(Phase.GREETING, "closed")))
    assert not two.is_good(0)  # by host and methods, whoever logs in


def test_captured_mail_leaves_no_trace() -> None:
    """The failures of a test are not kept."""
    captured = Availability([A, B], captured=True)
    captured.failed(0, tried(lost(Phase.CONNECT, "refused")))
    assert captured.is_good(0)
    assert Availability([A, B]).is_good(0)


# The way of one message.


def refused_login() -> AuthError:
    """A permanent refusal of the login."""
    reply = Reply(535, "5.7.8", "no")
    return AuthError("refused", phase=Phase.AUTH, event=Event.AUTH_REFUSED, reply=reply)


def route(*servers: Server, available: Availability | None = None) -> Route:
    """A route over servers."""
    return Route(servers, available or Availability(servers), 100, Hooks())


def test_a_server_that_failed_is_the_last() -> None:
    """A server that failed comes after the others; if all did, their order holds."""
    available = Availability([A, B, C])
    gone = tried(lost(Phase.CONNECT, "refused"))
    available.failed(0, gone)
    way = route(A, B, C, available=available)
    order = [way.index]
    while way.goes_on(gone, 1):
        order.append(way.index)
    assert order == [1, 2, 0]
    assert route(A, B, C, available=available).index == 0


ENDS: dict[str, tuple[list[SendError], int, bool]] = {
    "the furthest": ([lost(Phase.CONNECT, ""), refusal(Phase.MAIL, LATER)], 1, True),
    "ties": ([lost(Phase.CONNECT, ""), lost(Phase.CONNECT, "")], 0, True),
    "any is temporary": ([lost(Phase.CONNECT, ""), refused_login()], 1, True),
    "none is temporary": ([refused_login(), refused_login()], 0, False),
    "lost": ([lost(Phase.MAIL, ""), lost(Phase.TLS, "")], 0, True),
    "a stop": ([lost(Phase.CONNECT, ""), refusal(Phase.MAIL, NEVER)], 1, False),
    "unknown": ([refusal(Phase.MAIL, LATER), lost(Phase.FINAL, "")], 1, False),
}


@pytest.mark.parametrize("case", ENDS)
def test_the_error_of_all(case: str) -> None:
    """The furthest error is raised, with every attempt; temporary if any may pass."""
    errors, which, temporary = ENDS[case]
    way = route(A, B)
    for n, (error, server) in enumerate(zip(errors, (A, B), strict=True)):
        assert way.goes_on(tried(error, server.host), n + 1) is (n == 0)
    failure = way.failure()
    assert failure is errors[which]
    assert failure.temporary is temporary
    assert way.server.host == (A, B)[which].host == failure.server
    assert [a.server for a in failure.attempts] == [A.host, B.host]
    assert f"{A.host} 587 STARTTLS" in str(failure)


def test_a_certificate_stands_for_all_only_without_hope() -> None:
    """A CertificateError is never temporary: it would hide that another may pass."""
    lenient = [Server(s.host, policy=Policy(on_certificate_error="next")) for s in (A, B)]
    for second, hope in ((lost(Phase.CONNECT, ""), True), (tls_refused(), False)):
        way = route(*lenient)
        wrong = CertificateError("wrong", phase=Phase.TLS, event=Event.CERTIFICATE)
        assert way.goes_on(tried(wrong), 1)
        assert not way.goes_on(tried(second), 2)
        assert way.failure() is (second if hope else wrong)
        assert way.failure().temporary is hope


def tls_refused() -> TLSError:
    """No TLS is offered."""
    return TLSError("not offered", phase=Phase.STARTTLS, event=Event.NO_STARTTLS)


def test_time_is_up() -> None:
    """Each server has its own deadline within that of the send; then it is over."""
    short = Server(A.host, policy=Policy(deadline=10))
    way = Route([short, B], Availability([short, B]), 100, Hooks())
    assert way.timeout == 10
    assert way.goes_on(tried(lost(Phase.CONNECT, "")), 10)
    assert way.timeout == 90
    late = Route([short, B], Availability([short, B]), 10, Hooks())
    assert not late.goes_on(tried(lost(Phase.CONNECT, "")), 10)
    assert type(late.failure()) is ConnectError


# What is stored of an attempt and an error.


def test_pickles_of_before() -> None:
    """An attempt that was pickled without its server is read, and so is its dict."""
    attempt = Attempt(METHOD, None, Phase.MAIL, "lost", 0.0, 1.0, Event.LOST, A.host)
    assert pickle.loads(pickle.dumps(attempt)) == attempt
    old = Attempt.__new__(Attempt)
    old.__setstate__([METHOD, None, Phase.MAIL, "lost", 0.0, 1.0, Event.LOST])
    assert old == Attempt(METHOD, None, Phase.MAIL, "lost", 0.0, 1.0, Event.LOST)
    data = tried(ConnectionLost("lost", phase=Phase.MAIL)).to_dict()
    assert attempt_from(data["attempts"][0]).server == A.host
    del data["attempts"][0]["server"], data["server"]
    read = SendError.from_dict(data)
    assert (read.server, read.attempts[0].server) == (None, None)


def test_attempts_name_their_servers() -> None:
    """Where they were at several servers, each is named; else none."""
    ours = tried(Rejected("no")).attempts
    theirs = tried(Rejected("no"), B.host).attempts
    assert named(ours, A.host) == "587 STARTTLS: no"
    assert named(ours, None) == "587 STARTTLS: no"
    assert named(ours, B.host) == f"{A.host} 587 STARTTLS: no"
    both = f"{A.host} 587 STARTTLS: no; {B.host} 587 STARTTLS: no"
    assert named(ours + theirs, B.host) == both
