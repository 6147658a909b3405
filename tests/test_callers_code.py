"""The caller's code in the middle of a send: what it raises ends no other send."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email import policy as email_policy
from email.message import EmailMessage
from typing import Any

import pytest
from leaks import background, ids, numbered, one_port, run
from programs import finish, ran, started
from scripted import Script, ScriptedServer, close, hang
from sending import MESSAGE, RECIPIENT, SENDER, envelope, patiently, send_sync, server_for

from smtpsend import AsyncClient, Client, OAuth2, send, send_async
from smtpsend._client.background import portal
from smtpsend.errors import (
    AuthError,
    ConnectError,
    DeliveryUnknown,
    Rejected,
    SendError,
    TLSError,
)


pytestmark = pytest.mark.usefixtures("no_leaks")

TOKEN = "ya29.t0ken"
OFFERS = ("SIZE", "PIPELINING", "CHUNKING", "AUTH XOAUTH2")


class Own(BaseException):
    """What a library of the caller's may have."""


RAISED = [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, Own]


def raising(kind: type[BaseException]) -> Callable[..., Any]:
    """A function that raises it."""

    def function(*_: object) -> Any:
        raise kind("no token")

    return function


def raising_later(kind: type[BaseException]) -> Callable[..., Any]:
    """A coroutine function that raises it."""

    async def function(*_: object) -> Any:
        await asyncio.sleep(0)
        raise kind("no token")

    return function


def giving(kind: type[BaseException]) -> Callable[..., Any]:
    """A function that gives a coroutine that raises it."""
    return lambda: raising_later(kind)()


@pytest.fixture
def bearer() -> Iterator[ScriptedServer]:
    """A server that accepts the token `TOKEN`."""
    script = Script(offers=OFFERS)
    with ScriptedServer(
        script, password=TOKEN, starttls=None, starttls2=None
    ) as scripted:
        yield scripted


@contextlib.contextmanager
def others_go_on(scripted: ScriptedServer) -> Iterator[None]:
    """A send in flight has its receipt, and the background thread stays the same."""
    before = background()
    asked, go = threading.Event(), threading.Event()

    def provider() -> str:
        asked.set()
        assert go.wait(20)
        return TOKEN

    server = server_for(scripted, auth=OAuth2(scripted.user, provider))
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(send, MESSAGE, server, **envelope())
        try:
            assert asked.wait(20)
            yield
        finally:
            go.set()
        assert other.result(20).accepted
    assert background() == before


@pytest.mark.parametrize("provider", [raising, raising_later, giving])
@pytest.mark.parametrize("kind", RAISED)
def test_a_token_provider_that_raises_what_ends_a_thread(
    kind: type[BaseException], provider: Any, bearer: ScriptedServer
) -> None:
    """It is an AuthError, temporary where a refresh was cancelled."""
    server = server_for(bearer, auth=OAuth2(bearer.user, provider(kind)))
    with others_go_on(bearer):
        with pytest.raises(AuthError) as caught:
            send_sync(MESSAGE, server, **envelope())
    assert f"raised {kind.__name__}" in str(caught.value)
    assert caught.value.temporary is (kind is asyncio.CancelledError)


@pytest.mark.parametrize("provider", [raising, raising_later, giving])
@pytest.mark.parametrize("kind", [SystemExit, asyncio.CancelledError, Own])
def test_the_same_in_async_code(
    kind: type[BaseException], provider: Any, bearer: ScriptedServer
) -> None:
    """The task does not count as cancelled, and the loop goes on."""
    server = server_for(bearer, auth=OAuth2(bearer.user, provider(kind)))

    async def main() -> None:
        with pytest.raises(AuthError):
            await send_async(MESSAGE, server, **envelope())
        assert asyncio.current_task().cancelling() == 0

    run(main())


def test_a_cancellation_in_a_token_provider_is_one(bearer: ScriptedServer) -> None:
    """A real one is not taken for an error, also after one that was suppressed."""

    async def provider() -> str:
        sending.cancel()
        await asyncio.Event().wait()
        return TOKEN

    async def suppressing() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await send_async(MESSAGE, server, **envelope())

    async def main() -> None:
        nonlocal sending
        sending = asyncio.create_task(suppressing())
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    sending: asyncio.Task[None]
    server = server_for(bearer, auth=OAuth2(bearer.user, provider))
    run(main())
    assert not bearer.accepted


