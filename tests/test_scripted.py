"""The scripted server does what its scripts say, and its judges fire."""

from __future__ import annotations

import smtplib
import socket
import ssl
import warnings

import pytest
import tls
from scripted import (
    GARBAGE,
    MOMENTS,
    Script,
    ScriptedServer,
    close,
    cut,
    drip,
    endless_drip,
    endless_line,
    endless_multiline,
    garbage,
    hang,
    inject,
    normal,
    nothing,
    reply,
    rst,
    say,
    split,
    stop_reading,
)
from scripted.client import RawClient
from sending import patiently, stretched


MESSAGE = b"Message-ID: <1@example.org>\r\nSubject: x\r\n\r\nhello\r\n"
PORTS = ("starttls", "implicit", "starttls2")


@pytest.mark.parametrize("name", PORTS)
def test_a_good_server_takes_a_message_from_smtplib(name: str) -> None:
    """A client that does everything right gets through, and no judge complains."""
    with ScriptedServer() as server:
        where = {
            "host": server.host,
            "port": server.port(name),
            "local_hostname": "c.org",
        }
        if name == "implicit":
            client = smtplib.SMTP_SSL(**where, context=tls.client_context())
        else:
            client = smtplib.SMTP(**where)
            client.starttls(context=tls.client_context())
        client.login(server.user, server.password)
        client.sendmail("a@example.org", ["b@example.org"], MESSAGE + b".\r\n..two\r\n")
        client.quit()
        server.wait_closed(1)
        record = server.connections[0]
        assert record.closed_by == "quit"
        assert record.tls_version == "TLSv1.3"
    server.assert_clean()
    assert [m.content for m in server.accepted] == [MESSAGE + b".\r\n..two\r\n"]
    assert server.accepted[0].recipients == ("b@example.org",)


def test_refused_is_refused() -> None:
    """A port that is bound and not listening refuses."""
    with (
        ScriptedServer(starttls="refused") as server,
        pytest.raises(ConnectionRefusedError),
    ):
        RawClient(server)


def test_a_blackhole_neither_accepts_nor_refuses() -> None:
    """Connecting to a full backlog goes on until one gives up, each time."""
    with ScriptedServer(starttls="blackhole") as server:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                RawClient(server, timeout=0.2)


@pytest.mark.parametrize("name", PORTS)
def test_silent_accepts_and_says_nothing(name: str) -> None:
    """A silent port takes the connection and keeps quiet; leaving ends it."""
    with ScriptedServer("silent") as server:
        with RawClient(server, name, timeout=0.1) as client, pytest.raises(TimeoutError):
            client.line()
        server.wait_closed(1)
        assert server.connections[0].closed_by == "client"
        assert server.connections[0].sent == b""


DEFECTS = {
    "wrong_host": "mismatch",
    "expired": "expired",
    "self_signed": "self-signed",
    "unknown_ca": "local issuer",
    "cn_only": "mismatch",
}


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_bad_certificate_has_the_defect_in_its_name(kind: str) -> None:
    """A careful client refuses each bad certificate for its one defect."""
    context = tls.client_context()
    context.hostname_checks_common_name = False
    with ScriptedServer(Script(certificate=kind)) as server:
        with (
            RawClient(server, "implicit") as client,
            pytest.raises(ssl.SSLCertVerificationError, match=DEFECTS[kind]),
        ):
            client.tls(context, "localhost")
        server.wait_closed(1)
        assert server.connections[0].closed_by in ("client", "tls")


def test_cn_only_is_good_for_who_looks_at_the_common_name() -> None:
    """The certificate without subjectAltName has no other defect."""
    with (
        ScriptedServer(Script(certificate="cn_only")) as server,
        RawClient(server, "implicit") as client,
    ):
        client.tls(name="localhost")
        assert client.reply().startswith(b"220 ")


