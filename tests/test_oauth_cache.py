"""The cache of tokens: when it renews, and that it renews once for all who ask."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from leaks import eventually
from scripted import Script, ScriptedServer
from sending import MESSAGE, envelope, server_for
from token_endpoint import Answer, TokenEndpoint, endpoint, refusal, token

from smtpsend import Client, OAuth2, send, send_async
from smtpsend.errors import AuthError
from smtpsend.oauth import ClientCredentials, cache


def numbered(**more: Any) -> Callable[[dict[str, str]], Answer]:
    """Tokens with the numbers 1, 2, 3 ..."""
    numbers = iter(range(1, 1000))
    return lambda _: token(str(next(numbers)), **more)


def source_for(issuer: TokenEndpoint, **options: Any) -> ClientCredentials:
    """A grant with the endpoint."""
    return ClientCredentials(issuer.url, "id", "secret", cafile=issuer.ca, **options)


class Clock:
    """The clock of the cache, which a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock in place of the real one."""
    made = Clock()
    monkeypatch.setattr(cache, "monotonic", made)
    return made


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a test opens to let an endpoint reply; open at the end in any case."""
    made = threading.Event()
    yield made
    made.set()


LIVES: dict[str, tuple[Any, float]] = {
    "an hour": (3600, 3300),
    "a day": (86400, 86100),
    "a minute": (60, 54),
    "a string": ("3600", 3300),
    "nothing": (None, 270),
    "no number": ("soon", 270),
    "a list": ([3600], 270),
    "true": (True, 270),
    "infinite": (float("inf"), 270),
    "a year": (31536000, 86100),
    "beyond all numbers": ("9" * 400, 270),
}


@pytest.mark.parametrize("case", LIVES)
def test_a_token_is_kept(case: str, clock: Clock) -> None:
    """A token is used until shortly before it expires, and then renewed."""
    stated, kept = LIVES[case]
    with endpoint(numbered(expires_in=stated)) as issuer:
        source = source_for(issuer)
        assert source() == "1"
        clock.now += kept - 0.5
        assert source() == "1"
        clock.now += 1
        assert source() == "2"


@pytest.mark.parametrize("stated", [0, -1, "-3600"])
def test_a_token_that_is_over_is_not_kept(stated: Any) -> None:
    """A token that expires at once is used, and the next call asks for another."""
    with endpoint(numbered(expires_in=stated)) as issuer:
        source = source_for(issuer)
        assert [source(), source()] == ["1", "2"]


