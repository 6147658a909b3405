"""`Grant`: what all grants share: the endpoint, the cache, and hidden secrets."""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from smtpsend._model.server.token_source import TokenSource
from smtpsend._model.tracebacks import hides_arguments
from smtpsend._patterns import pattern
from smtpsend.errors import AuthError, ConfigError
from smtpsend.oauth.cache import Issued, TokenCache
from smtpsend.oauth.endpoint.failures import Failure
from smtpsend.oauth.endpoint.post import request_token, require_libraries
from smtpsend.oauth.endpoint.request import (
    ClientAuth,
    Endpoint,
    Refused,
    Request,
    check_secret_text,
)


Secret = str | Callable[[], str]
"""A secret, or a function that returns the present one."""


# The time limit of the request itself comes first, because its error says more; in
# seconds.
_GRACE = 1.0


@dataclass(frozen=True, kw_only=True)
class Grant(TokenSource):
    """A callable that asks an authorization server for tokens, and caches them.

    Args:
        cafile: a PEM file of the CAs to trust for the authorization server; by default
            those that requests trusts (certifi's, or the file that the environment
            variable REQUESTS_CA_BUNDLE names).
        timeout: seconds within which the authorization server must reply (default: 30).
    """

    cafile: str | os.PathLike[str] | None = None
    timeout: float = 30.0
    _cache: TokenCache = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_libraries()
        if self.cafile is not None and not isinstance(self.cafile, str | os.PathLike):
            raise ConfigError("cafile must be the path of a PEM file")
        number = isinstance(self.timeout, int | float)
        if not number or not 0 < self.timeout < math.inf:
            raise ConfigError("timeout must be a number of seconds above 0")
        object.__setattr__(self, "_cache", TokenCache(self._renew, self.timeout + _GRACE))

    @hides_arguments
    def __call__(self) -> str:
        """Return a token that is valid for a while; it blocks while a new one is issued.

        Raises:
            AuthError: no token was issued. It holds the ``error`` and the
                ``error_description`` of the authorization server, and is temporary if
                the server was out of reach, or replied with HTTP 5xx or 429.
        """
        return self._cache.get()

    def discard(self, token: str) -> None:
        """Ask for a new token next time, because a mail server refused `token`."""
        self._cache.discard(token)

    def _endpoint(
        self, url: str, client_id: str | None = None, client_auth: ClientAuth = "post"
    ) -> Endpoint:
        """The token endpoint at `url`, with the limits and the CAs of this grant."""
        cafile = None if self.cafile is None else str(self.cafile)
        return Endpoint(url, client_id, client_auth, cafile, self.timeout)

    @abstractmethod
    def _renew(self) -> Issued:
        """Ask the authorization server for a token."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the cache: its lock cannot be pickled.
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return _restored, (type(self), given)


def _restored(cls: type[Grant], given: dict[str, Any]) -> Grant:
    return cls(**given)


def issued(endpoint: Endpoint, request: Request) -> Issued:
    """Ask for a token; a refusal becomes an `AuthError`."""
    try:
        return request_token(endpoint, request)
    except Refused as refused:
        failure = refused.failure
    raise failure.error()


def check_url(name: str, url: object) -> None:
    """Check the URL of an endpoint, which is never shown.

    Raises:
        ConfigError: it is no https URL (RFC 6749 section 3.2 requires TLS).
    """
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        usable = parts is not None and parts.scheme == "https" and bool(parts.hostname)
        usable = usable and (parts.port is None or parts.port > 0)  # type: ignore[union-attr]
        plain = parts is not None and "@" not in parts.netloc and not parts.fragment
    except ValueError:
        usable = plain = False
    if not usable or not plain or not str(url).isprintable() or " " in str(url):
        raise ConfigError(f"{name} must be a URL that begins with https://")


def check_text(name: str, value: object) -> None:
    """Check an id or a scope.

    Raises:
        ConfigError: it is empty, no str, or holds a control character.
    """
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ConfigError(f"{name} must be a str of printable characters")


def check_secret(name: str, value: object) -> None:
    """Check a secret that is a str, or a function.

    Raises:
        ConfigError: it is neither, or cannot be used.
    """
    if not callable(value):
        check_secret_text(name, value)


def check_client_auth(value: ClientAuth) -> None:
    """Check how a client authenticates itself.

    Raises:
        ConfigError: it is no name that this package knows.
    """
    if value not in ("post", "basic"):
        raise ConfigError("client_auth must be 'post' or 'basic'")


def secret_of(name: str, secret: Secret) -> str:
    """Return a secret; call the function if it is one.

    Raises:
        AuthError: the function raised an exception, or returned nothing usable.
    """
    if isinstance(secret, str):
        return secret
    try:
        value = secret()
        check_secret(name, value)
    except AuthError:
        raise
    except ConfigError as error:
        text = f"the function for the {name} returned none that can be used"
        raise Failure(
            f"{text}: {error.message}", "look at that function"
        ).error() from None
    except Exception as error:  # noqa: BLE001  # the caller's code
        # Its text may hold the secret.
        temporary = isinstance(error, OSError)
        text = f"the function for the {name} raised {type(error).__name__}"
        raise Failure(
            text, "look at that function", temporary=temporary
        ).error() from None
    return value


_TENANT = pattern(r"[A-Za-z0-9][A-Za-z0-9.-]*")


def microsoft_url(tenant: str, name: str = "token") -> str:
    """The URL of an endpoint of Microsoft Entra ID.

    Raises:
        ConfigError: `tenant` is no tenant id or domain.
    """
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        raise ConfigError("the tenant must be its id or its domain")
    return f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/{name}"


GOOGLE_URL = "https://oauth2.googleapis.com/token"
"""The token endpoint of Google."""

GOOGLE_BROWSER_URL = "https://accounts.google.com/o/oauth2/v2/auth"
"""The authorization endpoint of Google."""

MICROSOFT_USER_SCOPE = "https://outlook.office.com/SMTP.Send offline_access"
"""The scope for a user of Microsoft 365; with `offline_access` comes a refresh token."""

MICROSOFT_APP_SCOPE = "https://outlook.office365.com/.default"
"""The scope of a program that sends without a user."""

GOOGLE_SCOPE = "https://mail.google.com/"
"""The scope for SMTP at Google; the narrower gmail.send is for its HTTPS interface."""
