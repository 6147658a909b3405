"""``smtpsend login``: what it stores, where, and that the other commands use it."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import stat
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import keyring
import pytest
from commands import COMMAND, environment
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring
from oauth_grants import TOKEN, USER, bearer
from test_oauth_device import CODE
from token_endpoint import Answer, TokenEndpoint, endpoint, refusal, token

from smtpsend.cli import main
from smtpsend.cli.exits import Exit
from smtpsend.errors import AuthError
from smtpsend.oauth import BrowserLogin, store, stored_login


HOST = "127.0.0.1"


class Ring(KeyringBackend):
    """A keyring in memory."""

    priority = 5  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], str] = {}
        self.broken = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.broken:
            raise RuntimeError("locked: the-refresh-token")
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.broken:
            raise RuntimeError("locked: the-refresh-token")
        self.held[service, username] = password


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No login of the developer's is seen, and no keyring."""
    for name in [name for name in os.environ if name.startswith("SMTP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    before = keyring.get_keyring()
    keyring.set_keyring(NoKeyring())
    yield tmp_path / "smtpsend" / "logins"
    keyring.set_keyring(before)


@pytest.fixture
def ring() -> Ring:
    """A keyring in memory is that of the platform."""
    made = Ring()
    keyring.set_keyring(made)
    return made


def words_for(issuer: TokenEndpoint, *more: str) -> list[str]:
    """The arguments of a login at a scripted endpoint."""
    words = ["login", HOST, "--user", USER, "--client-id", "id", "--scope", "smtp"]
    return [*words, "--token-url", issuer.url, "--cafile", issuer.ca, *more]


def typed(tmp_path: Path, issuer: TokenEndpoint, *more: str) -> int:
    """Log in by a refresh token in a file."""
    path = tmp_path / "typed"
    path.write_text("the-refresh-token\n")
    return main(words_for(issuer, "--refresh-token-file", str(path), *more))


def only(folder: Path) -> Path:
    """The one file of a folder."""
    (path,) = folder.iterdir()
    return path


def test_a_refresh_token_is_tried_and_stored(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refresh token is tried first; what came in its place is stored, for us alone."""
    with endpoint(token(TOKEN, refresh_token="rotated")) as issuer:
        assert typed(tmp_path, issuer) == Exit.OK
    path = only(folder)
    assert path.name == f"{USER}@{HOST}.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert json.loads(path.read_text())["refresh_token"] == "rotated"
    out, err = capsys.readouterr()
    assert f"The login of {USER} at {HOST} is stored in {path}" in out
    assert err == ""
    assert "rotated" not in out


def test_a_refused_refresh_token_is_not_stored(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refresh token that does not work is refused at once, with the reason."""
    with endpoint(
        refusal("invalid_grant", "Token has been expired or revoked.")
    ) as issuer:
        assert typed(tmp_path, issuer) == Exit.AUTH
    assert not folder.exists()
    err = capsys.readouterr().err
    assert "invalid_grant: Token has been expired or revoked." in err
    assert "The refresh token has expired or was revoked" in err


def test_the_keyring(tmp_path: Path, folder: Path, ring: Ring) -> None:
    """Where there is a safe keyring, it holds the secrets, and the file holds none."""
    with endpoint(token(TOKEN)) as issuer:
        assert typed(tmp_path, issuer) == Exit.OK
        assert json.loads(ring.held["smtpsend", f"{USER}@{HOST}"]) == {
            "refresh_token": "the-refresh-token",
            "client_secret": None,
        }
        assert "the-refresh-token" not in only(folder).read_text()
        assert stored_login(HOST, USER)() == TOKEN
        ring.broken = True
        with pytest.raises(AuthError, match="keyring cannot be read: Runtime") as caught:
            stored_login(HOST, USER)
        assert caught.value.temporary
        assert "the-refresh-token" not in str(caught.value)


def test_a_keyring_that_refuses(tmp_path: Path, folder: Path, ring: Ring) -> None:
    """Where the keyring refuses, as for too long a secret, the file holds the login."""
    ring.broken = True
    with endpoint(token(TOKEN)) as issuer:
        assert typed(tmp_path, issuer) == Exit.OK
    assert "the-refresh-token" in only(folder).read_text()


@pytest.mark.parametrize("kept", ["keyring", "file"])
def test_a_rotated_refresh_token_is_stored(
    kept: str, tmp_path: Path, folder: Path, ring: Ring
) -> None:
    """The refresh token of a stored login is replaced where it is stored."""
    answers = [token(TOKEN), token(TOKEN, refresh_token="the-next-one")]
    more = [] if kept == "keyring" else ["--no-keyring"]
    with endpoint(*answers, token("last")) as issuer:
        typed(tmp_path, issuer, *more)
        stored_login(HOST, USER)()
        assert stored_login(HOST, USER)() == "last"
    assert issuer.requests[-1]["refresh_token"] == "the-next-one"
    assert ("the-next-one" in only(folder).read_text()) is (kept == "file")
    assert bool(ring.held) is (kept == "keyring")


BROKEN = {
    "readable by others": (lambda path: path.chmod(0o644), "others can read the stored"),
    "damaged": (lambda path: path.write_text("{"), "the stored login is damaged"),
    "an array": (lambda path: path.write_text("[]"), "the stored login is damaged"),
    "lacking": (lambda path: path.write_text("{}"), "the stored login is damaged"),
    "gone": (lambda path: path.unlink(), "is stored"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_stored_login_that_cannot_be_used(case: str, folder: Path) -> None:
    """What cannot be used says what to do, and shows nothing of the secrets."""
    breaking, words = BROKEN[case]
    store.save(store.Login(HOST, USER, "https://x.example", "id", "the-refresh-token"))
    breaking(only(folder))
    with pytest.raises(AuthError, match=words) as caught:
        stored_login(HOST, USER)
    assert "log in" in caught.value.hint
    assert "the-refresh-token" not in str(caught.value)


def test_without_a_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user without a home directory has no stored login, and cannot store one."""

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(Path, "home", nowhere)
    assert store.load(HOST, USER) is None
    with endpoint(token(TOKEN)) as issuer:
        assert typed(tmp_path, issuer) == Exit.CANNOT_WRITE
    assert "there is no home directory" in capsys.readouterr().err


def test_without_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the libraries, the command names the extra to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with endpoint(token(TOKEN)) as issuer:
        for more in ("--device-url", "--browser-url"):
            assert main(words_for(issuer, more, issuer.url)) == Exit.CONFIG
        assert typed(tmp_path, issuer) == Exit.CONFIG
    assert capsys.readouterr().err.count("smtpsend[oauth]") == 3


def test_check_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check` shows what the authorization server said, and what to do."""
    said = refusal("invalid_client", "AADSTS7000222: The keys are expired.", 401)
    with endpoint(said) as issuer, bearer() as mail:
        monkeypatch.setenv("SMTP_OAUTH_TOKEN_URL", issuer.url)
        monkeypatch.setenv("SMTP_OAUTH_CAFILE", issuer.ca)
        monkeypatch.setenv("SMTP_OAUTH_CLIENT_ID", "id")
        monkeypatch.setenv("SMTP_OAUTH_CLIENT_SECRET", "secret")
        url = f"smtps://{mail.host}:{mail.port('implicit')}"
        assert main(["check", url, "--user", USER, "--cafile", mail.ca]) == Exit.AUTH
    out = " ".join(capsys.readouterr().out.split())
    assert "invalid_client: AADSTS7000222: The keys are expired." in out
    assert "has expired: make a new one in the app registration" in out


@pytest.mark.parametrize("command", ["check", "send"])
def test_the_commands_log_in(command: str, tmp_path: Path) -> None:
    """`check` and `send` log in by the stored login, without a password."""
    with endpoint(token(TOKEN)) as issuer, bearer() as mail:
        typed(tmp_path, issuer)
        url = f"smtps://{mail.host}:{mail.port('implicit')}"
        words = [command, "--user", USER, "--cafile", mail.ca]
        if command == "check":
            words.append(url)
        else:
            words += ["--server", url, "--from", USER, "--to", "b@example.net"]
            words += ["--subject", "Hello", "--text", "It works."]
        assert main(words) == Exit.OK
        lines = [line for c in mail.connections for _, line in c.commands]
        assert any(line.startswith(b"AUTH XOAUTH2") for line in lines)
        assert len(mail.accepted) == (command == "send")


def test_the_commands_log_in_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --user, the variables of OAuth 2.0 are used for any server."""
    with endpoint(token(TOKEN)) as issuer, bearer() as mail:
        monkeypatch.setenv("SMTP_OAUTH_TOKEN_URL", issuer.url)
        monkeypatch.setenv("SMTP_OAUTH_CAFILE", issuer.ca)
        monkeypatch.setenv("SMTP_OAUTH_CLIENT_ID", "id")
        monkeypatch.setenv("SMTP_OAUTH_CLIENT_SECRET", "secret")
        url = f"smtps://{mail.host}:{mail.port('implicit')}"
        words = ["send", "--server", url, "--user", USER, "--cafile", mail.ca]
        words += [
            "--from",
            USER,
            "--to",
            "b@example.net",
            "--subject",
            "x",
            "--text",
            "y",
        ]
        assert main(words) == Exit.OK
    assert len(mail.accepted) == 1


def test_a_device_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The code and the page are shown, and the refresh token is stored."""
    code = {**CODE, "interval": 0}
    tokens = token(TOKEN, refresh_token="the-refresh-token")
    pending = refusal("authorization_pending")
    with endpoint(Answer(200, code), pending, tokens) as issuer:
        assert main(words_for(issuer, "--device-url", issuer.url)) == Exit.OK
    out = capsys.readouterr().out
    assert "Open https://localhost/device in any browser" in out
    assert "enter the code ABCD-EFGH" in out
    assert "the-refresh-token" in only(folder).read_text()


def test_no_refresh_token(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A login without a refresh token would end within the hour: it is refused."""
    code = {**CODE, "interval": 0}
    with endpoint(Answer(200, code), token(TOKEN)) as issuer:
        assert main(words_for(issuer, "--device-url", issuer.url)) == Exit.AUTH
    assert "another scope for one, such as offline_access" in capsys.readouterr().err
    assert not folder.exists()


TO_HOST = ["login", HOST, "--client-id", "i", "--user", USER]
USAGE: dict[str, tuple[list[str], str]] = {
    "no client": (["login", HOST, "--user", USER], "--client-id"),
    "no user": (["login", HOST, "--client-id", "id"], "name the account: --user"),
    "an unknown host": (
        TO_HOST,
        "give --tenant for Microsoft 365",
    ),
    "no flow": (
        [*TO_HOST, "--scope", "s", "--token-url", "https://localhost/"],
        "give --device-url, --browser-url or --refresh-token",
    ),
    "no scope": (
        [*TO_HOST, "--token-url", "https://x"],
        "--scope",
    ),
    "no terminal": (
        [*TO_HOST, "--token-url", "https://localhost/", "--refresh-token"],
        "there is no terminal",
    ),
}


@pytest.mark.parametrize("case", USAGE)
def test_wrong_usage(
    case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is named."""
    words, text = USAGE[case]
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(words) == Exit.USAGE
    assert text in capsys.readouterr().err


def test_a_browser() -> None:
    """Only a redirection with the right state ends the wait, and PKCE is used."""
    shown: list[str] = []
    ready = threading.Event()
    tokens = token(TOKEN, refresh_token="the-refresh-token")
    with endpoint(tokens) as issuer:
        login = BrowserLogin(
            "https://localhost/auth", issuer.url, "id", "smtp", cafile=issuer.ca
        )

        def browse() -> None:
            ready.wait(20)
            query = query_of(shown[0])
            with pytest.raises(urllib.error.HTTPError):
                get(query["redirect_uri"], "code=stolen&state=wrong")
            get(query["redirect_uri"], f"code=the-code&state={query['state']}")

        thread = threading.Thread(target=browse)
        thread.start()
        issued = login.run(lambda url: (shown.append(url), ready.set()), wait=20)
        thread.join()
    assert issued.refresh_token == "the-refresh-token"
    (request,) = issuer.requests
    assert request["grant_type"] == "authorization_code"
    assert request["code"] == "the-code"
    assert request["redirect_uri"].startswith("http://127.0.0.1:")
    assert query_of(shown[0])["code_challenge_method"] == "S256"
    assert len(request["code_verifier"]) >= 43


def query_of(url: str) -> dict[str, str]:
    """The parameters of a URL."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def get(url: str, query: str) -> None:
    """Open a page, as a browser does."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}?{query}", timeout=20) as reply:
        assert b"go back to the terminal" in reply.read()


def test_a_browser_that_refuses() -> None:
    """A user who does not consent, or never comes, ends the wait."""
    login = BrowserLogin("https://localhost/a", "https://localhost/t", "id", "smtp")

    def refuse(url: str) -> None:
        query = query_of(url)
        answer = f"error=access_denied&state={query['state']}"
        threading.Thread(target=get, args=(query["redirect_uri"], answer)).start()

    with pytest.raises(AuthError, match="the login was refused: access_denied"):
        login.run(refuse, wait=20)
    with pytest.raises(AuthError, match="nobody logged in in time"):
        login.run(lambda _: None, wait=0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pty")
def test_in_a_terminal(authorization: Any, token_dovecot: Any, tmp_path: Path) -> None:
    """In a real terminal, a user logs in by a code, and then sends to Dovecot."""
    url = f"smtp://{token_dovecot.host}:{token_dovecot.starttls}"
    env = environment(XDG_CONFIG_HOME=str(tmp_path), COLUMNS="200")
    options = ["--user", token_dovecot.user, "--cafile", authorization.ca]
    words = [*COMMAND, "login", url, *options, "--client-id", "person", "--no-keyring"]
    words += ["--token-url", authorization.token_url, "--scope", "openid offline_access"]
    words += ["--device-url", authorization.device_url]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=env
    ) as process:
        os.close(theirs)
        seen, approved = b"", False
        try:
            while chunk := read(ours):
                seen += chunk
                found = re.search(rb"enter the code ([A-Z-]+)\r", seen)
                if found and not approved:
                    approved = True
                    authorization.approve(found[1].decode(), by=token_dovecot.user)
        finally:
            os.close(ours)
        assert process.wait(30) == 0, seen
    assert b"Logged in. The login of" in seen
    send = [*COMMAND, "send", "--server", url, *options, "--from", token_dovecot.user]
    send += [
        "--to",
        token_dovecot.address("bob"),
        "--subject",
        "By a code",
        "--text",
        "x",
    ]
    ran = subprocess.run(send, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert len(token_dovecot.delivered("By a code")) == 1


def read(terminal: int) -> bytes:
    """What a program writes to its terminal; nothing once it has ended."""
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux: the other end is closed
        return b""
