"""Which thread runs the event loop of the sync functions, and what may interrupt it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from leaks import ids, numbered, one_port, sockets
from scripted import Action, Script, ScriptedServer, hang, normal
from sending import RECIPIENT, SENDER, server_for

from smtpsend import Client, Password, Server, send
from smtpsend._client.background import portal, turn
from smtpsend.errors import ConnectError


pytestmark = pytest.mark.usefixtures("no_leaks")

TO = {"sender": SENDER, "recipients": [RECIPIENT]}
BACKGROUND = "smtpsend"


class _Threads(logging.Handler):
    """Keeps the names of the threads in which the connections are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.threadName or "")


@contextmanager
def threads_of_connections() -> Iterator[set[str]]:
    """The names of the threads that write to connections, and read from them."""
    handler, log = _Threads(), logging.getLogger("smtpsend.wire")
    log.addHandler(handler)
    level = log.level
    log.setLevel(logging.DEBUG)
    try:
        yield handler.names
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


class Held:
    """A server that has a message, and replies only after `go`."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.script = Script(
            {"final": Action("held", lambda _: self.go.wait(20)) + normal()}
        )

    @staticmethod
    def has_message(scripted: ScriptedServer) -> bool:
        """Whether it has a whole message, and has not replied to its end."""
        messages = [m for c in scripted.connections for m in c.messages]
        return any(m.state == "unknown" for m in messages)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The background thread runs the loop only if needed, even on a slow machine."""
    # A background thread that runs the loop by now leaves it after a call.
    with monkeypatch.context() as patched:
        patched.setattr(turn, "_IDLE", 20)
        portal.run(_nothing)
        yield
    portal.run(_nothing)


async def _nothing() -> None:
    pass


CALLS: dict[str, Callable[[Client, Server], object]] = {
    "Client.send": lambda client, _: client.send(numbered(1), **TO),
    "Client.check": lambda client, _: client.check(),
    "send": lambda _, server: send(numbered(1), server, **TO),
}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize("main", [True, False])
def test_a_call_that_is_alone(how: str, *, main: bool) -> None:
    """The main thread does all of it, again and again; for others the background does."""
    with one_port() as scripted, Client(server_for(scripted)) as client:
        client.send(numbered(0), **TO)

        def calls() -> None:
            for _ in range(2):
                CALLS[how](client, server_for(scripted))

        with threads_of_connections() as threads:
            if main:
                calls()
            else:
                thread = threading.Thread(target=calls)
                thread.start()
                thread.join()
        client.send(numbered(2), **TO)
    assert threads == {threading.main_thread().name if main else BACKGROUND}


def test_a_running_event_loop() -> None:
    """A thread that runs a loop of its own leaves the send to the background thread."""

    async def main(client: Client) -> None:
        client.send(numbered(1), **TO)

    with one_port() as scripted, Client(server_for(scripted)) as client:
        with threads_of_connections() as threads:
            asyncio.run(main(client))
    assert ids(scripted) == [1]
    assert threads == {BACKGROUND}


def _hooks(scripted: ScriptedServer) -> Client:
    return Client(server_for(scripted), on_outcome=lambda _: None)


def _password_function(scripted: ScriptedServer) -> Client:
    async def password() -> str:
        return scripted.password

    return Client(server_for(scripted, auth=Password(scripted.user, password)))


def _tls_context(scripted: ScriptedServer) -> Client:
    context = ssl.create_default_context(cafile=scripted.ca)
    return Client(server_for(scripted, ssl_context=context))


@pytest.mark.parametrize("client_of", [_hooks, _password_function, _tls_context])
def test_functions_of_the_caller(client_of: Callable[[ScriptedServer], Client]) -> None:
    """They may block, and the caller waits no longer than its deadline all the same."""
    with one_port() as scripted, client_of(scripted) as client:
        with threads_of_connections() as threads:
            client.check()
            client.send(numbered(1), **TO)
    assert ids(scripted) == [1]
    assert threads == {BACKGROUND}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("many", [False, True])
def test_another_call_begins(*, many: bool) -> None:
    """The background thread goes on with the first call, and does the other one."""
    held = Held()
    with one_port(held.script, {}) as scripted, Client(server_for(scripted)) as client:

        def other() -> set[str]:
            scripted.wait_for(lambda: held.has_message(scripted))
            before = {*names}
            if many:
                batch = [(numbered(n), *TO.values()) for n in range(2, 12)]
                assert all(outcome.receipt for outcome in client.send_many(batch))
            else:
                assert client.send(numbered(2), **TO).message_id == "<2@example.org>"
            held.go.set()
            return before

        with ThreadPoolExecutor(1) as threads, threads_of_connections() as names:
            other_call = threads.submit(other)
            assert client.send(numbered(1), **TO).message_id == "<1@example.org>"
            assert BACKGROUND not in other_call.result(20)
        assert BACKGROUND in names
    assert ids(scripted) == [*range(1, 12 if many else 3)]


def test_nobody_calls() -> None:
    """Idle connections end in time, and that of a `send` ends, without another call."""
    with one_port({}, {}) as scripted:
        with Client(server_for(scripted), idle_timeout=0.2) as client:
            client.check()
            client.send(numbered(1), **TO)
            scripted.wait_closed(1)
            send(numbered(2), server_for(scripted), **TO)
            scripted.wait_closed(2)
    assert ids(scripted) == [1, 2]


