"""Through a proxy: what it is asked, what it refuses, and what a bad one can do."""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
from dataclasses import replace
from typing import Any

import pytest
from frames import nothing_of, texts
from leaks import eventually, run
from scripted import Script, ScriptedServer
from scripted_proxy import GRANTED, KINDS, PASSWORD, USER, Kind, ScriptedProxy
from sending import MESSAGE, QUICK, WAYS, Send, envelope, patiently, server_for

from smtpsend import AsyncClient, Client, SendError, diagnose, send, send_async
from smtpsend.cli import main
from smtpsend.errors import (
    CertificateError,
    ConnectError,
    Event,
    Phase,
    TLSError,
)


pytestmark = pytest.mark.usefixtures("no_leaks")

HOST = "mail.nowhere.example"  # is in no DNS: only the proxy can connect to it
kinds = pytest.mark.parametrize("kind", KINDS)
Says = dict[str, bytes | None]


def behind(proxy: ScriptedProxy, scripted: ScriptedServer, *names: str, **more: Any):
    """The scripted server, reached by a name that only the proxy knows."""
    url = more.pop("url", proxy.url)
    server = server_for(scripted, *names, **more)
    return replace(server, host=HOST, proxy=url, tls_name="localhost")


@kinds
@pytest.mark.parametrize("login", [False, True])
@pytest.mark.parametrize("send", WAYS)
def test_it_goes_through(kind: Kind, login: bool, send: Send) -> None:
    """A message goes through the proxy, which looks the name up, and logs us in."""
    with ScriptedServer() as scripted, ScriptedProxy(kind, login=login) as proxy:
        for name in ("starttls", "implicit"):
            receipt = send(MESSAGE, behind(proxy, scripted, name), **envelope())
            port = scripted.port(name)
            assert receipt.address == f"{HOST}:{port} via 127.0.0.1:{proxy.port}"
            assert proxy.asked[-1] == (HOST, port)
        assert len(scripted.accepted) == 2
        assert proxy.logins == [(USER, PASSWORD)] * 2 * login


@kinds
def test_the_greeting_in_one_segment_with_the_reply(kind: Kind) -> None:
    """A server speaks first: its greeting is not lost if it comes with the reply."""
    with ScriptedServer() as scripted, ScriptedProxy(kind, together=True) as proxy:
        send(MESSAGE, behind(proxy, scripted, "starttls"), **envelope())
        assert len(scripted.accepted) == 1


@kinds
def test_an_address(kind: Kind) -> None:
    """An IP address of a server goes to the proxy as one, IPv6 in brackets in HTTP."""
    with ScriptedServer() as scripted, ScriptedProxy(kind) as proxy:
        server = behind(proxy, scripted, "implicit")
        send(MESSAGE, replace(server, host="127.0.0.1"), **envelope())
        receipt = send(MESSAGE, replace(server, host="::1"), **envelope())
        hosts = [host for host, _ in proxy.asked]
        assert hosts == ["127.0.0.1", "[::1]" if kind == "http" else "::1"]
        assert receipt.address is not None
        assert receipt.address.startswith("[::1]:")


