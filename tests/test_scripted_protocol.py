"""The scripted server is a correct server, and its records are true."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
from contextlib import suppress

import pytest
from scripted import (
    OFFERS,
    Script,
    ScriptedServer,
    close,
    cut,
    nothing,
    reply,
    rst,
    say,
)
from scripted.client import RawClient
from scripted.stream import code_of


MESSAGE = b"Message-ID: <1@example.org>\r\nSubject: x\r\n\r\nhello\r\n"
ALL = (*OFFERS[:-1], "AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2 OAUTHBEARER")
ALL = (*ALL, "PIPELINING", "CHUNKING")
ENVELOPE = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n"


def test_pipelined_commands_are_answered_in_order() -> None:
    """A group of commands in one segment, and a dot-stuffed message."""
    with ScriptedServer(Script(offers=ALL)) as server:
        with RawClient.ready(server) as client:
            client.say(ENVELOPE + b"RCPT TO:<>\r\nDATA\r\n")
            codes = [client.reply()[:3] for _ in range(4)]
            assert codes == [b"250", b"250", b"501", b"354"]
            stuffed = b"..\r\n...two\r\n....\r\n.\r\n"
            client.say(MESSAGE + stuffed + ENVELOPE + b"DATA\r\n")
            codes = [client.reply()[:3] for _ in range(4)]
            assert codes == [b"250", b"250", b"250", b"354"]
            assert client.ask(b".").startswith(b"250 ")
        server.wait_closed(1)
    server.assert_clean()
    assert [m.content for m in server.accepted] == [
        MESSAGE + b".\r\n..two\r\n...\r\n",
        b"",
    ]
    assert server.accepted[0].recipients == ("b@example.org",)


def test_bdat_in_two_chunks() -> None:
    """The chunks are put together as they are, and only the last one is the end."""
    with ScriptedServer(Script({"bdat:2": reply(452, "", "no")}, offers=ALL)) as server:
        with RawClient.ready(server) as client:
            client.say(ENVELOPE + b"BDAT 3\r\n.\r\nBDAT 5 LAST\r\n\r\n.\r\n")
            assert [client.reply()[:3] for _ in range(4)] == [b"250"] * 4
            client.say(ENVELOPE + b"BDAT 1\r\nxBDAT 0 LAST\r\n")
            codes = [client.reply()[:3] for _ in range(4)]
            assert codes == [b"250", b"250", b"452", b"503"]
        server.wait_closed(1)
    server.assert_clean()
    assert [m.content for m in server.accepted] == [b".\r\n\r\n.\r\n"]
    assert [m.state for m in server.connections[0].messages] == ["accepted", "open"]


def responses(name: str, user: str, password: str) -> list[bytes]:
    """What a client says in a mechanism, without base64."""
    u, p = user.encode(), password.encode()
    challenge = b"<1896.697170952@scripted.example>"
    return {
        "PLAIN": [b"\0" + u + b"\0" + p],
        "LOGIN": [u, p],
        "CRAM-MD5": [u + b" " + hmac.new(p, challenge, hashlib.md5).hexdigest().encode()],
        "XOAUTH2": [b"user=" + u + b"\1auth=Bearer " + p + b"\1\1", b""],
        "OAUTHBEARER": [b"n,a=" + u + b",\1auth=Bearer " + p + b"\1\1", b"\1"],
    }[name]


@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize("right", [True, False])
def test_each_mechanism_is_verified(name: str, right: bool) -> None:
    """The right password is taken, and another one is not."""
    script = Script(offers=ALL)
    with ScriptedServer(script) as server, RawClient.secure(server) as client:
        said = client.ask(b"AUTH " + name.encode())
        password = server.password if right else "wrong"
        for response in responses(name, server.user, password):
            if said[:3] == b"334":
                said = client.ask(base64.b64encode(response))
        assert said[:3] == (b"235" if right else b"535")
        assert server.connections[0].authenticated is right


def test_a_submission_server_wants_tls_and_login_first() -> None:
    """MAIL and AUTH are refused in the clear, and MAIL without AUTH."""
    with ScriptedServer() as server, RawClient(server) as client:
        client.reply()
        assert b"AUTH" not in client.ask(b"EHLO c.example")
        assert client.ask(b"AUTH PLAIN " + client.credentials)[:9] == b"530 5.7.0"
        assert client.ask(b"MAIL FROM:<a@example.org>")[:9] == b"530 5.7.0"
        client.ask(b"STARTTLS")
        client.tls()
        assert b"AUTH PLAIN LOGIN" in client.ask(b"EHLO c.example")
        assert client.ask(b"MAIL FROM:<a@example.org>")[:9] == b"530 5.7.0"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("MAIL FROM:<a@example.org> SIZE=10485760", b"250"),
        ("MAIL FROM:<a@example.org> SIZE=10485761", b"552"),
        ("MAIL FROM:<ä@example.org>", b"553"),
        ("MAIL FROM:<ä@example.org> BODY=8BITMIME SMTPUTF8", b"250"),
        ("MAIL FROM:<a@example.org> FOO=1", b"555"),
        ("MAIL FROM:<a@example.org> RET=HDRS", b"555"),
        ("MAIL FROM:<a@example.org> REQUIRETLS", b"555"),
        ('MAIL FROM:<"a> b"@example.org>', b"250"),
        ("RCPT TO:<b@example.org>", b"503"),
        ("DATA", b"503"),
    ],
)
def test_what_a_correct_server_refuses(line: str, code: bytes) -> None:
    """Parameters count, and so does the order of commands."""
    with ScriptedServer() as server, RawClient.ready(server) as client:
        assert client.ask(line.encode())[:3] == code


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("MAIL FROM:<a@example.org> RET=FULL ENVID=a+20b REQUIRETLS", b"250"),
        ("MAIL FROM:<a@example.org> RET=HEADERS", b"501"),
        ("MAIL FROM:<a@example.org> ENVID=a+2b", b"501"),
        (f"MAIL FROM:<a@example.org> ENVID={101 * 'a'}", b"501"),
        ("RCPT TO:<b@example.org> NOTIFY=NEVER ORCPT=rfc822;b@example.org", b"250"),
        ("RCPT TO:<b@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c", b"250"),
        (r"RCPT TO:<b@example.org> ORCPT=utf-8;\x{F6}@c", b"250"),
        ("RCPT TO:<b@example.org> ORCPT=utf-8;a+2Bb@c", b"501"),
        ("RCPT TO:<b@example.org> NOTIFY=NEVER,DELAY", b"501"),
        ("RCPT TO:<b@example.org> NOTIFY=", b"501"),
        ("RCPT TO:<b@example.org> ORCPT=rfc822;a b", b"555"),
        ("RCPT TO:<b@example.org> ORCPT=rfc822;ä@c", b"501"),
        (f"RCPT TO:<b@example.org> ORCPT=rfc822;{500 * 'a'}", b"501"),
        ("RCPT TO:<b@example.org> NOTIFY=DELAY NOTIFY=DELAY", b"501"),
    ],
)
def test_what_a_server_with_dsn_refuses(line: str, code: bytes) -> None:
    """The parameters of RFC 3461 and RFC 8689 must be as the grammar has them."""
    script = Script(offers=("AUTH PLAIN", "SMTPUTF8", "DSN", "REQUIRETLS"))
    with ScriptedServer(script) as server, RawClient.ready(server) as client:
        if line.startswith("RCPT"):
            client.ask(b"MAIL FROM:<a@example.org>")
        assert client.ask(line.encode())[:3] == code


def test_each_connection_has_its_script_and_each_time_its_action() -> None:
    """The last script repeats; the most exact number counts."""
    many = {"rcpt:2": reply(450, "", "2nd"), "rcpt:3+": reply(452, "", "more")}
    with ScriptedServer(starttls=[{"mail": reply(451, "", "1st")}, many]) as server:
        with RawClient.ready(server) as client:
            assert client.ask(b"MAIL FROM:<>")[:3] == b"451"
        for _ in range(2):
            with RawClient.ready(server) as client:
                client.ask(b"MAIL FROM:<>")
                codes = [client.ask(b"RCPT TO:<b@example.org>")[:3] for _ in range(4)]
                assert codes == [b"250", b"450", b"452", b"452"]


def test_a_loss_at_each_byte_after_auth() -> None:
    """N bytes are read, no more; what the Nth byte completes is not answered."""
    whole = ENVELOPE + b"DATA\r\n" + MESSAGE + b".\r\nQUIT\r\n"
    end = len(whole) - len(b"QUIT\r\n")
    scripts = [{f"after-auth:{n}": (rst, cut)[n % 2]()} for n in range(len(whole))]
    scripts = [Script(script, offers=ALL) for script in scripts]
    with ScriptedServer(starttls=scripts) as server:
        for n, _ in enumerate(scripts):
            with RawClient.ready(server) as client, suppress(OSError):
                client.say(whole)
                while client.line():
                    pass
            server.wait_closed(n + 1)
            record = server.connections[n]
            assert record.after_auth == whole[:n]
            assert record.closed_by == "server"
            states = [m.state for m in record.messages]
            assert ("accepted" in states) is (n > end), n
            assert ("unknown" in states) is (n == end), n


def test_a_reply_cut_in_the_middle_is_no_acceptance() -> None:
    """Of the last reply, all but the line end leaves: the message's state is unknown."""
    said = b"250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
    said += b"354 Go on, end with <CRLF>.<CRLF>\r\n250 2.0.0 Ok: queued as 1\r\n"
    total = len(said) - 1
    with ScriptedServer(starttls={f"sent-after-auth:{total}": close()}) as server:
        with RawClient.ready(server) as client:
            assert client.send_mail(MESSAGE) == b"250 2.0.0 Ok: queued as 1\r"
        assert [m.state for m in server.connections[0].messages] == ["unknown"]


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ({}, "accepted"),
        ({"final": reply(250, "", "ok") + rst()}, "accepted"),
        ({"final": say(b"251-a\r\n251 b\r\n") + close()}, "accepted"),
        ({"final": reply(550, "", "no")}, "refused"),
        ({"final": reply(421, "", "bye") + close()}, "refused"),
        ({"final": close()}, "unknown"),
        ({"final": say(b"250-a\r\n550 b\r\n")}, "unknown"),
        ({"final": say(b"banana\r\n")}, "unknown"),
        ({"content:10": say(b"250 early\r\n") + close()}, "unknown"),
        ({"content:10": say(b"250 early\r\n"), "final": nothing() + close()}, "unknown"),
        ({"content:10": rst()}, "open"),
        ({"content:0": close()}, "open"),
    ],
)
def test_the_state_of_a_message(script: dict, state: str) -> None:
    """Accepted is what a whole final 2yz was sent for, and nothing else."""
    with ScriptedServer(script) as server, RawClient.ready(server) as client:
        with contextlib.suppress(OSError):
            client.send_mail(MESSAGE)
        client.close()
        server.wait_closed(1)
        assert [m.state for m in server.connections[0].messages] == [state]
        assert len(server.accepted) == (state == "accepted")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"250 ok\r\n", 250),
        (b"250\r\n", 250),
        (b"250-a\r\n250 b\r\n", 250),
        (b"250 a\r\n550 b\r\n", 550),
        (b"250-a\r\n550 b\r\n", 0),
        (b"250-a\r\n", 0),
        (b"250 ok", 0),
        (b"25 ok\r\n", 0),
        (b"", 0),
    ],
)
def test_what_counts_as_a_reply(said: bytes, code: int) -> None:
    """The last whole reply counts, if its lines agree."""
    assert code_of(said) == code
