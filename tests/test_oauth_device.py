"""The login by a device code (RFC 8628): what is asked, how often, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
from token_endpoint import Answer, TokenEndpoint, endpoint, refusal, token

from smtpsend.errors import AuthError, ConfigError
from smtpsend.oauth import DeviceLogin


CODE = {
    "device_code": "the-device-code",
    "user_code": "ABCD-EFGH",
    "verification_uri": "https://localhost/device",
    "expires_in": 600,
    "interval": 2,
}
PENDING = refusal("authorization_pending")
TOKENS = token("the access token", refresh_token="the refresh token")


class Pauses(list[float]):
    """The pauses of a login, which do not take place."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def login_at(issuer: TokenEndpoint, pauses: Pauses, **options: Any) -> DeviceLogin:
    """A login; one URL serves as both endpoints."""
    return DeviceLogin(
        issuer.url, issuer.url, "id", "a b", cafile=issuer.ca, sleep=pauses, **options
    )


def test_a_login() -> None:
    """The code is asked for, and then the token, until the user has entered the code."""
    pauses = Pauses()
    with endpoint(Answer(200, CODE), PENDING, PENDING, TOKENS) as issuer:
        login = login_at(issuer, pauses)
        prompt = login.begin()
        assert (prompt.uri, prompt.code) == ("https://localhost/device", "ABCD-EFGH")
        assert "the-device-code" not in repr(prompt)
        issued = login.finish(prompt)
    assert (issued.token, issued.refresh_token) == (
        "the access token",
        "the refresh token",
    )
    assert "the" not in repr(issued)
    assert pauses == [2, 2, 2]
    assert issuer.requests == [
        {"client_id": "id", "scope": "a b"},
        *3
        * [
            {
                "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
                "device_code": "the-device-code",
                "client_id": "id",
            }
        ],
    ]


def test_a_server_that_wants_fewer_requests() -> None:
    """After slow_down the pause grows by five seconds; a failed request doubles it."""
    slow = refusal("slow_down")
    pauses = Pauses()
    with endpoint(Answer(200, CODE), slow, PENDING, Answer(503), TOKENS) as issuer:
        login = login_at(issuer, pauses)
        login.finish(login.begin())
    assert pauses == [2, 7, 7, 14]


ENDS: dict[str, tuple[Answer, str, str]] = {
    "refused by the user": (
        refusal("access_denied"),
        "access_denied",
        "did not allow it",
    ),
    "expired": (refusal("expired_token"), "expired_token", "begin again"),
    "used": (refusal("invalid_grant", "used"), "invalid_grant: used", "log in again"),
    "no endpoint": (Answer(404), "HTTP 404", "no token endpoint"),
}


@pytest.mark.parametrize("case", ENDS)
def test_the_end_of_a_login(case: str) -> None:
    """Any other refusal ends the login, and is said."""
    answer, text, hint = ENDS[case]
    with endpoint(Answer(200, CODE), answer) as issuer:
        login = login_at(issuer, Pauses())
        prompt = login.begin()
        with pytest.raises(AuthError) as caught:
            login.finish(prompt)
    assert text in caught.value.message
    assert hint in caught.value.hint
    assert "the-device-code" not in str(caught.value)


def test_nobody_enters_the_code() -> None:
    """A login ends when the code has expired, whatever the server says."""
    with endpoint(Answer(200, {**CODE, "expires_in": 0}), PENDING) as issuer:
        login = login_at(issuer, Pauses())
        with pytest.raises(AuthError, match="nobody entered the code in time"):
            login.finish(login.begin())


UNUSABLE: dict[str, dict[str, Any]] = {
    "no code": {"user_code": None},
    "a number": {"device_code": 5},
    "no page": {"verification_uri": ""},
    "control characters": {"user_code": "\x1b[2J"},
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_code(case: str) -> None:
    """A reply without a code that can be shown is no device authorization."""
    with endpoint(Answer(200, {**CODE, **UNUSABLE[case]})) as issuer:
        with pytest.raises(AuthError, match="issued no device code"):
            login_at(issuer, Pauses()).begin()


def test_what_a_server_leaves_out() -> None:
    """The pause is five seconds by default; an unusable page is left out."""
    lacking = {k: v for k, v in CODE.items() if k not in ("interval", "expires_in")}
    lacking["verification_uri_complete"] = "https://localhost/\n"
    with endpoint(Answer(200, lacking)) as issuer:
        prompt = login_at(issuer, Pauses()).begin()
    assert (prompt.interval, prompt.expires_in, prompt.whole_uri) == (5, 3600, None)


def test_the_preset_of_microsoft() -> None:
    """The login of Microsoft has its endpoints and the scope with a refresh token."""
    login = DeviceLogin.microsoft("consumers", "id")
    assert login.device_url.endswith("/consumers/oauth2/v2.0/devicecode")
    assert login.scope == "https://outlook.office.com/SMTP.Send offline_access"
    with pytest.raises(ConfigError):
        DeviceLogin("http://localhost", login.token_url, "id", "scope")
