"""The e-mail backend for Django, as a project with its settings uses it."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
import pytest
import tls
import trustme
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.test import override_settings
from leaks import one_port
from scripted import OFFERS, Script, ScriptedServer, close, hang, reply
from sending import server_for

from smtpsend import (
    Delivery,
    DeliveryUnknown,
    Method,
    Password,
    Policy,
    Receipt,
    SendError,
    Server,
)
from smtpsend._model.policy.policy import DEFAULT_METHODS
from smtpsend._wire.tls.context import context_for
from smtpsend.contrib.django import EmailBackend, mail_outcome
from smtpsend.errors import (
    AuthError,
    ConfigError,
    ConnectError,
    ConnectionLost,
    RecipientsRefused,
    Rejected,
)
from smtpsend.testing import Outbox, capture
from smtpsend.testing.server import LocalServer


PATH = "smtpsend.contrib.django.EmailBackend"
URL = "smtp://ann:secret@mail.example.org"
MAILERS = django.VERSION >= (6, 1)

# Django 6.1 warns of its old settings, which stay until the next version but one.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*deprecated:PendingDeprecationWarning"),
]


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with capture() as box:
        yield box


@pytest.fixture
def outcomes() -> Iterator[list[tuple[Receipt | None, SendError | None]]]:
    """What the signal told."""
    told: list[Any] = []

    def listen(
        sender: type, message: object, receipt: object, error: object, **_: object
    ) -> None:
        told.append((receipt, error))

    mail_outcome.connect(listen)
    yield told
    mail_outcome.disconnect(listen)


def note(n: int = 1, to: str = "bob@example.net", **options: Any) -> EmailMessage:
    """A message as Django has it."""
    return EmailMessage(f"note {n}", "Grüße\n", "Ann <ann@example.org>", [to], **options)


def backend(**options: Any) -> EmailBackend:
    """A backend as `mail.mailers`, or before Django 6.1 `get_connection`, makes it."""
    return (
        EmailBackend(alias="default", **options) if MAILERS else EmailBackend(**options)
    )


@contextmanager
def project(**options: Any) -> Iterator[None]:
    """A project whose settings name the backend and its options, by either way."""
    if MAILERS:
        new = {"MAILERS": {"default": {"BACKEND": PATH, "OPTIONS": options}}}
    else:
        new = {"EMAIL_BACKEND": PATH, "SMTPSEND_SERVER": options.get("server")}
    with override_settings(**new):
        yield


@pytest.mark.usefixtures("no_leaks")
def test_a_project_sends(outcomes: list[Any]) -> None:
    """`send_mail` goes to a real server over TLS and after a login."""
    with LocalServer() as local, project(server=local.server()):
        sent = mail.send_mail("note", "Grüße\n", "ann@example.org", ["bob@example.net"])
    assert sent == 1
    (stored,) = local.messages
    assert (stored.sender, stored.recipients) == ("ann@example.org", ("bob@example.net",))
    assert stored.message["Subject"] == "note"
    assert stored.message.get_content() == "Grüße\n"
    ((receipt, error),) = outcomes
    assert (receipt.accepted, error) == (("bob@example.net",), None)


def test_a_message_asks_for_notifications(outbox: Outbox) -> None:
    """A message may have what it asks for, and anything else there is an error."""
    asked, plain, bad = note(), note(), note()
    asked.smtpsend_delivery = Delivery(notify=("failure",), envid="17")
    bad.smtpsend_delivery = "failure"
    with project(server=URL):
        assert backend(server=URL).send_messages([asked, plain]) == 2
        with pytest.raises(ConfigError, match="must be a Delivery"):
            backend(server=URL, fail_silently=True).send_messages([bad])
    found = sorted((one.delivery for one in outbox), key=str)
    assert found == [asked.smtpsend_delivery, None]


def test_old_settings(outbox: Outbox) -> None:
    """Without `MAILERS` the EMAIL_ settings, SMTPSEND_SERVER and arguments say where."""
    old = {"EMAIL_HOST": "old.example.org", "EMAIL_HOST_USER": "ann"}
    old |= {"EMAIL_HOST_PASSWORD": "secret", "EMAIL_BACKEND": PATH, "EMAIL_TIMEOUT": 7}
    with override_settings(**old):
        mail.send_mail("1", "", "ann@example.org", ["bob@example.net"])
        with override_settings(SMTPSEND_SERVER=URL):
            mail.send_mail("2", "", "ann@example.org", ["bob@example.net"])
            login = {"auth_user": "eve", "auth_password": "other"}
            mail.send_mail("3", "", "ann@example.org", ["bob@example.net"], **login)
            EmailBackend("new.example.org").send_messages([note()])
        assert EmailBackend().timeout == 7
    servers = [(m.server.host, m.server.auth) for m in outbox]
    assert servers == [
        ("old.example.org", Password("ann", "secret")),
        ("mail.example.org", Password("ann", "secret")),
        ("mail.example.org", Password("eve", "other")),
        ("new.example.org", Password("ann", "secret")),
    ]
    assert outbox[0].server.policy == Policy()


@pytest.mark.skipif(not MAILERS, reason="MAILERS is new in Django 6.1")
@pytest.mark.filterwarnings("error")
def test_mailers(outbox: Outbox) -> None:
    """Each mailer has its server, by its options or SMTPSEND_SERVER; nothing warns."""
    mailers = {
        "default": {"BACKEND": PATH},
        "login": {"BACKEND": PATH, "OPTIONS": {"username": "eve", "password": "other"}},
        "bulk": {"BACKEND": PATH, "OPTIONS": {"server": "bulk.example.org"}},
        "own": {"BACKEND": PATH, "OPTIONS": {"host": "own.example.org", "use_ssl": True}},
        "quiet": {"BACKEND": PATH, "OPTIONS": {"fail_silently": True}},
    }
    with override_settings(MAILERS=mailers, SMTPSEND_SERVER=URL):
        mail.send_mail("note", "", "ann@example.org", ["bob@example.net"])
        for name in ("login", "bulk", "own"):
            assert note().send(using=name) == 1
        outbox.fail_next(ConnectError)
        assert note().send(using="quiet") == 0
    servers = [(m.server.host, m.server.auth) for m in outbox]
    assert servers == [
        ("mail.example.org", Password("ann", "secret")),
        ("mail.example.org", Password("eve", "other")),
        ("bulk.example.org", None),
        ("own.example.org", None),
    ]


LOGIN = {"username": "ann", "password": "secret"}
METHODS = [
    ({}, (Method(25, "plaintext"),)),
    ({"port": 1025}, (Method(1025, "plaintext"),)),
    ({"use_tls": True}, DEFAULT_METHODS),
    ({"use_tls": True, "port": 25}, DEFAULT_METHODS),
    ({"use_tls": True, "port": 587}, (Method(587, "starttls"),)),
    ({"use_tls": True, "port": 465}, (Method(465, "implicit"),)),
    ({"use_tls": True, "port": 2525}, (Method(2525, "starttls"),)),
    ({"use_ssl": True}, (Method(465, "implicit"),)),
    ({"use_ssl": True, "port": 4465}, (Method(4465, "implicit"),)),
    (LOGIN, DEFAULT_METHODS),
    ({**LOGIN, "port": 465}, (Method(465, "implicit"),)),
    ({**LOGIN, "port": 2525}, (Method(2525, "starttls"),)),
]


@pytest.mark.parametrize(("options", "methods"), METHODS)
def test_ports_and_tls(outbox: Outbox, options: Any, methods: tuple[Method, ...]) -> None:
    """Host, port and TLS of Django become a policy that never sends a login in clear."""
    backend(host="127.0.0.1", **options).send_messages([note()])
    server = outbox[0].server
    assert server.policy.methods == methods
    assert (server.auth is None) is ("username" not in options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "mail.example.org", "server": URL}, "not both"),
        ({"server": "ftp://mail.example.org"}, "must begin with"),
        ({"server": 3}, "server must be a Server"),
    ],
)
def test_options_that_contradict(options: Any, words: str) -> None:
    """What cannot be meant is refused when the backend is made."""
    with pytest.raises(ConfigError, match=words):
        backend(**options)


def test_a_server_that_a_function_returns(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SMTPSEND_SERVER may be a function: what it reads is read when a mail is sent."""
    monkeypatch.delenv("SMTP_HOST", raising=False)
    monkeypatch.delenv("SMTP_URL", raising=False)
    with override_settings(SMTPSEND_SERVER=Server.from_env):
        with pytest.raises(ConfigError, match=r"^SMTPSEND_SERVER: .*SMTP_URL"):
            EmailBackend()
        monkeypatch.setenv("SMTP_URL", URL)
        assert EmailBackend().send_messages([note()]) == 1
    assert backend(server=lambda: URL).send_messages([note()]) == 1
    assert {m.server.host for m in outbox} == {"mail.example.org"}


