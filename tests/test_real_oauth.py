"""Each grant from a real authorization server to Dovecot, which verifies the token."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from leaks import eventually
from sending import WAYS, Send, send_sync
from servers import Delivery, RealServer
from servers.authorization import SECRET, AuthorizationServer

from smtpsend import Client, Method, OAuth2, Policy, Server, compose
from smtpsend.errors import AuthError
from smtpsend.oauth import (
    ClientCredentials,
    DeviceLogin,
    Grant,
    RefreshToken,
    ServiceAccount,
)


@pytest.fixture(autouse=True)
def _as_before(authorization: AuthorizationServer) -> Iterator[None]:
    """The authorization server behaves well again after each test."""
    yield
    authorization.set(ttl=3600, skew=0, failing=0, rotate=True)


def server_for(dovecot: RealServer, source: Callable[[], str]) -> Server:
    """Dovecot, with tokens from a grant."""
    policy = Policy(methods=(Method(dovecot.starttls, "starttls"),))
    auth = OAuth2(dovecot.user, source)
    return Server(dovecot.host, auth, policy=policy, cafile=dovecot.ca)


def message_for(dovecot: RealServer, subject: str = "Hello") -> Any:
    """A message to Bob."""
    to = dovecot.address("bob")
    return compose(sender=dovecot.user, to=to, subject=subject, text="It works.")


def arrived(dovecot: RealServer, message: Any) -> list[Delivery]:
    """The deliveries of a message: exactly one."""
    found = dovecot.delivered(message["Message-ID"], timeout=30)
    assert len(found) == 1
    return found


def refresh_token(issuer: AuthorizationServer) -> str:
    """The refresh token of a user who has logged in by a device code."""
    login = DeviceLogin(
        issuer.device_url,
        issuer.token_url,
        "person",
        "openid offline_access smtp",
        cafile=issuer.ca,
        sleep=lambda _: None,
    )
    prompt = login.begin()
    assert prompt.uri == f"{issuer.url}/device"
    issuer.approve(prompt.code, by=issuer.user)
    issued = login.finish(prompt)
    assert issued.refresh_token is not None
    return issued.refresh_token


def person(issuer: AuthorizationServer, **options: Any) -> RefreshToken:
    """The grant of a user who has logged in."""
    options.setdefault("refresh_token", refresh_token(issuer))
    return RefreshToken(issuer.token_url, "person", cafile=issuer.ca, **options)


def robot(issuer: AuthorizationServer, name: str = "robot", **options: Any) -> Grant:
    """A program without a user."""
    options.setdefault("client_secret", SECRET)
    return ClientCredentials(
        issuer.token_url, name, scope="smtp", cafile=issuer.ca, **options
    )


GRANTS: dict[str, Callable[[AuthorizationServer], Grant]] = {
    "client credentials": robot,
    "client credentials, Basic": lambda issuer: robot(
        issuer, "robot-basic", client_auth="basic"
    ),
    "refresh token of a device login": person,
    "service account": lambda issuer: ServiceAccount(
        issuer.service_account(), issuer.user, scope="smtp", cafile=issuer.ca
    ),
}


@pytest.mark.parametrize("kind", GRANTS)
@pytest.mark.parametrize("send", WAYS)
def test_a_grant(
    kind: str, send: Send, authorization: AuthorizationServer, token_dovecot: RealServer
) -> None:
    """The token of each grant is a JWT that Dovecot accepts, and the message arrives."""
    source = GRANTS[kind](authorization)
    message = message_for(token_dovecot)
    send(message, server_for(token_dovecot, source))
    arrived(token_dovecot, message)
    claims = json.loads(base64.urlsafe_b64decode(source().split(".")[1] + "=="))
    assert claims["iss"] == authorization.url
    assert claims["email"] == token_dovecot.user


def test_tokens_that_expire_in_the_middle_of_a_batch(
    authorization: AuthorizationServer, token_dovecot: RealServer
) -> None:
    """A batch outlives its tokens: later connections log in by later tokens."""
    authorization.set(ttl=1)
    source, tokens = robot(authorization), set()

    def recorded() -> str:
        token = source()
        tokens.add(token)
        return token

    server = server_for(token_dovecot, recorded)
    messages = [message_for(token_dovecot, str(n)) for n in range(30)]
    with Client(server, max_connections=2, max_messages=2, window=1) as client:

        def slowly() -> Iterator[Any]:
            for number, message in enumerate(messages):
                yield message
                if number % 10 == 9:
                    eventually(lambda: source() not in tokens)

        outcomes = list(client.send_many(slowly()))
    assert [o.error for o in outcomes if o.error is not None] == []
    assert len(outcomes) == 30
    assert len(tokens) >= 3


def test_a_token_that_has_expired_unnoticed(
    authorization: AuthorizationServer, token_dovecot: RealServer
) -> None:
    """A token that Dovecot finds expired is replaced within the same send."""
    source = robot(authorization)
    authorization.set(skew=-7200)
    expired = source()
    authorization.set(skew=0)
    message = message_for(token_dovecot)
    send_sync(message, server_for(token_dovecot, source))
    arrived(token_dovecot, message)
    assert source() != expired


def test_an_authorization_server_whose_clock_is_ahead(
    authorization: AuthorizationServer, token_dovecot: RealServer
) -> None:
    """Tokens of the future are refused by Dovecot: an AuthError after two tries."""
    authorization.set(skew=7200)
    before = authorization.control("count")
    message = message_for(token_dovecot)
    with pytest.raises(AuthError) as caught:
        send_sync(message, server_for(token_dovecot, robot(authorization)))
    assert caught.value.reply is not None
    assert not caught.value.temporary
    assert authorization.control("count") == before + 2


def test_a_refresh_token_that_is_rotated(
    authorization: AuthorizationServer, token_dovecot: RealServer
) -> None:
    """Each new refresh token is stored, and serves a program that starts anew."""
    stored = [refresh_token(authorization)]
    for _ in range(3):
        source = person(
            authorization,
            refresh_token=lambda: stored[-1],
            on_rotation=stored.append,
        )
        message = message_for(token_dovecot)
        send_sync(message, server_for(token_dovecot, source))
        arrived(token_dovecot, message)
    assert len(set(stored)) == 4


def test_a_refresh_token_that_was_used_before(
    authorization: AuthorizationServer,
) -> None:
    """A refresh token that was rotated away is refused, and the error says what to do."""
    old = refresh_token(authorization)
    person(authorization, refresh_token=old)()
    with pytest.raises(AuthError, match="refused: invalid_grant") as caught:
        person(authorization, refresh_token=old)()
    assert not caught.value.temporary
    assert "the user has to log in again" in caught.value.hint


def test_a_refresh_token_that_was_revoked(authorization: AuthorizationServer) -> None:
    """A refresh token that the user withdrew is refused, for good."""
    token = refresh_token(authorization)
    body = urllib.parse.urlencode({"token": token, "client_id": "person"}).encode()
    context = ssl.create_default_context(cafile=authorization.ca)
    url = f"{authorization.url}/token/revocation"
    with urllib.request.urlopen(url, body, context=context, timeout=20) as reply:
        assert reply.status == 200
    with pytest.raises(AuthError, match="refused: invalid_grant") as caught:
        person(authorization, refresh_token=token)()
    assert not caught.value.temporary


REFUSED: dict[str, tuple[Callable[[AuthorizationServer], Grant], str]] = {
    "a wrong secret": (
        lambda issuer: robot(issuer, client_secret="no"),
        "invalid_client",
    ),
    "an unknown client": (lambda issuer: robot(issuer, "nobody"), "invalid_client"),
    "another grant": (
        lambda issuer: RefreshToken(
            issuer.token_url, "robot", "a token", SECRET, cafile=issuer.ca
        ),
        "invalid_request: requested grant type is not allowed",
    ),
    "an unknown scope": (
        lambda issuer: ServiceAccount(
            issuer.service_account(), issuer.user, scope="all", cafile=issuer.ca
        ),
        "invalid_scope: the scope is not delegated",
    ),
    "another key": (
        lambda issuer: ServiceAccount(
            {**issuer.service_account(), "client_email": "x@y.example"},
            issuer.user,
            scope="smtp",
            cafile=issuer.ca,
        ),
        "invalid_grant: Invalid JWT",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_grant(case: str, authorization: AuthorizationServer) -> None:
    """What the authorization server refuses is an AuthError with its own words."""
    make, words = REFUSED[case]
    with pytest.raises(AuthError, match=words) as caught:
        make(authorization)()
    assert not caught.value.temporary
    assert SECRET not in str(caught.value)


def test_an_authorization_server_that_is_out_of_order(
    authorization: AuthorizationServer, token_dovecot: RealServer
) -> None:
    """While it is out of order, sends are temporary failures; then they work again."""
    source = robot(authorization)
    server = server_for(token_dovecot, source)
    authorization.set(failing=503)
    message = message_for(token_dovecot)
    with pytest.raises(AuthError, match="HTTP 503") as caught:
        send_sync(message, server)
    assert caught.value.temporary
    authorization.set(failing=0)
    send_sync(message, server)
    arrived(token_dovecot, message)


def test_eight_threads_and_one_renewal(
    authorization: AuthorizationServer, token_dovecot: RealServer
) -> None:
    """Eight threads of one client log in by one token."""
    before = authorization.control("count")
    messages = [message_for(token_dovecot, str(n)) for n in range(16)]
    server = server_for(token_dovecot, robot(authorization))
    with Client(server, max_connections=8) as client, ThreadPoolExecutor(8) as threads:
        list(threads.map(client.send, messages))
    for message in messages:
        arrived(token_dovecot, message)
    assert authorization.control("count") == before + 1


def test_a_user_who_refuses(authorization: AuthorizationServer) -> None:
    """A user who does not consent ends the device login."""
    login = DeviceLogin(
        authorization.device_url,
        authorization.token_url,
        "person",
        "openid offline_access smtp",
        cafile=authorization.ca,
        sleep=lambda _: None,
    )
    prompt = login.begin()
    authorization.approve(prompt.code, by=None)
    with pytest.raises(AuthError, match="access_denied: the user said no") as caught:
        login.finish(prompt)
    assert not caught.value.temporary
