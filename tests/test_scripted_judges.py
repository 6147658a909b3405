"""Each judge of the scripted server fires on a client that is wrong on purpose."""

from __future__ import annotations

import base64
import threading
import time

import pytest
from scripted import (
    OFFERS,
    Script,
    ScriptedServer,
    close,
    endless_line,
    hang,
    normal,
    reply,
    say,
    secret_forms,
)
from scripted.client import RawClient


MESSAGE = b"Message-ID: <1@example.org>\r\nSubject: x\r\n\r\nhello\r\n"
ALL = (*OFFERS[:-1], "AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2 OAUTHBEARER")
ALL = (*ALL, "PIPELINING", "CHUNKING")
ENVELOPE = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n"


WRONG = {
    "MAIL in the clear": (b"MAIL FROM:<a@example.org>", "plaintext"),
    "AUTH in the clear": (b"AUTH PLAIN", "plaintext"),
    "a header in the clear": (b"Subject: x", "plaintext"),
    "a secret in the clear": (b"EHLO s3cret-Pa55word", "plaintext"),
    "base64 of it in the clear": (b"EHLO eHMzY3JldC1QYTU1d29yZHg=", "plaintext"),
    "a bare CR": (b"EHLO c.example\rNOOP", "bare CR"),
    "a bare LF": (b"EHLO c.example\nNOOP", "bare CR"),
    "two commands at once": (b"NOOP\r\nNOOP", "not waited"),
    "a command behind STARTTLS": (b"STARTTLS\r\nEHLO c.example", "not waited"),
}
WRONG_UNDER_TLS = {
    "VRFY": (b"VRFY a", "injection"),
    "an odd parameter": (b"MAIL FROM:<a@example.org> FOO=1", "injection"),
    "a parameter of RCPT": (b"RCPT TO:<a@example.org> FOO=1", "injection"),
    "a path in a path": (b"RCPT TO:<a@example.org><b@example.org>", "injection"),
    "a bare CR": (b"NOOP\r\r", "bare CR"),
    "a bare LF": (b"RCPT TO:<a@example.org>\nRCPT TO:<b@example.org>", "bare CR"),
    "a second login": (b"AUTH PLAIN", "auth: 2 times"),
    "content behind DATA": (ENVELOPE + b"DATA\r\nx\r\n.", "not waited"),
}


@pytest.mark.parametrize("case", WRONG)
def test_judges_of_what_comes_in_the_clear(case: str) -> None:
    """What may not come before TLS is found."""
    line, found = WRONG[case]
    with ScriptedServer() as server:
        with RawClient(server) as client:
            client.reply()
            client.ask(line)
        server.wait_closed(1)
    assert any(found in line for line in server.judge())
    with pytest.raises(AssertionError, match=found):
        server.assert_clean()


@pytest.mark.parametrize("case", WRONG_UNDER_TLS)
def test_judges_of_what_comes_under_tls(case: str) -> None:
    """Commands that nobody meant, and replies not waited for, are found."""
    line, found = WRONG_UNDER_TLS[case]
    with ScriptedServer(Script(offers=ALL)) as server:
        with RawClient.ready(server) as client:
            client.ask(line)
        server.wait_closed(1)
    assert any(found in line for line in server.judge())


def test_plaintext_on_a_port_with_implicit_tls_is_found() -> None:
    """A client that speaks SMTP where TLS has to begin is found."""
    with ScriptedServer() as server:
        with RawClient(server, "implicit") as client:
            client.say(b"AUTH PLAIN x\r\n")
            client.line()
        server.wait_closed(1)
        assert server.connections[0].closed_by == "tls"
    assert any("plaintext" in line for line in server.judge())


@pytest.mark.parametrize("first", [normal(), close(), reply(550, "", "no")])
def test_the_judge_of_duplicates(first) -> None:
    """The same Message-ID twice is wrong unless the first was refused."""
    with ScriptedServer(starttls=[{"final": first}, {}]) as server:
        for _ in range(2):
            with RawClient.ready(server) as client:
                client.send_mail(MESSAGE)
        refused = first.name.startswith("reply")
        assert any("duplicate" in line for line in server.judge()) is not refused


def test_secret_forms_are_found_wherever_base64_begins() -> None:
    """Each alignment of base64 shows one of the forms."""
    for before in (b"", b"a", b"ab", b"\0user\0"):
        for after in (b"", b"z", b"zz"):
            text = base64.b64encode(before + b"s3cret" + after)
            assert any(form in text for form in secret_forms("s3cret"))


def test_nothing_is_left_behind() -> None:
    """Threads and sockets are gone after close, whatever a client still waits for."""
    before = threading.active_count()
    script = {"mail": hang(), "noop": endless_line(), "rset": say(b"x") + hang()}
    with ScriptedServer(script) as server:
        clients = [RawClient.ready(server) for _ in range(4)]
        for client, line in zip(clients, (b"MAIL", b"RSET", b"NOOP", b""), strict=True):
            client.say(line + b"\r\n" if line else b"")
        started = time.monotonic()
        server.close()
        assert time.monotonic() - started < 5
    assert threading.active_count() == before
    assert [record.closed for record in server.connections] == [True] * 4
    for client in clients:
        client.close()
