"""The logging handler: what it mails, how much, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from leaks import eventually, one_port
from scripted import OFFERS, Script, hang
from sending import server_for

from smtpsend import DeliveryUnknown, OAuth2, SendError, Server
from smtpsend.contrib import logging as module
from smtpsend.contrib.logging import MailHandler
from smtpsend.errors import ConfigError, ConnectError, Rejected
from smtpsend.testing import Outbox, capture
from smtpsend.testing.server import LocalServer


URL = "smtp://ann:secret@mail.example.org"
ROOT = Path(__file__).parent.parent.parent
PEOPLE: dict[str, Any] = {
    "sender": "shop@example.org",
    "recipients": ["admin@example.org"],
}
pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with capture() as box:
        yield box


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """A logger that hands on to nobody else."""
    made = logging.getLogger("shop")
    made.propagate, made.level = False, logging.DEBUG
    yield made
    made.propagate = True
    for handler in list(made.handlers):
        made.removeHandler(handler)
        handler.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The handler's clock, which stands still until it is put forward."""
    made = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def handler_for(
    log: logging.Logger, server: Server | str | list[str] = URL, **options: Any
) -> MailHandler:
    """A handler of the logger; it waits for more records until it is flushed."""
    made = MailHandler(server, **{**PEOPLE, "delay": 3600, **options})
    log.addHandler(made)
    return made


def bodies(outbox: Outbox) -> list[str]:
    return [sent.message.get_content() for sent in outbox]


def test_records_share_a_message(outbox: Outbox, log: logging.Logger) -> None:
    """What comes within the delay leaves as one mail, which says what it is."""
    handler = handler_for(log, subject="[shop]")
    log.error("no %s left", "socks")
    log.warning("below the level")
    try:
        raise KeyError("price")
    except KeyError:
        log.exception("no price")
    handler.flush()
    (sent,) = outbox
    assert (sent.sender, sent.recipients) == ("shop@example.org", ("admin@example.org",))
    assert sent.message["Subject"] == "[shop] ERROR: no socks left (and 1 more)"
    assert sent.message["Auto-Submitted"] == "auto-generated"
    text = sent.message.get_content()
    assert "ERROR shop: no socks left" in text
    assert "KeyError: 'price'" in text
    assert "below the level" not in text


def test_several_servers(outbox: Outbox, log: logging.Logger) -> None:
    """Where the first server fails, the mail leaves by the second."""
    outbox.fail_next(ConnectError)
    handler = handler_for(log, [URL, "backup.example.org"])
    log.error("no socks left")
    handler.flush()
    (sent,) = outbox
    assert sent.server.host == "backup.example.org"


def test_no_delay(outbox: Outbox, log: logging.Logger) -> None:
    """Without a delay a record leaves at once, with nobody to ask for it."""
    handler_for(log, delay=0)
    log.error("now")
    eventually(lambda: len(outbox) == 1)


def test_a_full_batch_does_not_wait(outbox: Outbox, log: logging.Logger) -> None:
    """As many records as a message holds leave before the delay is over."""
    handler = handler_for(log, batch=3)
    for n in range(7):
        log.error("number %d", n)
    eventually(lambda: len(outbox) == 2)
    handler.close()
    assert [body.count("number") for body in bodies(outbox)] == [3, 3, 1]


def test_the_rate_is_limited(outbox: Outbox, log: logging.Logger, clock: Any) -> None:
    """Above the rate records wait, until there is room again."""
    handler = handler_for(log, rate=2, per=100)
    for n in range(5):
        log.error("number %d", n)
        handler.flush()
    assert len(outbox) == 2
    clock.now += 99
    handler.flush()
    assert len(outbox) == 2
    clock.now += 2
    handler.flush()
    assert [body.count("number") for body in bodies(outbox)] == [1, 1, 3]


def test_what_is_too_much_is_counted(
    outbox: Outbox, log: logging.Logger, clock: Any
) -> None:
    """A full queue takes no more, and the next message says how many are missing."""
    handler = handler_for(log, rate=1, per=100, capacity=3, batch=2)
    log.error("first")
    handler.flush()
    for n in range(10):
        log.error("number %d", n)
    handler.flush()
    assert (len(outbox), handler.dropped) == (1, 7)
    clock.now += 101
    handler.flush()
    assert "(7 more records were dropped)" in bodies(outbox)[1]
    handler.close()
    assert "number 2" in bodies(outbox)[2]


def test_the_last_message_ignores_the_rate(
    outbox: Outbox, log: logging.Logger, clock: Any
) -> None:
    """At the end one message more leaves, and nothing after it."""
    handler = handler_for(log, rate=1, batch=2)
    log.error("first")
    handler.flush()
    for n in range(5):
        log.error("number %d", n)
    handler.close()
    log.error("too late")
    assert len(outbox) == 2
    assert "(3 more records were dropped)" in bodies(outbox)[1]
    assert handler.dropped == 3


