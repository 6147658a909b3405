"""The token function that the variables ``SMTP_OAUTH_*`` describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from smtpsend._model.server.oauth_environment import OAuthSettings
from smtpsend._model.tracebacks import hides_arguments
from smtpsend.errors import ConfigError
from smtpsend.oauth.client_credentials import ClientCredentials
from smtpsend.oauth.grant import (
    GOOGLE_URL,
    MICROSOFT_APP_SCOPE,
    MICROSOFT_USER_SCOPE,
    Secret,
    microsoft_url,
)
from smtpsend.oauth.refresh_token import RefreshToken
from smtpsend.oauth.secret_file import SecretFile
from smtpsend.oauth.service_account import ServiceAccount


_GOOGLE_HOSTS = ("smtp.gmail.com", "smtp-relay.gmail.com")


@hides_arguments
def source_of(settings: OAuthSettings) -> str | Callable[[], str]:
    """Return the token, or the function for it.

    A refresh token that was rotated is written into the file that it came from.

    Raises:
        ConfigError: a value cannot be used, or the token endpoint is not known.
    """
    values = settings.values
    if token := _secret(settings, "TOKEN"):
        return token
    options: dict[str, Any] = {"cafile": values.get("CAFILE")}
    if file := values.get("SERVICE_ACCOUNT_FILE"):
        if scope := values.get("SCOPE"):
            options["scope"] = scope
        return ServiceAccount(file, settings.username, **options)
    refresh = _secret(settings, "REFRESH_TOKEN")
    url, usual = _endpoint(settings, program=refresh is None)
    options["scope"] = values.get("SCOPE", usual)
    client, secret = values["CLIENT_ID"], _secret(settings, "CLIENT_SECRET")
    if refresh is None:
        assert secret is not None  # noqa: S101  # one of them names the grant
        return ClientCredentials(url, client, secret, **options)
    if isinstance(refresh, SecretFile):
        options["on_rotation"] = refresh.replace
    return RefreshToken(url, client, refresh, secret, **options)


def _secret(settings: OAuthSettings, name: str) -> Secret | None:
    if file := settings.values.get(f"{name}_FILE"):
        return SecretFile(file)
    return settings.values.get(name)


def _endpoint(settings: OAuthSettings, *, program: bool) -> tuple[str, str | None]:
    """The token endpoint, and the scope that is usual there."""
    if tenant := settings.values.get("TENANT"):
        scope = MICROSOFT_APP_SCOPE if program else MICROSOFT_USER_SCOPE
        return microsoft_url(tenant), scope
    if url := settings.values.get("TOKEN_URL"):
        return url, None
    if settings.host in _GOOGLE_HOSTS and not program:
        return GOOGLE_URL, None
    raise ConfigError(
        "the token endpoint is not known",
        hint="set SMTP_OAUTH_TENANT for Microsoft 365, or SMTP_OAUTH_TOKEN_URL",
    )
