"""Credentials: a user name with a password, or with an OAuth 2.0 access token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from smtpsend._model.address.domain import is_unicode
from smtpsend._model.tracebacks import hides_fields
from smtpsend.errors import ConfigError


def _check(name: str, value: object) -> str:
    """Check that `value` is a str that is allowed in a SASL message."""
    if not isinstance(value, str):
        raise ConfigError(f"the {name} must be a str, not {type(value).__name__}")
    if not is_unicode(value):
        raise ConfigError(f"the {name} holds a lone surrogate, which is no text")
    # NUL separates the fields of PLAIN (RFC 4616), and \x01 those of XOAUTH2. No other
    # control character belongs to a credential; most often it is a line end from a file.
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        ends = value != value.rstrip("\r\n") and value.rstrip("\r\n").isprintable()
        what = "ends with a line end: strip it" if ends else "holds a control character"
        raise ConfigError(f"the {name} {what}")
    return value


@hides_fields
@dataclass(frozen=True, slots=True)
class Password:
    """A user name and a password.

    Args:
        username: the user name, often the whole mail address. It is hidden like the
            password where both are the same, since some providers want one token as both.
        password: the password. It is hidden in `repr`, and sent only inside verified TLS,
            in UTF-8.

    Raises:
        ConfigError: the user name or the password is empty, no str, or holds a control
            character.
    """

    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _check("user name", self.username) or not _check(
            "password", self.password
        ):
            raise ConfigError("neither the user name nor the password can be empty")

    def __repr__(self) -> str:
        return f"Password(username={shown_name(self)!r})"


@hides_fields
@dataclass(frozen=True, slots=True, weakref_slot=True)
class OAuth2:
    """A user name and an OAuth 2.0 access token (XOAUTH2, or OAUTHBEARER: RFC 7628).

    Args:
        username: the mail address of the account.
        token: the access token, or a function or coroutine function without
            parameters that returns it. The function is called once for each new
            connection, and once more if the server refuses the token. `smtpsend.oauth`
            has such functions. An `AuthError` that it raises says why no token is
            there; the text of other exceptions is not shown. Hidden in `repr`.

    Raises:
        ConfigError: the user name or the token is empty or holds a control character.
    """

    username: str
    token: str | Callable[[], str] | Callable[[], Awaitable[str]] = field(repr=False)

    def __post_init__(self) -> None:
        if not _check("user name", self.username):
            raise ConfigError("the user name cannot be empty")
        if not callable(self.token):
            check_token(self.token)

    def __repr__(self) -> str:
        return f"OAuth2(username={shown_name(self)!r})"


def check_token(token: object) -> str:
    """Check that `token` is a str that is allowed in a SASL message.

    Raises:
        ConfigError: the token is empty, no str, or holds a control character.
    """
    if not (text := _check("token", token)):
        raise ConfigError("the token cannot be empty")
    return text


Auth = Password | OAuth2


def shown_name(auth: Auth) -> str:
    """The user name to show; ``***`` if it is the secret as well."""
    return "***" if auth.username == known_secret(auth) else auth.username


def known_secret(auth: Auth | None) -> str | None:
    """The password or token; None if a function has to return it."""
    if isinstance(auth, Password):
        return auth.password
    return auth.token if auth is not None and isinstance(auth.token, str) else None
