"""The grants of smtpsend.oauth: what they ask for, and that a send logs in by it."""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from oauth_grants import KEY, KINDS, TOKEN, USER, bearer, grant, key_for
from sending import MESSAGE, WAYS, Send, envelope, send_sync, server_for
from token_endpoint import endpoint, refusal, token

from smtpsend import Client, OAuth2
from smtpsend.errors import AuthError, ConfigError
from smtpsend.oauth import ClientCredentials, RefreshToken, SecretFile
from smtpsend.oauth import ServiceAccount as Account


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("send", WAYS)
def test_a_send_logs_in(kind: str, send: Send) -> None:
    """A send asks for a token once, and the mail server accepts it."""
    with endpoint(token(TOKEN)) as issuer, bearer() as mail:
        source = grant(kind, issuer)
        for _ in range(2):
            send(MESSAGE, server_for(mail, auth=OAuth2(USER, source)), **envelope())
    assert len(mail.accepted) == 2
    assert len(issuer.requests) == 1


def test_client_credentials_in_the_body() -> None:
    """The request holds the grant, the scope and the client, and no header with them."""
    with endpoint(token(TOKEN)) as issuer:
        assert grant("client credentials", issuer)() == TOKEN
    assert issuer.requests == [
        {
            "grant_type": "client_credentials",
            "scope": "a b",
            "client_id": "the-client",
            "client_secret": "the-client-secret",
        }
    ]
    assert "Authorization" not in issuer.headers[0]


def test_client_credentials_in_the_header() -> None:
    """In HTTP Basic, id and secret are form-encoded first (RFC 6749 section 2.3.1)."""
    with endpoint(token(TOKEN)) as issuer:
        source = ClientCredentials(
            issuer.url, "a client", "p:ss+w%rd/é", client_auth="basic", cafile=issuer.ca
        )
        assert source() == TOKEN
    assert issuer.requests == [{"grant_type": "client_credentials"}]
    pair = base64.b64decode(issuer.headers[0]["Authorization"].removeprefix("Basic "))
    assert pair == b"a+client:p%3Ass%2Bw%25rd%2F%C3%A9"


def test_the_refresh_token_of_a_public_client() -> None:
    """A public client is named in the body, and sends no secret."""
    with endpoint(token(TOKEN)) as issuer:
        assert grant("refresh token", issuer)() == TOKEN
    assert issuer.requests == [
        {
            "grant_type": "refresh_token",
            "refresh_token": "the-refresh-token",
            "scope": "a b",
            "client_id": "the-client",
        }
    ]


def test_the_assertion_of_a_service_account() -> None:
    """The assertion is signed by the key, and names account, scope and audience."""
    with endpoint(token(TOKEN)) as issuer:
        assert grant("service account", issuer)() == TOKEN
    (request,) = issuer.requests
    assert set(request) == {"grant_type", "assertion"}
    assert request["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    signed, _, signature = request["assertion"].rpartition(".")
    head, claims = (json.loads(unpadded(part)) for part in signed.split("."))
    KEY.public_key().verify(
        unpadded(signature), signed.encode(), padding.PKCS1v15(), SHA256()
    )
    assert head == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}
    assert claims["iss"] == "robot@project.example"
    assert (claims["sub"], claims["aud"]) == (USER, issuer.url)
    assert (claims["scope"], claims["exp"] - claims["iat"]) == ("a b", 3600)