@pytest.mark.parametrize("how", ["cancels itself", "stops the loop", "cancels all"])
def test_a_token_provider_that_meddles_with_the_loop(
    how: str, bearer: ScriptedServer
) -> None:
    """The call ends by a typed error or a receipt, and so does the next."""

    async def provider() -> str:
        if how == "cancels itself":
            asyncio.current_task().cancel()
        elif how == "stops the loop":
            asyncio.get_running_loop().stop()
        else:
            for task in asyncio.all_tasks():
                task.cancel()
        await asyncio.sleep(0)
        return TOKEN

    before = background()
    server = server_for(bearer, auth=OAuth2(bearer.user, provider))
    if how == "stops the loop":
        send_sync(MESSAGE, server, **envelope())
    else:
        expected = AuthError if how == "cancels itself" else DeliveryUnknown
        with pytest.raises(expected):
            send_sync(MESSAGE, server, **envelope())
    send_sync(MESSAGE, server_for(bearer, auth=OAuth2(bearer.user, TOKEN)), **envelope())
    assert background() == before


def test_a_batch_whose_tasks_are_cancelled(bearer: ScriptedServer) -> None:
    """Each message has an outcome all the same."""

    async def provider() -> str:
        for task in asyncio.all_tasks():
            task.cancel()
        await asyncio.sleep(0)
        return TOKEN

    items = [(numbered(n), SENDER, [RECIPIENT]) for n in range(10)]
    with Client(server_for(bearer, auth=OAuth2(bearer.user, provider))) as client:
        outcomes = list(client.send_many(items))
    assert sorted(one.index for one in outcomes) == list(range(10))
    assert all(isinstance(one.error, SendError) for one in outcomes)


def test_a_token_provider_that_ignores_its_cancellation(bearer: ScriptedServer) -> None:
    """The deadline holds, and what is left of the provider ends by itself."""
    go = asyncio.Event()

    async def provider() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await go.wait()
        return TOKEN

    async def main() -> None:
        server = server_for(bearer, auth=OAuth2(bearer.user, provider), deadline=1)
        with pytest.raises(AuthError) as caught:
            await send_async(MESSAGE, server, **envelope())
        assert caught.value.timed_out
        go.set()
        await asyncio.sleep(0.01)

    run(main())


