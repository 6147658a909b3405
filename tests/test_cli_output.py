"""The output of the commands: who reads it, and whether, never changes what they do."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import COMMAND, environment, login, without_login
from scripted import Action, Script, ScriptedServer, reply

from smtpsend.cli.exits import Exit


COMPOSE = ["--from", "ann@example.org", "--to", "bob@example.net", "--text", "x"]
LETTER = b"From: ann@example.org\nTo: bob@example.net\nSubject: x\n\nHello.\n"

# Each command with its exit code, and whether it sends a message; what it writes goes to
# standard output, or, for an error, to standard error.
COMMANDS: dict[str, tuple[list[str], Exit, bool]] = {
    "send": (["send", *COMPOSE, "SERVER"], Exit.OK, True),
    "send --json": (["send", *COMPOSE, "SERVER", "--json"], Exit.OK, True),
    "send --debug": (["send", *COMPOSE, "SERVER", "--debug"], Exit.OK, True),
    "send-many": (["send-many", "FOLDER", "--results", "NEW", "SERVER"], Exit.OK, True),
    "send-many --json": (
        ["send-many", "FOLDER", "--results", "NEW", "SERVER", "--json"],
        Exit.OK,
        True,
    ),
    "check": (["check", "URL"], Exit.OK, False),
    "check --json": (["check", "URL", "--json"], Exit.OK, False),
    "explain": (["explain"], Exit.OK, False),
    "help": (["--help"], Exit.OK, False),
    "help of a command": (["send-many", "--help"], Exit.OK, False),
    "version": (["--version"], Exit.OK, False),
    "demo": (["demo"], Exit.OK, False),
    "wrong option": (["send", "--nosuch"], Exit.USAGE, False),
    "no file": (["send", "/nowhere", "--server", "h"], Exit.NO_INPUT, False),
    "no file, JSON": (
        ["send", "/nowhere", "--server", "h", "--json"],
        Exit.NO_INPUT,
        False,
    ),
}


@contextmanager
def server(script: dict[str, Action] | None = None) -> Iterator[ScriptedServer]:
    """A server with one port."""
    one = Script(script or {})
    with ScriptedServer(starttls=one, implicit=None, starttls2=None) as scripted:
        yield scripted


def filled(words: list[str], folder: Path, scripted: ScriptedServer) -> list[str]:
    """A command for this server, with files in this folder."""
    (folder / "out").mkdir()
    (folder / "out" / "1.eml").write_bytes(LETTER)
    named = {"FOLDER": [str(folder / "out")], "NEW": [str(folder / "r.jsonl")]}
    named["URL"] = [without_login(scripted), *login(scripted)]
    named["SERVER"] = ["--server", *named["URL"]]
    return [*COMMAND, *(part for word in words for part in named.get(word, [word]))]


GONE = [(case, "stdout", True) for case in COMMANDS]
GONE += [(case, "stdout", False) for case in ("send", "send --json", "explain", "help")]
GONE += [(case, "both", True) for case in ("send", "send --debug", "no file", "demo")]
GONE += [(case, "stderr", True) for case in ("send --debug", "wrong option")]


@pytest.mark.parametrize(("case", "gone", "buffered"), GONE)
def test_reader_gone(case: str, gone: str, buffered: bool, tmp_path: Path) -> None:
    """Where the reader of a stream has gone, exit code and mail are as they would be."""
    words, code, sends = COMMANDS[case]
    with server() as scripted:
        command = filled(words, tmp_path, scripted)
        changes = {"SMTP_PASSWORD": scripted.password}
        changes |= {} if buffered else {"PYTHONUNBUFFERED": "1"}
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb") as broken:
            out = subprocess.PIPE if gone == "stderr" else broken
            err = subprocess.PIPE if gone == "stdout" else broken
            ended = subprocess.run(
                command, stdout=out, stderr=err, env=environment(**changes)
            )
    assert ended.returncode == code
    assert len(scripted.accepted) == sends
    if case != "send --debug" and code == Exit.OK:
        assert not ended.stderr
    if gone == "stderr" and code == Exit.OK:
        assert ended.stdout


@pytest.mark.parametrize("case", ["send", "send --json", "send-many"])
def test_code_of_a_refusal(case: str, tmp_path: Path) -> None:
    """A message that was refused has its own exit code where nobody reads either."""
    words, _, _ = COMMANDS[case]
    with server({"mail": reply(550, "5.7.1", "no")}) as scripted:
        command = filled(words, tmp_path, scripted)
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(SMTP_PASSWORD=scripted.password),
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b""
    assert process.returncode == Exit.PERMANENT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
@pytest.mark.parametrize("case", ["send", "send-many --json", "help", "no file, JSON"])
def test_full_disk(case: str, tmp_path: Path) -> None:
    """Output that cannot be stored is reported on standard error, and changes no code."""
    words, code, sends = COMMANDS[case]
    with server() as scripted:
        command = filled(words, tmp_path, scripted)
        with Path("/dev/full").open("wb") as full:
            ended = subprocess.run(
                command,
                stdout=full,
                stderr=subprocess.PIPE,
                env=environment(SMTP_PASSWORD=scripted.password),
            )
    assert ended.returncode == code
    assert len(scripted.accepted) == sends
    note = b"smtpsend: standard output cannot be written: No space left on device\n"
    writes = code == Exit.OK or "JSON" in case
    assert ended.stderr.count(note) == writes
    if writes:
        assert ended.stderr == note


ALL = "<&- >&- 2>&-"
CLOSED = [("send --json", "<&-"), ("send", ">&-"), ("send --debug", "2>&-")]
CLOSED += [(case, ALL) for case in ("send", "send-many", "check", "help", "wrong option")]


@pytest.mark.parametrize(("case", "closed"), CLOSED)
def test_closed_stream(case: str, closed: str, tmp_path: Path) -> None:
    """A program that was started without one of its streams does what it always does."""
    words, code, sends = COMMANDS[case]
    with server() as scripted:
        command = filled(words, tmp_path, scripted)
        ended = subprocess.run(
            ["sh", "-c", f'"$@" {closed}', "sh", *command],
            capture_output=True,
            env=environment(SMTP_PASSWORD=scripted.password),
        )
    assert ended.returncode == code
    assert len(scripted.accepted) == sends
    assert b"Traceback" not in ended.stderr
    if ">&-" not in closed and "json" in case:
        assert json.loads(ended.stdout)


@pytest.mark.parametrize("words", [["send"], ["send", "-"]])
def test_no_standard_input(words: list[str]) -> None:
    """A message that is to come from a standard input that is closed is no input."""
    ended = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *COMMAND, *words, "--server", "h.example"],
        capture_output=True,
        env=environment(),
    )
    assert (ended.returncode, ended.stdout) == (Exit.NO_INPUT, b"")
    assert ended.stderr == b"smtpsend: standard input is closed\n"


def test_no_prompt_without_standard_input() -> None:
    """A password is not asked for where there is nobody to ask."""
    words = ["check", "h.example", "--user", "ann"]
    ended = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *COMMAND, *words],
        capture_output=True,
        env=environment(),
    )
    assert ended.returncode == Exit.CONFIG
    assert ended.stderr.startswith(b"smtpsend: no password")
