"""Nothing that comes from arguments, files or servers acts on the terminal."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import COMMAND, environment, login, without_login
from hypothesis import given
from hypothesis import strategies as st
from scripted import Script, ScriptedServer, reply
from sending import MESSAGE, envelope, send_sync, server_for

from smtpsend import SendError
from smtpsend.cli import main
from smtpsend.cli.exits import Exit
from smtpsend.cli.terminal.output import printable


EVIL = {
    "title of a terminal": "\x1b]0;x\x07",
    "C1": "\x9b31m",
    "right to left": "\u202e",
    "isolate": "\u2066",
    "Arabic letter mark": "\u061c",
    "surrogate": "\udcff",
    "line feed": "a\nb",
    "carriage return": "a\rb",
    "line separator": "\u2028",
    "delete": "\x7f",
    "glue": "\0",
}
FILES = {name: text for name, text in EVIL.items() if "\0" not in text}
LETTER = ["--from", "ann@example.org", "--to", "bob@example.net", "--text", "x"]
TO = ["--server", "127.0.0.1"]

PLACES: dict[str, tuple[list[str], Exit]] = {
    "command": (["X"], Exit.USAGE),
    "option": (["send", "--X"], Exit.USAGE),
    "short option": (["send", "-X"], Exit.USAGE),
    "value of a flag": (["send", "--json=X"], Exit.USAGE),
    "number": (["check", "h", "--timeout", "X"], Exit.USAGE),
    "server": (["check", "hX"], Exit.CONFIG),
    "IDN": (["check", "éX.example"], Exit.CONFIG),
    "URL": (["check", "smtp://hX"], Exit.CONFIG),
    "message": (["send", "/nowhere/X", *TO], Exit.NO_INPUT),
    "folder": (["send-many", "/nowhere/X", *TO, "--results", "r"], Exit.NO_INPUT),
    "attachment": (["send", *LETTER, *TO, "--attach", "/nowhere/X"], Exit.DATA),
    "recipient": (["send", *LETTER, *TO, "--cc", "bobX@example.net"], Exit.DATA),
    "sender": (["send", *LETTER, *TO, "--from", "annX@example.org"], Exit.DATA),
    "CA": (["check", "127.0.0.1", "--cafile", "/nowhere/X"], Exit.CONFIG),
    "fingerprint": (["check", "h", "--fingerprint", "sha256:X"], Exit.CONFIG),
    "user": (["check", "127.0.0.1", "--user", "annX"], Exit.CONFIG),
    "password file": (
        ["check", "h", "--user", "ann", "--password-file", "/nowhere/X"],
        Exit.NO_INPUT,
    ),
}


def cannot_be_commands(text: str) -> None:
    """Assert that nothing is in a text but lines of printable characters."""
    assert all(line.isprintable() for line in text.split("\n")), ascii(text)


@pytest.fixture(autouse=True)
def _nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.delenv("SMTP_PASSWORD", raising=False)


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("place", PLACES)
def test_arguments(place: str, evil: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever an argument holds, the message about it is text."""
    words, code = PLACES[place]
    given = [word.replace("X", EVIL[evil]) for word in words]
    assert main(given) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err
    cannot_be_commands(err)


@pytest.mark.parametrize("place", ["message", "folder", "recipient", "IDN", "CA"])
def test_json(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON holds the argument as it is, in escapes."""
    words, code = PLACES[place]
    given = [word.replace("X", "a\x1b\x7f\x9b\u202e\n\udcff") for word in words]
    assert main([*given, "--json"]) == code
    out, err = capsys.readouterr()
    assert err == ""
    cannot_be_commands(out)
    assert out.isascii()
    assert json.loads(out)["error"]["message"]


@pytest.mark.parametrize("evil", FILES)
def test_names_of_messages(
    evil: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The names of files in a folder are shown as text, and stored as they are."""
    folder = tmp_path / "out"
    folder.mkdir()
    name = f"x{FILES[evil]}y.eml"
    try:
        (folder / name).write_bytes(b"Subject: nobody\n\nx\n")
    except OSError:
        pytest.skip("this file system has no such names")
    results = tmp_path / f"r{FILES[evil]}.jsonl"
    words = ["send-many", str(folder), "--results", str(results), *TO]
    assert main(words) == Exit.DATA
    assert main(words) == Exit.CANNOT_WRITE  # it is there
    out, err = capsys.readouterr()
    cannot_be_commands(out)
    cannot_be_commands(err)
    assert f"x{printable(FILES[evil])}y.eml" in out
    assert json.loads(results.read_text().splitlines()[1])["name"] == name


def test_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question for a password shows the user as text."""
    asked: list[str] = []

    def ask(text: str) -> str:
        asked.append(text)
        return "secret"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", ask)
    assert main(["check", "127.0.0.1", "--user", "ann\x1b[2J"]) == Exit.CONFIG
    assert asked == [r"Password of ann\x1b[2J at 127.0.0.1: "]


REPLY = "no \x1b[2J \x9b2J \u202e \u2066 \u061c \x7f \u2028 no"


@pytest.mark.parametrize("debug", [[], ["--debug"]])
@pytest.mark.parametrize(
    "words", [["check", "URL"], ["send", *LETTER, "--server", "URL"]]
)
def test_replies(
    words: list[str],
    debug: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a server replies is shown as text, in the conversation of --debug, too."""
    script = Script(
        {"greeting": reply(220, None, REPLY), "mail": reply(550, None, REPLY)}
    )
    with ScriptedServer(starttls=script, implicit=None, starttls2=None) as scripted:
        monkeypatch.setenv("SMTP_PASSWORD", scripted.password)
        given = [without_login(scripted) if word == "URL" else word for word in words]
        main([*given, *login(scripted), *debug])
    out, err = capsys.readouterr()
    assert "no" in out
    cannot_be_commands(out)
    cannot_be_commands(err)
    assert ("EHLO" in err) == bool(debug)


def test_reply_of_an_error() -> None:
    """No error of the library has what turns the direction of a line around."""
    with ScriptedServer(Script({"mail": reply(550, None, REPLY)})) as scripted:
        with pytest.raises(SendError) as caught:
            send_sync(MESSAGE, server_for(scripted, "implicit"), **envelope())
    assert caught.value.reply is not None
    cannot_be_commands(caught.value.reply.text)
    cannot_be_commands(str(caught.value))


def test_bytes_of_arguments() -> None:
    """Arguments that are not UTF-8 are shown in escapes."""
    ended = subprocess.run(
        [*COMMAND, "send", b"/nowhere/\xff\x1b.eml", *TO],
        capture_output=True,
        env=environment(),
    )
    assert ended.returncode == Exit.NO_INPUT
    message = (
        rb"smtpsend: /nowhere/\udcff\x1b.eml cannot be read: No such file or directory"
    )
    assert ended.stderr == message + os.linesep.encode()


@given(st.text())
def test_any_text(text: str) -> None:
    """Any text becomes one line that can be written and seen; text stays as it is."""
    shown = printable(text)
    assert shown.isprintable()
    shown.encode()
    assert not text.isprintable() or shown == text
