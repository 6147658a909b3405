"""The results file of send-many: whose it is, which one it is, and what it remembers."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from commands import login, without_login
from leaks import one_port
from scripted import ScriptedServer, rst

from smtpsend.cli import main
from smtpsend.cli.exits import Exit


HEAD = b'{"smtpsend": "results", "version": 1}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three messages."""
    folder = tmp_path / "out"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.eml").write_bytes(
            b"From: ann@example.org\nTo: bob@example.net\nMessage-ID: <%d@x.org>\n\nHi.\n"
            % n
        )
    return folder


def run(server: ScriptedServer, folder: Path, *more: str) -> int:
    """Send all of a folder, with the results file beside it."""
    words = ["send-many", str(folder), "--results", str(folder.parent / "r.jsonl")]
    words += ["--server", without_login(server), *login(server), "--connections", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMTP_PASSWORD", server.password)
        return main([*words, *more])


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_private(resume: list[str], folder: Path) -> None:
    """A new results file can be read by its owner alone, whatever the umask is."""
    before = os.umask(0)
    try:
        with one_port() as server:
            assert run(server, folder, *resume) == Exit.OK
    finally:
        os.umask(before)
    mode = (folder.parent / "r.jsonl").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links of POSIX")
@pytest.mark.parametrize("target", ["dangling", "results", "another", "folder"])
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_link(
    target: str, resume: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A symbolic link is refused: nothing is made, written or sent."""
    other = folder.parent / "other"
    content = {"results": HEAD, "another": b"precious\n"}.get(target)
    if content is not None:
        other.write_bytes(content)
    if target == "folder":
        other.mkdir()
    (folder.parent / "r.jsonl").symlink_to(other)
    with one_port() as server:
        assert run(server, folder, *resume) == Exit.CANNOT_WRITE
    assert not server.connections
    assert "r.jsonl is a symbolic link, which is not followed" in capsys.readouterr().err
    if content is not None:
        assert other.read_bytes() == content
    assert other.exists() == (target != "dangling")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_pipe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe, which forgets what was written, is no results file."""
    os.mkfifo(folder.parent / "r.jsonl")
    with one_port() as server:
        assert run(server, folder, "--resume") == Exit.CANNOT_WRITE
    assert "cannot be written" in capsys.readouterr().err
    assert not server.connections


def test_no_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A results file in a folder that is missing cannot be written."""
    nowhere = str(folder.parent / "nowhere" / "r.jsonl")
    with one_port() as server:
        assert run(server, folder, "--results", nowhere) == Exit.CANNOT_WRITE
    assert "No such file or directory" in capsys.readouterr().err


DEEP = {"a list": (b"[", b"]"), "an object": (b'{"a":', b"0" + b"}"), "cut": (b"[", b"")}


@pytest.mark.parametrize("head", [HEAD, b""])
@pytest.mark.parametrize("case", DEEP)
def test_nested(
    case: str, head: bytes, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line that is nested without end is a clear error, and the file stays."""
    opening, closing = DEEP[case]
    content = head + opening * 200_000 + closing * 200_000 + b"\n"
    (folder.parent / "r.jsonl").write_bytes(content)
    with one_port() as server:
        assert run(server, folder, "--resume") == Exit.DATA
    err = capsys.readouterr().err
    assert err.startswith("smtpsend: ")
    assert "is not a results file of send-many" in err
    assert err.count("\n") == 1
    assert (folder.parent / "r.jsonl").read_bytes() == content
    assert not server.connections


STRANGE = [b"[1]", b"null", b"\xff", b'{"sha256": 5}', b'{"sha256": "x", "state": [1]}']
STRANGE += [b'{"sha256": "y", "name": "\\ud800\\u001b", "state": "attempting"}']
STRANGE += [b"1" * 10_000, b'{"sha256": "z", "state": "unknown", "message_id": {"a": 1}}']


def test_strange_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that are JSON of another kind neither stop a run nor reach the terminal."""
    (folder.parent / "r.jsonl").write_bytes(HEAD + b"\n".join(STRANGE) + b"\n")
    with one_port() as server:
        assert run(server, folder, "--resume") == Exit.UNKNOWN
    assert len(server.accepted) == 3
    out, err = capsys.readouterr()
    assert err == ""
    assert all(line.isprintable() for line in out.splitlines())


def test_unknown_stays_unknown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every later run names what is unknown, with its exit code, and sends it never."""
    with one_port({"final:2": rst()}, {}) as server:
        assert run(server, folder) == Exit.UNKNOWN
        capsys.readouterr()
        for _ in range(3):
            assert run(server, folder, "--resume") == Exit.UNKNOWN
            out = capsys.readouterr().out
            assert "unknown   1.eml: " in out
            assert "<1@x.org>" in out
            assert out.count("1.eml") == 1
            assert "look for its Message-ID" in " ".join(out.split())
        assert run(server, folder, "--resume", "--json") == Exit.UNKNOWN
        found = json.loads(capsys.readouterr().out)
        assert (found["ok"], found["unknown_before"]) == (False, 1)
        assert found["counts"] == {}
        # Who has looked takes the message away.
        (folder / "1.eml").unlink()
        assert run(server, folder, "--resume") == Exit.OK
    assert {m.message_id for m in server.accepted} == {"<0@x.org>", "<2@x.org>"}


def test_cut_off_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a killed run had begun is named by every later one, under its name of then."""
    with one_port() as server:
        assert run(server, folder) == Exit.OK
        results = folder.parent / "r.jsonl"
        lines = results.read_bytes().splitlines(keepends=True)
        results.write_bytes(b"".join(lines[:2]))  # killed after it began the first
        (folder / "0.eml").rename(folder / "renamed.eml")
        capsys.readouterr()
        for name in ("0.eml", "renamed.eml", "renamed.eml"):
            assert run(server, folder, "--resume") == Exit.UNKNOWN
            out = capsys.readouterr().out
            assert f"unknown   {name}: " in out
            assert "<0@x.org>" in out
    assert [m.message_id for m in server.accepted].count("<0@x.org>") == 1
