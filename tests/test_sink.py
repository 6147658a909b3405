"""A development sink, which has no TLS: by URL, by the environment, and on commands."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import Script, ScriptedServer
from sending import MESSAGE, RECIPIENT, SENDER, WAYS, Send, envelope, server_for

from smtpsend import Method, Password, Policy, Server
from smtpsend.check import check
from smtpsend.cli import main
from smtpsend.errors import ConfigError, ConnectError, TLSError


SINK = Script(require_tls=False, require_auth=False, offers_in_clear=("SIZE 1000",))

METHODS = {
    "smtp://localhost:1025?security=plaintext": (1025, "plaintext"),
    "smtp://localhost:1025/?security=plaintext": (1025, "plaintext"),
    "smtp://localhost?security=plaintext": (1025, "plaintext"),
    "smtp://[::1]:26?security=plaintext": (26, "plaintext"),
    "smtp://10.1.2.3:26?security=plaintext": (26, "plaintext"),
    "smtp://mailpit:1025?security=plaintext": (1025, "plaintext"),
    "smtp://h.example:465?security=starttls": (465, "starttls"),
    "smtp://h.example?security=starttls": (587, "starttls"),
    "smtp://h.example:26?security=implicit": (26, "implicit"),
    "smtp://h.example?security=implicit": (465, "implicit"),
    "smtps://h.example:26?security=implicit": (26, "implicit"),
}


@pytest.mark.parametrize("url", METHODS)
def test_urls(url: str) -> None:
    """A URL names the one method by its port and its security."""
    policy = Policy(reply_timeout=7)
    server = Server.from_url(url, policy=policy)
    assert server.policy.methods == (Method(*METHODS[url]),)  # type: ignore[arg-type]
    assert server.policy.reply_timeout == 7


REFUSED = [
    "smtp://u:s3cret@localhost:1025?security=plaintext",
    "smtp://8.8.8.8:1025?security=plaintext",
    "smtps://localhost:1025?security=plaintext",
    "smtps://localhost:1025?security=starttls",
    "smtp://localhost:1025?security=none",
    "smtp://localhost:1025?security=",
    "smtp://localhost:1025?Security=plaintext",
    "smtp://localhost:1025?security=plaintext&security=plaintext",
    "smtp://localhost:1025?security=plaintext&x=1",
    "smtp://localhost:1025?security=plaintext#x",
    "smtp://localhost:1025?security=plaintext@h.example",
    "smtp://u:s3cret?security=plaintext@localhost:1025",
    "smtp://localhost:1025??security=plaintext",
    "smtp://localhost:1025?x=s3cret",
]


@pytest.mark.parametrize("url", REFUSED)
def test_refused_urls(url: str) -> None:
    """Nothing else is a query, and a sink has no credentials and no public address."""
    with pytest.raises(ConfigError) as caught:
        Server.from_url(url)
    assert "s3cret" not in str(caught.value)


def test_environment() -> None:
    """SMTP_SECURITY names the one method of SMTP_HOST, and plaintext has port 1025."""
    for security, port in (("plaintext", 1025), ("starttls", 587), ("implicit", 465)):
        found = Server.from_env({"SMTP_HOST": "mailpit", "SMTP_SECURITY": security})
        assert found.policy.methods == (Method(port, security),)  # type: ignore[arg-type]
    login = {"SMTP_USERNAME": "u", "SMTP_PASSWORD": "s3cret"}
    tls = Server.from_env({"SMTP_HOST": "h", "SMTP_SECURITY": "implicit", **login})
    assert tls.auth == Password("u", "s3cret")
    assert Server.from_env({"SMTP_HOST": "h", "SMTP_SECURITY": ""}) == Server("h")
    url = {"SMTP_URL": "smtp://mailpit:26?security=plaintext"}
    assert Server.from_env(url).policy.methods == (Method(26, "plaintext"),)


ENVIRONS: list[dict[str, str]] = [
    {"HOST": "mailpit", "SECURITY": "none"},
    {"HOST": "mailpit", "SECURITY": "Plaintext"},
    {"HOST": "8.8.8.8", "SECURITY": "plaintext"},
    {"HOST": "mailpit", "SECURITY": "plaintext", "USERNAME": "u", "PASSWORD": "s3cret"},
    {"URL": "smtp://mailpit:1025", "SECURITY": "plaintext"},
    {"SECURITY": "plaintext"},
]


@pytest.mark.parametrize("environ", ENVIRONS)
def test_refused_environment(environ: dict[str, str]) -> None:
    """What is no security, or goes against the rules of a sink, is refused."""
    with pytest.raises(ConfigError) as caught:
        Server.from_env({f"SMTP_{name}": value for name, value in environ.items()})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("send", WAYS)
def test_send(send: Send) -> None:
    """A message goes to a sink in plaintext, by its URL."""
    with ScriptedServer(SINK, implicit=None, starttls2=None) as scripted:
        url = f"smtp://127.0.0.1:{scripted.port('starttls')}?security=plaintext"
        assert send(MESSAGE, url, **envelope()).tls is None
    assert [bytes(m.content) for m in scripted.accepted]


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The commands accept the same URL, and the same variables."""
    with ScriptedServer(SINK, implicit=None, starttls2=None) as scripted:
        url = f"smtp://127.0.0.1:{scripted.port('starttls')}?security=plaintext"
        mail = ["--from", SENDER, "--to", RECIPIENT, "--subject", "Hi", "--text", "x"]
        assert main(["send", "--server", url, *mail]) == 0
        assert main(["check", url]) == 0
        assert main(["explain", "--server", url]) == 0
    assert "plaintext" in capsys.readouterr().out
    assert len(scripted.accepted) == 1


@pytest.mark.parametrize("send", WAYS)
@pytest.mark.parametrize("auth", [None, Password("u", "p")])
def test_the_error_names_it(auth: Any, send: Send) -> None:
    """Without STARTTLS at a loopback address, error and check name the way to a sink."""
    with ScriptedServer(SINK, implicit=None, starttls2=None) as scripted:
        server = server_for(scripted, "starttls", auth=auth)
        with pytest.raises(TLSError) as caught:
            send(MESSAGE, server, **envelope())
        report = check(server)
        url = f"smtp://127.0.0.1:{scripted.port('starttls')}?security=plaintext"
    assert url in caught.value.hint
    assert "SMTP_SECURITY=plaintext" in caught.value.hint
    assert url in report.advice[0]
    assert "SMTP_SECURITY=plaintext" in report.advice[0]


@pytest.mark.parametrize("send", WAYS)
def test_nothing_listens_on_this_machine(send: Send) -> None:
    """On this machine no provider blocks a port, and a sink may be what was meant."""
    with ScriptedServer("refused") as scripted:
        with pytest.raises(ConnectError) as caught:
            send(MESSAGE, server_for(scripted), **envelope())
    assert "providers" not in caught.value.hint
    assert "smtp://127.0.0.1:1025?security=plaintext" in caught.value.hint
