"""`--notify` and `--require-tls` of the commands: what the server gets, and lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import login, without_login
from leaks import one_port
from scripted import OFFERS, Script, ScriptedServer

from smtpsend.cli import main
from smtpsend.cli.exits import Exit


BOTH = Script(offers=(*OFFERS, "PIPELINING", "DSN", "REQUIRETLS"))
NEITHER = Script(offers=(*OFFERS, "PIPELINING"))
WHOLE = "From: ann@example.org\nTo: bob@example.net\nMessage-ID: <1@a>\n\nHi.\n"
ASKED = ("--notify", "failure, Delay", "--require-tls")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A folder with one message."""
    file = tmp_path / "out" / "1.eml"
    file.parent.mkdir()
    file.write_text(WHOLE)
    return file


def run(server: ScriptedServer, *words: str) -> int:
    """A command for a server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMTP_PASSWORD", server.password)
        return main([*words, "--server", without_login(server), *login(server)])


def many(file: Path) -> list[str]:
    """The words that send the folder of a file."""
    results = str(file.parent.parent / "r.jsonl")
    return ["send-many", str(file.parent), "--results", results]


@pytest.mark.parametrize("command", ["send", "send-many"])
def test_what_is_asked_for(command: str, file: Path) -> None:
    """Both commands ask for both, and for neither without the options."""
    words = ["send", str(file)] if command == "send" else many(file)
    with one_port(BOTH) as server:
        assert run(server, *words, *ASKED) == Exit.OK
    lines = [line for _, line in server.connections[-1].commands]
    assert any(line.endswith(b" REQUIRETLS") for line in lines)
    wanted = (
        b"RCPT TO:<bob@example.net> NOTIFY=FAILURE,DELAY ORCPT=rfc822;bob@example.net"
    )
    assert wanted in lines


def test_nothing_is_asked_for(file: Path) -> None:
    """Without the options, no parameter goes out to a server that knows them."""
    with one_port(BOTH) as server:
        assert run(server, "send", str(file)) == Exit.OK
    assert b"RCPT TO:<bob@example.net>" in [x for _, x in server.connections[0].commands]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--notify", "never"), ("does not offer DSN", "send it without --notify")),
        (("--require-tls",), ("does not offer REQUIRETLS", "without --require-tls")),
    ],
)
def test_a_server_that_lacks_it(
    option: tuple[str, ...],
    words: tuple[str, ...],
    file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command fails for good, and its advice names the option."""
    with one_port(NEITHER) as server:
        assert run(server, "send", str(file), *option) == Exit.PERMANENT
    text = " ".join(capsys.readouterr().out.lower().split())
    assert all(one.lower() in text for one in words)
    assert server.accepted == []


def test_another_run_without_it(file: Path) -> None:
    """What the option ruled out is no refusal: a later run without it sends it."""
    with one_port(NEITHER) as server:
        assert run(server, *many(file), "--require-tls") == Exit.PERMANENT
        text = (file.parent.parent / "r.jsonl").read_text()
        states: list[Any] = [json.loads(line).get("state") for line in text.splitlines()]
        assert states == [None, "failed"]
        assert run(server, *many(file), "--resume") == Exit.OK
    assert len(server.accepted) == 1


@pytest.mark.parametrize(
    "bad", ["", "failed", "never,failure", "failure,", "failure;delay"]
)
def test_no_such_event(bad: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An event that does not exist is a mistake of usage; no connection is opened."""
    with one_port(BOTH) as server:
        assert run(server, "send", str(file), "--notify", bad) == Exit.USAGE
        assert run(server, *many(file), "--notify", bad) == Exit.USAGE
    assert "--notify" in capsys.readouterr().err
    assert server.connections == []


@pytest.mark.parametrize("command", ["send", "send-many"])
def test_the_option_twice(command: str, file: Path) -> None:
    """Events of an option that is given twice are asked for together."""
    words = ["send", str(file)] if command == "send" else many(file)
    twice = ("--notify", "failure", "--notify", "delay,success")
    with one_port(BOTH) as server:
        assert run(server, *words, *twice) == Exit.OK
    lines = [line for _, line in server.connections[-1].commands]
    assert any(b" NOTIFY=FAILURE,DELAY,SUCCESS " in line for line in lines)


@pytest.mark.parametrize("pair", [("never", "failure"), ("delay", "never")])
def test_never_and_another(
    pair: tuple[str, str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`never` stands alone over both of two options, too."""
    words = ["--notify", pair[0], "--notify", pair[1]]
    with one_port(BOTH) as server:
        assert run(server, "send", str(file), *words) == Exit.USAGE
    assert "--notify" in capsys.readouterr().err
    assert server.connections == []