@pytest.mark.parametrize("kind", ["old_tls", "tls12"])
def test_tls_versions(kind: str) -> None:
    """TLS 1.1 is all that old_tls speaks, TLS 1.2 the best that tls12 does."""
    old = tls.client_context()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with ScriptedServer(Script(certificate=kind)) as server:
        with RawClient(server, "implicit") as client:
            client.tls(old)
            assert client.sock.version() == {"old_tls": "TLSv1.1"}.get(kind, "TLSv1.2")
        if kind == "old_tls":
            with RawClient(server, "implicit") as client, pytest.raises(ssl.SSLError):
                client.tls()


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (say(b"250 2.1.0 scripted\r\n"), b"250 2.1.0 scripted\r\n"),
        (reply(250, "", "a", "b"), b"250-a\r\n250 b\r\n"),
        (reply(550, "5.7.1", "no"), b"550 5.7.1 no\r\n"),
        (split(b"250 ok\r\n"), b"250 ok\r\n"),
        (drip(b"250 ok\r\n", every=0.001), b"250 ok\r\n"),
        (garbage(), GARBAGE),
        (nothing() + say(b"250 other\r\n"), b"250 other\r\n"),
        (say(b"250 stray\r\n") + normal(), b"250 stray\r\n250 2.1.0 Sender ok\r\n"),
        (reply(421, "4.3.2", "bye") + close(), b"421 4.3.2 bye\r\n"),
        (close(), b""),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_is_said(action, expected: bytes) -> None:
    """The client reads what the action says, and the record holds it."""
    with ScriptedServer({"mail": action}) as server, RawClient.ready(server) as client:
        client.say(b"MAIL FROM:<a@example.org>\r\n")
        got = b"".join(client.line() for _ in range(expected.count(b"\n") or 1))
        assert got == expected
        assert server.connections[0].sent.endswith(expected)


@pytest.mark.parametrize("action", [close(), cut(), rst(), hang()], ids=lambda a: a.name)
def test_how_a_connection_is_lost(action) -> None:
    """On the wire: close_notify and FIN, FIN alone, a reset, or nothing."""
    with ScriptedServer({"mail": action}) as server:
        with RawClient.ready(server) as client:
            client.say(b"MAIL FROM:<a@example.org>\r\n")
            with socket.socket(fileno=client.sock.detach()) as wire:
                wire.settimeout(0.2 if action.name == "hang()" else 10)
                assert how_lost(wire) == action.name
        server.wait_closed(1)
        by = "client" if action.name == "hang()" else "server"
        assert server.connections[0].closed_by == by


def how_lost(wire: socket.socket) -> str:
    """Which action ended the connection, from its bytes."""
    got = b""
    try:
        while data := wire.recv(100):
            got += data
    except ConnectionResetError:
        return "rst()"
    except TimeoutError:
        return "hang()"
    return "close()" if got else "cut()"


def test_an_endless_line_and_an_endless_reply() -> None:
    """Both go on for as long as one reads; the record is bounded."""
    scripts = [{"mail": endless_line()}, {"mail": endless_multiline()}]
    with ScriptedServer(starttls=scripts) as server:
        for start, ends in ((b"250 aaaa", 0), (b"250-and ", 1000)):
            with RawClient.ready(server) as client:
                client.say(b"MAIL FROM:<a@example.org>\r\n")
                data = b""
                while len(data) < 2_000_000:
                    data += client.sock.recv(1 << 16)
            assert data.startswith(start)
            assert data.count(b"\r\n") >= ends
            assert ends or b"\n" not in data
        server.wait_closed(2)
        assert max(len(record.sent) for record in server.connections) <= 1 << 20


def test_an_endless_drip_reads_nothing() -> None:
    """It goes on until the client leaves, and a large message gets stuck behind it."""
    script = {"content:1000": endless_drip(b"250 ", every=0.001)}
    with ScriptedServer(script) as server:
        with RawClient.ready(server) as client:
            for step in ("mail", "rcpt", "data"):
                client.ask(STEPS[step])
            client.sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.say(b"x" * 20_000_000)
            data = b""
            while len(data) < 50:
                data += client.sock.recv(100)
            assert data == b"250 ".ljust(len(data), b".")
        server.wait_closed(1)
    assert server.connections[0].messages[0].state == "open"


