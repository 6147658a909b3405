"""`DeviceLogin`: a user logs in by a code, in any browser (RFC 8628)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from smtpsend._model.diagnosis.token_remedies import UNUSABLE
from smtpsend._model.tracebacks import hides_arguments, hides_fields
from smtpsend.errors import AuthError
from smtpsend.oauth.cache import Issued
from smtpsend.oauth.endpoint.failures import Failure
from smtpsend.oauth.endpoint.post import post, request_token, require_libraries
from smtpsend.oauth.endpoint.reply import lifetime_of
from smtpsend.oauth.endpoint.request import Endpoint, Refused, Request
from smtpsend.oauth.grant import (
    MICROSOFT_USER_SCOPE,
    check_secret,
    check_text,
    check_url,
    microsoft_url,
)


_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
# RFC 8628 section 3.2: the pause between two polls where the server names none. Section
# 3.5: by how much it grows after `slow_down`.
_INTERVAL = 5.0
_SLOW_DOWN = 5.0
_LONGEST_INTERVAL = 60.0
# A code that is said to last longer is not waited for, in seconds.
_LONGEST_WAIT = 3600.0


@dataclass(frozen=True, slots=True)
class DevicePrompt:
    """What the user has to do.

    Attributes:
        uri: the page to open, in any browser.
        code: the code to enter there.
        whole_uri: the same page with the code in it; None if the server has none.
        expires_in: seconds until the code expires.
    """

    uri: str
    code: str
    whole_uri: str | None
    expires_in: float
    interval: float = field(repr=False)
    device_code: str = field(repr=False)


@hides_fields
@dataclass(frozen=True)
class DeviceLogin:
    """A login by a code that the user enters in any browser (RFC 8628).

    `begin` returns the code to show, and `finish` waits until the user has entered it.
    The refresh token of the result is for `RefreshToken`.

    Args:
        device_url: the URL of the device authorization endpoint.
        token_url: the URL of the token endpoint.
        client_id: the id of the client.
        scope: the scope. It must contain what the authorization server wants for a
            refresh token; mostly that is ``offline_access``.
        client_secret: the secret of the client; None, the default, for a public client.
        cafile: a PEM file of the CAs to trust for the authorization server; by default
            those of requests.
        timeout: seconds for each request (default: 30).
        sleep: the function that waits between two requests.

    Raises:
        ConfigError: an argument cannot be used.
    """

    device_url: str
    token_url: str
    client_id: str
    scope: str
    client_secret: str | None = field(default=None, repr=False)
    cafile: str | None = field(default=None, kw_only=True)
    timeout: float = field(default=30.0, kw_only=True)
    sleep: Callable[[float], object] = field(
        default=time.sleep, kw_only=True, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        require_libraries()
        check_url("device_url", self.device_url)
        check_url("token_url", self.token_url)
        check_text("client_id", self.client_id)
        check_text("scope", self.scope)
        if self.client_secret is not None:
            check_secret("client secret", self.client_secret)

    @classmethod
    @hides_arguments
    def microsoft(cls, tenant: str, client_id: str, **options: Any) -> DeviceLogin:
        """Make the login of a user of Microsoft 365 or Outlook.com.

        Args:
            tenant: the id of the tenant, or one of its domains; ``organizations`` for
                any, ``consumers`` for Outlook.com.
            client_id: the application id of the app registration, in which public client
                flows are allowed.
            options: ``cafile``, ``timeout`` and ``sleep``.
        """
        return cls(
            microsoft_url(tenant, "devicecode"),
            microsoft_url(tenant),
            client_id,
            MICROSOFT_USER_SCOPE,
            **options,
        )

    @hides_arguments
    def begin(self) -> DevicePrompt:
        """Ask for a code.

        Raises:
            AuthError: the authorization server refused, or is out of reach.
        """
        endpoint = self._endpoint(self.device_url)
        try:
            found = post(endpoint, Request(None, {"scope": self.scope}))
        except Refused as refused:
            raise refused.failure.error() from None
        names = ("device_code", "user_code", "verification_uri")
        values = [found.get(name) for name in names]
        # Some servers use the name of a draft.
        values[2] = values[2] or found.get("verification_url")
        texts = [v for v in values if isinstance(v, str) and v and v.isprintable()]
        if len(texts) < len(names):
            text = f"the authorization server {endpoint.host} issued no device code"
            raise Failure(text, UNUSABLE).error()
        whole = found.get("verification_uri_complete")
        usable = isinstance(whole, str) and whole.isprintable()
        life = lifetime_of(found.get("expires_in"))
        pause = lifetime_of(found.get("interval"))
        return DevicePrompt(
            uri=texts[2],
            code=texts[1],
            whole_uri=whole if usable else None,
            expires_in=_LONGEST_WAIT if life is None else min(life, _LONGEST_WAIT),
            interval=_INTERVAL if pause is None else min(pause, _LONGEST_INTERVAL),
            device_code=texts[0],
        )

    @hides_arguments
    def finish(self, prompt: DevicePrompt) -> Issued:
        """Wait until the user has entered the code, and return the tokens.

        Raises:
            AuthError: the user refused, or the code expired.
        """
        end = time.monotonic() + prompt.expires_in
        pause = prompt.interval
        endpoint = self._endpoint(self.token_url)
        params = {"device_code": prompt.device_code}
        request = Request(_GRANT_TYPE, params, self.client_secret)
        while time.monotonic() < end:
            self.sleep(pause)
            try:
                return request_token(endpoint, request)
            except Refused as refused:
                if refused.error == "slow_down":
                    pause = min(pause + _SLOW_DOWN, _LONGEST_INTERVAL)
                elif refused.error != "authorization_pending":
                    raise refused.failure.error() from None
            except AuthError as error:
                if not error.temporary:
                    raise
                # RFC 8628 section 3.5: after a failed connection, ask less often.
                pause = min(max(2 * pause, 1.0), _LONGEST_INTERVAL)
        raise Failure(
            "nobody entered the code in time", "begin again, and enter the code sooner"
        ).error()

    def _endpoint(self, url: str) -> Endpoint:
        return Endpoint(url, self.client_id, "post", self.cafile, self.timeout)