def test_the_clock_of_the_machine_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose clock is set in between keeps its token."""
    with endpoint(numbered()) as issuer:
        source = source_for(issuer)
        assert source() == "1"
        for wrong in (0.0, 4e9):
            monkeypatch.setattr("time.time", lambda at=wrong: at)
            assert source() == "1"


def test_an_endpoint_that_is_down_before_the_token_expires(clock: Clock) -> None:
    """The old token serves while it is valid; the endpoint is asked twice a minute."""
    with endpoint(token("old"), Answer(503), Answer(503), token("new")) as issuer:
        source = source_for(issuer)
        assert source() == "old"
        clock.now += 3400
        assert [source(), source(), source()] == ["old"] * 3
        assert len(issuer.requests) == 2
        clock.now += 31
        assert source() == "old"
        clock.now += 31
        assert source() == "new"
        assert len(issuer.requests) == 4


def test_an_endpoint_that_is_down_when_the_token_has_expired(clock: Clock) -> None:
    """A token that has expired is not used, and each call asks for a new one."""
    with endpoint(token("old"), Answer(503), token("new")) as issuer:
        source = source_for(issuer)
        assert source() == "old"
        clock.now += 3600
        with pytest.raises(AuthError, match="HTTP 503") as caught:
            source()
        assert caught.value.temporary
        assert source() == "new"


def test_a_pause_that_the_endpoint_wants(clock: Clock) -> None:
    """Until the time in Retry-After has passed, the endpoint is not asked again."""
    busy = Answer(429, {"error": "slow_down"}, {"Retry-After": "20"})
    with endpoint(busy, token("new")) as issuer:
        source = source_for(issuer)
        for _ in range(3):
            with pytest.raises(AuthError, match="slow_down") as caught:
                source()
            assert caught.value.temporary
            clock.now += 6
        assert len(issuer.requests) == 1
        clock.now += 6
        assert source() == "new"


def test_a_refused_token(clock: Clock) -> None:
    """A refused token is replaced; its replacement only after a minute."""
    with endpoint(numbered()) as issuer:
        source = source_for(issuer)
        first = source()
        source.discard("another one")
        assert source() == first
        source.discard(first)
        second = source()
        assert second != first
        source.discard(first)  # a connection that logged in with it says so late
        source.discard(second)
        assert source() == second
        clock.now += 61
        source.discard(second)
        assert source() == "3"


def test_twenty_threads_ask_once(gate: threading.Event) -> None:
    """Twenty threads that need a token at once cause one request, and all get it."""

    def slow(_: dict[str, str]) -> Answer:
        assert gate.wait(20)
        return token("the token")

    with endpoint(slow) as issuer, ThreadPoolExecutor(20) as threads:
        source = source_for(issuer)
        asked = [threads.submit(source) for _ in range(20)]
        eventually(lambda: len(issuer.requests) == 1)
        gate.set()
        assert {one.result(20) for one in asked} == {"the token"}
        assert len(issuer.requests) == 1


def test_twenty_threads_fail_once(gate: threading.Event) -> None:
    """A failure reaches all who waited for it, as an error of their own for each."""

    def slow(_: dict[str, str]) -> Answer:
        assert gate.wait(20)
        return refusal("invalid_client")

    with endpoint(slow) as issuer, ThreadPoolExecutor(20) as threads:
        source = source_for(issuer)
        waiting = threading.Semaphore(0)

        def ask() -> AuthError:
            waiting.release()
            with pytest.raises(AuthError, match="invalid_client") as caught:
                source()
            return caught.value

        asked = [threads.submit(ask) for _ in range(20)]
        for _ in asked:
            waiting.acquire()
        eventually(lambda: len(issuer.requests) == 1)
        gate.set()
        errors = [one.result(20) for one in asked]
    assert len({id(error) for error in errors}) == 20
    assert len(issuer.requests) < 20


def test_threads_and_loops_ask_once() -> None:
    """Sync sends in threads, a client and several event loops share one token."""
    with endpoint(token("the token")) as issuer, mail_server() as mail:
        auth = OAuth2(mail.user, source_for(issuer))
        server = server_for(mail, auth=auth)

        async def together() -> None:
            sends = [send_async(MESSAGE, server, **envelope()) for _ in range(3)]
            await asyncio.gather(*sends)

        def kept() -> None:
            with Client(server) as client:
                client.send(MESSAGE, **envelope())

        def loop() -> None:
            asyncio.run(together())

        jobs = [loop, loop, kept, lambda: send(MESSAGE, server, **envelope())]
        with ThreadPoolExecutor(4) as threads:
            for job in [threads.submit(job) for job in jobs]:
                job.result(60)
        assert len(mail.accepted) == 8
        assert len(issuer.requests) == 1


def mail_server() -> ScriptedServer:
    """A mail server that accepts the token of `test_threads_and_loops_ask_once`."""
    script = Script(offers=("SIZE", "ENHANCEDSTATUSCODES", "AUTH XOAUTH2"))
    return ScriptedServer(script, password="the token", starttls=None, starttls2=None)


def test_a_slow_endpoint_does_not_block_the_loop(gate: threading.Event) -> None:
    """While the endpoint is silent, the loop goes on, and the send keeps its deadline."""

    def slow(_: dict[str, str]) -> Answer:
        gate.wait(20)
        return token("the token")

    with endpoint(slow) as issuer, mail_server() as mail:
        server = server_for(
            mail, auth=OAuth2(mail.user, source_for(issuer)), deadline=1, reply_timeout=30
        )
        turns = 0

        async def main() -> None:
            nonlocal turns
            sending = asyncio.create_task(send_async(MESSAGE, server, **envelope()))
            while not sending.done():
                turns += 1
                await asyncio.sleep(0.01)
            with pytest.raises(AuthError) as caught:
                await sending
            assert (caught.value.temporary, caught.value.timed_out) == (True, True)

        asyncio.run(main())
        assert turns > 5
        gate.set()


def test_a_renewal_that_hangs_is_replaced(gate: threading.Event, clock: Clock) -> None:
    """When a renewal has taken too long, the next caller begins another."""
    answers = [threading.Event(), gate]

    def first_hangs(_: dict[str, str]) -> Answer:
        number = len(issuer.requests)
        if number == 1:
            answers[0].set()
            gate.wait(20)
        return token(f"token {number}")

    with endpoint(first_hangs, first_hangs) as issuer, ThreadPoolExecutor(1) as thread:
        source = source_for(issuer)
        hanging = thread.submit(source)
        assert answers[0].wait(10)
        clock.now += 32
        assert source() == "token 2"
        gate.set()
        hanging.result(20)
        assert source() == "token 2"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, MemoryError])
def test_a_function_that_ends_its_thread(kind: type[BaseException]) -> None:
    """A secret function that raises anything at all fails the renewal, and not more."""
    secrets: list[BaseException | str] = [kind("s3cret"), "secret"]

    def secret() -> str:
        found = secrets.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found

    with endpoint(token("the token")) as issuer:
        source = ClientCredentials(issuer.url, "id", secret, cafile=issuer.ca)
        with pytest.raises(AuthError, match=r"no token was issued|raised") as caught:
            source()
        assert "s3cret" not in str(caught.value)
        assert source() == "the token"


def test_without_a_further_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, the token is renewed in that of the caller."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with endpoint(token("the token")) as issuer:
        source = source_for(issuer)
        # The endpoint itself needs a thread for each request.
        real = threading.Thread.start
        monkeypatch.setattr(
            threading.Thread,
            "start",
            lambda t: refuse(t) if t.name == "smtpsend-oauth" else real(t),
        )
        assert source() == "the token"


def test_what_the_callers_functions_see() -> None:
    """A function for a secret sees the context variables of the call."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("the-secret-of-this-call")
    with endpoint(token("the token")) as issuer:
        ClientCredentials(issuer.url, "id", variable.get, cafile=issuer.ca)()
    assert issuer.requests[0]["client_secret"] == "the-secret-of-this-call"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_fork_while_a_token_is_renewed(gate: threading.Event) -> None:
    """A child that was forked during a renewal renews for itself."""

    def slow(_: dict[str, str]) -> Answer:
        if len(issuer.requests) == 1:
            gate.wait(20)
        return token("the token")

    with endpoint(slow) as issuer, ThreadPoolExecutor(1) as thread:
        source = source_for(issuer, timeout=15)
        asked = thread.submit(source)
        eventually(lambda: len(issuer.requests) == 1)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if source() == "the token" else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        gate.set()
        assert asked.result(20) == "the token"
    assert len(issuer.requests) == 2