def unpadded(text: str) -> bytes:
    """Base64url without padding, decoded."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_key_file_is_read_each_time(tmp_path: Path) -> None:
    """The key of a service account may be replaced while the program runs."""
    path = tmp_path / "key.json"
    with endpoint(token("one", expires_in=0), token("two")) as issuer:
        source = Account(path, USER, cafile=issuer.ca)
        with pytest.raises(AuthError, match=r"key\.json: No such file") as caught:
            source()
        assert caught.value.temporary
        path.write_text(json.dumps(key_for(issuer.url)), "utf-8")
        assert source() == "one"
        path.write_text(
            json.dumps({**key_for(issuer.url), "client_email": "b@c.example"})
        )
        assert source() == "two"
    claims = [json.loads(unpadded(r["assertion"].split(".")[1])) for r in issuer.requests]
    assert [one["iss"] for one in claims] == ["robot@project.example", "b@c.example"]


BAD_KEYS: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "it is not JSON"),
    "an array": ([], "it holds no JSON object"),
    "another type": ({"type": "authorized_user"}, "its type is not service_account"),
    "no private key": ({"client_email": "a@b.example"}, "private_key is missing"),
    "a bad private key": ({**key_for("https://x.example"), "private_key": "PEM"}, "used"),
    "http": (key_for("http://x.example"), "https://"),
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_a_bad_key_file(case: str, tmp_path: Path) -> None:
    """A file that is no key of a service account is refused, and not quoted."""
    content, words = BAD_KEYS[case]
    path = tmp_path / "key.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    with pytest.raises(AuthError, match="key of the service account") as caught:
        Account(path, USER)()
    assert words in str(caught.value)
    assert not caught.value.temporary
    assert "PRIVATE" not in str(caught.value)


def test_a_secret_file_is_read_for_each_token(tmp_path: Path) -> None:
    """A client secret in a file may be replaced; BOM and line end are no part of it."""
    path = tmp_path / "secret"
    path.write_bytes(b"\xef\xbb\xbfold\r\n")
    with endpoint(token("one", expires_in=0), token("two")) as issuer:
        source = ClientCredentials(issuer.url, "id", SecretFile(path), cafile=issuer.ca)
        source()
        path.write_bytes(b"new\n")
        source()
    assert [r["client_secret"] for r in issuer.requests] == ["old", "new"]
    path.unlink()
    with pytest.raises(AuthError, match=r"/secret: No such file") as caught:
        ClientCredentials(issuer.url, "id", SecretFile(path))()
    assert caught.value.temporary


class Store:
    """Where a program keeps its refresh token."""

    def __init__(self, stored: str, *, broken: int = 0) -> None:
        self.stored, self.broken, self.calls = stored, broken, 0

    def load(self) -> str:
        return self.stored

    def save(self, refresh_token: str) -> None:
        self.calls += 1
        if self.calls <= self.broken:
            raise OSError(f"no space for {refresh_token}")
        self.stored = refresh_token


def test_a_rotated_refresh_token_is_stored() -> None:
    """The next refresh token is given to the callback, and is used from then on."""
    first = token("one", expires_in=0, refresh_token="second")
    with endpoint(first, token("two", expires_in=0), token("three")) as issuer:
        store = Store("first")
        source = RefreshToken(
            issuer.url, "id", "first", on_rotation=store.save, cafile=issuer.ca
        )
        assert [source(), source(), source()] == ["one", "two", "three"]
    assert [r["refresh_token"] for r in issuer.requests] == ["first", "second", "second"]
    assert (store.stored, store.calls) == ("second", 1)


def test_a_rotated_refresh_token_that_cannot_be_stored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A callback that fails fails no send; it is logged, and called again."""
    first = token("one", expires_in=0, refresh_token="the-second-one")
    with endpoint(first, token("two", expires_in=0)) as issuer:
        store = Store("first", broken=1)
        source = RefreshToken(
            issuer.url, "id", "first", on_rotation=store.save, cafile=issuer.ca
        )
        assert source() == "one"
        assert store.stored == "first"
        assert source() == "two"
    assert store.stored == "the-second-one"
    (record,) = (r for r in caplog.records if r.levelno >= logging.ERROR)
    assert "was not stored: on_rotation raised OSError" in record.getMessage()
    assert "the-second-one" not in caplog.text


def test_a_refresh_token_that_another_process_rotated() -> None:
    """After an invalid_grant, a refresh token that was stored meanwhile is tried."""
    store = Store("first")

    def used_up(_: dict[str, str]) -> Any:
        store.save("from another process")
        return refusal("invalid_grant")

    with endpoint(used_up, token(TOKEN)) as issuer:
        source = RefreshToken(issuer.url, "id", store.load, cafile=issuer.ca)
        assert source() == TOKEN
    tokens = [r["refresh_token"] for r in issuer.requests]
    assert tokens == ["first", "from another process"]


def test_a_refused_token_is_replaced() -> None:
    """A token that was revoked before it expired is replaced within the same send."""
    with endpoint(token("revoked"), token(TOKEN)) as issuer, bearer() as mail:
        source = grant("client credentials", issuer)
        server = server_for(mail, auth=OAuth2(USER, source))
        send_sync(MESSAGE, server, **envelope())
    assert len(mail.accepted) == 1
    assert len(issuer.requests) == 2


