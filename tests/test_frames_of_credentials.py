"""P5: credentials and URLs that cannot be used stay in no frame of their error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from frames import frames, nothing_of
from scripted import Action, Script, ScriptedServer, close, reply, say
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import (
    AsyncClient,
    Client,
    OAuth2,
    Password,
    SendError,
    Server,
    send,
    send_async,
)
from smtpsend._model.server.environment import auth_from_env
from smtpsend.check import check, check_async
from smtpsend.errors import AuthError, ConfigError


USER, SECRET = "user@example.org", "s3cret-Pa55word"


URLS = """smtp://u:{}@host:99999 http://u:{}@host smtp://{}@host smtp://u:{}@host/path
smtp://u:{}@[host] u:{}@host smtp://u:{}%zz@host smtp://u:{}%ff@host smtp://u:{}@a..b
smtp://u:{}@é..b smtp://u:{}%00@host smtp://u:{}%ED%A0%80@host é:{}@host:25 {}
smtp://u:{}@\u2100.example smtp://u:{}@\x01h smtp:u:{}@host smtp://u:{}\ud800@host"""
TAKERS: dict[str, Callable[[Any], object]] = {
    "send": lambda url: send(MESSAGE, url, **envelope()),
    "send_async": lambda url: asyncio.run(send_async(MESSAGE, url, **envelope())),
    "Client": Client,
    "AsyncClient": AsyncClient,
    "check": check,
    "check_async": lambda url: asyncio.run(check_async(url)),
    "Server": Server,
    "from_url": Server.from_url,
    "from_env": lambda url: Server.from_env({"SMTP_URL": url}),
}


@pytest.mark.parametrize("url", URLS.split(), ids=ascii)
@pytest.mark.parametrize("taker", TAKERS)
def test_urls(taker: str, url: str) -> None:
    """A URL that cannot be used stays in no frame and in no cause."""
    if url == "{}":
        url = "a..{}"  # a password where the host should be
    with pytest.raises(ConfigError) as caught:
        TAKERS[taker](url.format(SECRET))
    nothing_of(SECRET, caught.value)


@pytest.mark.parametrize("taker", ["send", "send_async", "check", "check_async"])
def test_good_url(taker: str) -> None:
    """Nor does a URL that can be used, in the frames of what fails later."""
    with ScriptedServer(implicit="refused", starttls=None, starttls2=None) as scripted:
        scripted.password = SECRET
        error: BaseException | None
        try:
            report = TAKERS[taker](scripted.url)
            error = report.error  # type: ignore[attr-defined]
        except SendError as caught:
            error = caught
    assert error is not None
    nothing_of(SECRET, error)


CREDENTIALS: dict[str, Callable[[], object]] = {
    "password": lambda: Password(USER, f"{SECRET}\n"),
    "no text": lambda: Password(USER, SECRET.encode()),  # type: ignore[arg-type]
    "a surrogate": lambda: Password(USER, f"{SECRET}\ud800"),
    "no user": lambda: Password("", SECRET),
    "an odd user": lambda: Password("\0", password=SECRET),
    "token": lambda: OAuth2(USER, f"{SECRET}\0"),
    "no text as token": lambda: OAuth2(USER, SECRET.encode()),  # type: ignore[arg-type]
    "no user of a token": lambda: OAuth2("", SECRET),
    "auth": lambda: Server("host.example", ("user", SECRET, "x")),  # type: ignore[arg-type]
    "auth, and a bad policy": lambda: Server("h", SECRET, policy=1),  # type: ignore[arg-type]
    "host": lambda: Server(f"u:{SECRET}@host"),
    "beside a URL": lambda: Server.from_env(
        {"SMTP_URL": f"smtp://u:{SECRET}@h", "SMTP_PASSWORD": SECRET}
    ),
    "without a host": lambda: Server.from_env({"SMTP_PASSWORD": SECRET}),
    "without a user": lambda: Server.from_env(
        {"SMTP_HOST": "h", "SMTP_PASSWORD": SECRET}
    ),
    "twice": lambda: Server.from_env(
        {"SMTP_HOST": "h", "SMTP_PASSWORD": SECRET, "SMTP_PASSWORD_FILE": "/x"}
    ),
    "a bad option": lambda: Server.from_url(f"smtp://u:{SECRET}@h", cafile=1),
    "an odd option": lambda: Server.from_url(f"smtp://u:{SECRET}@h", ehlo_name="a b"),
    "a password in an option": lambda: Server.from_url("smtp://h", auth=SECRET),
}


