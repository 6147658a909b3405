"""`smtpsend send-many`: each message once, whatever ends the program."""

from __future__ import annotations

import io
import json
import mailbox
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from commands import environment, login, without_login
from leaks import eventually, one_port
from scripted import OFFERS, Action, Script, ScriptedServer, hang, reply, rst

from smtpsend.cli import main
from smtpsend.cli.exits import Exit, Problem
from smtpsend.cli.journal import Journal
from smtpsend.cli.terminal.progress import line


def numbered(n: int) -> bytes:
    """The nth message, as it stands in a file."""
    return (
        f"From: ann@example.org\nTo: bob{n}@example.net\nMessage-ID: <{n}@example.org>\n"
        f"Subject: number {n}\n\nFrom here to there.\n"
    ).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of four messages."""
    folder = tmp_path / "out"
    folder.mkdir()
    for n in range(4):
        (folder / f"{n}.eml").write_bytes(numbered(n))
    (folder / "notes.txt").write_text("no message")
    return folder


def run(server: ScriptedServer, source: Path, *more: str) -> int:
    """Send all of `source` over one connection, so that the order is certain."""
    words = ["send-many", str(source), "--results", str(source.parent / "r.jsonl")]
    words += ["--server", without_login(server), *login(server), "--connections", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMTP_PASSWORD", server.password)
        return main([*words, *more])


def lines(source: Path) -> list[dict[str, Any]]:
    """What the results file holds, below its head."""
    text = (source.parent / "r.jsonl").read_text().splitlines()
    assert json.loads(text[0]) == {"smtpsend": "results", "version": 1}
    return [json.loads(one) for one in text[1:] if one.endswith("}")]


def states(source: Path) -> dict[str, str]:
    """The last state of each message, by its name."""
    return {entry["name"]: entry["state"] for entry in lines(source)}


def taken(server: ScriptedServer) -> Counter[str | None]:
    """How often each message was accepted."""
    return Counter(message.message_id for message in server.accepted)


def test_all(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every message is sent once, and noted before it is begun and when it is done."""
    with one_port() as server:
        assert run(server, folder) == Exit.OK
    assert taken(server) == {f"<{n}@example.org>": 1 for n in range(4)}
    entries = lines(folder)
    assert [entry["state"] for entry in entries] == ["attempting", "accepted"] * 4
    assert entries[1]["accepted"] == ["bob0@example.net"]
    assert entries[1]["reply"]["code"] == 250
    assert "4 accepted in" in capsys.readouterr().out
    server.assert_clean(auths=None)


def test_mbox(tmp_path: Path) -> None:
    """An mbox: what its format quotes is not quoted in the mail."""
    source = tmp_path / "box"
    box = mailbox.mbox(source)
    for n in range(3):
        box.add(numbered(n))
    box.close()
    assert b">From here" in source.read_bytes()
    with one_port() as server:
        assert run(server, source) == Exit.OK
    assert taken(server) == {f"<{n}@example.org>": 1 for n in range(3)}
    assert all(
        m.content.endswith(b"\r\n\r\nFrom here to there.\r\n") for m in server.accepted
    )
    assert [*states(source)] == ["box#1", "box#2", "box#3"]


def test_maildir(tmp_path: Path) -> None:
    """A Maildir: new messages and those seen."""
    source = tmp_path / "mail"
    box = mailbox.Maildir(source)
    first = box.add(numbered(0))
    box.add(numbered(1))
    message = box[first]
    message.set_subdir("cur")
    box[first] = message
    with one_port() as server:
        assert run(server, source) == Exit.OK
    assert taken(server) == {"<0@example.org>": 1, "<1@example.org>": 1}


