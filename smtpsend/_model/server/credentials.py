"""Credentials, the choice of a SASL mechanism, and each mechanism's side of the talk.

A mechanism is a generator: it yields what the client says, as bytes before base64, and
is sent what the server answered, decoded (RFC 4954 section 4). What it yields first is
the initial response; None means that the server speaks first.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass, field

from smtpsend.errors import ConfigError


Exchange = Generator[bytes | None, bytes, None]


def _check(name: str, value: object) -> str:
    """`value` as a string that can stand in a SASL message."""
    if not isinstance(value, str):
        raise ConfigError(f"the {name} must be a str, not {type(value).__name__}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(
            f"the {name} holds a lone surrogate, which is no text"
        ) from None
    # NUL separates the fields of PLAIN (RFC 4616), \x01 those of XOAUTH2; the others
    # never belong to a credential, and mostly come with a line end read from a file.
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        ends = value != value.rstrip("\r\n") and value.rstrip("\r\n").isprintable()
        what = "ends with a line end: strip it" if ends else "holds a control character"
        raise ConfigError(f"the {name} {what}")
    return value


@dataclass(frozen=True, slots=True)
class Password:
    """A user name and a password.

    Args:
        username: as the server wants it, often the whole mail address. Hidden, too,
            where it is the same as the password: some providers want one token as both.
        password: hidden in `repr`. Sent in UTF-8, and only inside verified TLS.

    Raises:
        ConfigError: one of the two is empty, no str, or holds a control character.
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


@dataclass(frozen=True, slots=True)
class OAuth2:
    """A user name and an OAuth 2.0 access token (XOAUTH2, or OAUTHBEARER: RFC 7628).

    Args:
        username: the mail address of the account.
        token: the access token, or a function or coroutine function without
            parameters that returns it. It is asked once for each new connection, and
            once more if the server refuses the token. Hidden in `repr`.

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


def check_token(token: object) -> str:
    """`token` as a string that can stand in a SASL message.

    Raises:
        ConfigError: it is empty, no str, or holds a control character.
    """
    if not (text := _check("token", token)):
        raise ConfigError("the token cannot be empty")
    return text


Auth = Password | OAuth2


def _plain(username: str, secret: str) -> Exchange:
    # RFC 4616
    yield f"\0{username}\0{secret}".encode()


def _login(username: str, secret: str) -> Exchange:
    # No RFC; what the prompts say differs from server to server, their order does not.
    yield None
    yield username.encode()
    yield secret.encode()


def _cram_md5(username: str, secret: str) -> Exchange:
    # RFC 2195
    challenge = yield None
    digest = hmac.new(secret.encode(), challenge, "md5").hexdigest()
    yield f"{username} {digest}".encode()


def _xoauth2(username: str, secret: str) -> Exchange:
    yield f"user={username}\x01auth=Bearer {secret}\x01\x01".encode()
    # A refusal is a 334 with JSON; the 535 comes after an empty answer.
    yield b""


def _oauthbearer(username: str, secret: str) -> Exchange:
    # RFC 7628 section 3.1; "=" and "," are escaped as RFC 5801 has it.
    name = username.replace("=", "=3D").replace(",", "=2C")
    yield f"n,a={name},\x01auth=Bearer {secret}\x01\x01".encode()
    # Section 3.2.3: a refusal is a 334 with JSON, to be answered with one \x01.
    yield b"\x01"


# In order of preference. TLS is verified, so that PLAIN gives nothing away, and it asks
# of the server neither a second round trip nor that it keeps the password readable.
_MECHANISMS: dict[type, dict[str, Callable[[str, str], Exchange]]] = {
    Password: {"PLAIN": _plain, "LOGIN": _login, "CRAM-MD5": _cram_md5},
    OAuth2: {"OAUTHBEARER": _oauthbearer, "XOAUTH2": _xoauth2},
}


def choose(auth: Auth, offered: Iterable[str]) -> str | None:
    """The one mechanism to try, of those that the server offers; None if none fits."""
    names = {name.upper() for name in offered}
    return next((name for name in _MECHANISMS[type(auth)] if name in names), None)


def known(auth: Auth) -> str:
    """The mechanisms that can serve `auth`, in words."""
    return ", ".join(_MECHANISMS[type(auth)])


def exchange(mechanism: str, auth: Auth, secret: str) -> Exchange:
    """The client's side of `mechanism`; `secret` is the password or the token."""
    return _MECHANISMS[type(auth)][mechanism](auth.username, secret)


def shown_name(auth: Auth) -> str:
    """The user name as people may see it: not where it is the secret as well."""
    return "***" if auth.username == known_secret(auth) else auth.username


def known_secret(auth: Auth | None) -> str | None:
    """The secret, where it is known before anything is asked for it."""
    if isinstance(auth, Password):
        return auth.password
    return auth.token if auth is not None and isinstance(auth.token, str) else None
