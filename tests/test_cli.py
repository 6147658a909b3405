"""The commands `check`, `send`, `explain` and `demo`, as a user calls them."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import tls
from commands import login, without_login
from scripted import Script, ScriptedServer, drip, reply, rst

import smtpsend
from smtpsend import DeliveryUnknown, SendError
from smtpsend.cli import main
from smtpsend.cli.exits import TABLE, Exit, exit_of, help_text, state_of
from smtpsend.errors import (
    AuthError,
    CertificateError,
    ConfigError,
    ConnectError,
    ConnectionLost,
    RecipientsRefused,
    Rejected,
    Reply,
    TLSError,
)


COMPOSE = ["--from", "ann@example.org", "--to", "bob@example.net", "--subject", "Hello"]
WHOLE = b"From: ann@example.org\nTo: Bob <bob@example.net>\nBcc: eve@example.net\n\nHi.\n"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No server in the environment, one size of terminal, the log as it was."""
    for name in [name for name in os.environ if name.startswith("SMTP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")
    for kind in tls.KINDS:
        tls.server_context(kind)
    log = logging.getLogger("smtpsend")
    before = log.level, log.handlers, log.propagate
    yield
    log.level, log.handlers, log.propagate = before
    log.manager._clear_cache()  # type: ignore[attr-defined]


class Terminal(io.StringIO):
    """Standard output or input as a terminal."""

    def isatty(self) -> bool:
        return True


def one(script: Any = None) -> ScriptedServer:
    """A server with one port."""
    return ScriptedServer(starttls=script or {}, implicit=None, starttls2=None)


def run(*words: str, server: ScriptedServer | None = None) -> int:
    """`main` with these words, and a server that is trusted."""
    if server is None:
        return main([*words])
    bare = without_login(server)
    given = [bare if word == server.url else word for word in words] + login(server)
    given += [] if words[0] == "check" else ["--server", bare]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMTP_PASSWORD", server.password)
        return main(given)


@pytest.mark.parametrize("words", [["--version"], ["--version", "send", "x"]])
def test_version(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints name and version, and nothing else is done."""
    assert main(words) == 0
    assert capsys.readouterr() == (f"smtpsend {smtpsend.__version__}\n", "")


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """What a pipe brings."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


# send

ENDINGS: dict[str, tuple[Any, Exit, str, str]] = {
    "accepted": ({}, Exit.OK, "accepted", "accepted, in "),
    "partial": (
        {"rcpt:2": reply(550, "5.1.1", "no such user")},
        Exit.PARTIAL,
        "partial",
        "refused  cat@example.net: 550 5.1.1 no such user",
    ),
    "refused": (
        {"mail": reply(550, "5.7.1", "no")},
        Exit.PERMANENT,
        "refused",
        "550 5.7.1 no",
    ),
    "deferred": (
        {"mail": reply(451, "4.3.0", "later")},
        Exit.TEMPORARY,
        "deferred",
        "NOT SENT; it may work later",
    ),
    "unknown": ({"final": rst()}, Exit.UNKNOWN, "unknown", "UNKNOWN whether"),
    "auth": (
        {"auth": reply(535, "5.7.8", "wrong")},
        Exit.AUTH,
        "failed",
        "535 5.7.8 wrong",
    ),
    "certificate": (
        Script(certificate="wrong_host"),
        Exit.TLS,
        "failed",
        "The certificate is for wrong.example.org, not for 127.0.0.1",
    ),
    "nobody": ("refused", Exit.TEMPORARY, "deferred", "connection refused"),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_send_endings(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each ending has its exit code, its words, and its timeline if it failed."""
    script, code, _, words = ENDINGS[case]
    with one(script) as scripted:
        assert run("send", *COMPOSE, "--cc", "cat@example.net", server=scripted) == code
    out, err = capsys.readouterr()
    assert words in out
    assert err == ""
    assert ("What was tried" in out) == (case not in ("accepted", "partial"))
    assert scripted.password not in out
    assert quote(scripted.password) not in out


@pytest.mark.parametrize("case", ENDINGS)
def test_send_json(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same as JSON, and nothing else on standard output."""
    script, code, state, _ = ENDINGS[case]
    with one(script) as scripted:
        arguments = ("send", *COMPOSE, "--cc", "cat@example.net", "--json")
        assert run(*arguments, server=scripted) == code
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["exit"], found["state"], err) == (code, state, "")
    assert (found["receipt"] is None) == (found["error"] is not None)
    assert found["ok"] == (found["error"] is None)
    assert scripted.password not in out


def test_send_slow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow send shows where the time went."""
    monkeypatch.setattr("smtpsend.cli.send.SLOW", 0.05)
    with one({"final": drip(b"250 ok\r\n", 0.02)}) as scripted:
        assert run("send", *COMPOSE, server=scripted) == Exit.OK
    assert "Where the time went" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["file", "stdin", "dash"])
def test_whole_message(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole message keeps its bytes; Bcc is used and removed, what is missing added."""
    file = tmp_path / "m.eml"
    file.write_bytes(WHOLE)
    stdin(monkeypatch, WHOLE)
    words = {"file": [str(file)], "stdin": [], "dash": ["-"]}[where]
    with one() as scripted:
        assert run("send", *words, server=scripted) == Exit.OK
    (message,) = scripted.accepted
    assert message.sender == "ann@example.org"
    assert message.recipients == ("bob@example.net", "eve@example.net")
    assert message.message_id
    head, _, body = message.content.partition(b"\r\n\r\n")
    assert head.endswith(b"From: ann@example.org\r\nTo: Bob <bob@example.net>")
    assert b"Date: " in head
    assert body == b"Hi.\r\n"


def test_envelope_of_a_whole_message(tmp_path: Path) -> None:
    """--from and --to take the place of the addresses in the headers."""
    file = tmp_path / "m.eml"
    file.write_bytes(b"From mbox Mon Jan  1\nMessage-ID: <7@x.org>\n" + WHOLE)
    arguments = ("--from", "bounce@example.org", "--to", "test@example.org")
    with one() as scripted:
        assert run("send", str(file), *arguments, server=scripted) == Exit.OK
    (message,) = scripted.accepted
    assert message.sender == "bounce@example.org"
    assert message.recipients == ("test@example.org",)
    assert message.message_id == "<7@x.org>"
    assert message.content.count(b"Message-ID") == 1


def test_compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options make a message; "-" reads the text from a pipe."""
    (tmp_path / "a.txt").write_text("attached")
    stdin(monkeypatch, "Grüße\n".encode())
    more = ["--text", "-", "--html", "<p>Hi", "--bcc", "x@y.org", "--attach"]
    with one() as scripted:
        words = ("send", *COMPOSE, *more, str(tmp_path / "a.txt"))
        assert run(*words, server=scripted) == Exit.OK
    (message,) = scripted.accepted
    assert message.recipients == ("bob@example.net", "x@y.org")
    for part in (b64encode("Grüße\n".encode()), b"<p>Hi", b'filename="a.txt"'):
        assert part in message.content
    assert b"x@y.org" not in message.content


BAD: dict[str, tuple[list[str], Exit, str]] = {
    "no command": ([], Exit.USAGE, "COMMAND"),
    "no such command": (["smtp://u:s3cret@h"], Exit.USAGE, "invalid choice"),
    "password": (["send", "--password", "s3cret"], Exit.USAGE, "--password-file"),
    "password=": (["check", "h", "--password=s3cret"], Exit.USAGE, "--password-file"),
    "unknown option": (["check", "h", "--pw=s3cret"], Exit.USAGE, "unknown option: --pw"),
    "too much": (["check", "h", "s3cret"], Exit.USAGE, "an argument too many"),
    "timeout": (["check", "h", "--timeout", "0"], Exit.USAGE, "above 0"),
    "no server": (["check"], Exit.USAGE, "SMTP_URL"),
    "bad URL": (["check", "smtp://u@h:0"], Exit.CONFIG, "of the form"),
    "host with port": (["check", "h.example:587"], Exit.CONFIG, "(smtp://host:587)."),
    "user twice": (
        ["check", "smtp://u@h", "--user", "u"],
        Exit.USAGE,
        "a user already",
    ),
    "no user": (["check", "h", "--password-file", "x"], Exit.USAGE, "--user"),
    "no password": (["check", "h", "--user", "u"], Exit.CONFIG, "no password"),
    "no file": (
        ["check", "h", "--user", "u", "--password-file", "/nowhere"],
        Exit.NO_INPUT,
        "cannot be read",
    ),
    "no CA": (["check", "h", "--cafile", "/nowhere"], Exit.CONFIG, "cafile"),
    "no message file": (["send", "/nowhere", "--server", "h"], Exit.NO_INPUT, "/nowhere"),
    "no recipient": (
        ["send", "--server", "h", "--from", "a@b.org", "--text", "x"],
        Exit.USAGE,
        "--to",
    ),
    "bad address": (
        ["send", "--server", "h", "--from", "a@b.org", "--to", "nobody", "--text", "x"],
        Exit.DATA,
        "the message cannot be sent",
    ),
    "message and options": (
        ["send", "x.eml", "--server", "h", "--subject", "x"],
        Exit.USAGE,
        "whole message",
    ),
    "two pipes": (
        ["send", "--server", "h", *COMPOSE, "--text", "-", "--html", "-"],
        Exit.USAGE,
        "standard input",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(
    case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad arguments: the exit code, what is wrong, and never a secret."""
    stdin(monkeypatch, b"")
    words, code, text = BAD[case]
    assert main(words) == code
    out, err = capsys.readouterr()
    assert (out, text in err) == ("", True), err
    assert "s3cret" not in err


def test_bad_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message without addresses is refused before anything is connected."""
    stdin(monkeypatch, b"Subject: x\n\nHi.\n")
    assert main(["send", "--server", "localhost"]) == Exit.DATA
    said = capsys.readouterr().err
    assert "the message has no From" in said
    assert "Set From, or give --from." in said


def test_text_without_headers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mere text is no message, also where its envelope is given."""
    stdin(monkeypatch, b"just a text\n")
    words = ["send", "--server", "localhost", "--from", "a@b.org", "--to", "c@d.org"]
    assert main(words) == Exit.DATA
    assert "--text -" in capsys.readouterr().err


def test_bad_input_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json an error before any sending is JSON, too."""
    assert main(["check", "a b", "--json"]) == Exit.CONFIG
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["exit"]) == (False, Exit.CONFIG)
    assert found["error"]["type"] == "ConfigError"


# credentials


@pytest.mark.parametrize(
    "source", ["url", "SMTP_URL", "SMTP_HOST", "file", "environment", "prompt"]
)
def test_credentials(
    source: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each place that a password may come from; it is never shown."""
    with one() as scripted:
        url = scripted.url
        bare = re.sub("//.*@", "//", url)
        file = tmp_path / "pw"
        file.write_text(scripted.password + "\n")
        words: list[str] = []
        match source:
            case "url":
                words = ["--server", bare.replace("//", f"//{scripted.user}@")]
                monkeypatch.setenv("SMTP_PASSWORD", scripted.password)
            case "SMTP_URL":
                monkeypatch.setenv("SMTP_URL", url)
            case "SMTP_HOST":
                # The environment has no port, so that nobody is there.
                monkeypatch.setenv("SMTP_HOST", "127.45.6.8")
                monkeypatch.setenv("SMTP_USERNAME", scripted.user)
                monkeypatch.setenv("SMTP_PASSWORD_FILE", str(file))
            case "file":
                words = ["--server", bare, "--user", scripted.user]
                words += ["--password-file", str(file)]
            case "environment":
                words = ["--server", bare, "--user", scripted.user]
                monkeypatch.setenv("SMTP_PASSWORD", scripted.password)
            case "prompt":
                words = ["--server", bare, "--user", scripted.user]
                monkeypatch.setattr(sys, "stdin", Terminal())
                monkeypatch.setattr("getpass.getpass", lambda _: scripted.password)
        code = main(["send", *COMPOSE, "--text", "x", "--cafile", scripted.ca, *words])
    assert code == (Exit.TEMPORARY if source == "SMTP_HOST" else Exit.OK)
    assert len(scripted.accepted) == (code == Exit.OK)
    assert scripted.password not in "".join(capsys.readouterr())


def test_credentials_go_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials of the environment are not for a server that is named."""
    with one(Script(require_auth=False)) as scripted:
        monkeypatch.setenv("SMTP_USERNAME", scripted.user)
        monkeypatch.setenv("SMTP_PASSWORD", scripted.password)
        bare = re.sub("//.*@", "//", scripted.url)
        assert main(["check", bare, "--cafile", scripted.ca]) == Exit.OK
    assert all("AUTH" not in c.verbs for c in scripted.connections)


def test_debug(capsys: pytest.CaptureFixture[str]) -> None:
    """--debug shows the conversation on standard error, without the password."""
    with one() as scripted:
        assert run("send", *COMPOSE, "--debug", server=scripted) == Exit.OK
    out, err = capsys.readouterr()
    assert "> EHLO" in err
    assert "AUTH PLAIN ***" in err
    assert scripted.password not in err
    assert "EHLO" not in out


# check

CHECKS: dict[str, tuple[Any, Exit, list[str]]] = {
    "good": ({}, Exit.OK, ["ready in", "Login accepted", "the only method"]),
    "login": (
        {"auth": reply(535, "5.7.8", "wrong")},
        Exit.AUTH,
        ["Login REFUSED", "535 5.7.8 wrong", "What to change", "app password"],
    ),
    "certificate": (
        Script(certificate="wrong_host"),
        Exit.TLS,
        ["FAILED at TLS", "REFUSED; for wrong.example.org", "use a name that it covers"],
    ),
    "expired": (Script(certificate="expired"), Exit.TLS, ["EXPIRED on 2020-01-01"]),
    "nobody": ("refused", Exit.TEMPORARY, ["FAILED at TCP", "nothing listens there"]),
}


@pytest.mark.parametrize("case", CHECKS)
def test_check(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A report for people, and one for programs, with the same exit code."""
    script, code, words = CHECKS[case]
    with one(script) as scripted:
        assert run("check", scripted.url, server=scripted) == code
        out, err = capsys.readouterr()
        assert err == ""
        for text in words:
            assert text in " ".join(out.split()), out
        assert run("check", scripted.url, "--json", server=scripted) == code
    found = json.loads(capsys.readouterr().out)
    assert (found["exit"], found["ok"]) == (code, code == Exit.OK)
    assert not scripted.accepted
    assert scripted.password not in out


def test_check_unknown_host(capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown host name is said, and will be the same next time."""
    assert main(["check", "nosuchhost.invalid"]) in (Exit.PERMANENT, Exit.TEMPORARY)
    assert "nosuchhost.invalid" in capsys.readouterr().out


def test_check_default_policy(capsys: pytest.CaptureFixture[str]) -> None:
    """A bare host name means three methods, and a look at port 25."""
    assert main(["check", "127.45.6.7"]) == Exit.TEMPORARY
    out = capsys.readouterr().out
    for text in ("587 STARTTLS", "465 implicit TLS", "2525 STARTTLS", "25  not used"):
        assert text in out
    assert "refuses connections on all three ports" in out


@pytest.mark.parametrize("columns", [40, 60, 120])
def test_width(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is wider than the terminal, but for a fingerprint, which stays whole."""
    monkeypatch.setenv("COLUMNS", str(columns))
    with one({"auth": reply(535, "5.7.8", *["wrong password"] * 9)}) as scripted:
        run("check", scripted.url, server=scripted)
    lines = capsys.readouterr().out.splitlines()
    wide = [line.strip() for line in lines if len(line) > max(40, columns)]
    assert all(line.startswith("sha256:") for line in wide), wide


# the terminal


@pytest.mark.parametrize(
    ("rich", "no_color", "colour"),
    [(True, "", True), (True, "1", False), (False, "", False)],
)
def test_colour(
    rich: bool, no_color: str, colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Colour on a terminal with the extra, unless NO_COLOR is set; never in a pipe."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    with one({"mail": reply(550, "5.7.1", "[red]no[/red] \x1b[31m\u202e")}) as scripted:
        assert run("send", *COMPOSE, server=scripted) == Exit.PERMANENT
    shown = screen.getvalue()
    assert "[red]no[/red]" in shown
    assert ("\x1b[1;31mNOT SENT\x1b[0m" in shown) == colour
    assert "\x1b[31m" not in shown.partition("[red]")[2][:20]
    assert "\u202e" not in shown
    if not colour:
        assert "\x1b" not in shown


def test_reader_gone() -> None:
    """A reader that leaves early does not change what the command does."""
    command = [sys.executable, "-m", "smtpsend", "explain"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(30) == Exit.OK


# the rest


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    """The policy in words, also that of a URL."""
    assert main(["explain"]) == Exit.OK
    assert "587 STARTTLS" in capsys.readouterr().out
    assert main(["explain", "--server", "smtps://u@h.example"]) == Exit.OK
    out = capsys.readouterr().out
    assert "465 implicit TLS" in out
    assert "587" not in out


def test_demo(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo shows a refused port, the receipt and the stored message."""
    assert main(["demo"]) == Exit.OK
    out = capsys.readouterr().out
    for text in ("connection refused", "accepted: 250", "Receipt", "the fallback worked"):
        assert text in out


@pytest.mark.parametrize("command", [[], ["check"], ["send"], ["send-many"], ["explain"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every help shows the exit codes."""
    assert main([*command, "--help"]) == Exit.OK
    assert help_text() in capsys.readouterr().out


def test_every_exit_code_is_explained() -> None:
    """The table has each code once."""
    assert set(TABLE) == set(Exit)


NO = Reply(550, "5.7.1", "no")


def made(kind: type[SendError], *, accepted: tuple[str, ...] = (), **facts: Any) -> Any:
    """An error of this kind."""
    error = kind("x", **facts)
    error.accepted = accepted
    return error


@pytest.mark.parametrize(
    ("error", "code", "state"),
    [
        (made(ConfigError), Exit.CONFIG, "invalid"),
        (made(AuthError), Exit.AUTH, "failed"),
        (made(AuthError, temporary=True), Exit.TEMPORARY, "deferred"),
        (made(CertificateError), Exit.TLS, "failed"),
        (made(TLSError), Exit.TLS, "failed"),
        (made(TLSError, temporary=True), Exit.TEMPORARY, "deferred"),
        (made(ConnectError), Exit.PERMANENT, "failed"),
        (made(ConnectionLost, temporary=True), Exit.TEMPORARY, "deferred"),
        (made(Rejected, reply=NO), Exit.PERMANENT, "refused"),
        (made(RecipientsRefused, reply=NO), Exit.PERMANENT, "refused"),
        # What the reply to EHLO rules out: another run may ask for less.
        (made(Rejected), Exit.PERMANENT, "failed"),
        (made(Rejected, accepted=("a@b.org",)), Exit.PARTIAL, "partial"),
        (made(DeliveryUnknown), Exit.UNKNOWN, "unknown"),
        (made(DeliveryUnknown, accepted=("a@b.org",)), Exit.UNKNOWN, "unknown"),
    ],
)
def test_codes_and_states(error: SendError, code: Exit, state: str) -> None:
    """Each error has its exit code and its state."""
    assert (exit_of(error), state_of(None, error)) == (code, state)


def test_quick_start() -> None:
    """The command line's grammar imports neither rich nor a mail server."""
    code = "import sys, smtpsend.cli as _; print({'rich', 'aiosmtpd'} & {*sys.modules})"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout == "set()\n"
