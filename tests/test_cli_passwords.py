"""No command accepts a password as an argument, nor repeats one that it was given."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import pytest
from commands import without_login
from scripted import Script, ScriptedServer

from smtpsend.cli import main
from smtpsend.cli.exits import Exit


SECRET = "s3cr3t"
LETTER = ["--from", "ann@example.org", "--to", "bob@example.net", "--text", "x"]
URLS = """smtp://ann:{}@h.example SMTPS://ann:{}@h.example smtp://ann@example.org:{}@h.example
smtp://:{}@h.example smtp://ann:{}@h.example:0 smtp://ann:{}@ smtp://ann:{}@h/x?y#z
smtp://ann:x@{}@h http://ann:{}@h.example ann:{}@h.example ann:{}@h.example:587
smtp://ann:{}/@h smtp://ann:{}#@h smtp://ann:{}?@h smtp://ann:%zz{}@h ://ann:{}@h
smtp://ann:{}://x@h"""
COMMANDS: dict[str, list[str]] = {
    "check": ["check", "URL"],
    "check --json": ["check", "URL", "--json"],
    "check --debug": ["check", "URL", "--debug"],
    "send": ["send", *LETTER, "--server", "URL"],
    "send=": ["send", *LETTER, "--server=URL"],
    "send --json": ["send", *LETTER, "--server", "URL", "--json"],
    "send-many": ["send-many", "/nowhere", "--results", "/nowhere/r", "--server", "URL"],
    "explain": ["explain", "--server", "URL"],
}


@pytest.fixture(autouse=True)
def _nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server is connected, and no password is asked for."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a password was asked for, or a server looked up")

    monkeypatch.setattr("getpass.getpass", never)
    monkeypatch.setattr("socket.getaddrinfo", never)


@pytest.mark.parametrize("url", URLS.split())
@pytest.mark.parametrize("case", COMMANDS)
def test_refused(case: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A password in the server is a wrong argument; the message names the other ways."""
    url = url.format(SECRET)
    assert main([word.replace("URL", url) for word in COMMANDS[case]]) == Exit.USAGE
    out, err = capsys.readouterr()
    shown = json.loads(out)["error"]["message"] if "json" in case else err
    assert (out == "") != ("json" in case)
    for way in ("SMTP_URL", "SMTP_PASSWORD", "SMTP_PASSWORD_FILE", "--password-file"):
        assert way in shown
    assert SECRET not in out + err
    assert "h.example" not in out + err


MISPLACED = {
    "a command": ["URL"],
    "a command with a blank": ["smtp://ann:a s3cr3t b@h.example"],
    "a command with quotes": ["smtp://ann:'s3cr3t\"@h.example"],
    "a message": ["send", "URL"],
    "a folder": ["send-many", "URL", "--results", "/nowhere/r", "--server", "h"],
    "a results file": ["send-many", "/nowhere", "--results", "URL", "--server", "h"],
    "an attachment": ["send", *LETTER, "--attach", "URL", "--server", "h"],
    "a recipient": ["send", *LETTER, "--cc", "URL", "--server", "h"],
    "a CA": ["check", "h", "--cafile", "URL"],
    "a user": ["check", "h", "--user", "URL"],
    "a user with a password": ["check", "h", "--user", "ann:s3cr3t"],
    "a proxy": ["check", "h", "--proxy", "http://ann:s3cr3t@h.example:3128"],
    "the user of a proxy": ["check", "h", "--proxy", "http://s3cr3t@h.example:3128"],
    "a number": ["check", "h", "--timeout", "URL"],
    "a flag": ["check", "h", "--json=URL"],
    "the value of a flag": ["check", "h", "--debug=s3cr3t"],
    "an unknown option": ["check", "h", "--login=URL"],
    "an option of mysql": ["check", "h", "-ps3cr3t"],
    "an option with a colon": ["check", "h", "--password:s3cr3t"],
    "one too many": ["check", "h", "URL"],
}


@pytest.mark.parametrize("case", MISPLACED)
def test_misplaced(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A password in another argument's place is a wrong argument, and not repeated."""
    url = f"smtp://ann:{SECRET}@h.example"
    assert main([word.replace("URL", url) for word in MISPLACED[case]]) == Exit.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert SECRET not in err
    assert "h.example" not in err


@pytest.mark.parametrize("command", ["check", "send"])
@pytest.mark.parametrize("user", ["{0}@", "{0}:@", "{1}@"])
def test_user_alone(command: str, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL may have a user, as --user; the password comes from elsewhere."""
    monkeypatch.undo()
    with ScriptedServer(starttls=Script(), implicit=None, starttls2=None) as scripted:
        monkeypatch.setenv("SMTP_PASSWORD", scripted.password)
        name = user.format(scripted.user, quote(scripted.user, safe=""))
        url = re.sub("//", f"//{name}", without_login(scripted))
        words = {"check": ["check", url], "send": ["send", *LETTER, "--server", url]}
        assert main([*words[command], "--cafile", scripted.ca]) == Exit.OK
    assert scripted.connections[-1].verbs.count("AUTH") == 1


def test_colon_in_a_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user name with a colon is written percent-encoded in a URL."""
    asked: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda text: asked.append(text) or "")
    assert main(["check", "smtp://dom%3Aann@127.0.0.1:1"]) == Exit.CONFIG
    assert asked == ["Password of dom:ann at 127.0.0.1: "]
    assert "can be empty" in capsys.readouterr().err


def test_what_is_mistyped(capsys: pytest.CaptureFixture[str]) -> None:
    """What can be no secret, and what there is to choose from, is shown."""
    assert main(["chekc", "h"]) == Exit.USAGE
    assert "'chekc' (choose from " in capsys.readouterr().err
    assert main(["check", "h", "--timout=5", "-x5"]) == Exit.USAGE
    assert capsys.readouterr().err.endswith("unknown option: --timout -x\n")


def test_user_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """A user in the URL and another one by --user contradict each other."""
    assert main(["check", "smtp://ann@h.example", "--user", "bob"]) == Exit.USAGE
    assert "leave --user out" in capsys.readouterr().err