@pytest.mark.parametrize("name", ["smtpsend", "smtpsend.wire", "smtpsend.contrib.django"])
def test_records_of_the_library_are_ignored(outbox: Outbox, name: str) -> None:
    """The library's own records do not become mail."""
    handler = MailHandler(URL, **PEOPLE)
    handler.handle(logging.makeLogRecord({"name": name, "levelno": 50, "msg": "x"}))
    handler.close()
    assert not outbox.messages


def test_what_is_logged_while_it_sends_is_ignored(log: logging.Logger) -> None:
    """A token function that logs does not start a circle."""
    offers = [*(o for o in OFFERS if not o.startswith("AUTH")), "AUTH XOAUTH2"]
    with one_port(Script(offers=offers)) as scripted:

        def token() -> str:
            log.error("fetching a token")
            return scripted.password

        handler = handler_for(
            log, server_for(scripted, auth=OAuth2(scripted.user, token))
        )
        log.error("first")
        handler.flush()
    (message,) = scripted.accepted
    assert b"first" in message.content
    assert b"fetching" not in message.content
    assert not handler._entries
    assert handler.dropped == 0


@pytest.mark.parametrize(
    ("kind", "kept"), [(ConnectError, True), (Rejected, False), (DeliveryUnknown, False)]
)
def test_a_failure(
    outbox: Outbox,
    log: logging.Logger,
    clock: Any,
    capsys: pytest.CaptureFixture[str],
    kind: type[SendError],
    kept: bool,
) -> None:
    """A failure is told on stderr; what may pass is tried again, after a while."""
    handler = handler_for(log)
    outbox.fail_next(kind)
    log.error("first")
    handler.flush()
    err = capsys.readouterr().err
    assert f"1 log records were not mailed{' yet' * kept}: {kind.__name__}: " in err
    assert (handler.dropped, len(outbox)) == (int(not kept), 0)
    handler.flush()
    assert not outbox.messages
    clock.now += 61
    handler.flush()
    assert len(outbox) == int(kept)


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("one\nBcc: eve@example.net", "one Bcc: eve@example.net"),
        ("one\r\n\r\ntwo", "one two"),
        ("nul \0 bell \a", "nul � bell �"),
        ("lone \ud800 surrogate", "lone � surrogate"),
        ("ü" * 500, "ü" * 500),
    ],
    ids=["header", "lines", "control", "surrogate", "long"],
)
def test_any_text_can_be_mailed(
    outbox: Outbox, log: logging.Logger, text: str, subject: str
) -> None:
    """Whatever is logged is mailed, and adds no header."""
    handler = handler_for(log, subject="[t] 1234")
    # Not by the logger: pytest would show it, and cannot show everything.
    record = {"name": "shop", "levelno": 40, "levelname": "ERROR", "msg": text}
    handler.handle(logging.makeLogRecord(record))
    handler.flush()
    message = outbox[0].message
    assert message["Subject"] == f"[t] 1234 ERROR: {subject}"[:100]
    assert message["Bcc"] is None


