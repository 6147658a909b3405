"""`RefreshToken`: sends as a user who has logged in once (RFC 6749 section 6)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from smtpsend._model.tracebacks import hides_arguments, hides_fields
from smtpsend.errors import ConfigError
from smtpsend.oauth.cache import Issued
from smtpsend.oauth.endpoint.post import request_token
from smtpsend.oauth.endpoint.request import ClientAuth, Refused, Request
from smtpsend.oauth.grant import (
    GOOGLE_URL,
    MICROSOFT_USER_SCOPE,
    Grant,
    Secret,
    check_client_auth,
    check_secret,
    check_text,
    check_url,
    microsoft_url,
    secret_of,
)


_log = logging.getLogger("smtpsend")


@dataclass
class _State:
    """The refresh tokens of one grant. Renewals take turns, so it needs no lock.

    Attributes:
        given: what the caller gave last.
        rotated: what the authorization server issued in its place; None if nothing.
        unsaved: whether the callback has still to be given `rotated`.
    """

    given: str | None = None
    rotated: str | None = None
    unsaved: bool = False


@hides_fields
@dataclass(frozen=True)
class RefreshToken(Grant):
    """Tokens for a user who has logged in once (RFC 6749 section 6).

    Give it as the token of `OAuth2`. It is called for each new connection, returns a
    cached token until shortly before that expires, and asks for a new one once for all
    threads and event loops.

    Args:
        token_url: the URL of the token endpoint; it begins with ``https://``.
        client_id: the id of the client that the user has allowed.
        refresh_token: the refresh token, or a function that returns it; the function is
            called for each new token, so that a refresh token that another process
            stored is found. Hidden in `repr`.
        client_secret: the secret of the client, or a function that returns it; None for
            a public client. Hidden in `repr`.
        scope: the scope; None asks for all that the user has allowed.
        on_rotation: a function that is given each new refresh token that the
            authorization server issues in place of the one before (RFC 6749 section
            6), to store it. It runs in the thread that asks for a token. If it raises an
            exception, the exception is logged, and the function is called again the
            next time.
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
    refresh_token: Secret = field(repr=False)
    client_secret: Secret | None = field(default=None, repr=False)
    scope: str | None = None
    on_rotation: Callable[[str], object] | None = field(
        default=None, kw_only=True, repr=False
    )
    client_auth: ClientAuth = field(default="post", kw_only=True)
    _state: _State = field(
        init=False, repr=False, compare=False, default_factory=lambda: _State()
    )

    def __post_init__(self) -> None:
        check_url("token_url", self.token_url)
        check_text("client_id", self.client_id)
        check_secret("refresh token", self.refresh_token)
        if self.client_secret is not None:
            check_secret("client secret", self.client_secret)
        if self.scope is not None:
            check_text("scope", self.scope)
        if self.on_rotation is not None and not callable(self.on_rotation):
            raise ConfigError("on_rotation must be a function")
        check_client_auth(self.client_auth)
        super().__post_init__()

    @classmethod
    @hides_arguments
    def google(
        cls, client_id: str, client_secret: Secret, refresh_token: Secret, **options: Any
    ) -> RefreshToken:
        """Make the grant for an account of Gmail or Google Workspace.

        Args:
            client_id: the id of the OAuth client, which has the type *Desktop app*.
            client_secret: its secret, or a function that returns it.
            refresh_token: the refresh token for the scope ``https://mail.google.com/``,
                or a function that returns it.
            options: ``on_rotation``, ``cafile`` and ``timeout``.

        Raises:
            ConfigError: an argument cannot be used.
        """
        return cls(GOOGLE_URL, client_id, refresh_token, client_secret, **options)

    @classmethod
    @hides_arguments
    def microsoft(
        cls, tenant: str, client_id: str, refresh_token: Secret, **options: Any
    ) -> RefreshToken:
        """Make the grant for a user of Microsoft 365 or Outlook.com.

        Args:
            tenant: the id of the tenant, or one of its domains; ``consumers`` for
                Outlook.com.
            client_id: the application id of the app registration.
            refresh_token: the refresh token for the scope
                ``https://outlook.office.com/SMTP.Send offline_access``, or a function
                that returns it.
            options: ``client_secret``, ``scope``, ``on_rotation``, ``cafile`` and
                ``timeout``.

        Raises:
            ConfigError: an argument cannot be used.
        """
        options.setdefault("scope", MICROSOFT_USER_SCOPE)
        return cls(microsoft_url(tenant), client_id, refresh_token, **options)

    def _renew(self) -> Issued:
        self._save()
        refresh_token = self._present()
        try:
            issued = self._ask(refresh_token)
        except Refused as refused:
            # Another process may have used the refresh token, and stored the next one.
            newer = self._present()
            if refused.error != "invalid_grant" or newer == refresh_token:
                raise refused.failure.error() from None
            try:
                issued = self._ask(newer)
            except Refused as again:
                raise again.failure.error() from None
        if issued.refresh_token not in (None, self._present_or_none()):
            self._state.rotated, self._state.unsaved = issued.refresh_token, True
            self._save()
        return issued

    def _present(self) -> str:
        """The refresh token to use: what was given, or what was issued in its place."""
        given = secret_of("refresh token", self.refresh_token)
        if given != self._state.given:
            if given == self._state.rotated:  # the callback stored it
                self._state.unsaved = False
            self._state.given, self._state.rotated = given, None
        return self._state.rotated or given

    def _present_or_none(self) -> str | None:
        return self._state.rotated or self._state.given

    def _ask(self, refresh_token: str) -> Issued:
        endpoint = self._endpoint(self.token_url, self.client_id, self.client_auth)
        params = {"refresh_token": refresh_token}
        if self.scope is not None:
            params["scope"] = self.scope
        secret = None
        if self.client_secret is not None:
            secret = secret_of("client secret", self.client_secret)
        return request_token(endpoint, Request("refresh_token", params, secret))

    def _save(self) -> None:
        """Give the callback a refresh token that it has not stored yet.

        A failure of the callback does not fail the send: the token is there, and the
        refresh token is kept in memory. It would be lost when the process ends.
        """
        state = self._state
        if not state.unsaved or state.rotated is None or self.on_rotation is None:
            return
        try:
            self.on_rotation(state.rotated)
        except Exception as error:  # noqa: BLE001  # the caller's code
            # Neither its text nor its traceback, which may hold the refresh token.
            _log.error(
                "the new refresh token for %s was not stored: on_rotation raised %s",
                self.client_id,
                type(error).__name__,
            )
        else:
            state.unsaved = False