def test_an_error_names_the_setting() -> None:
    """A server that cannot be used is one of a setting or an option, and says which."""
    with override_settings(SMTPSEND_SERVER=3):
        with pytest.raises(ConfigError, match=r"^SMTPSEND_SERVER: server must be"):
            EmailBackend()
    with pytest.raises(ConfigError, match=r"^the option server: .*must begin with"):
        backend(server="ftp://mail.example.org")


@pytest.mark.skipif(MAILERS, reason="Django 6.1 asks for a host itself")
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "localhost, as no server is set: set SMTPSEND_SERVER or EMAIL_HOST"),
        ({"EMAIL_HOST": "a.example.org"}, "a.example.org, by EMAIL_HOST"),
        ({"SMTPSEND_SERVER": "b.example.org"}, "b.example.org, by SMTPSEND_SERVER"),
    ],
)
@pytest.mark.parametrize("kind", [ConnectError, AuthError])
def test_a_failed_connection_names_host_and_setting(
    outbox: Outbox, settings: dict[str, str], words: str, kind: type[SendError]
) -> None:
    """Where no connection is made, the error says to which host, and what named it."""
    outbox.fail_next(kind)
    with override_settings(**settings), pytest.raises(kind) as caught:
        EmailBackend().open()
    assert f"the server is {words}" in caught.value.hint
    outbox.fail_next(kind)
    with pytest.raises(kind, match=r"the server is c.example.org, by the option host"):
        EmailBackend("c.example.org").open()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"username": "ann"}, r"password can be empty \(EMAIL_HOST_PASSWORD"),
        ({"password": "secret"}, r"password can be empty \(EMAIL_HOST_USER,"),
        ({"use_ssl": True, "ssl_certfile": "/nowhere.pem"}, "No such file"),
        ({"use_tls": True, "ssl_keyfile": "/nowhere.pem"}, "cannot be read"),
    ],
)
def test_options_that_cannot_be_used(outbox: Outbox, options: Any, words: str) -> None:
    """What shows only when a connection is opened is a `ConfigError`, too."""
    with pytest.raises(ConfigError, match=words):
        backend(host="mail.example.org", **options).open()


