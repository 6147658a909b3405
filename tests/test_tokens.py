"""OAuth2 tokens: from whatever provides them, asked once, tried twice at most."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted import Script, ScriptedServer, close, reply
from sending import MESSAGE, WAYS, Send, envelope, send_in_loop, server_for

from smtpsend import Client, OAuth2, SendError, send_async
from smtpsend.errors import AuthError, ConnectionLost, Phase


USER = "user@example.org"
TOKEN = "ya29.t0ken"
OFFERS = ("SIZE", "ENHANCEDSTATUSCODES", "AUTH XOAUTH2")


def auth_lines(scripted: ScriptedServer) -> list[bytes]:
    """The AUTH commands that came, over all connections."""
    lines = [line for c in scripted.connections for _, line in c.commands]
    return [line for line in lines if line.startswith(b"AUTH")]


class Tokens:
    """A provider that gives these tokens in turn; a callable object."""

    def __init__(self, *tokens: object) -> None:
        self.tokens, self.asked = list(tokens), 0

    def __call__(self, *_: object) -> Any:
        self.asked += 1
        token = self.tokens[min(self.asked, len(self.tokens)) - 1]
        if isinstance(token, Exception):
            raise token
        return token

    async def later(self, *_: object) -> Any:
        """The same, as a coroutine."""
        return self()


PROVIDERS: dict[str, Callable[[Tokens], Callable[[], Any]]] = {
    "function": lambda tokens: lambda: tokens(),
    "coroutine function": lambda tokens: tokens.later,
    "object": lambda tokens: tokens,
    "partial": lambda tokens: functools.partial(tokens, 1),
    "partial of a coroutine function": lambda tokens: functools.partial(tokens.later, 1),
    "function that gives a coroutine": lambda tokens: lambda: tokens.later(),
}


@pytest.fixture
def bearer() -> Iterator[ScriptedServer]:
    """A server that takes the token `TOKEN`, on one port."""
    script = Script(offers=OFFERS)
    with ScriptedServer(
        script, password=TOKEN, starttls=None, starttls2=None
    ) as scripted:
        yield scripted


def once(scripted: ScriptedServer, send: Send, provider: Any, **options: Any) -> None:
    """One send with a provider of tokens."""
    auth = OAuth2(USER, provider)
    send(MESSAGE, server_for(scripted, auth=auth, **options), **envelope())


@pytest.mark.parametrize("kind", PROVIDERS)
@pytest.mark.parametrize("send", WAYS)
def test_providers(kind: str, send: Send, bearer: ScriptedServer) -> None:
    """Every kind of provider works, and is asked once for a connection."""
    tokens = Tokens(TOKEN)
    once(bearer, send, PROVIDERS[kind](tokens))
    assert tokens.asked == 1
    bearer.close()
    bearer.assert_clean()


@pytest.mark.parametrize(
    ("tokens", "asked", "tries"),
    [(("old", TOKEN), 2, 2), (("old", "old"), 2, 1), (("old", "older", TOKEN), 2, 2)],
)
@pytest.mark.parametrize("send", WAYS)
def test_second_try(
    tokens: tuple[str, ...], asked: int, tries: int, send: Send, bearer: ScriptedServer
) -> None:
    """A refused token is followed by one more try, and only with another token."""
    provider = Tokens(*tokens)
    if tokens[1] == TOKEN:
        once(bearer, send, provider)
    else:
        with pytest.raises(AuthError):
            once(bearer, send, provider)
    assert provider.asked == asked
    assert len(auth_lines(bearer)) == tries


def test_asked_once_a_connection(bearer: ScriptedServer) -> None:
    """A kept connection asks for no further token."""
    provider = Tokens(TOKEN)
    with Client(server_for(bearer, auth=OAuth2(USER, provider))) as client:
        for _ in range(3):
            client.send(MESSAGE, **envelope())
    assert provider.asked == 1
    assert len(bearer.connections) == 1


def hanging() -> str:
    """A sync provider that does not come back until the test is over."""
    OVER.wait()
    return TOKEN


async def hanging_async() -> str:
    """An async provider that does not come back."""
    await asyncio.Event().wait()
    return TOKEN


OVER = threading.Event()
FAILING = {
    "raises": (Tokens(KeyError("x")), False, False),
    "raises StopIteration": (Tokens(StopIteration("x")), False, False),
    "raises an OSError": (Tokens(ConnectionResetError("x")), True, False),
    "raises a TimeoutError": (Tokens(TimeoutError("x")), True, False),
    "raises a SendError": (Tokens(ConnectionLost("x")), None, False),
    "None": (Tokens(None), False, False),
    "bytes": (Tokens(b"x"), False, False),
    "empty": (Tokens(""), False, False),
    "a line end": (Tokens("x\r\n"), False, False),
    "a class": (dict, False, False),
    "wants arguments": (lambda x: x, False, False),
    "hangs": (hanging, True, True),
    "hangs, async": (hanging_async, True, True),
}


@pytest.mark.parametrize("case", FAILING)
@pytest.mark.parametrize("send", WAYS)
def test_failing_providers(case: str, send: Send, bearer: ScriptedServer) -> None:
    """A provider that fails is an AuthError in time, and nothing was said."""
    provider, temporary, timed_out = FAILING[case]
    OVER.clear()
    try:
        with pytest.raises(AuthError) as caught:
            once(bearer, send, provider, deadline=1, reply_timeout=30)
    finally:
        OVER.set()
    error = caught.value
    assert (error.phase, error.reply, error.timed_out) == (Phase.AUTH, None, timed_out)
    assert temporary is None or error.temporary is temporary
    assert error.hint
    assert not auth_lines(bearer)


def test_a_sync_provider_does_not_block_the_loop(bearer: ScriptedServer) -> None:
    """While a sync provider works, the loop goes on: else this would never end."""
    asked, go_on = threading.Event(), threading.Event()

    def provider() -> str:
        asked.set()
        assert go_on.wait(10)
        return TOKEN

    async def main() -> None:
        server = server_for(
            bearer, auth=OAuth2(USER, provider), reply_timeout=20, deadline=20
        )
        sending = asyncio.create_task(send_async(MESSAGE, server, **envelope()))
        while not asked.is_set():
            await asyncio.sleep(0)
        go_on.set()
        await sending

    asyncio.run(main())
    assert len(bearer.accepted) == 1


@pytest.mark.parametrize("seen", ["before the next", "behind it"])
def test_closed_after_a_refused_token(seen: str) -> None:
    """A server that hangs up after its 535 leaves an AuthError with that reply."""
    refuse = reply(535, "5.7.8", "expired")
    on = {"auth": refuse + close()}
    if seen == "behind it":
        on = {"auth:1": refuse, "auth:2": close()}
    with ScriptedServer(Script(on, offers=OFFERS)) as scripted:
        auth = OAuth2(USER, Tokens("old", "new", "newer"))
        server = server_for(scripted, "implicit", auth=auth)
        with pytest.raises(SendError) as caught:
            send_in_loop(MESSAGE, server, **envelope())
    assert type(caught.value) is AuthError
    assert caught.value.reply.code == 535
