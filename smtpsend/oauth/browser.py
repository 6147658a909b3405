"""`BrowserLogin`: a user logs in with a browser on this machine (RFC 8252, RFC 7636).

Google allows the scope for SMTP in this flow only, and not in that of device codes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from smtpsend._model.diagnosis.token_remedies import token_remedy
from smtpsend._model.tracebacks import hides_arguments, hides_fields
from smtpsend.oauth.cache import Issued
from smtpsend.oauth.endpoint.failures import Failure
from smtpsend.oauth.endpoint.post import require_libraries
from smtpsend.oauth.endpoint.request import Endpoint, Request
from smtpsend.oauth.grant import (
    GOOGLE_BROWSER_URL,
    GOOGLE_SCOPE,
    GOOGLE_URL,
    check_secret,
    check_text,
    check_url,
    issued,
)


_PAGE = (
    b"<!doctype html><title>smtpsend</title><p>The login was received. You can close "
    b"this page and go back to the terminal."
)
# A client that connects and says nothing is waited for so long, in seconds.
_PATIENCE = 5.0


@hides_fields
@dataclass(frozen=True)
class BrowserLogin:
    """A login with a browser that reaches this machine by 127.0.0.1 (RFC 8252).

    Args:
        authorization_url: the URL of the authorization endpoint.
        token_url: the URL of the token endpoint.
        client_id: the id of the client, for which redirections to ``http://127.0.0.1``
            with any port are allowed.
        scope: the scope.
        client_secret: the secret of the client; None, the default, for a public client.
        parameters: further parameters of the authorization request.
        cafile: a PEM file of the CAs to trust for the authorization server; by default
            those of requests.
        timeout: seconds for the request for the token (default: 30).

    Raises:
        ConfigError: an argument cannot be used.
    """

    authorization_url: str
    token_url: str
    client_id: str
    scope: str
    client_secret: str | None = field(default=None, repr=False)
    parameters: tuple[tuple[str, str], ...] = field(default=(), kw_only=True)
    cafile: str | None = field(default=None, kw_only=True)
    timeout: float = field(default=30.0, kw_only=True)

    def __post_init__(self) -> None:
        require_libraries()
        check_url("authorization_url", self.authorization_url)
        check_url("token_url", self.token_url)
        check_text("client_id", self.client_id)
        check_text("scope", self.scope)
        if self.client_secret is not None:
            check_secret("client secret", self.client_secret)

    @classmethod
    @hides_arguments
    def google(cls, client_id: str, client_secret: str, **options: Any) -> BrowserLogin:
        """Make the login of an account of Gmail or Google Workspace.

        Args:
            client_id: the id of the OAuth client, which has the type *Desktop app*.
            client_secret: its secret.
            options: ``cafile`` and ``timeout``.
        """
        return cls(
            GOOGLE_BROWSER_URL,
            GOOGLE_URL,
            client_id,
            GOOGLE_SCOPE,
            client_secret,
            # Without these, Google issues a refresh token at the first login only.
            parameters=(("access_type", "offline"), ("prompt", "consent")),
            **options,
        )

    @hides_arguments
    def run(self, show: Callable[[str], object], wait: float = 600.0) -> Issued:
        """Wait until the user has logged in, and return the tokens.

        Args:
            show: a function that shows the user the URL to open in a browser.
            wait: seconds to wait for the user (default: 600).

        Raises:
            AuthError: the user refused, or did not log in in time.
        """
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        with _Listener(state) as listener:
            redirect = f"http://127.0.0.1:{listener.server_address[1]}/"
            query = {
                "response_type": "code",
                "client_id": self.client_id,
                "redirect_uri": redirect,
                "scope": self.scope,
                "state": state,
                "code_challenge": create_s256_code_challenge(verifier),
                "code_challenge_method": "S256",
                **dict(self.parameters),
            }
            show(f"{self.authorization_url}?{urlencode(query)}")
            found = listener.wait(time.monotonic() + wait)
        code = found.get("code")
        if code is None:
            error = found.get("error", "no code")
            description = found.get("error_description", "")
            said = "".join(c for c in f"{error} {description}" if c.isprintable()).strip()
            hint = token_remedy(error, description)
            raise Failure(f"the login was refused: {said[:400]}", hint).error()
        params = {"code": code, "redirect_uri": redirect, "code_verifier": verifier}
        endpoint = Endpoint(
            self.token_url, self.client_id, "post", self.cafile, self.timeout
        )
        return issued(endpoint, Request("authorization_code", params, self.client_secret))


class _Listener(HTTPServer):
    """Waits for the redirection of the browser; only this machine reaches it."""

    def __init__(self, state: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = state
        self.found: dict[str, str] | None = None

    def wait(self, end: float) -> dict[str, str]:
        """Return the parameters of the redirection.

        Raises:
            AuthError: none came in time.
        """
        while self.found is None:
            self.timeout = end - time.monotonic()
            if self.timeout <= 0:
                text = "nobody logged in in time"
                raise Failure(text, "begin again, and log in sooner").error()
            self.handle_request()
        return self.found

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a browser that hangs up."""


class _Handler(BaseHTTPRequestHandler):
    def setup(self) -> None:
        """Limit the time that a silent client may take."""
        super().setup()
        self.connection.settimeout(_PATIENCE)

    @property
    def listener(self) -> _Listener:
        """The server, by its own class."""
        assert isinstance(self.server, _Listener)  # noqa: S101
        return self.server

    def do_GET(self) -> None:
        """Take the parameters, if they belong to this login."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        # Any page in the browser can send a request to this port. Only the authorization
        # server knows `state` (RFC 6749 section 10.12).
        ours = secrets.compare_digest(query.get("state", "").encode(), self.state_of())
        if parts.path != "/" or not ours:
            self.send_error(404)
            return
        self.listener.found = query
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(_PAGE)))
        self.end_headers()
        self.wfile.write(_PAGE)

    def state_of(self) -> bytes:
        """The `state` that the redirection must have."""
        return self.listener.state.encode()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: the path holds the code."""
