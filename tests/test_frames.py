"""P5: no frame that an error keeps has a secret in a local variable."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from frames import frames, nothing_of
from scripted import (
    Action,
    Script,
    ScriptedServer,
    close,
    cut,
    hang,
    normal,
    reply,
    rst,
    say,
)
from sending import MESSAGE, QUICK, envelope, patiently, server_for

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
from smtpsend.check import check
from smtpsend.errors import AuthError


USER, SECRET, SECOND = "user@example.org", "s3cret-Pa55word", "another-T0ken-of-it"
OFFERS = ("SIZE", "ENHANCEDSTATUSCODES", "PIPELINING", "CHUNKING")
MECHANISMS = "AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2 OAUTHBEARER"


def clean(error: BaseException) -> None:
    """Assert that an error keeps neither of the two secrets."""
    nothing_of(SECRET, error)
    nothing_of(SECOND, error)


# The ways in which an error reaches a program.


def by_send(server: Server) -> BaseException:
    """What `send` raises."""
    with pytest.raises(SendError) as caught:
        send(MESSAGE, server, **envelope())
    return caught.value


def by_send_async(server: Server) -> BaseException:
    """What `send_async` raises."""
    with pytest.raises(SendError) as caught:
        asyncio.run(send_async(MESSAGE, server, **envelope()))
    return caught.value


def by_client(server: Server) -> BaseException:
    """What `Client.send` raises."""
    with Client(server) as client, pytest.raises(SendError) as caught:
        client.send(MESSAGE, **envelope())
    return caught.value


def by_check(server: Server) -> BaseException:
    """What `Client.check` raises."""
    with Client(server) as client, pytest.raises(SendError) as caught:
        client.check()
    return caught.value


def by_many(server: Server) -> BaseException:
    """What an outcome of `Client.send_many` has."""
    to = envelope()
    with Client(server) as client:
        outcomes = client.send_many([(MESSAGE, to["sender"], to["recipients"])])
        [outcome] = list(outcomes)
    assert outcome.error is not None
    return outcome.error


def by_many_async(server: Server) -> BaseException:
    """What an outcome of `AsyncClient.send_many` has, kept while others are sent."""
    to = envelope()

    async def run() -> BaseException:
        async with AsyncClient(server) as client:
            items = [(MESSAGE, to["sender"], to["recipients"])] * 3
            errors = [o.error async for o in client.send_many(items)]
        assert errors[-1] is not None
        return errors[-1]

    return asyncio.run(run())


def by_diagnosis(server: Server) -> BaseException:
    """What the report of a check has."""
    report = check(server, timeout=20)
    assert report.error is not None
    return report.error


SENDS = [by_send, by_send_async, by_client, by_check, by_many]
WAYS = [*SENDS, by_many_async, by_diagnosis]
Way = Callable[[Server], BaseException]

# What a server does at the login.

FAULTS: dict[str, dict[str, Action]] = {
    "535": {"auth": reply(535, "5.7.8", "no")},
    "454": {"auth": reply(454, "4.7.0", "later")},
    "504": {"auth": reply(504, "5.5.4", "not that one")},
    "421": {"auth": reply(421, "4.3.0", "bye")},
    "close": {"auth": close()},
    "cut": {"auth": cut()},
    "reset": {"auth": rst()},
    "garbage": {"auth": say(b"what\r\n")},
    "disagreeing": {"auth": say(b"535-no\r\n235 yes\r\n")},
    "an odd 3yz": {"auth": reply(399, "", "go on")},
    "a bad challenge": {"auth": say(b"334 !!!\r\n")},
    "a challenge too many": {"auth": say(b"334 \r\n"), "auth-step": say(b"334 \r\n")},
    "an extra reply": {"auth": normal() + say(b"250 stray\r\n")},
    "close in the middle": {"auth": say(b"334 \r\n"), "auth-step": close()},
    "echo": {"auth": reply(535, "5.7.8", SECRET)},
    "echo, no reply": {"auth": say(SECRET.encode() + b"\r\n")},
}
LOGINS: dict[str, tuple[Any, str]] = {
    "PLAIN": (Password(USER, SECRET), "AUTH PLAIN"),
    "LOGIN": (Password(USER, SECRET), "AUTH LOGIN"),
    "CRAM-MD5": (Password(USER, SECRET), "AUTH CRAM-MD5"),
    "XOAUTH2": (OAuth2(USER, SECRET), "AUTH XOAUTH2"),
    "OAUTHBEARER": (OAuth2(USER, lambda: SECRET), "AUTH OAUTHBEARER"),
}


def failing(way: Way, script: Script, auth: Any, **options: Any) -> BaseException:
    """What a send comes to."""
    with ScriptedServer(script) as scripted:
        return way(server_for(scripted, "implicit", auth=auth, **options))


# A check ends with the login, and does not see the reply after the one to it.
PAIRS = [
    (way, fault)
    for way in WAYS
    for fault in FAULTS
    if way not in (by_check, by_diagnosis) or fault != "an extra reply"
]


# Each way meets some of the faults, and each fault comes in some of the ways: all ways
# report what one function raises.
@pytest.mark.parametrize(("way", "fault"), PAIRS[::3])
def test_login(way: Way, fault: str) -> None:
    """Whatever ends a login, and however it is reported, no frame has the password."""
    auth, offer = LOGINS["PLAIN"]
    script = Script({**FAULTS[fault], "mail": close()}, offers=(*OFFERS, offer))
    clean(failing(way, script, auth))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (name, fault)
        for m, name in enumerate(LOGINS)
        for n, fault in enumerate(FAULTS)
        if (m + n) % 2
    ],
)
def test_mechanism(name: str, fault: str) -> None:
    """Nor has one by any other mechanism."""
    auth, offer = LOGINS[name]
    script = Script({**FAULTS[fault], "mail": close()}, offers=(*OFFERS, offer))
    clean(failing(by_send_async, script, auth))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("moment", ["auth", "mail", "final"])
@patiently
def test_silence(moment: str, way: Way) -> None:
    """Nor where the server says nothing more, at the login or after it."""
    if moment != "auth" and way in (by_check, by_diagnosis):
        moment = "auth"  # no message
    auth, offer = LOGINS["PLAIN"]
    script = Script({moment: hang()}, offers=(*OFFERS, offer))
    clean(failing(way, script, auth, **QUICK))


@pytest.mark.parametrize("way", SENDS)
@patiently
def test_deadline(way: Way) -> None:
    """Nor where the deadline of the call ends the login."""
    auth, offer = LOGINS["PLAIN"]
    script = Script({"auth": hang()}, offers=(*OFFERS, offer))
    clean(failing(way, script, auth, deadline=0.5))


@pytest.mark.parametrize("way", WAYS)
def test_no_mechanism(way: Way) -> None:
    """Nor where no mechanism is shared."""
    script = Script(offers=(*OFFERS, "AUTH GSSAPI"))
    clean(failing(way, script, Password(USER, SECRET)))


@pytest.mark.parametrize("moment", ["greeting", "ehlo", "mail", "rcpt", "data", "final"])
@pytest.mark.parametrize("action", [close(), reply(550, "5.7.1", SECRET), say(b"?\r\n")])
def test_elsewhere(moment: str, action: Action) -> None:
    """Nor do the errors of the other steps."""
    script = Script({moment: action}, offers=(*OFFERS[:2], "AUTH PLAIN"))
    for way in (by_send, by_client):
        clean(failing(way, script, Password(USER, SECRET)))


def raising(what: str) -> str:
    """A provider whose error holds the token, and whose cause does."""
    try:
        raise KeyError(what)
    except KeyError as error:
        raise ValueError(f"cannot refresh {what}") from error


async def raising_later(what: str) -> str:
    """The same as a coroutine."""
    await asyncio.sleep(0)
    return raising(what)


async def grouped(what: str) -> str:
    """A provider that ends with a group of errors."""
    raise ExceptionGroup(what, [ValueError(what), OSError(what)])


def nonsense(what: str) -> Any:
    """A provider that returns what is no token."""
    return [what]


def with_line_end(what: str) -> str:
    """A provider that returns a token with the end of its line."""
    return what + "\n"


def timing_out(what: str) -> str:
    """A provider with a time-out of its own."""
    raise TimeoutError(what)


PROVIDERS = [raising, raising_later, grouped, nonsense, with_line_end, timing_out]


@pytest.mark.parametrize(
    ("way", "provider"),
    [
        (way, provider)
        for m, way in enumerate(WAYS)
        for n, provider in enumerate(PROVIDERS)
        if (m + n) % 2 == 0
    ],
)
def test_provider(way: Way, provider: Callable[[str], Any]) -> None:
    """No frame has what a token function returned, raised, or was bound to."""
    auth = OAuth2(USER, functools.partial(provider, SECRET))
    error = failing(way, Script(offers=(*OFFERS, "AUTH XOAUTH2")), auth)
    assert isinstance(error, AuthError)
    clean(error)


@pytest.mark.parametrize("way", WAYS)
@patiently
def test_slow_provider(way: Way) -> None:
    """Nor where the token function takes too long."""
    ended = threading.Event()

    def slow(what: str) -> str:
        ended.wait(30)
        return what

    auth = OAuth2(USER, functools.partial(slow, SECRET))
    try:
        clean(failing(way, Script(offers=(*OFFERS, "AUTH XOAUTH2")), auth, **QUICK))
    finally:
        ended.set()


ENDS = ["535", "close", "421", "garbage"]


@pytest.mark.parametrize(("way", "end"), list(zip(WAYS, ENDS * 2, strict=False)))
def test_second_token(way: Way, end: str) -> None:
    """Nor has one the second token, which a function gives after a refusal."""
    tokens = iter([SECRET, SECOND] * 10)
    auth = OAuth2(USER, lambda: next(tokens))
    script = {"auth": reply(535, "5.7.8", "no"), "auth:2": FAULTS[end]["auth"]}
    script |= {"auth:1": reply(535, "5.7.8", "no")}
    clean(failing(way, Script(script, offers=(*OFFERS, "AUTH XOAUTH2")), auth))


@pytest.mark.parametrize("step", ["auth", "mail"])
def test_cancelled(step: str) -> None:
    """A cancelled send keeps none either, at the login or after it."""
    script = Script({step: hang()}, offers=(*OFFERS[:2], "AUTH PLAIN"))

    async def run() -> BaseException:
        server = server_for(scripted, "implicit", auth=Password(USER, SECRET))
        task = asyncio.create_task(send_async(MESSAGE, server, **envelope()))
        await asyncio.to_thread(scripted.wait_for, waits)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value

    def waits() -> bool:
        return any(step.upper() in r.verbs for r in scripted.connections)

    with ScriptedServer(script) as scripted:
        error = asyncio.run(run())
    assert any(frame.f_code.co_name == "login" for frame in frames(error)) == (
        step == "auth"
    )
    clean(error)


def test_the_lines_stay() -> None:
    """What is cleared are the variables: a traceback still says where it went wrong."""
    auth, offer = LOGINS["PLAIN"]
    script = Script(FAULTS["535"], offers=(*OFFERS, offer))
    names = [f.f_code.co_name for f in frames(failing(by_send_async, script, auth))]
    assert names[-2:] == ["login", "_login"]