@pytest.mark.parametrize("case", CREDENTIALS)
def test_credentials(case: str) -> None:
    """Credentials that cannot be used stay in no frame and in no cause."""
    with pytest.raises((ConfigError, TypeError)) as caught:
        CREDENTIALS[case]()
    nothing_of(SECRET, caught.value)


def test_password_file(tmp_path: Any) -> None:
    """Nor does what a password file holds."""
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n\n")
    for environ in (
        {"SMTP_HOST": "h", "SMTP_PASSWORD_FILE": str(file), "SMTP_USERNAME": "u"},
        {"SMTP_HOST": "h", "SMTP_PASSWORD_FILE": str(file)},
    ):
        with pytest.raises(ConfigError) as caught:
            Server.from_env(environ)
        nothing_of(SECRET, caught.value)
    with pytest.raises(ConfigError) as caught:
        auth_from_env({"PASSWORD_FILE": str(file)})
    nothing_of(SECRET, caught.value)
    file.write_bytes(SECRET.encode() + b"\xff")
    with pytest.raises(ConfigError) as caught:
        Server.from_env({"SMTP_HOST": "h", "SMTP_PASSWORD_FILE": str(file)})
    nothing_of(SECRET, caught.value)


def test_the_lines_stay() -> None:
    """What is cleared are the variables: a traceback still says where it went wrong."""
    with pytest.raises(ConfigError) as caught:
        Server.from_url("http://host")
    assert "split" in [frame.f_code.co_name for frame in frames(caught.value)]


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_other_options(client: Callable[..., object]) -> None:
    """An option that is refused leaves no URL in the frame that refuses it."""
    with pytest.raises(ConfigError) as caught:
        client(f"smtp://u:{SECRET}@host", max_connections=0)
    nothing_of(SECRET, caught.value)


def returns() -> str:
    """A function that returns the password."""
    return SECRET


def raises() -> str:
    """A function whose exceptions quote the password."""
    raise AuthError("the vault is sealed") from ValueError(SECRET)


REFUSED = {"auth": reply(535, "5.7.8", "no")}
WRONG = {"auth-step:1": say(b"334 dj1BQUFB\r\n")}  # v=AAAA: a wrong signature
LOGINS: dict[str, tuple[str, dict[str, Action], object]] = {
    "refused": ("PLAIN", REFUSED, returns),
    "closed": ("PLAIN", {"auth": REFUSED["auth"] + close()}, returns),
    "SCRAM refused": ("SCRAM-SHA-256", REFUSED, returns),
    "SCRAM refused at its end": ("SCRAM-SHA-256", {"auth-step": REFUSED["auth"]}, SECRET),
    "SCRAM with a wrong signature": ("SCRAM-SHA-256", WRONG, SECRET),
    "SCRAM with a bad challenge": ("SCRAM-SHA-1", {"auth": say(b"334 !\r\n")}, SECRET),
    "504": ("PLAIN LOGIN", {"auth": reply(504, "5.5.4", "no")}, SECRET),
    "raises": ("PLAIN", {}, raises),
}


@pytest.mark.parametrize("case", LOGINS)
@pytest.mark.parametrize("way", WAYS)
def test_logins(way: Send, case: str) -> None:
    """No frame and no cause of the error of a login has the password."""
    mechanisms, on, password = LOGINS[case]
    script = Script(on, offers=("ENHANCEDSTATUSCODES", f"AUTH {mechanisms}"))
    with ScriptedServer(script, password=SECRET) as scripted:
        auth = Password(scripted.user, password)  # type: ignore[arg-type]
        server = server_for(scripted, "implicit", auth=auth)
        del auth
        with pytest.raises(SendError) as caught:
            way(MESSAGE, server, **envelope())
        del server
    nothing_of(SECRET, caught.value)
