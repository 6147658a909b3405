"""Stores what `smtpsend login` obtains: in the keyring of the platform, or in a file.

A file for each login names the client and the endpoint. The secrets stand in the keyring
where there is a safe one, else in the same file, which only its owner can read.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import asdict, dataclass, field
from errno import ENOENT
from pathlib import Path
from typing import Any
from urllib.parse import quote

from smtpsend._model.tracebacks import hides_arguments, hides_fields
from smtpsend.errors import AuthError
from smtpsend.oauth.endpoint.failures import Failure
from smtpsend.oauth.refresh_token import RefreshToken
from smtpsend.oauth.secret_file import replace_file


_SERVICE = "smtpsend"
_AGAIN = "log in with `smtpsend login`"


@hides_fields
@dataclass(frozen=True)
class Login:
    """A login as it is stored.

    Attributes:
        host: the host name of the mail server.
        username: the mail address of the account.
        token_url: the URL of the token endpoint.
        client_id: the id of the client.
        refresh_token: the refresh token.
        client_secret: the secret of the client; None for a public client.
        scope: the scope; None for all that the user has allowed.
        cafile: the CAs to trust for the endpoint; None for the usual ones.
    """

    host: str
    username: str
    token_url: str
    client_id: str
    refresh_token: str = field(repr=False)
    client_secret: str | None = field(default=None, repr=False)
    scope: str | None = None
    cafile: str | None = None


@hides_arguments
def save(login: Login, *, keyring: bool = True) -> str:
    """Store a login, in place of an earlier one for the same account.

    Args:
        login: the login.
        keyring: whether the keyring of the platform may hold the secrets.

    Returns:
        Where it is, in words.

    Raises:
        OSError: the file cannot be written.
    """
    path = _path(login.host, login.username)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts: dict[str, Any] = asdict(login)
    names = ("refresh_token", "client_secret")
    secrets = {name: facts.pop(name) for name in names}
    name = f"{login.username}@{login.host}"
    if keyring and _put(name, json.dumps(secrets)):
        replace_file(path, json.dumps({**facts, "keyring": True}) + "\n")
        return f"the keyring, and {path} (without secrets)"
    replace_file(path, json.dumps({**facts, **secrets}) + "\n")
    return f"{path}, which only you can read"


@hides_arguments
def load(host: str, username: str) -> Login | None:
    """Return the login that is stored for an account; None if there is none.

    Raises:
        AuthError: the file or the keyring cannot be read, or others can read the file.
    """
    try:
        path = _path(host, username)
        state, content = path.stat(), path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        text = f"the stored login of {username} cannot be read: {error.strerror}"
        raise Failure(text, _AGAIN, temporary=True).error() from None
    try:
        facts = json.loads(content)
        if facts.pop("keyring", False):
            facts |= json.loads(_get(f"{username}@{host}"))
        elif os.name == "posix" and stat.S_IMODE(state.st_mode) & 0o077:
            text = f"others can read the stored login: {path}"
            raise Failure(text, f"chmod 600 {path}, and log in again").error()
        return Login(**facts)
    except AuthError:
        raise
    except (ValueError, TypeError, AttributeError):
        pass
    raise Failure(f"the stored login is damaged: {path}", _AGAIN).error()


@dataclass(frozen=True)
class _StoredToken:
    """The refresh token of a stored login, read anew for each token."""

    host: str
    username: str

    def __call__(self) -> str:
        return _required(self.host, self.username).refresh_token

    def replace(self, refresh_token: str) -> None:
        """Store the refresh token that the authorization server issued last."""
        login = _required(self.host, self.username)
        stored = json.loads(_path(self.host, self.username).read_bytes())
        facts = {**asdict(login), "refresh_token": refresh_token}
        save(Login(**facts), keyring=stored.get("keyring", False))


def stored_login(host: str, username: str) -> RefreshToken:
    """Return the grant of a login that `smtpsend login` has stored.

    A refresh token that the authorization server replaces is stored as well.

    Args:
        host: the host name of the mail server, as it was given to the command.
        username: the mail address of the account.

    Raises:
        AuthError: no such login is stored, or it cannot be read.
        ConfigError: the extra ``oauth`` is not installed.
    """
    login = _required(host, username)
    token = _StoredToken(host, username)
    return RefreshToken(
        login.token_url,
        login.client_id,
        token,
        login.client_secret,
        login.scope,
        on_rotation=token.replace,
        cafile=login.cafile,
    )


def _required(host: str, username: str) -> Login:
    login = load(host, username)
    if login is None:
        raise Failure(f"no login of {username} at {host} is stored", _AGAIN).error()
    return login


def _path(host: str, username: str) -> Path:
    name_of_base = "APPDATA" if sys.platform == "win32" else "XDG_CONFIG_HOME"
    base = os.environ.get(name_of_base)
    if not base:
        try:
            base = str(Path.home() / ".config")
        except RuntimeError:  # of a user without an entry in the list of users
            raise FileNotFoundError(ENOENT, "there is no home directory") from None
    # An argument of a command may hold bytes that are no text.
    name = quote(f"{username}@{host.lower()}", safe="@", errors="surrogateescape")
    return Path(base, "smtpsend", "logins", f"{name}.json")


def _put(name: str, secret: str) -> bool:
    """Store a secret in the keyring; False if there is no safe one, or it refuses."""
    try:
        import keyring
        from keyring.core import recommended

        # keyring itself does not recommend a backend that stores in plain text, or none.
        if not recommended(keyring.get_keyring()):
            return False
        keyring.set_password(_SERVICE, name, secret)
        return bool(keyring.get_password(_SERVICE, name) == secret)
    except Exception:  # noqa: BLE001  # of any backend: D-Bus, the size limit of Windows
        return False


def _get(name: str) -> str:
    try:
        import keyring

        secret = keyring.get_password(_SERVICE, name)
    except Exception as error:  # noqa: BLE001  # of any backend
        text = f"the keyring cannot be read: {type(error).__name__}"
        hint = "unlock the keyring, and see that the package keyring is installed"
        raise Failure(text, hint, temporary=True).error() from None
    if secret is None:
        raise Failure("the keyring does not hold the login", _AGAIN).error()
    return str(secret)
