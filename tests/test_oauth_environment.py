"""The variables SMTP_OAUTH_*: each grant, and what does not fit together."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from oauth_grants import TOKEN, bearer, key_for
from sending import MESSAGE, envelope, send_sync
from token_endpoint import TokenEndpoint, endpoint, token

from smtpsend import OAuth2, Server
from smtpsend.errors import AuthError, ConfigError
from smtpsend.oauth import ClientCredentials, RefreshToken, SecretFile
from smtpsend.oauth import ServiceAccount as Account


HOST = {"SMTP_HOST": "mail.example.org", "SMTP_USERNAME": "ann@example.org"}
APP = {"SMTP_OAUTH_CLIENT_ID": "the-client", "SMTP_OAUTH_CLIENT_SECRET": "s3cret-value"}
URL = "https://login.example.org/token"


def source_of(env: dict[str, str]) -> Any:
    """The token of the server of an environment."""
    server = Server.from_env(env)
    assert isinstance(server.auth, OAuth2)
    assert server.auth.username == "ann@example.org"
    return server.auth.token


GRANTS: dict[str, tuple[dict[str, str], Any]] = {
    "Microsoft, program": (
        {**HOST, **APP, "SMTP_OAUTH_TENANT": "contoso"},
        ClientCredentials.microsoft("contoso", "the-client", "s3cret-value"),
    ),
    "Microsoft, secret file": (
        {
            **HOST,
            "SMTP_OAUTH_TENANT": "contoso",
            "SMTP_OAUTH_CLIENT_ID": "the-client",
            "SMTP_OAUTH_CLIENT_SECRET_FILE": "/run/secret",
        },
        ClientCredentials.microsoft("contoso", "the-client", SecretFile("/run/secret")),
    ),
    "any, program": (
        {
            **HOST,
            **APP,
            "SMTP_OAUTH_TOKEN_URL": URL,
            "SMTP_OAUTH_SCOPE": "mail",
            "SMTP_OAUTH_CAFILE": "ca.pem",
        },
        ClientCredentials(URL, "the-client", "s3cret-value", "mail", cafile="ca.pem"),
    ),
    "Microsoft, user": (
        {
            **HOST,
            "SMTP_OAUTH_TENANT": "consumers",
            "SMTP_OAUTH_CLIENT_ID": "the-client",
            "SMTP_OAUTH_REFRESH_TOKEN": "s3cret-refresh",
        },
        RefreshToken.microsoft("consumers", "the-client", "s3cret-refresh"),
    ),
    "Google, user": (
        {**HOST, **APP, "SMTP_HOST": "smtp.gmail.com", "SMTP_OAUTH_REFRESH_TOKEN": "r"},
        RefreshToken.google("the-client", "s3cret-value", "r"),
    ),
    "Google, service account": (
        {**HOST, "SMTP_OAUTH_SERVICE_ACCOUNT_FILE": "key.json"},
        Account("key.json", "ann@example.org"),
    ),
    "a token": ({**HOST, "SMTP_OAUTH_TOKEN": "t"}, "t"),
    "a token in a file": (
        {**HOST, "SMTP_OAUTH_TOKEN_FILE": "/run/token"},
        SecretFile("/run/token"),
    ),
    "a URL with a user": (
        {
            **APP,
            "SMTP_OAUTH_TENANT": "contoso",
            "SMTP_URL": "smtp://ann@example.org@mail.example.org:587",
        },
        ClientCredentials.microsoft("contoso", "the-client", "s3cret-value"),
    ),
    "a URL and a user": (
        {
            **APP,
            "SMTP_OAUTH_TENANT": "contoso",
            "SMTP_URL": "smtps://mail.example.org",
            "SMTP_USERNAME": "ann@example.org",
        },
        ClientCredentials.microsoft("contoso", "the-client", "s3cret-value"),
    ),
}


@pytest.mark.parametrize("case", GRANTS)
def test_grants(case: str) -> None:
    """The variables of each grant make that grant."""
    env, wanted = GRANTS[case]
    assert source_of(env) == wanted
    server = Server.from_env(env)
    assert "s3cret" not in repr(server)
    if env.get("SMTP_URL", "").endswith("587"):
        assert [method.port for method in server.policy.methods] == [587]


BAD: dict[str, tuple[dict[str, str], str]] = {
    "a misspelt name": ({**HOST, "SMTP_OAUTH_TENNANT": "x"}, "SMTP_OAUTH_TENNANT is no"),
    "no user": ({"SMTP_HOST": "h.example", "SMTP_OAUTH_TOKEN": "t"}, "set SMTP_USERNAME"),
    "no host": ({"SMTP_USERNAME": "ann", "SMTP_OAUTH_TOKEN": "t"}, "SMTP_HOST"),
    "a password": (
        {**HOST, "SMTP_PASSWORD": "s3cret", "SMTP_OAUTH_TOKEN": "t"},
        "SMTP_PASSWORD is set beside SMTP_OAUTH_TOKEN",
    ),
    "a password in the URL": (
        {"SMTP_URL": "smtp://ann:s3cret@h.example", "SMTP_OAUTH_TOKEN": "t"},
        "leave the password out",
    ),
    "two users": (
        {"SMTP_URL": "smtp://a@h.example", "SMTP_USERNAME": "b", "SMTP_OAUTH_TOKEN": "t"},
        "unset one",
    ),
    "a secret twice": (
        {**HOST, **APP, "SMTP_OAUTH_CLIENT_SECRET_FILE": "f", "SMTP_OAUTH_TENANT": "t"},
        "SMTP_OAUTH_CLIENT_SECRET or SMTP_OAUTH_CLIENT_SECRET_FILE, not both",
    ),
    "two grants": (
        {
            **HOST,
            "SMTP_OAUTH_REFRESH_TOKEN": "s3cret",
            "SMTP_OAUTH_SERVICE_ACCOUNT_FILE": "f",
        },
        "SMTP_OAUTH_REFRESH_TOKEN cannot go with SMTP_OAUTH_SERVICE_ACCOUNT_FILE",
    ),
    "a tenant and a URL": (
        {**HOST, **APP, "SMTP_OAUTH_TENANT": "t", "SMTP_OAUTH_TOKEN_URL": URL},
        "SMTP_OAUTH_TENANT or SMTP_OAUTH_TOKEN_URL",
    ),
    "no client": (
        {**HOST, "SMTP_OAUTH_TENANT": "t", "SMTP_OAUTH_CLIENT_SECRET": "s3cret"},
        "SMTP_OAUTH_CLIENT_ID is missing",
    ),
    "no grant": (
        {**HOST, "SMTP_OAUTH_TENANT": "t", "SMTP_OAUTH_CLIENT_ID": "c"},
        "no grant is set",
    ),
    "no endpoint": ({**HOST, **APP}, "set SMTP_OAUTH_TENANT for Microsoft 365"),
    "Google without a user": (
        {**HOST, **APP, "SMTP_HOST": "smtp.gmail.com"},
        "the token endpoint is not known",
    ),
    "a client beside a service account": (
        {**HOST, **APP, "SMTP_OAUTH_SERVICE_ACCOUNT_FILE": "f"},
        "SMTP_OAUTH_CLIENT_ID means nothing beside SMTP_OAUTH_SERVICE_ACCOUNT_FILE",
    ),
    "a scope beside a token": (
        {**HOST, "SMTP_OAUTH_TOKEN": "s3cret", "SMTP_OAUTH_SCOPE": "x"},
        "SMTP_OAUTH_SCOPE means nothing beside SMTP_OAUTH_TOKEN",
    ),
    "a plain endpoint": (
        {**HOST, **APP, "SMTP_OAUTH_TOKEN_URL": "http://login.example.org"},
        "https://",
    ),
    "a sink": (
        {**HOST, "SMTP_SECURITY": "plaintext", "SMTP_OAUTH_TOKEN": "s3cret"},
        "plaintext",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit(case: str) -> None:
    """Nothing that looks like a setting is ignored; the error names it and no secret."""
    env, words = BAD[case]
    with pytest.raises(ConfigError) as caught:
        Server.from_env(env)
    assert words in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_empty_variables() -> None:
    """A variable that is empty counts as missing."""
    env = {"SMTP_HOST": "mail.example.org", "SMTP_OAUTH_TOKEN": "", "SMTP_OAUTH_X": ""}
    assert Server.from_env(env).auth is None


def environment(issuer: TokenEndpoint, **more: str) -> dict[str, str]:
    """The variables of a client at a scripted endpoint."""
    env = {**HOST, "SMTP_OAUTH_TOKEN_URL": issuer.url, "SMTP_OAUTH_CAFILE": issuer.ca}
    return {**env, "SMTP_OAUTH_CLIENT_ID": "id", **more}


def test_a_send_by_the_environment() -> None:
    """A server of the environment logs in by the token of its grant."""
    with endpoint(token(TOKEN)) as issuer, bearer() as mail:
        env = environment(issuer, SMTP_OAUTH_CLIENT_SECRET="s")
        del env["SMTP_HOST"]
        env["SMTP_USERNAME"] = mail.user
        env["SMTP_URL"] = f"smtps://{mail.host}:{mail.port('implicit')}"
        server = Server.from_env(env, cafile=mail.ca)
        send_sync(MESSAGE, server, **envelope())
    assert len(mail.accepted) == 1


def test_a_refresh_token_in_a_file_is_replaced(tmp_path: Path) -> None:
    """A rotated refresh token is written into its file, readable by the owner alone."""
    path, link = tmp_path / "refresh", tmp_path / "link"
    path.write_text("first\n")
    link.symlink_to(path)
    answer = token("one", expires_in=0, refresh_token="second")
    with endpoint(answer, token("two")) as issuer:
        env = environment(issuer, SMTP_OAUTH_REFRESH_TOKEN_FILE=str(link))
        assert source_of(env)() == "one"
        assert source_of(env)() == "two"
    assert [r["refresh_token"] for r in issuer.requests] == ["first", "second"]
    assert path.read_text() == "second\n"
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "refresh"]


def test_a_service_account_file(tmp_path: Path) -> None:
    """The file of a service account is read when a token is needed."""
    path = tmp_path / "key.json"
    with endpoint(token(TOKEN)) as issuer:
        env = {**HOST, "SMTP_OAUTH_SERVICE_ACCOUNT_FILE": str(path)}
        source = source_of({**env, "SMTP_OAUTH_CAFILE": issuer.ca})
        with pytest.raises(AuthError, match=r"key\.json"):
            source()
        path.write_text(json.dumps(key_for(issuer.url)))
        assert source() == TOKEN