@pytest.mark.usefixtures("alone")
def test_a_call_that_does_not_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The main thread waits a little longer than the time limit, like any other."""
    monkeypatch.setattr(portal, "_GRACE", 0.1)
    go = threading.Event()

    async def never() -> None:
        while not go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.05)

    try:
        with pytest.raises(ConnectError, match="is blocked") as caught:
            portal.run(never, 0.1, here=True)
    finally:
        go.set()
    assert caught.value.timed_out


def test_an_exception_that_ends_a_thread_is_not_logged_with_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may hold a secret; asyncio logs what nobody has asked a task for."""

    async def ends() -> None:
        raise SystemExit("s3cret")

    with pytest.raises(ConnectError, match="SystemExit"):
        portal.run(ends)
    portal.run(_nothing)
    gc.collect()
    assert caplog.messages == ["a callback of the background thread raised SystemExit"]
    assert "s3cret" not in caplog.text


class _Interrupt(BaseException):
    """What a signal handler or another thread raises."""


def _unknown(caplog: pytest.LogCaptureFixture) -> int:
    return sum("unknown whether delivered" in text for text in caplog.messages)


def test_a_signal_handler_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """Its exception meets no code of a connection, and ends the send."""

    def interrupt(*_: object) -> None:
        raise _Interrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with one_port(Script({"final": hang()}), {}) as scripted:
            server = server_for(scripted)

            def watch() -> None:
                scripted.wait_for(lambda: Held.has_message(scripted))
                os.kill(os.getpid(), signal.SIGUSR1)

            with ThreadPoolExecutor(1) as threads, threads_of_connections() as names:
                watching = threads.submit(watch)
                with pytest.raises(_Interrupt):
                    send(numbered(1), server, **TO)
                watching.result(20)
            assert send(numbered(2), server, **TO)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert names == {BACKGROUND}
    assert _unknown(caplog) == 1
    assert ids(scripted) == [2]


def test_an_exception_thrown_into_the_calling_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As job queues end a job that takes too long: it comes, and the send has ended."""
    held = Held()
    with one_port(held.script, {}) as scripted:
        server = server_for(scripted)
        raised: list[type[BaseException]] = []

        def call() -> None:
            try:
                send(numbered(1), server, **TO)
            except BaseException as error:
                raised.append(type(error))

        thread = threading.Thread(target=call)
        thread.start()
        scripted.wait_for(lambda: held.has_message(scripted))
        assert thread.ident is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(_Interrupt)
        )
        held.go.set()
        thread.join(20)
        assert raised == [_Interrupt]
        assert send(numbered(2), server, **TO)
    # The thread may have got it before it began to wait, and then the send was cancelled.
    assert ids(scripted)[-1] == 2
    assert 1 in ids(scripted) or _unknown(caplog)


@pytest.mark.usefixtures("alone")
def test_the_handler_of_ctrl_c_is_put_back() -> None:
    """After a send, and where the program ignores Ctrl-C, it is what it was."""
    for handler in (signal.default_int_handler, signal.SIG_IGN):
        before = signal.signal(signal.SIGINT, handler)
        try:
            with one_port() as scripted:
                for number in (1, 2):
                    send(numbered(number), server_for(scripted), **TO)
            assert ids(scripted) == [1, 2]
            assert signal.getsignal(signal.SIGINT) is handler
        finally:
            signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("alone")
def test_ctrl_c_when_the_reply_comes() -> None:
    """The `KeyboardInterrupt` is raised after the send has ended, and nothing is left."""

    def interrupted(_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    script = Script({"final:1": Action("ctrl-c", interrupted) + normal()})
    with one_port(script, {}) as scripted, Client(server_for(scripted)) as client:
        client.check()
        with pytest.raises(KeyboardInterrupt):
            client.send(numbered(1), **TO)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        client.send(numbered(2), **TO)
    assert ids(scripted)[-1] == 2


def _fork() -> None:
    with warnings.catch_warnings(action="ignore"):  # other threads run, as they shall
        child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.usefixtures("alone")
def test_forks() -> None:
    """The loop stands still meanwhile, whichever thread runs it, and then goes on."""
    held, again = Held(), Held()
    with one_port({}, held.script, again.script, {}) as scripted:
        server = server_for(scripted)

        def fork() -> None:
            scripted.wait_for(lambda: held.has_message(scripted))
            _fork()
            held.go.set()

        with ThreadPoolExecutor(1) as threads, Client(server) as client:
            client.send(numbered(1), **TO)
            _fork()  # while no thread runs the loop
            forking = threads.submit(fork)
            assert send(numbered(2), server, **TO)  # the main thread runs it
            forking.result(20)
            sending = threads.submit(send, numbered(3), server, **TO)
            scripted.wait_for(lambda: again.has_message(scripted))
            _fork()  # the background thread runs it
            again.go.set()
            sending.result(20)
            client.send(numbered(4), **TO)
    assert ids(scripted) == [1, 2, 3, 4]


@pytest.mark.usefixtures("alone")
def test_the_connection_of_a_send_is_closed() -> None:
    """The main thread closes the socket before `send` returns; nobody else would."""
    with one_port() as scripted:
        before = sockets()
        send(numbered(1), server_for(scripted), **TO)
        scripted.wait_closed(1)
        assert not sockets() - before
