"""Credentials: a user name with a password or an OAuth 2.0 token, or a certificate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from smtpsend._model.address.domain import is_unicode
from smtpsend._model.tracebacks import hides_fields
from smtpsend._values import dataclass, field
from smtpsend.errors import ConfigError


Provider = Callable[[], str] | Callable[[], Awaitable[str]]
"""A function or coroutine function of the caller's that returns a password or token."""


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
@dataclass(frozen=True, slots=True, weakref_slot=True)
class Password:
    """A user name and a password.

    Args:
        username: the user name, often the whole mail address. It is hidden like the
            password where both are the same, since some providers want one token as both.
        password: the password, or a function or coroutine function without parameters
            that returns it. The function is called once for each new connection, and once
            more if the server refuses the password; the second result is tried only if
            it differs. The kept connections of a client end when the function returns
            another password than before. The password is hidden in `repr`, and sent only
            inside verified TLS, in UTF-8.

    Raises:
        ConfigError: the user name or the password is empty, no str, or holds a control
            character.
    """

    username: str
    password: str | Provider = field(repr=False)

    def __post_init__(self) -> None:
        given = self.password
        is_function = callable(given) and not isinstance(given, str)
        if not _check("user name", self.username) or not (
            is_function or _check("password", given)
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
    token: str | Provider = field(repr=False)

    def __post_init__(self) -> None:
        if not _check("user name", self.username):
            raise ConfigError("the user name cannot be empty")
        if not callable(self.token):
            check_secret(self, self.token)

    def __repr__(self) -> str:
        return f"OAuth2(username={shown_name(self)!r})"


@dataclass(frozen=True, slots=True, weakref_slot=True)
class External:
    """A login by the certificate of the client: EXTERNAL (RFC 4422 appendix A).

    The certificate is in ``Server(ssl_context=context)``, by
    ``context.load_cert_chain(...)``.

    Args:
        username: the account to use; empty, the default, for that of the certificate.

    Raises:
        ConfigError: the user name is no str, or holds a control character.
    """

    username: str = ""

    def __post_init__(self) -> None:
        _check("user name", self.username)


Auth = Password | OAuth2 | External


def secret_kind(auth: Auth) -> str:
    """What the secret of `auth` is called in a text: ``password`` or ``token``."""
    return "password" if isinstance(auth, Password) else "token"


def check_secret(auth: Auth, secret: object) -> str:
    """Check that a password or token is a str that is allowed in a SASL message.

    Raises:
        ConfigError: it is empty, no str, or holds a control character.
    """
    kind = secret_kind(auth)
    if not (text := _check(kind, secret)):
        raise ConfigError(f"the {kind} cannot be empty")
    return text


def provider_of(auth: Auth | None) -> Provider | None:
    """The function that returns the password or token; None if it is a plain str."""
    secret = _secret_of(auth)
    return secret if callable(secret) else None


def known_secret(auth: Auth | None) -> str | None:
    """The password or token; None if a function has to return it.

    A password that is read from a file is known from when the file was first read.
    """
    secret = _secret_of(auth)
    return secret if isinstance(secret, str) else None


def _secret_of(auth: Auth | None) -> str | Provider | None:
    if isinstance(auth, Password):
        return auth.password
    return auth.token if isinstance(auth, OAuth2) else None


def shown_name(auth: Auth) -> str:
    """The user name to show; ``***`` if it is the secret as well."""
    if isinstance(auth, External) and not auth.username:
        return "the client certificate"
    return "***" if auth.username == known_secret(auth) else auth.username