@kinds
def test_names(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the proxy alone is looked up here, and its addresses are raced."""
    asked: list[str] = []
    whole = socket.getaddrinfo

    def look_up(host: str, *args: Any, **options: Any) -> list[Any]:
        if host == "127.0.0.1":  # the scripted proxy connects to the scripted server
            return whole(host, *args, **options)
        asked.append(host)
        both = [("127.0.0.2", 0), ("127.0.0.1", 0)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", one) for one in both]

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    with ScriptedServer() as scripted, ScriptedProxy(kind) as proxy:
        url = f"{kind}://proxy.example:{proxy.port}"
        for name in ("starttls", "implicit"):
            server = behind(proxy, scripted, name, url=url)
            receipt = send(MESSAGE, server, **envelope())
            assert receipt.address.endswith(f" via 127.0.0.1:{proxy.port}")
        assert diagnose(behind(proxy, scripted, url=url)).ok
    assert set(asked) == {"proxy.example"}


@kinds
def test_kept_connections(kind: Kind) -> None:
    """A client keeps its connection through the proxy."""
    with ScriptedServer() as scripted, ScriptedProxy(kind) as proxy:
        with Client(behind(proxy, scripted, "starttls")) as client:
            client.check()
            for _ in range(3):
                client.send(MESSAGE, **envelope())
        assert (len(proxy.asked), len(scripted.accepted)) == (1, 3)


@kinds
def test_the_next_method(kind: Kind) -> None:
    """A port that the proxy does not allow is an attempt, and the next one is tried."""
    with ScriptedServer() as scripted:
        refused = {scripted.port("starttls"): "rule"}
        with ScriptedProxy(kind, refuses=refused) as proxy:
            receipt = send(MESSAGE, behind(proxy, scripted), **envelope())
            assert receipt.method.port == scripted.port("implicit")
            (attempt,) = receipt.attempts
            assert (attempt.event, attempt.phase) == (Event.UNREACHABLE, Phase.CONNECT)
            assert f"the proxy 127.0.0.1:{proxy.port} does not allow it (" in str(attempt)
            # What worked is remembered for this proxy, and for no other way.
            again = send(MESSAGE, behind(proxy, scripted), **envelope())
            assert again.attempts == ()
            with ScriptedProxy(kind) as other:
                third = send(MESSAGE, behind(other, scripted), **envelope())
                assert third.method.port == scripted.port("starttls")


REFUSALS = {
    "refused": (True, "cannot connect", ("refused by destination", "502 Bad Gateway")),
    "rule": (False, "does not allow it", ("not allowed by ruleset", "403 Forbidden by")),
    "unreachable": (True, "cannot connect", ("unreachable", "504 Gateway Timeout")),
    "failure": (True, "cannot connect", ("General SOCKS server", "500 Internal")),
}


@kinds
@pytest.mark.parametrize("why", REFUSALS)
def test_refusals(kind: Kind, why: str) -> None:
    """The refusal of a proxy is a `ConnectError` with its words."""
    temporary, what, words = REFUSALS[why]
    with ScriptedServer() as scripted:
        ports = dict.fromkeys(scripted.ports.values(), why)
        with ScriptedProxy(kind, refuses=ports, login=True) as proxy:
            with pytest.raises(ConnectError) as caught:
                send(MESSAGE, behind(proxy, scripted), **envelope())
    error = caught.value
    assert (error.phase, error.event) == (Phase.CONNECT, Event.UNREACHABLE)
    assert (error.temporary, error.timed_out) == (temporary, False)
    assert f"{HOST}:{scripted.port('starttls')}: the proxy " in error.message
    assert what in error.message
    assert words[KINDS.index(kind)] in error.message
    assert len(error.attempts) == 3
    nothing_of(PASSWORD, error)
    assert USER not in texts(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@kinds
@pytest.mark.parametrize("url", ["wrong", "none"])
@pytest.mark.parametrize("send", WAYS)
def test_refused_logins(kind: Kind, url: str, send: Send) -> None:
    """A login that the proxy refuses is tried once, and its secret is nowhere."""
    secret = "wr0ng-Pa55-word"
    with ScriptedServer() as scripted, ScriptedProxy(kind, login=True) as proxy:
        login = f"somebody:{secret}@" if url == "wrong" else ""
        wrong = f"{kind}://{login}127.0.0.1:{proxy.port}"
        server = behind(proxy, scripted, url=wrong)
        with pytest.raises(ConnectError) as caught:
            send(MESSAGE, server, **envelope())
        assert len(proxy.logins) == (url == "wrong")
    error = caught.value
    assert (error.phase, error.event) == (Phase.CONNECT, Event.PROXY_LOGIN)
    assert not error.temporary
    assert len(error.attempts) == 1
    assert "refused the login (" in error.message
    assert ("check user" if login else "wants a login") in error.hint
    nothing_of(secret, error)
    assert secret not in repr(server)
    assert "somebody" not in f"{server!r}{error}"


@pytest.mark.parametrize("code", [401, 407])
def test_the_codes_of_a_refused_login(code: int) -> None:
    """Either code for a login stops the call: tinyproxy has 401 for a wrong one."""
    says: Says = {"reply": b"HTTP/1.0 %d Unauthorized\r\n\r\n" % code}
    with (
        ScriptedServer() as scripted,
        ScriptedProxy("http", login=True, says=says) as proxy,
    ):
        with pytest.raises(ConnectError) as caught:
            send(MESSAGE, behind(proxy, scripted), **envelope())
        assert len(proxy.asked) == 1
    assert caught.value.event is Event.PROXY_LOGIN


@kinds
def test_the_proxy_is_down(kind: Kind) -> None:
    """An error names the proxy that cannot be reached, or whose name is unknown."""
    with socket.socket() as taken, ScriptedServer() as scripted:
        taken.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        server = replace(server_for(scripted), host=HOST, proxy=f"{kind}://{where}")
        with pytest.raises(ConnectError) as caught:
            send(MESSAGE, server, **envelope())
        assert f"the proxy {where} cannot be reached (" in caught.value.message
        assert "proxy" in caught.value.hint
        unknown = replace(server, proxy=f"{kind}://proxy.invalid:1080")
        with pytest.raises(ConnectError) as caught:
            send(MESSAGE, unknown, **envelope())
    assert caught.value.event is Event.UNRESOLVED
    assert "the proxy's host name proxy.invalid" in caught.value.message


SILENT: dict[str, tuple[Kind, Says]] = {
    "socks5 at once": ("socks5", {"methods": None}),
    "socks5 after the login": ("socks5", {"login": None}),
    "socks5 after the request": ("socks5", {"reply": None}),
    "http": ("http", {"reply": None}),
}


@pytest.mark.parametrize("case", SILENT)
@patiently
def test_silent(case: str) -> None:
    """A silent proxy costs `connect_timeout`, and the next method is tried."""
    kind, says = SILENT[case]
    with (
        ScriptedServer() as scripted,
        ScriptedProxy(kind, login=True, says=says) as proxy,
    ):
        with pytest.raises(ConnectError) as caught:
            send(MESSAGE, behind(proxy, scripted, **QUICK), **envelope())
    assert (caught.value.timed_out, caught.value.temporary) == (True, True)
    assert "did not connect within" in caught.value.message
    assert len(caught.value.attempts) == 3
    nothing_of(PASSWORD, caught.value)


@pytest.mark.parametrize("case", SILENT)
def test_cancelled(case: str) -> None:
    """A send that is cancelled while the proxy is silent leaves no socket behind."""
    kind, says = SILENT[case]
    with (
        ScriptedServer() as scripted,
        ScriptedProxy(kind, login=True, says=says) as proxy,
    ):

        async def main() -> None:
            server = behind(proxy, scripted)
            task = asyncio.create_task(send_async(MESSAGE, server, **envelope()))
            while not proxy.peers:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            nothing_of(PASSWORD, caught.value)

        run(main())


LYING: dict[str, tuple[Kind, Says]] = {
    "socks5: garbage": ("socks5", {"methods": b"SSH-2.0-OpenSSH_9.6\r\n"}),
    "socks5: SOCKS4": ("socks5", {"methods": b"\x04\x00"}),
    "socks5: an end at once": ("socks5", {"methods": b""}),
    "socks5: a method we did not offer": ("socks5", {"methods": b"\x05\x01"}),
    "socks5: a method that is none": ("socks5", {"methods": b"\x05\x77"}),
    "socks5: garbage for the login": ("socks5", {"login": b"\x47\x47"}),
    "socks5: an end for the login": ("socks5", {"login": b""}),
    "socks5: garbage for the reply": ("socks5", {"reply": b"HTTP/1.1 200 OK\r\n"}),
    "socks5: an unknown code": ("socks5", {"reply": b"\x05\x99\x00\x01" + bytes(6)}),
    "socks5: an unknown address": ("socks5", {"reply": b"\x05\x00\x00\x09" + bytes(6)}),
    "socks5: a name that is no text": (
        "socks5",
        {"reply": b"\x05\x00\x00\x03\x02\xff\xfe\x00\x00"},
    ),
    "socks5: half a reply": ("socks5", {"reply": b"\x05\x00\x00"}),
    "http: garbage": ("http", {"reply": b"220 mail.example.org ESMTP\r\n\r\n"}),
    "http: nothing": ("http", {"reply": b""}),
    "http: half a head": ("http", {"reply": b"HTTP/1.1 200 OK\r\nVia: a"}),
    "http: HTTP/9": ("http", {"reply": b"HTTP/9.9 nine\r\n\r\n"}),
    "http: a head without end": (
        "http",
        {"reply": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 99999},
    ),
    "http: headers without end": (
        "http",
        {"reply": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 9999},
    ),
    "http: interim replies": ("http", {"reply": b"HTTP/1.1 103 Hints\r\n\r\n" * 99}),
    "http: a folded header": ("http", {"reply": b"HTTP/1.1 200 OK\r\nA\x00: b\r\n\r\n"}),
}


@pytest.mark.parametrize("case", LYING)
def test_lying(case: str) -> None:
    """What is no reply of its protocol is a typed error, without a secret."""
    kind, says = LYING[case]
    with (
        ScriptedServer() as scripted,
        ScriptedProxy(kind, login=True, says=says) as proxy,
    ):
        with pytest.raises(ConnectError) as caught:
            send(MESSAGE, behind(proxy, scripted, "starttls"), **envelope())
        assert not scripted.connections
    error = caught.value
    assert error.phase is Phase.CONNECT
    assert not error.timed_out
    assert error.message.isprintable()
    assert len(error.message) < 400
    nothing_of(PASSWORD, error)


@kinds
def test_words_before_the_server(kind: Kind) -> None:
    """What a proxy adds after its reply is no greeting that anybody trusts."""
    says: Says = {"reply": GRANTED[kind] + b"220 I am your server\r\n"}
    with ScriptedServer() as scripted:
        with ScriptedProxy(kind, says=says, relays=True) as proxy:
            for name, error in (("starttls", ConnectError), ("implicit", TLSError)):
                with pytest.raises(error):
                    send(MESSAGE, behind(proxy, scripted, name), **envelope())
        assert not scripted.accepted
        assert not any(record.auth_lines for record in scripted.connections)


def test_the_words_are_cleaned() -> None:
    """The words of a proxy have no control characters, no secret, and an end."""
    basic = "cHJveHktdXNlcjpwcjB4eS1QYTU1L3dvcmQ="
    status = f"403 \x1b[31m no {PASSWORD} {basic} \xe9" + "x" * 900
    says: Says = {"reply": f"HTTP/1.1 {status}\r\n\r\n".encode()}
    clean = status.replace("\x1b", "")
    more: Says = {"reply": f"HTTP/1.1 {clean}\r\n\r\n".encode()}
    for words in (says, more):
        with ScriptedServer() as scripted:
            with ScriptedProxy("http", login=True, says=words) as proxy:
                with pytest.raises(ConnectError) as caught:
                    send(MESSAGE, behind(proxy, scripted, "starttls"), **envelope())
        error = caught.value
        nothing_of(PASSWORD, error)
        assert basic not in str(error)
        assert error.message.isprintable()
        assert len(error.message) < 400


def test_a_server_that_repeats_the_secret() -> None:
    """The secret of a proxy is hidden in what the server behind it says, too."""
    from scripted import reply

    script = Script({"mail": reply(550, "5.7.1", f"no {PASSWORD}")})
    with ScriptedServer(script) as scripted, ScriptedProxy("socks5", login=True) as proxy:
        with pytest.raises(SendError) as caught:
            send(MESSAGE, behind(proxy, scripted, "starttls"), **envelope())
    assert "***" in str(caught.value)
    nothing_of(PASSWORD, caught.value)


@kinds
def test_the_certificate_is_the_servers(kind: Kind) -> None:
    """Through a proxy the certificate is verified as ever, for the host itself."""
    with ScriptedServer() as scripted, ScriptedProxy(kind) as proxy:
        server = replace(behind(proxy, scripted), tls_name=None)
        with pytest.raises(CertificateError) as caught:
            send(MESSAGE, server, **envelope())
        assert f"not for {HOST}" in caught.value.hint
        assert not scripted.accepted


@kinds
def test_check(kind: Kind) -> None:
    """`diagnose` goes through the proxy, names it, and says what it refuses."""
    with ScriptedServer() as scripted:
        refuses = {
            scripted.port("starttls"): "rule",
            scripted.port("starttls2"): "refused",
        }
        with ScriptedProxy(kind, login=True, refuses=refuses) as proxy:
            report = diagnose(behind(proxy, scripted))
    assert report.ok
    assert report.addresses == ()
    first, second, third = report.methods
    assert (first.connected, second.connected, third.connected) == (False, True, False)
    assert second.address is not None
    assert f" via 127.0.0.1:{proxy.port}" in second.address
    advice = "\n".join(report.advice)
    assert f"the proxy 127.0.0.1:{proxy.port} does not allow it" in advice
    assert "whoever runs the proxy has to allow" in advice
    assert PASSWORD not in f"{report!r}{report.as_dict()}"


@kinds
def test_check_without_the_proxy(kind: Kind) -> None:
    """Where the proxy is down, no advice blames the mail server or its ports."""
    with socket.socket() as taken, ScriptedServer() as scripted:
        taken.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        base = server_for(scripted)
        report = diagnose(
            replace(base, host="smtp.resend.com", proxy=f"{kind}://{where}")
        )
        unknown = diagnose(replace(base, host=HOST, proxy=f"{kind}://proxy.invalid:1"))
    assert not report.ok
    assert [line for line in report.advice if "proxy" not in line] == []
    assert f"the proxy {where} cannot be reached" in report.advice[0]
    assert "proxy.invalid" in unknown.advice[0]
    assert HOST not in unknown.advice[0]


@kinds
def test_commands(
    kind: Kind, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands go through --proxy, else through SMTP_PROXY, to whatever server."""
    with ScriptedServer() as scripted, ScriptedProxy(kind, login=True) as proxy:
        url = f"smtp://{HOST}:{scripted.port('starttls')}"
        words = ["check", url, "--cafile", scripted.ca, "--tls-name", "localhost"]
        monkeypatch.setenv("SMTP_PROXY", proxy.url)
        assert main(words) == 0
        out, err = capsys.readouterr()
        assert f"through the proxy {kind}://***@127.0.0.1:{proxy.port}" in out
        assert "via 127.0.0.1:" in out
        assert PASSWORD not in out + err
        with ScriptedProxy(kind) as other:
            assert main([*words, "--json", "--proxy", other.url]) == 0
            assert len(other.asked) > 0
        assert json.loads(capsys.readouterr().out)["proxy"] == other.url


def test_several_clients_in_one_loop() -> None:
    """Sends through a proxy run beside each other."""
    with ScriptedServer() as scripted, ScriptedProxy("http", login=True) as proxy:

        async def main() -> None:
            async with AsyncClient(behind(proxy, scripted, "starttls")) as client:
                sends = [client.send(MESSAGE, **envelope()) for _ in range(8)]
                await asyncio.gather(*sends)

        run(main())
        eventually(lambda: len(scripted.accepted) == 8)