@pytest.mark.parametrize("kind", RAISED)
def test_a_hook_that_raises_what_ends_a_thread(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and changes nothing: neither for a send nor for a batch."""
    hooks = {"on_attempt": raising(kind), "on_outcome": raising(kind)}
    items = [(numbered(n), SENDER, [RECIPIENT]) for n in range(1, 6)]
    before = background()
    with ScriptedServer(starttls=[Script({"connect": close()}), {}]) as scripted:
        with Client(server_for(scripted, "starttls", "implicit"), **hooks) as client:
            assert client.send(numbered(0), **envelope()).accepted
            assert all(one.receipt for one in client.send_many(items))
    assert ids(scripted) == list(range(6))
    assert background() == before
    assert f"the hook on_outcome raised {kind.__name__}" in caplog.messages


def test_a_ctrl_c_in_a_hook_of_async_code() -> None:
    """In the main thread a KeyboardInterrupt is one, and ends the program."""
    with one_port() as scripted:
        client = AsyncClient(server_for(scripted), on_outcome=raising(KeyboardInterrupt))

        async def main() -> None:
            try:
                await client.send(numbered(0), **envelope())
            finally:
                await client.aclose()

        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main())
    assert ids(scripted) == [0]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_a_log_handler_that_raises_what_ends_a_thread(kind: type[BaseException]) -> None:
    """The transcript, the line of a send and that of a hook: the send goes on."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.add(record.name)
            raise kind

    seen: set[str] = set()
    before = background()
    handler, log = Handler(), logging.getLogger("smtpsend")
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    logging.getLogger("smtpsend.wire").setLevel(logging.DEBUG)
    try:
        with one_port() as scripted:
            hook = raising(ValueError)
            with Client(server_for(scripted), on_outcome=hook) as client:
                assert client.send(numbered(0), **envelope()).accepted
    finally:
        log.removeHandler(handler)
    assert background() == before
    assert seen == {"smtpsend", "smtpsend.wire"}


def test_a_message_whose_policy_raises_what_ends_a_thread() -> None:
    """It is written anew for a server without 8BITMIME in the background thread."""

    class Policy(email_policy.EmailPolicy):
        def fold_binary(self, name: str, value: Any) -> bytes:
            if self.cte_type == "7bit":
                raise SystemExit
            return super().fold_binary(name, value)

    message = EmailMessage(policy=Policy(cte_type="8bit"))
    message["From"], message["To"], message["Subject"] = SENDER, RECIPIENT, "x"
    message.set_content("Grüße", cte="8bit")
    before = background()
    with one_port(Script(offers=("SIZE", "AUTH PLAIN"))) as scripted:
        with pytest.raises(Rejected):
            send_sync(message, server_for(scripted))
    assert background() == before


def test_an_ssl_context_whose_callback_raises_what_ends_a_thread() -> None:
    """It is a TLSError, in time."""
    with one_port() as scripted:
        context = server_for_context(scripted)
        context._msg_callback = raising(SystemExit)
        server = server_for(scripted, ssl_context=context, reply_timeout=1, deadline=5)
        before = background()
        with pytest.raises(TLSError):
            send_sync(MESSAGE, server, **envelope())
        assert background() == before


def server_for_context(scripted: ScriptedServer) -> Any:
    """A context of the caller's that trusts the server."""
    import ssl

    return ssl.create_default_context(cafile=scripted.ca)


# The background thread itself.


def test_an_exception_thrown_into_the_background_thread() -> None:
    """As some watchdogs do it: what is in flight goes on."""
    program = """
import ctypes

with Client(where, max_connections=2) as client:
    client.send(numbered(0), **to)
    thread = next(t for t in threading.enumerate() if t.name == "smtpsend")
    for kind in (SystemExit, KeyboardInterrupt):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(kind)
        )
        assert all(o.receipt for o in client.send_many(batch(*range(1, 6))))
    say("sent", thread.is_alive())
"""
    with one_port() as scripted:
        out = ran(program, scripted)
    assert out[-1] == "sent True"


def test_the_background_thread_dies() -> None:
    """Each call has a typed error, and what a batch still has goes to a new thread."""
    program = """
from concurrent.futures import ThreadPoolExecutor
from smtpsend._client.background import portal

logging.getLogger("asyncio").disabled = True  # what it says of tasks that are left
client = Client(where, max_connections=1)
other = Client(where, max_connections=1, window=1)

def one():
    try:
        client.send(numbered(0), **to)
    except DeliveryUnknown as error:
        return "unknown", error.message_id

def check():
    try:
        other.check()
    except ConnectError as error:
        return "not begun", error.temporary

def many():
    outcomes = other.send_many(batch(*range(1, 10)))
    return [type(o.error).__name__[0] for o in sorted(outcomes, key=lambda o: o.index)]

with ThreadPoolExecutor(3) as threads:
    results = [threads.submit(one), threads.submit(many)]
    sys.stdin.readline()
    results.append(threads.submit(check))
    loop = portal._portal.running()
    # As where a program closes all descriptors that it knows nothing of.
    loop.call_soon_threadsafe(loop._selector.close)
    for result in results:
        say(*result.result())
client.send(numbered(20), **to)
client.close()
other.close()
say("done")
os._exit(0)
"""
    scripts = [Script({"final": hang()}), Script({"final": hang()}), {}]
    with one_port(*scripts) as scripted:
        with started(program, scripted) as process:
            scripted.wait_for(lambda: stuck(scripted) == 2)
            process.stdin.write("go\n")
            out = finish(process)
    assert out[0] == "the background thread was ended by ValueError"
    assert out[1] == "unknown <0@example.org>"
    assert out[2] == "D N N N N N N N N"
    assert out[3:] == ["not begun True", "done"]
    assert ids(scripted) == [*range(2, 10), 20]


@patiently
def test_a_hook_that_blocks_the_background_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others wait a little longer than their deadline, and then nothing is begun."""
    monkeypatch.setattr(portal, "_GRACE", 0.2)
    blocked, go = threading.Event(), threading.Event()

    def block(_: object) -> None:
        blocked.set()
        assert go.wait(20)

    with one_port(Script({"final": hang()}), {}) as scripted:
        server = server_for(scripted)
        with Client(server, on_outcome=block) as client, ThreadPoolExecutor(2) as threads:
            begun = threads.submit(send, numbered(1), server, **envelope(timeout=1))
            scripted.wait_for(lambda: stuck(scripted))
            blocking = threads.submit(client.send, numbered(2), **envelope())
            try:
                assert blocked.wait(20)
                with pytest.raises(ConnectError) as not_begun:
                    send(numbered(3), server, **envelope(), timeout=0.1)
                with pytest.raises(DeliveryUnknown) as unknown:
                    begun.result(20)
            finally:
                go.set()
            assert blocking.result(20).accepted
    assert not_begun.value.timed_out
    assert not_begun.value.temporary
    assert unknown.value.message_id == "<1@example.org>"
    assert ids(scripted) == [2]


def stuck(scripted: ScriptedServer) -> int:
    """How many connections wait for the reply to the end of a message."""
    return sum(
        any(m.state == "unknown" for m in record.messages)
        for record in scripted.connections
    )