def test_a_public_host_without_tls_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TLS nothing is said to a server that is not near."""
    with pytest.raises(ConfigError, match="plaintext"):
        backend(host="192.0.2.1").open()


@pytest.mark.usefixtures("no_leaks")
def test_open_and_close() -> None:
    """One login serves all messages of a call, or all between `open` and `close`."""
    with one_port() as scripted:
        mailer = backend(server=server_for(scripted))
        assert mailer.send_messages([note(n) for n in range(3)]) == 3
        assert mailer.connection is None
        with mailer as opened:
            assert opened.connection is not None
            assert mailer.open() is False
            mailer.send_messages([note(3)])
            mailer.send_messages([note(4)])
        assert mailer.connection is None
        mailer.close()
        assert mailer.send_messages([]) == 0
        assert mailer.send_messages([EmailMessage(to=[])]) == 0
    assert [len(c.accepted) for c in scripted.connections][:2] == [3, 2]
    assert all(c.verbs.count("AUTH") == 1 for c in scripted.connections)


@pytest.mark.usefixtures("no_leaks")
def test_a_dead_connection_is_replaced() -> None:
    """A server that hangs up between two messages costs nothing."""
    with one_port({"mail:2": close()}, {}) as scripted:
        with backend(server=server_for(scripted, reply_timeout=20)) as mailer:
            assert mailer.send_messages([note(1)]) == 1
            assert mailer.send_messages([note(2)]) == 1
    assert len(scripted.accepted) == 2


@pytest.mark.parametrize("kind", [ConnectError, AuthError])
@pytest.mark.parametrize("silent", [False, True])
def test_open_fails(
    outbox: Outbox, caplog: pytest.LogCaptureFixture, kind: type[SendError], silent: bool
) -> None:
    """A failed `open` raises, or under `fail_silently` is logged, and nothing is sent."""
    mailer = backend(server=URL, fail_silently=silent)
    outbox.fail_next(kind, times=2)
    if silent:
        assert mailer.open() is None
        assert mailer.send_messages([note()]) == 0
        assert [r.levelname for r in caplog.records].count("ERROR") == 2
        assert "silenced by fail_silently" in caplog.text
    else:
        with pytest.raises(kind):
            mailer.open()
        with pytest.raises(kind):
            mailer.send_messages([note()])
        assert "silenced" not in caplog.text
    assert mailer.connection is None
    assert mailer.send_messages([note()]) == 1


@pytest.mark.parametrize("kind", [ConnectionLost, DeliveryUnknown, RecipientsRefused])
@pytest.mark.parametrize("silent", [False, True])
def test_a_send_fails(
    outbox: Outbox,
    outcomes: list[Any],
    caplog: pytest.LogCaptureFixture,
    kind: type[SendError],
    silent: bool,
) -> None:
    """A failed message raises, or is logged and the others go on; it knows its error."""
    mailer = backend(server=URL, fail_silently=silent)
    outbox.fail_next(kind)
    notes = [note(1), note(2)]
    if silent:
        assert mailer.send_messages(notes) == 1
        assert notes[1].smtpsend_receipt is outbox[0].receipt
        words = "unknown whether sent" if kind is DeliveryUnknown else "not sent"
        assert f"mail {words}, silenced by fail_silently" in caplog.text
    else:
        with pytest.raises(kind):
            mailer.send_messages(notes)
        assert not outbox.messages
    assert mailer.connection is None
    assert isinstance(notes[0].smtpsend_error, kind)
    assert (notes[0].smtpsend_receipt, outcomes[0][1]) == (None, notes[0].smtpsend_error)


@pytest.mark.parametrize(
    "address",
    [
        "to@other.example@example.com",
        "to@other.example <to@example.com>",
        "to@example.com, other@example.com",
        "@",
        "to@",
        "@example.com",
        '"evil@example.com\r\nto"@example.com',
        "to\nevil@example.com",
    ],
)
@pytest.mark.parametrize("silent", [False, True])
def test_addresses_that_cannot_be_used(
    outbox: Outbox, address: str, silent: bool
) -> None:
    """A bad address is a ValueError as in Django, and gets nothing."""
    mailer = backend(server=URL, fail_silently=silent)
    with pytest.raises(ValueError) as caught:
        mailer.send_messages([EmailMessage("s", "b", "ann@example.org", bcc=[address])])
    assert isinstance(caught.value, ConfigError)
    assert not outbox.messages


def test_refused_recipients_are_not_lost(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    """They are logged, and stand in the receipt; `require_all` makes them an error."""
    outbox.refuse("carol@example.net")
    message = note(cc=["carol@example.net"])
    assert backend(server=URL).send_messages([message]) == 1
    assert set(message.smtpsend_receipt.refused) == {"carol@example.net"}
    assert "refused: carol@example.net in" in caplog.text
    with pytest.raises(RecipientsRefused):
        backend(server=URL, require_all=True).send_messages([message])


def test_what_goes_out(outbox: Outbox) -> None:
    """Text, HTML, attachments, Bcc, headers and non-ASCII names leave as they should."""
    message = EmailMultiAlternatives(
        "Grüße an alle " * 8,
        "Zeile\n" + "ü" * 1200,
        "Jürgen <ann@example.org>",
        ["Bob Öst <bob@discussão.example.org>"],
        ["eve@example.net"],
        headers={"X-Tag": "a", "Message-ID": "<fixed@example.org>"},
        cc=["carol@example.net"],
    )
    message.attach_alternative("<p>ü</p>", "text/html")
    message.attach("zahlen.csv", "a;ü\n", "text/csv")
    backend(server=URL).send_messages([message])
    sent = outbox[0]
    assert sent.recipients == (
        "bob@xn--discusso-xza.example.org",
        "carol@example.net",
        "eve@example.net",
    )
    assert sent.message_id == "<fixed@example.org>"
    assert b"\r\nBcc" not in sent.content
    parsed = sent.message
    assert str(parsed["Subject"]).split() == ("Grüße an alle " * 8).split()
    assert parsed["From"].addresses[0].display_name == "Jürgen"
    assert parsed["X-Tag"] == "a"
    assert "ü" * 1200 in parsed.get_body(("plain",)).get_content().replace("\n", "")
    assert parsed.get_body(("html",)).get_content().strip() == "<p>ü</p>"
    assert [a.get_filename() for a in parsed.iter_attachments()] == ["zahlen.csv"]


def test_eight_bit_to_a_server_without_it() -> None:
    """What Django writes as 8-bit is encoded for a server that cannot take it."""
    with one_port(Script(offers=[o for o in OFFERS if o != "8BITMIME"])) as scripted:
        assert backend(server=server_for(scripted)).send_messages([note()]) == 1
    (message,) = scripted.accepted
    assert message.content.isascii()


def test_threads_share_a_backend(outbox: Outbox) -> None:
    """Many threads may use one backend; each message is sent once."""
    mailer = backend(server=URL)
    with ThreadPoolExecutor(8) as threads:
        counts = list(threads.map(lambda n: mailer.send_messages([note(n)]), range(40)))
    assert sum(counts) == len(outbox) == 40
    assert len({m.message["Subject"] for m in outbox}) == 40


@pytest.mark.usefixtures("no_leaks")
def test_many_messages_share_round_trips(outcomes: list[Any]) -> None:
    """The messages of a call are pipelined, and each has its own outcome, in order."""
    with one_port(Script(offers=[*OFFERS, "PIPELINING", "CHUNKING"])) as scripted:
        notes = [note(n) for n in range(40)]
        assert backend(server=server_for(scripted)).send_messages(notes) == 40
        (connection,) = [c for c in scripted.connections if c.accepted]
    assert len(connection.accepted) == 40
    # A single message goes by DATA here; windows of messages go by BDAT.
    assert "BDAT" in connection.verbs
    assert [n.smtpsend_receipt for n in notes] == [receipt for receipt, _ in outcomes]
    assert len({n.smtpsend_receipt.message_id for n in notes}) == 40


@pytest.mark.usefixtures("no_leaks")
def test_a_failure_among_many(outcomes: list[Any]) -> None:
    """The first failure is raised; what was on its way is told, and the rest stays."""
    with one_port({"mail:20": reply(550, "5.7.1", "no")}) as scripted:
        notes = [note(n) for n in range(200)]
        with pytest.raises(Rejected) as caught:
            backend(server=server_for(scripted)).send_messages(notes)
    assert notes[19].smtpsend_error is caught.value
    told = [n for n in notes if getattr(n, "smtpsend_receipt", None) is not None]
    assert len(told) == len(scripted.accepted) < 199
    others = [error for _, error in outcomes if error not in (None, caught.value)]
    assert len(outcomes) == len(told) + 1 + len(others)
    assert all(type(e) is ConnectError and e.temporary for e in others)
    assert len(others) <= 4
    assert not any(hasattr(n, "smtpsend_receipt") for n in notes[60:])


def test_a_failure_among_many_in_silence() -> None:
    """Under `fail_silently` all the others are sent, and the count says how many."""
    with one_port({"mail:20": reply(550, "5.7.1", "no")}) as scripted:
        notes = [note(n) for n in range(60)]
        mailer = backend(server=server_for(scripted), fail_silently=True)
        assert mailer.send_messages(notes) == 59
    assert [n for n in range(60) if notes[n].smtpsend_error] == [19]


@pytest.mark.parametrize("silent", [False, True])
def test_a_bad_message_among_many(outbox: Outbox, silent: bool) -> None:
    """What cannot be a message is raised after those before it were sent; it is known."""
    notes = [note(1), note(2), note(3, to="to@"), note(4)]
    mailer = backend(server=URL, fail_silently=silent)
    with pytest.raises(ConfigError):
        mailer.send_messages(notes)
    assert len(outbox) == 2
    assert isinstance(notes[2].smtpsend_error, ConfigError)
    assert not hasattr(notes[3], "smtpsend_error")


def test_a_generator_of_messages(outbox: Outbox) -> None:
    """Any iterable of messages will do, those without recipients left out."""
    notes = (note(n) if n % 2 else EmailMessage(to=[]) for n in range(6))
    assert backend(server=URL).send_messages(notes) == 3


def test_a_listener_that_sends_by_the_same_backend(outbox: Outbox) -> None:
    """A receiver of the signal may send by the backend whose message it hears of."""
    mailer = backend(server=URL)

    def listen(*, message: Any, **_: object) -> None:
        if not message.subject.startswith("copy"):
            assert mailer.send_messages([EmailMessage("copy", to=["c@example.net"])]) == 1

    mail_outcome.connect(listen)
    try:
        with mailer:
            assert mailer.send_messages([note(n) for n in range(3)]) == 3
    finally:
        mail_outcome.disconnect(listen)
    assert len(outbox) == 6


class Mailing(logging.Handler):
    """A handler that mails what is logged, such as Django's AdminEmailHandler."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        backend(server=URL, fail_silently=True).send_messages([note()])