@pytest.mark.parametrize("what", ["missing", "empty", "text"])
def test_no_source(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A source without messages is said to be one, and no results file begins."""
    source = tmp_path / "s"
    if what == "empty":
        source.mkdir()
    if what == "text":
        source.write_text("no mbox")
    with one_port() as server:
        assert run(server, source) == Exit.NO_INPUT
    assert not (tmp_path / "r.jsonl").exists()
    assert not server.connections
    assert str(source) in capsys.readouterr().err


ENDINGS: dict[str, tuple[Action, str, Exit, str]] = {
    "refused": (reply(550, "5.1.1", "no"), "rcpt:2", Exit.PERMANENT, "refused"),
    "deferred": (reply(450, "4.2.0", "later"), "rcpt:2", Exit.TEMPORARY, "deferred"),
    "unknown": (rst(), "final:2", Exit.UNKNOWN, "unknown"),
    "at the end": (reply(452, "4.3.1", "full"), "final:2", Exit.TEMPORARY, "deferred"),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_endings_and_resume(
    case: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bad message stops no other; --resume sends again only what was deferred."""
    action, moment, code, state = ENDINGS[case]
    with one_port({moment: action}, {}) as server:
        assert run(server, folder) == code
        assert Counter(states(folder).values()) == {"accepted": 3, state: 1}
        assert f"{state:<9} " in capsys.readouterr().out
        again = run(server, folder, "--resume")
    assert again == (Exit.UNKNOWN if state == "unknown" else Exit.OK)
    once = {f"<{n}@example.org>": 1 for n in range(4)}
    if state != "deferred":
        (name,) = (name for name, found in states(folder).items() if found == state)
        once.pop(f"<{name[0]}@example.org>")
    assert taken(server) == once


def test_resume_after_a_crash(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was begun and has no outcome is unknown, is said to be, and is not sent."""
    with one_port() as server:
        run(server, folder)
        results = folder.parent / "r.jsonl"
        head = results.read_bytes().splitlines(keepends=True)
        # Killed in the middle of writing the outcome of the second message.
        results.write_bytes(b"".join(head[:4]) + head[4][:40])
        capsys.readouterr()
        assert run(server, folder, "--resume") == Exit.UNKNOWN
        out = capsys.readouterr().out
        assert "1.eml" in out
        assert "<1@example.org>" in out
        assert run(server, folder, "--resume") == Exit.UNKNOWN
        assert "<1@example.org>" in capsys.readouterr().out
    assert states(folder) == {
        "0.eml": "accepted",
        "1.eml": "unknown",
        "2.eml": "accepted",
        "3.eml": "accepted",
    }
    sent = taken(server)
    assert (sent["<0@example.org>"], sent["<1@example.org>"]) == (1, 1)


def test_killed(folder: Path) -> None:
    """A program that is killed in mid-send has noted what it was sending."""
    results = folder.parent / "r.jsonl"
    command = [sys.executable, "-m", "smtpsend", "send-many", str(folder)]
    command += ["--results", str(results), "--connections", "1"]
    with one_port({"final:2": hang()}, {}) as server:
        env = environment(SMTP_PASSWORD=server.password)
        command += ["--server", without_login(server), *login(server)]
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
            server.wait_for(
                lambda: any(c.verbs.count("MAIL") > 1 for c in server.connections)
            )
            eventually(lambda: b"1.eml" in results.read_bytes())
            process.kill()
        assert states(folder) == {"0.eml": "accepted", "1.eml": "attempting"}
        assert run(server, folder, "--resume") == Exit.UNKNOWN
    assert taken(server) == {f"<{n}@example.org>": 1 for n in (0, 2, 3)}


def test_killed_in_a_window(folder: Path) -> None:
    """All messages of a window are noted before it goes out."""
    results = folder.parent / "r.jsonl"
    command = [sys.executable, "-m", "smtpsend", "send-many", str(folder)]
    command += ["--results", str(results), "--connections", "1"]
    ended = threading.Event()
    end = Action("ended", lambda _: ended.set()) + hang()
    held = Script({"final:1": end}, offers=(*OFFERS, "PIPELINING", "CHUNKING"))
    with one_port(held, {}) as server:
        env = environment(SMTP_PASSWORD=server.password)
        command += ["--server", without_login(server), *login(server)]
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
            arrived = ended.wait(20)
            process.kill()
        assert arrived, "the end of the first message did not arrive"
        # On a busy machine, the window may have one message.
        window = [name for name, state in states(folder).items() if state == "attempting"]
        assert window[:1] == ["0.eml"]
        assert run(server, folder, "--resume") == Exit.UNKNOWN
    sent = {f"<{n}@example.org>": 1 for n in range(len(window), 4)}
    assert taken(server) == sent


@pytest.mark.parametrize("offers", ["", "PIPELINING", "PIPELINING CHUNKING"])
def test_killed_before_the_end(folder: Path, offers: str) -> None:
    """What was taken from the folder, and whose end was not written, is sent later."""
    results = folder.parent / "r.jsonl"
    command = [sys.executable, "-m", "smtpsend", "send-many", str(folder)]
    command += ["--results", str(results), "--connections", "1"]
    # The client waits for the 354, or, before a window, for the reply to another EHLO.
    held = Script(
        {"data:1": hang(), "ehlo2:2": hang()}, offers=(*OFFERS, *offers.split())
    )
    with one_port(held, {}) as server:
        env = environment(SMTP_PASSWORD=server.password)
        command += ["--server", without_login(server), *login(server)]
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process:
            server.wait_for(
                lambda: any(
                    "DATA" in c.verbs or c.verbs.count("EHLO") > 2
                    for c in server.connections
                )
            )
            process.kill()
        assert states(folder) == {}
        assert run(server, folder, "--resume") == Exit.OK
    assert taken(server) == {f"<{n}@example.org>": 1 for n in range(4)}


def test_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message whose beginning cannot be noted is not sent."""
    note_all = Journal.note_all

    def full(self: Journal, state: str, messages: Any, **facts: Any) -> None:
        if state == "attempting" and any(name == "1.eml" for _, name, _ in messages):
            raise Problem(Exit.CANNOT_WRITE, "r.jsonl cannot be written: no space left")
        note_all(self, state, messages, **facts)

    monkeypatch.setattr(Journal, "note_all", full)
    with one_port({}, {}) as server:
        assert run(server, folder) == Exit.CANNOT_WRITE
    assert taken(server) == {"<0@example.org>": 1}
    assert states(folder) == {"0.eml": "accepted", "1.eml": "deferred"}


@pytest.mark.parametrize("times", [1, 2])
def test_interrupted(folder: Path, times: int) -> None:
    """The first Ctrl-C finishes what was begun; the second leaves it unknown."""
    results = folder.parent / "r.jsonl"
    command = [sys.executable, "-m", "smtpsend", "send-many", str(folder)]
    command += ["--results", str(results), "--connections", "1"]
    go, ended = threading.Event(), threading.Event()
    wait = Action("wait", lambda talk: (ended.set(), go.wait(20), talk.do_normal()))
    with one_port({"final:2": wait}, {}) as server:
        env = environment(SMTP_PASSWORD=server.password)
        command += ["--server", without_login(server), *login(server)]
        with subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert ended.wait(20), "the end of the second message did not arrive"
            said = ""
            for _ in range(times):
                process.send_signal(signal.SIGINT)
                if process.stderr is not None and not said:
                    said = process.stderr.readline() + process.stderr.readline()
            if times == 1:
                go.set()
            out, err = process.communicate(timeout=30)
            go.set()
    assert process.returncode == Exit.INTERRUPTED, (out, err)
    found = states(folder)
    assert found == {
        "0.eml": "accepted",
        "1.eml": "accepted" if times == 1 else "attempting",
    }
    assert "once more aborts it" in said
    text = "2 not sent: run it again with --resume" if times == 1 else "1 may have been"
    assert text in out + err


def test_same_bytes_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same message in two files, or under a new name, is sent once."""
    (folder / "copy.eml").write_bytes(numbered(1))
    with one_port() as server:
        assert run(server, folder) == Exit.OK
        assert "1 skipped" in capsys.readouterr().out
        (folder / "2.eml").rename(folder / "renamed.eml")
        assert run(server, folder, "--resume") == Exit.OK
    assert taken(server) == {f"<{n}@example.org>": 1 for n in range(4)}


def test_invalid_message(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A message that cannot be sent is named, and the others go out."""
    (folder / "0.eml").write_bytes(b"Subject: nobody\n\nx\n")
    with one_port() as server:
        assert run(server, folder) == Exit.DATA
    assert sum(taken(server).values()) == 3
    assert "invalid   0.eml: the message has no From" in capsys.readouterr().out


def test_wrong_password(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong password is tried once, before any message is begun."""
    with one_port({"auth": reply(535, "5.7.8", "no")}) as server:
        assert run(server, folder) == Exit.AUTH
    assert sum(c.verbs.count("AUTH") for c in server.connections) == 1
    assert lines(folder) == []
    assert "535 5.7.8 no" in capsys.readouterr().err


def test_password_changed_meanwhile(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A login that is refused in the middle ends it: no lockouts."""
    refuse = {"auth": reply(535, "5.7.8", "no")}
    first = {"final:2": reply(250, "2.0.0", "ok") + rst()}
    with one_port(first, refuse) as server:
        assert run(server, folder) == Exit.AUTH
    assert sum(c.verbs.count("AUTH") for c in server.connections) == 2
    assert sum(taken(server).values()) == 2
    assert "2 not sent: run it again with --resume" in capsys.readouterr().out


def test_server_gone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After three messages for which nobody is there it stops, and can be resumed."""
    for n in range(4, 9):
        (folder / f"{n}.eml").write_bytes(numbered(n))
    first = {"final:1": reply(250, "2.0.0", "ok") + rst()}
    gone = {"greeting": reply(421, "4.3.2", "going down")}
    with one_port(first, *[gone] * 3, {}) as server:
        assert run(server, folder) == Exit.TEMPORARY
        found = Counter(states(folder).values())
        assert found == {"accepted": 1, "deferred": 3}
        assert "8 not sent: run it again with --resume" in capsys.readouterr().out
        assert run(server, folder, "--resume") == Exit.OK
    assert taken(server) == {f"<{n}@example.org>": 1 for n in range(9)}


FILES: dict[str, tuple[bytes | None, list[str], Exit, str]] = {
    "there": (
        b'{"smtpsend": "results", "version": 1}\n',
        [],
        Exit.CANNOT_WRITE,
        "resume",
    ),
    "another file": (b"precious\n", ["--resume"], Exit.DATA, "not a results file"),
    "a folder": (None, ["--resume"], Exit.CANNOT_WRITE, "cannot be written"),
}


@pytest.mark.parametrize("case", FILES)
def test_results_file(
    case: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is no results file, or is not to be used, stays as it is."""
    content, more, code, words = FILES[case]
    results = folder.parent / "r.jsonl"
    if content is None:
        results.mkdir()
    else:
        results.write_bytes(content)
    with one_port() as server:
        assert run(server, folder, *more) == code
    assert words in capsys.readouterr().err
    assert not server.connections
    if content is not None:
        assert results.read_bytes() == content


def test_two_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A results file in use by another program is left alone."""
    fcntl = pytest.importorskip("fcntl")
    results = folder.parent / "r.jsonl"
    results.write_bytes(b'{"smtpsend": "results", "version": 1}\n')
    with results.open("ab") as held, one_port() as server:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert run(server, folder, "--resume") == Exit.CANNOT_WRITE
    assert "in use" in capsys.readouterr().err


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the summary is all that standard output has."""
    with one_port({"rcpt:2": reply(550, "5.1.1", "no")}) as server:
        assert run(server, folder, "--json") == Exit.PERMANENT
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["ok"], found["exit"], found["left"]) == (False, Exit.PERMANENT, 0)
    assert found["counts"] == {"accepted": 3, "refused": 1}
    assert err == ""


def test_partial(folder: Path) -> None:
    """A message that some recipients have is never sent again."""
    (folder / "0.eml").write_bytes(
        numbered(0).replace(b"To: ", b"Cc: cat@example.net\nTo: ")
    )
    with one_port({"rcpt:2": reply(450, "4.2.0", "later")}, {}) as server:
        assert run(server, folder) == Exit.PARTIAL
        assert run(server, folder, "--resume") == Exit.OK
    assert taken(server) == {f"<{n}@example.org>": 1 for n in range(4)}
    entry = next(one for one in lines(folder) if one["state"] == "partial")
    assert next(iter(entry["refused"].values()))["code"] == 450


@pytest.mark.parametrize("rich", [True, False])
def test_progress_on_a_terminal(
    rich: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal there is a line that is drawn anew, with and without the extra."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr("smtpsend.cli.terminal.progress._EVERY", 0)
    with ScriptedServer(Script(), implicit=None, starttls2=None) as server:
        assert run(server, folder) == Exit.OK
    shown = screen.getvalue()
    assert " 3/4 " in shown
    assert "4 accepted" in shown


COUNTS = Counter(accepted=300, refused=2, invalid=1, unknown=1, deferred=4)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("ending", [False, True])
def test_progress_line(width: int, ending: bool) -> None:
    """The line has rate, counts and time left, and fits where it can."""
    parts = line(COUNTS, 1000, 61.6, width, ending=ending)
    text = "".join(part if isinstance(part, str) else part[0] for part in parts)
    for words in ("308/1000", "5.0/s", "300 acc", "2 ref", "1 inv", "1 unk", "4 lat"):
        assert words in text
    assert ("ending" if ending else "2:18 left") in text
    assert len(text) <= max(width, 72)
