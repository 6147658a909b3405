"""What a password file holds: the password, whatever the editor put around it."""

from __future__ import annotations

import os
import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from commands import without_login
from scripted import Script, ScriptedServer
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import Password, Server
from smtpsend.cli import main
from smtpsend.cli.exits import Exit
from smtpsend.errors import AuthError, ConfigError, Phase


BOM = b"\xef\xbb\xbf"
PASSWORD = "s3cr3t é "
GOOD = {
    "alone": b"",
    "LF": b"\n",
    "CRLF": b"\r\n",
    "CR": b"\r",
}
BAD: dict[str, bytes] = {
    "empty": b"",
    "a line end": b"\n",
    "a mark": BOM,
    "a mark and a line end": BOM + b"\r\n",
    "two line ends": PASSWORD.encode() + b"\n\n",
    "two lines": PASSWORD.encode() + b"\nann",
    "UTF-16": PASSWORD.encode("utf-16"),
    "UTF-16 without a mark": PASSWORD.encode("utf-16-le"),
    "Latin-1": PASSWORD.encode("latin-1"),
    "a NUL": b"s3cr3t\0",
}


def written(folder: Path, content: bytes) -> str:
    """The path of a file that holds this."""
    (folder / "password").write_bytes(content)
    return str(folder / "password")


def from_environment(file: str) -> Server:
    """The server of an environment that names this file."""
    found = {"SMTP_HOST": "h.example", "SMTP_USERNAME": "ann", "SMTP_PASSWORD_FILE": file}
    return Server.from_env(found)


@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize("end", GOOD)
def test_environment(end: str, mark: bytes, tmp_path: Path) -> None:
    """A byte order mark and one line end are no part of the password; blanks are."""
    file = written(tmp_path, mark + PASSWORD.encode() + GOOD[end])
    assert from_environment(file).auth == Password("ann", PASSWORD)


def test_only_the_first_mark(tmp_path: Path) -> None:
    """What looks like a mark and stands elsewhere belongs to the password."""
    file = written(tmp_path, BOM + b"a" + BOM + BOM)
    assert from_environment(file).auth == Password("ann", "a\ufeff\ufeff")


@pytest.mark.parametrize("case", BAD)
def test_no_password(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no password is refused, here and by the commands, and is not shown."""
    file = written(tmp_path, BAD[case])
    with pytest.raises(ConfigError) as caught:
        from_environment(file)
    words = ["check", "h.example", "--user", "ann", "--password-file", file]
    assert main(words) == Exit.CONFIG
    assert "s3cr3t" not in str(caught.value) + capsys.readouterr().err


@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize("end", GOOD)
def test_command(end: str, mark: bytes, tmp_path: Path) -> None:
    """The commands read the file of --password-file in the same way."""
    with ScriptedServer(starttls=Script(), implicit=None, starttls2=None) as scripted:
        file = written(tmp_path, mark + scripted.password.encode() + GOOD[end])
        words = ["check", without_login(scripted), "--cafile", scripted.ca]
        words += ["--user", scripted.user, "--password-file", file]
        assert main(words) == Exit.OK
    assert scripted.connections[-1].verbs.count("AUTH") == 1


def test_permissions(tmp_path: Path) -> None:
    """A file that all can read, as secrets are mounted in containers, is no warning."""
    file = written(tmp_path, PASSWORD.encode())
    os.chmod(file, 0o644)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_environment(file).auth == Password("ann", PASSWORD)


def named_by(folder: Path, scripted: ScriptedServer, content: bytes) -> Server:
    """A scripted server whose password is in a file that the environment names."""
    auth = from_environment(written(folder, content)).auth
    assert auth is not None
    return replace(server_for(scripted, "implicit"), auth=replace(auth, username="ann"))


@pytest.mark.parametrize("mark", [b"", BOM])
@pytest.mark.parametrize("end", GOOD)
@pytest.mark.parametrize("send", WAYS)
def test_read_again(send: Send, end: str, mark: bytes, tmp_path: Path) -> None:
    """The file is read for each new connection, so that a rotated password is used."""
    with ScriptedServer(user="ann", password="s3cret-of-now") as scripted:
        server = named_by(tmp_path, scripted, b"s3cret-of-before")
        written(tmp_path, mark + b"s3cret-of-now" + GOOD[end])
        for copied in (server, pickle.loads(pickle.dumps(server))):
            send(MESSAGE, copied, **envelope())
    assert len(scripted.accepted) == 2


UNUSABLE: dict[str, bytes | None] = {name: BAD[name] for name in ("empty", "a mark")}
UNUSABLE |= {"UTF-16": BAD["UTF-16"], "no file": None}


@pytest.mark.parametrize("case", UNUSABLE)
@pytest.mark.parametrize("send", WAYS)
def test_unusable_later(send: Send, case: str, tmp_path: Path) -> None:
    """A file that cannot be read any more is a temporary AuthError that names it."""
    with ScriptedServer(user="ann") as scripted:
        server = named_by(tmp_path, scripted, b"s3cr3t-of-before")
        if (content := UNUSABLE[case]) is None:
            (tmp_path / "password").unlink()
        else:
            written(tmp_path, content)
        with pytest.raises(AuthError) as caught:
            send(MESSAGE, server, **envelope())
    error = caught.value
    assert (error.temporary, error.phase, error.reply) == (True, Phase.AUTH, None)
    assert str(tmp_path / "password") in error.message
    assert "s3cr3t" not in str(error)
    scripted.assert_clean(auths=0)


def test_what_a_file_holds_is_hidden(tmp_path: Path) -> None:
    """The password of a file stands in no text of its server."""
    server = from_environment(written(tmp_path, b"s3cr3t-in-a-file"))
    assert "s3cr3t" not in f"{server!r} {server.auth!r}"
