"""One request to the token endpoint of an authorization server (RFC 6749 section 3.2).

Authlib forms the request, authenticates the client and reads the reply; requests carries
them, with the CAs of certifi and the proxy of the environment. What they leave open is
here and in `reply`: a reply may be slow, endless, or not from a token endpoint at all.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

from smtpsend.errors import AuthError, ConfigError
from smtpsend.oauth.cache import Issued
from smtpsend.oauth.endpoint.reply import lifetime_of, read_reply, redactor, unusable
from smtpsend.oauth.endpoint.request import Endpoint, Refused, Request, check_secret_text
from smtpsend.oauth.endpoint.unreachable import unreachable


if TYPE_CHECKING:
    import requests


_CONNECT_TIMEOUT = 10.0


def request_token(endpoint: Endpoint, request: Request) -> Issued:
    """Ask for a token.

    Raises:
        Refused: the endpoint refused it.
        AuthError: the endpoint is out of reach, or sent no usable reply.
    """
    reply = post(endpoint, request)
    redact = redactor(request)
    try:
        token = check_secret_text("token", reply.get("access_token"))
    except ConfigError as error:
        kind = redact(error.message)
        raise unusable(endpoint, f"issued no usable token: {kind}").error() from None
    if str(reply.get("token_type", "bearer")).lower() != "bearer":
        raise unusable(endpoint, "issued no bearer token").error()
    refresh = reply.get("refresh_token")
    return Issued(
        token,
        lifetime_of(reply.get("expires_in")),
        refresh if isinstance(refresh, str) and refresh else None,
    )


def post(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    """Send a request, and return the members of the JSON object in the reply.

    Raises:
        Refused: the endpoint refused it.
        AuthError: the endpoint is out of reach, or sent no usable reply.
    """
    begun = monotonic()

    def read(response: requests.Response) -> requests.Response:
        reply = read_reply(endpoint, response, begun + endpoint.timeout)
        return reply.checked(endpoint, request)

    with _session(endpoint, request) as session:
        session.register_compliance_hook("access_token_response", read)
        options: dict[str, Any] = {
            "headers": _HEADERS.copy(),
            # A redirection would send the client secret to another place.
            "allow_redirects": False,
            "timeout": (min(_CONNECT_TIMEOUT, endpoint.timeout), endpoint.timeout),
            "stream": True,
            "verify": endpoint.cafile or True,
        }
        try:
            if request.grant_type is None:
                data = {"client_id": endpoint.client_id, **request.params}
                response = session.post(
                    endpoint.url, data=data, auth=_as_it_is, **options
                )
                return dict(read(response).json())
            if endpoint.client_id is None:
                options["auth"] = _as_it_is
            grant = {"grant_type": request.grant_type, **request.params}
            return dict(session.fetch_token(endpoint.url, **grant, **options))
        except (Refused, AuthError):
            raise
        except Exception as error:  # noqa: BLE001  # of requests, urllib3, ssl
            raise unreachable(endpoint.host, error, endpoint.timeout).error() from None


_HEADERS = {
    "Accept": "application/json",
    "Content-Type": "application/x-www-form-urlencoded",
}


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No client authentication; without it, requests would look into a .netrc file."""
    return request


def _session(endpoint: Endpoint, request: Request) -> Any:
    """A session of Authlib, which is imported when the first token is asked for."""
    require_libraries()
    from authlib.integrations.requests_client import OAuth2Session

    if request.client_secret is None:
        method: Any = "none"
    else:
        method = _basic if endpoint.client_auth == "basic" else "client_secret_post"
    return OAuth2Session(
        endpoint.client_id, request.client_secret, token_endpoint_auth_method=method
    )


def _basic(client: Any, _method: str, uri: str, headers: Any, body: Any) -> Any:
    """HTTP Basic with the encoding of RFC 6749 section 2.3.1, which Authlib lacks."""
    from base64 import b64encode

    pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
    headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
    return uri, headers, body


def require_libraries() -> None:
    """Refuse to make a grant that could not be carried out.

    Raises:
        ConfigError: the extra is not installed.
    """
    from importlib.util import find_spec

    if find_spec("authlib") is None or find_spec("requests") is None:
        raise ConfigError(
            "smtpsend.oauth needs Authlib and requests",
            hint="install the extra: pip install 'smtpsend[oauth]'",
        )