def test_a_handler_that_mails_does_not_run_in_a_circle(outbox: Outbox) -> None:
    """A failure that is logged, and mailed by that same backend, ends there."""
    outbox.fail_next(ConnectError, times=50)
    handler = Mailing()
    logging.getLogger().addHandler(handler)
    try:
        backend(server=URL, fail_silently=True).send_messages([note()])
    finally:
        logging.getLogger().removeHandler(handler)
    assert handler.count == 1


def test_a_listener_that_raises_changes_nothing(outbox: Outbox) -> None:
    """What a receiver of the signal raises does not turn a success into a failure."""

    def listen(**_: object) -> None:
        raise RuntimeError

    mail_outcome.connect(listen)
    try:
        assert backend(server=URL).send_messages([note()]) == 1
    finally:
        mail_outcome.disconnect(listen)


def test_a_client_certificate(tmp_path: Path) -> None:
    """Certificate and key of the settings are loaded, beside full verification."""
    certificate = trustme.CA().issue_cert("ann.example.org")
    pem = tmp_path / "client.pem"
    certificate.private_key_and_cert_chain_pem.write_to_path(pem)
    with capture() as outbox:
        options = {"use_ssl": True, "ssl_certfile": pem, "ssl_keyfile": pem}
        backend(host="mail.example.org", **options).send_messages([note()])
    assert outbox[0].server.ssl_context is not None