def test_a_server_that_refuses_every_token() -> None:
    """New tokens are not asked for again and again where none helps."""
    numbers = iter(range(100))

    def another(_: dict[str, str]) -> Any:
        return token(f"token-{next(numbers)}")

    with endpoint(another) as issuer, bearer() as mail:
        server = server_for(mail, auth=OAuth2(USER, grant("client credentials", issuer)))
        for _ in range(5):
            with pytest.raises(AuthError, match="535"):
                send_sync(MESSAGE, server, **envelope())
    assert len(issuer.requests) == 2


def test_the_reason_is_in_the_error_of_a_send() -> None:
    """The AuthError of a send holds what the authorization server said."""
    said = refusal("invalid_client", "AADSTS7000222: The provided keys are expired.", 401)
    with endpoint(said) as issuer, bearer() as mail:
        with Client(
            server_for(mail, auth=OAuth2(USER, grant("client credentials", issuer)))
        ) as client:
            with pytest.raises(AuthError) as caught:
                client.send(MESSAGE, **envelope())
    error = caught.value
    assert "invalid_client: AADSTS7000222: The provided keys are expired." in str(error)
    assert "make a new one in the app registration" in error.hint
    assert not error.temporary
    assert not mail.accepted


@pytest.mark.parametrize("kind", KINDS)
def test_values(kind: str) -> None:
    """Grants can be compared, copied and pickled, and show no secret."""
    with endpoint(token(TOKEN), token("another")) as issuer:
        source = grant(kind, issuer)
        assert source() == TOKEN
        other = pickle.loads(pickle.dumps(source))
        assert other == source == copy.copy(source)
        assert other() == "another"  # it has a cache of its own
        shown = repr(source) + repr(OAuth2(USER, source))
    for secret in ("the-client-secret", "the-refresh-token", TOKEN, "PRIVATE"):
        assert secret not in shown


URL = "https://localhost/token"
BAD: dict[str, Any] = {
    "http": lambda: ClientCredentials("http://localhost/token", "id", "s"),
    "no URL": lambda: ClientCredentials("localhost", "id", "s"),
    "no host": lambda: ClientCredentials("https:///token", "id", "s"),
    "a bad port": lambda: ClientCredentials("https://localhost:99999/token", "id", "s"),
    "a user": lambda: ClientCredentials("https://a:b@localhost/token", "id", "s"),
    "a line end": lambda: ClientCredentials(URL, "id", "s3cret\n"),
    "no client": lambda: ClientCredentials(URL, "", "s"),
    "no secret": lambda: ClientCredentials(URL, "id", ""),
    "another client_auth": lambda: ClientCredentials(
        URL,
        "id",
        "s",
        client_auth="jwt",  # type: ignore[arg-type]
    ),
    "a tenant with a slash": lambda: ClientCredentials.microsoft("a/b", "id", "s"),
    "no tenant": lambda: ClientCredentials.microsoft("", "id", "s"),
    "an empty scope": lambda: RefreshToken(URL, "id", "r", scope=""),
    "a callback": lambda: RefreshToken(URL, "id", "r", on_rotation=1),  # type: ignore[arg-type]
    "a subject": lambda: Account("key.json", "ann"),
    "a key": lambda: Account({"private_key": "s3cret"}, USER),
    "a timeout": lambda: RefreshToken(URL, "id", "r", timeout=0),
    "an endless timeout": lambda: RefreshToken(URL, "id", "r", timeout=float("inf")),
    "a CA file": lambda: RefreshToken(URL, "id", "r", cafile=1),  # type: ignore[arg-type]
    "a path": lambda: SecretFile(""),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case: str) -> None:
    """What cannot be used is refused when the grant is made."""
    with pytest.raises(ConfigError) as caught:
        BAD[case]()
    assert "s3cret" not in str(caught.value)


def test_the_presets() -> None:
    """The presets of Microsoft and Google have their endpoints and scopes."""
    app = ClientCredentials.microsoft("contoso.example", "id", "s")
    assert app.token_url == (
        "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token"
    )
    assert app.scope == "https://outlook.office365.com/.default"
    user = RefreshToken.microsoft("consumers", "id", "r")
    assert user.scope == "https://outlook.office.com/SMTP.Send offline_access"
    gmail = RefreshToken.google("id", "s", "r")
    assert gmail.token_url == "https://oauth2.googleapis.com/token"
    assert Account("key.json", USER).scope == "https://mail.google.com/"


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the libraries, the error names the extra to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"smtpsend\[oauth\]"):
        ClientCredentials(URL, "id", "s")