def test_a_server_that_stops_reading_blocks_the_client() -> None:
    """A large message gets stuck; the end of the server is not held up."""
    script = {"content:1000": stop_reading()}
    with ScriptedServer(script) as server, RawClient.ready(server) as client:
        for step in ("mail", "rcpt", "data"):
            client.ask(STEPS[step])
        client.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.say(b"x" * 20_000_000)
        server.close()
    assert server.connections[0].closed
    assert server.connections[0].messages[0].state == "open"


def test_injected_plaintext_comes_in_the_segment_of_the_220() -> None:
    """What follows the 220 is there before the handshake, which works all the same."""
    script = {"starttls": inject(extra=b"250 x\r\n")}
    with ScriptedServer(script) as server, RawClient(server) as client:
        client.reply()
        client.ask(b"EHLO c.example")
        assert client.ask(b"STARTTLS") == b"220 2.0.0 go\r\n"
        assert client.line() == b"250 x\r\n"
        client.tls()
        assert client.ask(b"EHLO c.example").startswith(b"250-")
        server.assert_clean()


def test_garbage_in_place_of_the_handshake() -> None:
    """The client sees no TLS, and its ClientHello is not taken for plaintext."""
    with ScriptedServer({"tls": garbage()}) as server:
        for name in PORTS:
            with RawClient(server, name) as client:
                if name != "implicit":
                    client.reply()
                    client.ask(b"STARTTLS")
                with pytest.raises(ssl.SSLError):
                    client.tls()
        server.wait_closed(3)
    server.assert_clean()
    assert all(record.handshake for record in server.connections)


STEPS = {
    "ehlo2:2": b"EHLO c.example",
    "auth": b"AUTH PLAIN",
    "auth-step": b"AUTH PLAIN\r\nAA==",
    "mail": b"MAIL FROM:<a@example.org>",
    "rcpt": b"RCPT TO:<a@example.org>",
    "data": b"DATA",
    "rset": b"RSET",
    "noop": b"NOOP",
    "quit": b"QUIT",
    "other": b"VRFY a",
    "command:4": b"VRFY a",
}


@pytest.mark.parametrize("moment", STEPS)
def test_each_command_is_a_moment(moment: str) -> None:
    """An action can stand at each command."""
    script = Script({moment: say(b"599 here\r\n")}, require_auth=False)
    with ScriptedServer(script) as server, RawClient.secure(server) as client:
        lines = STEPS[moment].split(b"\r\n")
        assert [client.ask(line) for line in lines][-1] == b"599 here\r\n"


def test_moments_before_tls() -> None:
    """An action can stand before anything else, at the greeting, EHLO and STARTTLS."""
    moments = ["connect", "greeting", "ehlo", "starttls"]
    with ScriptedServer(starttls=[{m: say(b"599 x\r\n")} for m in moments]) as server:
        for n in range(len(moments)):
            with RawClient(server) as client:
                replies = [client.reply()]
                replies += [client.ask(c) for c in (b"EHLO c.example", b"STARTTLS")]
                assert b"599 x\r\n" in replies
                assert replies.index(b"599 x\r\n") == max(0, n - 1)


def test_a_script_with_a_typing_error_is_refused() -> None:
    """A moment, a certificate or a port that does not exist cannot be asked for."""
    for on in ({"rctp": close()}, {"content": close()}, {"after-auth:3+": close()}):
        with pytest.raises(ValueError, match="moment"):
            Script(on)
    with pytest.raises(ValueError, match="certificate"):
        Script(certificate="nice")
    with pytest.raises(TypeError, match="call"):
        Script({"rcpt": close})
    assert "rcpt" in MOMENTS


def test_patiently() -> None:
    """What fails in a short time counts where it fails in a long one; else at once."""
    times = list[float]()

    @patiently
    def check(enough: float) -> float:
        times.append(stretched(0.5))
        assert times[-1] >= enough
        return times[-1]

    assert check(0.5) == 0.5
    assert check(5) == 5
    with pytest.raises(AssertionError):
        check(6)
    assert times == [0.5, 0.5, 5, 0.5, 5]

    @patiently
    def calm() -> None:
        times.append(stretched(3))
        raise AssertionError

    times.clear()
    with pytest.raises(AssertionError):
        calm()
    assert times == [3]
    assert (stretched(0.5), stretched(3), stretched(20)) == (0.5, 3, 20)
