"""`ClientCredentials`: a program that sends without a user (RFC 6749 section 4.4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from smtpsend._model.tracebacks import hides_arguments, hides_fields
from smtpsend.oauth.cache import Issued
from smtpsend.oauth.endpoint.request import ClientAuth, Request
from smtpsend.oauth.grant import (
    MICROSOFT_APP_SCOPE,
    Grant,
    Secret,
    check_client_auth,
    check_secret,
    check_text,
    check_url,
    issued,
    microsoft_url,
    secret_of,
)


@hides_fields
@dataclass(frozen=True)
class ClientCredentials(Grant):
    """Tokens for a program that sends without a user (RFC 6749 section 4.4).

    Give it as the token of `OAuth2`. It is called for each new connection, returns a
    cached token until shortly before that expires, and asks for a new one once for all
    threads and event loops.

    Args:
        token_url: the URL of the token endpoint; it begins with ``https://``.
        client_id: the id of the client (of the app registration).
        client_secret: its secret, or a function that returns it, such as a `SecretFile`;
            the function is called for each new token. Hidden in `repr`.
        scope: the scope; None leaves it out.
        client_auth: ``"post"`` sends the secret in the body of the request, ``"basic"``
            in its header (RFC 6749 section 2.3.1).
        cafile: a PEM file of the CAs to trust for the authorization server; by default
            those of requests.
        timeout: seconds within which the authorization server must reply (default: 30).

    Raises:
        ConfigError: an argument cannot be used, or the extra ``oauth`` is not installed.
    """

    token_url: str
    client_id: str
    client_secret: Secret = field(repr=False)
    scope: str | None = None
    client_auth: ClientAuth = field(default="post", kw_only=True)

    def __post_init__(self) -> None:
        check_url("token_url", self.token_url)
        check_text("client_id", self.client_id)
        check_secret("client secret", self.client_secret)
        if self.scope is not None:
            check_text("scope", self.scope)
        check_client_auth(self.client_auth)
        super().__post_init__()

    @classmethod
    @hides_arguments
    def microsoft(
        cls, tenant: str, client_id: str, client_secret: Secret, **options: Any
    ) -> ClientCredentials:
        """Make the grant for Microsoft 365.

        Args:
            tenant: the id of the tenant, or one of its domains.
            client_id: the application id of the app registration.
            client_secret: the *value* of its secret, or a function that returns it.
            options: ``scope``, ``cafile`` and ``timeout``.

        Raises:
            ConfigError: an argument cannot be used.
        """
        options.setdefault("scope", MICROSOFT_APP_SCOPE)
        return cls(microsoft_url(tenant), client_id, client_secret, **options)

    def _renew(self) -> Issued:
        endpoint = self._endpoint(self.token_url, self.client_id, self.client_auth)
        params = {} if self.scope is None else {"scope": self.scope}
        secret = secret_of("client secret", self.client_secret)
        return issued(endpoint, Request("client_credentials", params, secret))
