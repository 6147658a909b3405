"""What a person sees when no token is issued: the cause, what to do, and no secret."""

from __future__ import annotations

import gzip
import secrets
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import tls
from oauth_grants import KINDS, OFFERS, USER, bearer, grant, key_for
from scripted import Script, reply
from sending import MESSAGE, envelope, send_sync, server_for
from test_secrets import ECHOES, everything, hidden
from token_endpoint import Answer, TokenEndpoint, endpoint, refusal, token

from smtpsend import OAuth2
from smtpsend.errors import AuthError, Phase
from smtpsend.oauth import ClientCredentials, RefreshToken, SecretFile
from smtpsend.oauth import ServiceAccount as Account


# The answer; words of the text and of the hint; whether it is temporary.
SAID: dict[str, tuple[Any, str, str, bool]] = {
    "no description": (
        refusal("invalid_client", status=401),
        "refused: invalid_client",
        "check the client id and the client secret",
        False,
    ),
    "Microsoft, wrong secret": (
        refusal("invalid_client", "AADSTS7000215: Invalid client secret provided.", 401),
        "invalid_client: AADSTS7000215: Invalid client secret provided.",
        "the *value* of the secret, not its id",
        False,
    ),
    "Microsoft, unknown client": (
        refusal("unauthorized_client", "AADSTS700016: Application not found"),
        "AADSTS700016",
        "check both",
        False,
    ),
    "Microsoft, unknown tenant": (
        refusal("invalid_request", "AADSTS90002: Tenant 'x' not found."),
        "AADSTS90002",
        "there is no such tenant",
        False,
    ),
    "Microsoft, scope": (
        refusal(
            "invalid_scope", "AADSTS1002012: The provided value for scope is not valid"
        ),
        "AADSTS1002012",
        "https://outlook.office365.com/.default",
        False,
    ),
    "Microsoft, no public clients": (
        refusal("invalid_client", "AADSTS7000218: The request body must contain", 401),
        "AADSTS7000218",
        "Allow public client flows",
        False,
    ),
    "Microsoft, unused for long": (
        refusal("invalid_grant", "AADSTS700082: The refresh token has expired"),
        "AADSTS700082",
        "the user has to log in again",
        False,
    ),
    "Microsoft, new password": (
        refusal("invalid_grant", "AADSTS50173: The provided grant has expired"),
        "AADSTS50173",
        "the password or the rules for this user have changed",
        False,
    ),
    "Google, revoked": (
        refusal("invalid_grant", "Token has been expired or revoked."),
        "invalid_grant: Token has been expired or revoked.",
        "'Testing', its refresh tokens end after 7 days",
        False,
    ),
    "Google, no delegation": (
        refusal(
            "unauthorized_client",
            "Client is unauthorized to retrieve access tokens using this method, or "
            "client not authorized for any of the scopes requested.",
            401,
        ),
        "unauthorized_client: Client is unauthorized",
        "domain-wide delegation for exactly the scope https://mail.google.com/",
        False,
    ),
    "Google, no such user": (
        refusal("invalid_grant", "Invalid email or User ID"),
        "Invalid email or User ID",
        "check the subject",
        False,
    ),
    "Google, dates": (
        refusal(
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a "
            "reasonable timeframe.",
        ),
        "Invalid JWT",
        "set the clock of this machine",
        False,
    ),
    "an unknown error": (
        refusal("too_bad", "no idea"),
        "refused: too_bad: no idea",
        "see its documentation",
        False,
    ),
    "later": (
        refusal("temporarily_unavailable", "busy"),
        "temporarily_unavailable: busy",
        "try again later",
        True,
    ),
    "429": (refusal("slow_down", status=429), "slow_down", "try again later", True),
    "429 without JSON": (
        Answer(429, b"slow down"),
        "replied HTTP 429",
        "try again later",
        True,
    ),
    "500": (Answer(500, b"<html>oops"), "replied HTTP 500", "try again later", True),
    "500 with an error": (
        refusal("server_error", "internal", 500),
        "server_error: internal",
        "try again later",
        True,
    ),
    "503": (Answer(503), "replied HTTP 503", "try again later", True),
    "404": (Answer(404, b"<html>"), "replied HTTP 404", "no token endpoint", False),
    "401 without JSON": (Answer(401), "replied HTTP 401", "no token endpoint", False),
    "a page": (
        Answer(200, b"<html>please log in"),
        "replied HTTP 200 without a JSON object",
        "something between replied in its place",
        False,
    ),
    "an array": (
        Answer(200, b"[1]"),
        "without a JSON object",
        "no token endpoint",
        False,
    ),
    "deep": (Answer(200, b"[" * 200000), "without a JSON", "no token endpoint", False),
    "nothing": (Answer(200), "without a JSON object", "no token endpoint", False),
    "no text": (
        Answer(200, b"\xff\xfe\x00"),
        "without a JSON",
        "no token endpoint",
        False,
    ),
    "no token": (
        Answer(200, {"token_type": "Bearer"}),
        "issued no usable token: the token must be a str, not NoneType",
        "no token endpoint",
        False,
    ),
    "an empty token": (token(""), "cannot be empty", "no token endpoint", False),
    "a token with a line end": (token("a\r\nb"), "control character", "no token", False),
    "a number": (
        Answer(200, {"access_token": 5}),
        "must be a str, not int",
        "no token endpoint",
        False,
    ),
    "another kind of token": (
        token("x", token_type="DPoP"),
        "issued no bearer token",
        "no token endpoint",
        False,
    ),
    "a redirection": (
        Answer(302, b"", {"Location": "https://localhost/elsewhere"}),
        "replied HTTP 302, a redirection, which is not followed",
        "no token endpoint",
        False,
    ),
    "a redirection that keeps the body": (
        Answer(307, b"", {"Location": "http://localhost/elsewhere"}),
        "replied HTTP 307",
        "no token endpoint",
        False,
    ),
    "no end": (
        Answer(200, b" " * (1 << 21)),
        "sent a reply without an end",
        "no token endpoint",
        False,
    ),
    "a bomb": (
        Answer(200, gzip.compress(b" " * (1 << 24)), {"Content-Encoding": "gzip"}),
        "sent a reply without an end",
        "no token endpoint",
        False,
    ),
    "closed": (lambda _: None, "cannot be reached", "proxy in HTTPS_PROXY", True),
    "half a reply": (
        Answer(200, b"{", {"Content-Length": "50"}),
        "cannot be reached",
        "proxy in HTTPS_PROXY",
        True,
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_said(case: str) -> None:
    """Each failure has its cause, its remedy, and says whether to try again later."""
    answer, text, hint, temporary = SAID[case]
    with endpoint(answer) as issuer:
        with pytest.raises(AuthError) as caught:
            grant("client credentials", issuer)()
    error = caught.value
    assert text in error.message
    assert hint in error.hint
    assert error.temporary is temporary
    assert "localhost" in error.message
    assert (error.phase, error.reply) == (Phase.AUTH, None)


def test_control_characters_are_not_shown() -> None:
    """A description cannot control a terminal or a log, and has an end."""
    with endpoint(
        refusal("invalid\x1b[2J_grant", "a\r\nb\x00\u202ec" + "x" * 5000)
    ) as issuer:
        with pytest.raises(AuthError) as caught:
            grant("refresh token", issuer)()
    message = caught.value.message
    assert message.isprintable()
    assert len(message) < 1000
    assert "a b c" in message


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_endpoint_that_repeats_the_secret(kind: str, echo: str) -> None:
    """Nothing of a secret that the endpoint repeats is seen in the error of a send."""
    shown: list[str] = []

    def repeat(params: dict[str, str]) -> Answer:
        names = ("client_secret", "refresh_token", "assertion")
        shown[:] = [params[name] for name in names if name in params]
        return refusal(ECHOES[echo](shown[0]), ECHOES[echo](shown[0]))

    with endpoint(repeat) as issuer, bearer() as mail:
        server = server_for(mail, auth=OAuth2(USER, grant(kind, issuer)))
        with pytest.raises(AuthError) as caught:
            send_sync(MESSAGE, server, **envelope())
    hidden(shown[0], everything(caught.value))


@pytest.mark.parametrize("echo", ["plain", "in a sentence", "base64", "shifted"])
def test_long_secrets(echo: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of a token or refresh token of 3,000 characters is seen or logged."""
    refresh, access = random_text(3000), random_text(3000)
    caplog.set_level(1)

    def refuse(_: dict[str, str]) -> Answer:
        return refusal("invalid_grant", ECHOES[echo](refresh))

    refused = Script({"auth": refused_by(ECHOES[echo](access))}, offers=OFFERS)
    seen = []
    for answer, words in ((token(access), "refused the login"), (refuse, "endpoint of")):
        with endpoint(answer) as issuer, bearer(access, refused) as mail:
            source = RefreshToken(issuer.url, "id", refresh, cafile=issuer.ca)
            server = server_for(mail, auth=OAuth2(USER, source))
            with pytest.raises(AuthError, match=words) as caught:
                send_sync(MESSAGE, server, **envelope())
            seen.append(everything(caught.value))
    for secret in (refresh, access):
        # A text is hidden where it shows 24 characters of a secret.
        for at in range(0, len(secret) - 24, 12):
            assert secret[at : at + 24] not in "".join(seen) + caplog.text


def random_text(length: int) -> str:
    """A token, as authorization servers make them."""
    return secrets.token_urlsafe(length)[:length]


def refused_by(text: str) -> Any:
    """A 535 that repeats a text, over as many lines as it needs."""
    parts = [text[at : at + 400] for at in range(0, len(text), 400)]
    return reply(535, "5.7.8", *parts)


def frames(error: BaseException) -> str:
    """The local variables of all frames of an error, but for those of the tests."""
    found = []
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if "/tests/" not in frame.f_code.co_filename:
            found.append(repr(frame.f_locals))
    return "\n".join(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["refused", "closed", "a page", "no token"])
def test_the_frames_hold_no_secret(kind: str, case: str) -> None:
    """An error reporter that shows local variables finds no secret."""
    answers: dict[str, Any] = {
        "refused": refusal("invalid_grant"),
        "closed": lambda _: None,
        "a page": Answer(200, b"<html>"),
        "no token": token("a-token-with-a-line-end\n"),
    }
    with endpoint(answers[case]) as issuer:
        source = grant(kind, issuer)
        with pytest.raises(AuthError) as caught:
            source()
    seen = everything(caught.value) + frames(caught.value)
    for secret in ("the-client-secret", "the-refresh-token", "a-token-with", "PRIVATE"):
        assert secret not in seen


def refused_port() -> str:
    """The URL of a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    return f"https://127.0.0.1:{port}/token"


UNREACHABLE: dict[str, tuple[Callable[[], str], str]] = {
    "refused": (refused_port, "connection refused"),
    "no name": (lambda: "https://nosuch.invalid/token", "its name does not resolve"),
}


@pytest.mark.parametrize("case", UNREACHABLE)
def test_out_of_reach(case: str) -> None:
    """An endpoint out of reach is temporary, and the text says what is wrong."""
    url, words = UNREACHABLE[case]
    with pytest.raises(AuthError) as caught:
        ClientCredentials(url(), "id", "the-secret")()
    error = caught.value
    assert error.message.endswith(f"cannot be reached: {words}")
    assert (error.temporary, error.timed_out) == (True, False)


def test_a_private_ca() -> None:
    """A private CA is refused without `cafile`, for good, and the hint names it."""
    with endpoint(token("x")) as issuer:
        with pytest.raises(AuthError) as caught:
            ClientCredentials(issuer.url, "id", "the-secret")()
        assert not issuer.requests
        assert ClientCredentials(issuer.url, "id", "s", cafile=issuer.ca)() == "x"
    error = caught.value
    assert "the certificate of localhost was refused" in error.message
    assert "give cafile=" in error.hint
    assert not error.temporary


@pytest.mark.parametrize("kind", ["wrong_host", "expired", "unknown_ca"])
def test_a_bad_certificate(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret is sent to an endpoint whose certificate is refused."""
    bad = tls.server_context(kind)
    monkeypatch.setattr(tls, "server_context", lambda _: bad)
    with endpoint(token("x")) as issuer:
        with pytest.raises(AuthError, match="certificate of localhost was refused"):
            ClientCredentials(issuer.url, "id", "the-secret", cafile=issuer.ca)()
    assert not issuer.requests


def test_a_missing_ca_file() -> None:
    """A CA file that is not there is named as the cause."""
    source = ClientCredentials(refused_port(), "id", "s", cafile="/nowhere/ca.pem")
    with pytest.raises(AuthError, match="CA file for the token endpoint") as caught:
        source()
    assert not caught.value.temporary


def test_no_tls() -> None:
    """An endpoint that speaks no TLS is no endpoint; it gets no secret."""
    with TokenEndpoint(token("x")) as issuer:
        plain = socket.create_server(("127.0.0.1", 0))
        with plain:

            def talk() -> None:
                peer, _ = plain.accept()
                with peer:
                    received.append(peer.recv(65536))
                    peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

            received: list[bytes] = []
            thread = threading.Thread(target=talk)
            thread.start()
            url = f"https://127.0.0.1:{plain.getsockname()[1]}/token"
            with pytest.raises(AuthError, match="the TLS handshake failed"):
                ClientCredentials(url, "id", "the-secret", cafile=issuer.ca)()
            thread.join()
    assert b"the-secret" not in b"".join(received)


def slowly(peer: ssl.SSLSocket, gap: float) -> None:
    """Send a reply byte by byte, as long as anybody reads it."""
    peer.recv(65536)
    peer.recv(65536)
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    try:
        for _ in range(200):
            peer.sendall(b" ")
            time.sleep(gap)
    except OSError:
        pass


def test_a_slow_endpoint() -> None:
    """An endpoint that sends a byte now and then is given up when its time is over."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            peer, _ = listener.accept()
            with tls.server_context("good").wrap_socket(peer, server_side=True) as safe:
                slowly(safe, 0.05)

        thread = threading.Thread(target=talk)
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}/token"
        source = RefreshToken(url, "id", "r", cafile=tls.ca_file(), timeout=0.6)
        with pytest.raises(AuthError, match=r"did not reply within 0\.6 s") as caught:
            source()
        thread.join()
    assert (caught.value.temporary, caught.value.timed_out) == (True, True)


def test_a_proxy_with_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is used; its password is not shown when it fails."""
    port = refused_port().rpartition(":")[2].partition("/")[0]
    monkeypatch.setenv("HTTPS_PROXY", f"http://ann:pr0xy-pass@127.0.0.1:{port}")
    monkeypatch.delenv("https_proxy", raising=False)
    with pytest.raises(AuthError, match="the proxy refused or was not reached") as caught:
        ClientCredentials("https://nosuch.invalid/token", "id", "the-secret")()
    assert caught.value.temporary
    assert "pr0xy-pass" not in everything(caught.value)


@pytest.mark.parametrize(("ahead", "word"), [(7200, "ahead of"), (-7200, "behind")])
def test_a_wrong_clock(ahead: int, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint of a refused assertion says by how much the clock is wrong."""
    theirs = {"Date": formatdate(time.time() - ahead, usegmt=True)}
    answer = Answer(400, {"error": "invalid_grant"}, theirs)
    with endpoint(answer) as issuer:
        with pytest.raises(AuthError) as caught:
            Account(key_for(issuer.url), USER, cafile=issuer.ca)()
        assert word in caught.value.hint
        assert "the clock of this machine is 7" in caught.value.hint
        with pytest.raises(AuthError) as caught:
            RefreshToken(issuer.url, "id", "r", cafile=issuer.ca)()
        assert "clock" not in caught.value.hint


FUNCTIONS: dict[str, tuple[Callable[[], Any], str, bool]] = {
    "raises": (lambda: 1 / 0, "raised ZeroDivisionError", False),
    "an OSError": (
        lambda: Path("/nowhere/s3cret").read_text(),
        "raised FileNotFoundError",
        True,
    ),
    "None": (lambda: None, "must be a str, not NoneType", False),
    "a line end": (lambda: "s3cret\n", "ends with a line end", False),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_a_function_that_gives_no_secret(case: str) -> None:
    """A function for a client secret or a refresh token that fails is named."""
    function, words, temporary = FUNCTIONS[case]
    with endpoint(token("x")) as issuer:
        for source, name in (
            (ClientCredentials(issuer.url, "id", function), "client secret"),
            (RefreshToken(issuer.url, "id", function), "refresh token"),
        ):
            with pytest.raises(AuthError, match=f"the function for the {name}") as caught:
                source()
            assert words in caught.value.message
            assert caught.value.temporary is temporary
            assert "s3cret" not in everything(caught.value)
    assert not issuer.requests


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "is empty"), (b"\xff", "is not UTF-8 text")]
)
def test_a_bad_secret_file(content: bytes, words: str, tmp_path: Any) -> None:
    """A secret file without a secret is named."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(AuthError, match=words) as caught:
        SecretFile(path)()
    assert str(path) in caught.value.message


def test_an_auth_error_of_a_function_of_ones_own() -> None:
    """A token function may raise an AuthError to say why; other errors stay hidden."""

    def provider() -> str:
        raise AuthError("the vault is sealed", temporary=True, hint="unseal it")

    with bearer() as mail:
        with pytest.raises(AuthError) as caught:
            send_sync(
                MESSAGE, server_for(mail, auth=OAuth2(USER, provider)), **envelope()
            )
    error = caught.value
    assert (error.message, error.hint) == ("the vault is sealed", "unseal it")
    assert (error.temporary, error.phase) == (True, Phase.AUTH)