def test_a_record_that_cannot_be_formatted(
    outbox: Outbox, log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad record is told on stderr, and the others are mailed."""
    handler = handler_for(log)
    bad = {"name": "shop", "levelno": 40, "msg": "%d", "args": ("no number",)}
    handler.handle(logging.makeLogRecord(bad))
    log.error("x" * 30_000)
    handler.flush()
    assert "TypeError" in capsys.readouterr().err
    assert "(30," in bodies(outbox)[0]


@pytest.mark.parametrize(
    "options",
    [
        {"sender": "nobody"},
        {"recipients": []},
        {"recipients": ["a@example.org\nBcc: b@example.net"]},
        {"subject": "a\nBcc: b@example.net"},
        {"server": "ftp://example.org"},
        {"batch": 0},
        {"rate": 0},
        {"capacity": 1.5},
        {"delay": -1},
        {"per": 0},
        {"flush_timeout": float("inf")},
    ],
)
def test_options_that_cannot_be_used(options: Any) -> None:
    """A handler that could never send is refused when it is made."""
    with pytest.raises(ConfigError):
        MailHandler(**{"server": URL, **PEOPLE, **options})


def test_nobody_waits_for_a_server_that_hangs(log: logging.Logger) -> None:
    """While a send hangs, logging goes on, and the end comes in time."""
    with one_port({"greeting": hang()}) as scripted:
        handler = handler_for(log, server_for(scripted), delay=0, flush_timeout=0.2)
        log.error("first")
        scripted.wait_for(lambda: scripted.connections)
        for n in range(1000):
            log.error("number %d", n)
        assert len(handler._entries) == 1000
        start = time.monotonic()
        handler.flush()
        handler.close()
        assert time.monotonic() - start < 5


def test_the_end_waits_once(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a flush that was in vain, `close` waits no more, and says what is left."""
    with one_port({"greeting": hang()}) as scripted:
        handler = handler_for(log, server_for(scripted), flush_timeout=3, batch=2)
        for n in range(5):
            log.error("number %d", n)
        handler.flush()
        start = time.monotonic()
        handler.close()
        assert time.monotonic() - start < 3
    err = capsys.readouterr().err
    assert "5 log records were not mailed: no reply of the server within 3 s" in err
    assert handler.dropped == 5


def test_what_the_end_could_not_mail(
    outbox: Outbox, log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each record that never left is counted on stderr, with the error."""
    handler = handler_for(log, batch=2, rate=1)
    outbox.fail_next(ConnectError)
    with handler._changed:  # so that the thread sees all of them and the end together
        for n in range(5):
            log.error("number %d", n)
        handler._closed = True
    handler.close()
    err = capsys.readouterr().err
    assert "3 log records were not mailed: one message is sent at the end" in err
    assert "2 log records were not mailed: ConnectError: no connection" in err
    assert handler.dropped == 5


def test_a_failure_that_is_not_shown(
    outbox: Outbox,
    log: logging.Logger,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`logging.raiseExceptions` silences a failure, as it does for other handlers."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    handler = handler_for(log)
    outbox.fail_next(ConnectError)
    log.error("first")
    handler.flush()
    handler.close()
    assert capsys.readouterr().err == ""


def test_a_refused_handler_leaves_nothing(log: logging.Logger) -> None:
    """A handler that cannot be made is not one that `logging.shutdown` would close."""
    before = len(logging._handlerList)
    with pytest.raises(ConfigError):
        MailHandler("bad host", **PEOPLE)
    assert len(logging._handlerList) == before


def test_from_a_running_loop(outbox: Outbox, log: logging.Logger) -> None:
    """Async code logs as any other."""
    handler = handler_for(log)

    async def main() -> None:
        log.error("from a task")

    asyncio.run(main())
    handler.flush()
    assert "from a task" in bodies(outbox)[0]


def test_by_configuration(outbox: Outbox) -> None:
    """`logging.config.dictConfig` makes one, with a level and a format."""
    made = {"class": "smtpsend.contrib.logging.MailHandler", "server": URL, **PEOPLE}
    made |= {"level": "CRITICAL", "formatter": "short"}
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"short": {"format": "<%(message)s>"}},
        "handlers": {"mail": made},
        "loggers": {"shop.config": {"handlers": ["mail"]}},
    }
    logging.config.dictConfig(config)
    log = logging.getLogger("shop.config")
    log.error("no")
    log.critical("yes")
    log.handlers[0].close()
    log.handlers.clear()
    assert bodies(outbox) == ["<yes>\n"]


def test_many_threads(outbox: Outbox, log: logging.Logger) -> None:
    """Every record of every thread is mailed once."""
    handler = handler_for(log, rate=1000)
    threads = [
        threading.Thread(
            target=lambda n=n: [log.error("<%d.%d>", n, k) for k in range(50)]
        )
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler.flush()
    text = "".join(bodies(outbox))
    assert all(text.count(f"<{n}.{k}>") == 1 for n in range(8) for k in range(50))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child(outbox: Outbox, log: logging.Logger) -> None:
    """What waits in the parent is the parent's; the child mails its own records."""
    handler = handler_for(log)
    log.error("of the parent")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            log.error("of the child")
            handler.close()
            code = 0 if "of the parent" not in bodies(outbox)[0] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    handler.close()
    assert [("of the parent" in b, "of the child" in b) for b in bodies(outbox)] == [
        (True, False)
    ]


PROGRAM = """
import atexit, logging, sys
from smtpsend import Method, Password, Policy, Server
from smtpsend.contrib.logging import MailHandler

port, user, password, ca = sys.argv[1:]
policy = Policy(methods=(Method(int(port), "starttls"),))
server = Server("127.0.0.1", Password(user, password), policy=policy, cafile=ca)
logging.basicConfig(level="DEBUG", stream=sys.stderr)
people = {{"sender": "shop@example.org", "recipients": ["admin@example.org"]}}
logging.getLogger().addHandler(MailHandler(server, **people, level="DEBUG"))
logging.error("at the end")
if {late}:
    atexit.register(logging.error, "later still")
raise SystemExit(0)
"""


@pytest.mark.parametrize("late", [False, True])
def test_the_end_of_a_program(late: bool) -> None:
    """What waits when a program ends is mailed, over TLS, and the end is not held up."""
    with LocalServer() as local:
        facts = [str(local.port("starttls")), local.username, local.password]
        start = time.monotonic()
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(late=late), *facts, local.cafile],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr
        assert time.monotonic() - start < 4.5, ran.stderr  # the flush did not time out
    (stored,) = local.messages
    assert "at the end" in stored.message.get_content()
    assert ("later still" in stored.message.get_content()) is late
