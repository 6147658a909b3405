"""Servers from the environment whose login is by OAuth 2.0: ``SMTP_OAUTH_*``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module

from smtpsend._model.server.credentials import OAuth2
from smtpsend._model.server.environment import OAUTH_PREFIX as _PREFIX
from smtpsend._model.server.url import split, user_of
from smtpsend._model.tracebacks import hides_arguments, hides_fields
from smtpsend.errors import ConfigError


_NAMES = (
    "TENANT",
    "TOKEN_URL",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "CLIENT_SECRET_FILE",
    "REFRESH_TOKEN",
    "REFRESH_TOKEN_FILE",
    "SERVICE_ACCOUNT_FILE",
    "TOKEN",
    "TOKEN_FILE",
    "SCOPE",
    "CAFILE",
)
# Each of these names a grant; only one can be set. The client secret alone is the grant
# of client credentials.
_GRANTS = (
    ("REFRESH_TOKEN", "REFRESH_TOKEN_FILE"),
    ("SERVICE_ACCOUNT_FILE",),
    ("TOKEN", "TOKEN_FILE"),
)
# What makes no sense beside a service account, whose file has it, or beside a token.
_CLIENT = ("TENANT", "TOKEN_URL", "CLIENT_ID", "CLIENT_SECRET", "CLIENT_SECRET_FILE")


@hides_fields
@dataclass(frozen=True)
class OAuthSettings:
    """What the variables say; names as in `_NAMES`, without those that are not set.

    Attributes:
        values: the values by the rest of the name.
        username: the mail address of the account.
        host: the host of the mail server, by which the token endpoint may be known.
    """

    values: Mapping[str, str] = field(repr=False)
    username: str
    host: str


@hides_arguments
def tokens_from_env(
    env: Mapping[str, str],
) -> tuple[dict[str, str], Callable[[str], OAuth2]]:
    """Read the login from an environment with variables of OAuth 2.0.

    Args:
        env: the variables.

    Returns:
        The variables that describe the server without its login; and a function that
        returns the login for the host name of the server.

    Raises:
        ConfigError: the variables contradict each other, or one is missing or unknown.
    """
    found = {
        name.removeprefix(_PREFIX): value
        for name, value in env.items()
        if name.startswith(_PREFIX) and value
    }
    _check(found)
    for name in ("SMTP_PASSWORD", "SMTP_PASSWORD_FILE"):
        if env.get(name):
            raise ConfigError(
                f"{name} is set beside {_PREFIX}{min(found)}: a login is by a password "
                "or by a token; unset one of them"
            )
    username = env.get("SMTP_USERNAME", "")
    rest = {
        name: value
        for name, value in env.items()
        if not name.startswith(_PREFIX) and name != "SMTP_USERNAME"
    }
    if url := rest.get("SMTP_URL"):
        rest["SMTP_URL"], username = _without_user(url, username)
    if not username:
        raise ConfigError(
            "no user is set for the token: set SMTP_USERNAME to the mail address of the "
            "account"
        )

    @hides_arguments
    def login(host: str) -> OAuth2:
        return OAuth2(username, _source(OAuthSettings(found, username, host)))

    return rest, login


def _source(settings: OAuthSettings) -> str | Callable[[], str]:
    # The grants do I/O and need an extra, so they are no part of the model. They are
    # found by their name, and only if a variable asks for them.
    module = import_module("smtpsend.oauth.environment")
    source: str | Callable[[], str] = module.source_of(settings)
    return source


def _without_user(url: str, username: str) -> tuple[str, str]:
    """Return a URL without its user, and the user."""
    parts = split(url)
    if parts.password:
        raise ConfigError(
            f"SMTP_URL has a password, and {_PREFIX}... is set: leave the password out"
        )
    user = user_of(parts)
    if user is None:
        return url, username
    if username:
        raise ConfigError("SMTP_URL has a user, and SMTP_USERNAME is set: unset one")
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}", user


def _check(found: Mapping[str, str]) -> None:
    """Check that the variables fit together.

    Raises:
        ConfigError: they do not.
    """
    if unknown := sorted(set(found) - set(_NAMES)):
        known = ", ".join(_NAMES)
        raise ConfigError(
            f"{_PREFIX}{unknown[0]} is no variable that is known",
            hint=f"after {_PREFIX}, these names are known: {known}",
        )
    for name in ("CLIENT_SECRET", "REFRESH_TOKEN", "TOKEN"):
        if name in found and f"{name}_FILE" in found:
            raise ConfigError(f"set {_PREFIX}{name} or {_PREFIX}{name}_FILE, not both")
    set_names = [[n for n in names if n in found] for names in _GRANTS]
    grants = [names[0] for names in set_names if names]
    if len(grants) > 1:
        raise ConfigError(f"{_PREFIX}{grants[0]} cannot go with {_PREFIX}{grants[1]}")
    if grants and not grants[0].startswith("REFRESH"):
        unused = [n for n in _CLIENT if n in found]
        if grants[0].startswith("TOKEN"):
            unused += [n for n in ("SCOPE", "CAFILE") if n in found]
        if unused:
            raise ConfigError(
                f"{_PREFIX}{unused[0]} means nothing beside {_PREFIX}{grants[0]}"
            )
        return
    _check_client(found, program=not grants)


def _check_client(found: Mapping[str, str], *, program: bool) -> None:
    if "TENANT" in found and "TOKEN_URL" in found:
        raise ConfigError(f"set {_PREFIX}TENANT or {_PREFIX}TOKEN_URL, not both")
    if "CLIENT_ID" not in found:
        raise ConfigError(f"{_PREFIX}CLIENT_ID is missing")
    if program and not {"CLIENT_SECRET", "CLIENT_SECRET_FILE"} & set(found):
        raise ConfigError(
            "no grant is set",
            hint=f"set {_PREFIX}CLIENT_SECRET or {_PREFIX}CLIENT_SECRET_FILE for a "
            f"program without a user, {_PREFIX}REFRESH_TOKEN_FILE for a user, or "
            f"{_PREFIX}SERVICE_ACCOUNT_FILE for Google Workspace",
        )