@pytest.mark.parametrize("security", ["use_ssl", "use_tls"])
def test_a_client_certificate_is_shown(
    security: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that wants it gets it, however Python's default context was built.

    Debian's and Ubuntu's Pythons set no minimum version, and 3.13 checks more strictly.
    """
    create = ssl.create_default_context

    def bare() -> ssl.SSLContext:
        context = create(cafile=tls.ca_file())
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.verify_flags = ssl.VERIFY_X509_STRICT
        context.hostname_checks_common_name = True
        used.append(context)
        return context

    used: list[ssl.SSLContext] = []
    wanting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.ca().issue_cert(*tls.NAMES).configure_cert(wanting)
    wanting.load_verify_locations(tls.ca_file())
    wanting.verify_mode = ssl.CERT_REQUIRED
    monkeypatch.setattr(tls, "server_context", lambda kind="good": wanting)
    monkeypatch.setattr(ssl, "create_default_context", bare)
    pem = tmp_path / "client.pem"
    tls.ca().issue_cert("ann.example.org").private_key_and_cert_chain_pem.write_to_path(
        pem
    )
    with ScriptedServer(Script(require_auth=False)) as scripted:
        port = scripted.port("implicit" if security == "use_ssl" else "starttls")
        options = {"port": port, "ssl_certfile": pem, "ssl_keyfile": pem}
        mailer = backend(host="127.0.0.1", **{security: True}, **options)
        assert mailer.send_messages([note()]) == 1
        mailer.close()
    assert len(scripted.accepted) == 1
    (context,) = used
    ours = context_for(tls.ca_file(), None)
    for name in ("minimum_version", "verify_flags", "hostname_checks_common_name"):
        assert getattr(context, name) == getattr(ours, name)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ({"greeting": hang()}, ConnectError),
        ({"rcpt:1": hang()}, ConnectionLost),
        ({"final:1": hang()}, DeliveryUnknown),
    ],
)
def test_the_timeout_bounds_every_step(script: Any, error: type[SendError]) -> None:
    """Django's timeout is for a whole message, the answer to its end included."""
    with one_port(script) as scripted:
        with pytest.raises(error) as caught:
            backend(server=server_for(scripted), timeout=0.3).send_messages([note()])
    assert caught.value.timed_out


@pytest.mark.parametrize(
    ("port", "given", "words"),
    [
        ("starttls", {"use_ssl": True}, "set EMAIL_USE_TLS in place of EMAIL_USE_SSL"),
        ("implicit", {"use_tls": True}, "set EMAIL_USE_SSL in place of EMAIL_USE_TLS"),
        ("implicit", {}, "set EMAIL_USE_SSL, or EMAIL_PORT to the port for STARTTLS"),
    ],
)
def test_the_other_tls(port: str, given: dict[str, Any], words: str) -> None:
    """If the port expects the other kind of TLS, the hint names Django's settings."""
    with ScriptedServer() as scripted:
        backend = EmailBackend(
            host=scripted.host,
            port=scripted.port(port),
            timeout=20,
            username="a",
            password="b",
            **given,
        )
        with pytest.raises(SendError) as caught:
            backend.open()
    assert words in caught.value.hint
    assert "Method(" not in caught.value.hint
