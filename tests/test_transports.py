"""The transport over a socket: what it sends and reads, with TLS and without.

Which bytes a connection was lost at is tried by test_loss_scan.py and others, over this
transport and over that of the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import tls
from leaks import one_port
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import AsyncClient, CertificateError, Client, ConnectError, TLSError
from smtpsend._wire import dial
from smtpsend._wire.transport import polling
from smtpsend._wire.transport.polling import OWN_LOOPS, Poller
from smtpsend._wire.transport.socket_transport import SocketTransport
from smtpsend._wire.transport.transports import open_transport, start_tls


pytestmark = pytest.mark.usefixtures("no_leaks")

T = TypeVar("T")
LARGE = bytes(range(256)) * 40_000  # 10 MB: no socket holds as much
HIGH = 65536


class Context(ssl.SSLContext):
    """A context that is not exactly an `ssl.SSLContext`."""


class Protocol(asyncio.Protocol):
    """Notes what the transport calls."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.event = asyncio.Event()
        self.transport: asyncio.Transport

    def note(self, call: str) -> None:
        self.calls.append(call)
        self.event.set()

    async def until(self, predicate: Callable[[], object]) -> None:
        """Wait until a call makes the predicate true."""
        async with asyncio.timeout(20):
            while not predicate():
                self.event.clear()
                await self.event.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.note("made")

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.note("data")

    def eof_received(self) -> None:
        self.note("eof")

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.note("lost")


class Peer:
    """The other end: it does what a function does with the socket, in a thread."""

    def __init__(self, work: Callable[[socket.socket], None], secure: str | None) -> None:
        # TCP, whose sockets take a part of what is sent.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.sock = socket.create_connection(listener.getsockname())
            self._mine, _ = listener.accept()
        self._work, self._secure = work, secure
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._mine as sock:
                sock.settimeout(20)
                if self._secure is None:
                    self._work(sock)
                    return
                context = tls.server_context(self._secure)
                # An end without close_notify is an error then.
                options = {"server_side": True, "suppress_ragged_eofs": False}
                with context.wrap_socket(sock, **options) as secure:
                    self._work(secure)
        except Exception as error:  # the test looks at it
            self.error = error

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()


def connected(
    work: Callable[[socket.socket], None],
    test: Callable[[Protocol], Coroutine[Any, Any, T]],
    secure: str | None,
    context: ssl.SSLContext | None = None,
) -> tuple[T, Peer]:
    """Run `test` over a connection to a peer that does `work`, and wait for both ends."""
    context = context or tls.client_context()

    async def run() -> tuple[T, Peer]:
        peer = Peer(work, secure)
        peer.sock.setblocking(False)
        protocol = Protocol()
        await open_transport(peer.sock, protocol, context)
        try:
            if secure is not None:
                made = await start_tls(
                    protocol.transport, protocol, context, "localhost", 20
                )
                assert made is not None
                protocol.transport = made
                made.set_write_buffer_limits(high=HIGH)
            result = await test(protocol)
        finally:
            protocol.transport.abort()
            await protocol.until(lambda: "lost" in protocol.calls)
            await asyncio.to_thread(peer.join)
        return result, peer

    return asyncio.run(run())


def read_all(into: list[bytes], begin: threading.Event) -> Callable[[Any], None]:
    """Read until the end, but not before `begin`."""

    def work(sock: socket.socket) -> None:
        begin.wait(20)
        while data := sock.recv(65536):
            into.append(data)

    return work


SECURE = pytest.mark.parametrize("secure", [None, "good", "tls12"])
TRANSPORTS = pytest.mark.parametrize("kind", [ssl.SSLContext, Context])


def context_of(kind: type[ssl.SSLContext]) -> ssl.SSLContext:
    """A context of this class that trusts our servers."""
    context = kind(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(tls.ca_file())
    return context


@TRANSPORTS
@SECURE
def test_more_than_the_socket_takes(secure: str | None, kind: type) -> None:
    """The protocol is paused, then resumed; all of it comes, in order."""
    got: list[bytes] = []
    begin = threading.Event()

    async def send(protocol: Protocol) -> list[int]:
        transport, sizes = protocol.transport, []
        for at in range(0, len(LARGE), 100_000):
            transport.write(LARGE[at : at + 100_000])
        assert "pause" in protocol.calls
        sizes.append(transport.get_write_buffer_size())
        begin.set()
        await protocol.until(lambda: "resume" in protocol.calls)
        sizes.append(transport.get_write_buffer_size())
        transport.write(memoryview(b"the end"))
        transport.close()
        assert transport.is_closing()
        transport.write(b"too late")
        await protocol.until(lambda: "lost" in protocol.calls)
        return sizes

    (full, low), peer = connected(read_all(got, begin), send, secure, context_of(kind))
    assert b"".join(got) == LARGE + b"the end"
    assert peer.error is None, "the end was not a clean one"
    assert full > len(LARGE) / 2
    assert low <= HIGH / 4


@SECURE
def test_abort_drops_what_is_unsent(secure: str | None) -> None:
    """The rest is not sent, and the peer sees an end."""
    got: list[bytes] = []
    begin = threading.Event()

    async def send(protocol: Protocol) -> None:
        protocol.transport.write(LARGE)
        protocol.transport.abort()
        protocol.transport.abort()
        assert protocol.transport.get_write_buffer_size() == 0
        await protocol.until(lambda: "lost" in protocol.calls)
        assert protocol.calls.count("lost") == 1
        begin.set()

    connected(read_all(got, begin), send, secure)
    assert sum(map(len, got)) < len(LARGE)


@SECURE
def test_what_is_read(secure: str | None) -> None:
    """All that the peer sends comes, with pauses; then its end, which ends the rest."""

    async def read(protocol: Protocol) -> bytes:
        await protocol.until(lambda: len(protocol.received) > 100_000)
        protocol.transport.pause_reading()
        protocol.transport.pause_reading()
        before = len(protocol.received)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(protocol.received) == before
        protocol.transport.resume_reading()
        protocol.transport.resume_reading()
        await protocol.until(lambda: "lost" in protocol.calls)
        assert protocol.calls[-2:] == ["eof", "lost"]
        assert protocol.error is None
        return bytes(protocol.received)

    got, peer = connected(lambda sock: sock.sendall(LARGE), read, secure)
    assert got == LARGE
    assert peer.error is None


@TRANSPORTS
def test_the_handshake_is_cut(kind: type[ssl.SSLContext]) -> None:
    """The peer closes the connection in place of its first flight."""

    async def run() -> None:
        mine, other = socket.socketpair()
        mine.setblocking(False)
        protocol, context = Protocol(), context_of(kind)
        await open_transport(mine, protocol, context)
        other.close()
        with pytest.raises(OSError):
            await start_tls(protocol.transport, protocol, context, "localhost", 20)
        protocol.transport.abort()
        if kind is ssl.SSLContext:  # asyncio's tells nobody
            await protocol.until(lambda: "lost" in protocol.calls)

    asyncio.run(run())


@pytest.mark.parametrize("how", ["abort", "cancel", "time"])
def test_the_handshake_is_given_up(how: str) -> None:
    """It ends at once, and nothing stays open."""

    async def run() -> None:
        mine, other = socket.socketpair()
        mine.setblocking(False)
        protocol, context = Protocol(), context_of(ssl.SSLContext)
        await open_transport(mine, protocol, context)
        limit = 0.05 if how == "time" else 20
        handshake = asyncio.create_task(
            start_tls(protocol.transport, protocol, context, "localhost", limit)
        )
        await asyncio.to_thread(other.recv, 1)  # the ClientHello
        if how == "abort":
            protocol.transport.abort()
        elif how == "cancel":
            handshake.cancel()
        with pytest.raises((ConnectionResetError, TimeoutError, asyncio.CancelledError)):
            await handshake
        protocol.transport.close()
        await protocol.until(lambda: "lost" in protocol.calls)
        other.close()

    asyncio.run(run())


def test_the_handshake_needs_more_than_the_socket_takes() -> None:
    """The ClientHello waits until the socket takes it."""
    mine, other = socket.socketpair()
    mine.setblocking(False)
    full = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            full += mine.send(bytes(65536))

    async def run() -> None:
        protocol, context = Protocol(), context_of(ssl.SSLContext)
        await open_transport(mine, protocol, context)
        handshake = asyncio.create_task(
            start_tls(protocol.transport, protocol, context, "localhost", 20)
        )
        await asyncio.sleep(0)

        def serve() -> None:
            left = full
            while left:
                left -= len(other.recv(min(left, 65536)))
            context = tls.server_context()
            with context.wrap_socket(other, server_side=True) as secure:
                secure.sendall(b"welcome")
                assert secure.recv(1) == b""

        served = asyncio.create_task(asyncio.to_thread(serve))
        await handshake
        await protocol.until(lambda: protocol.received == b"welcome")
        protocol.transport.close()
        await protocol.until(lambda: "lost" in protocol.calls)
        await served

    asyncio.run(run())


class Renegotiating:
    """A socket on which TLS has to read before it writes, or to write before it reads.

    TLS 1.2 does so in a renegotiation, which no server of Python can be made to begin.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sent = bytearray()
        self.refuse_send: list[type[Exception]] = []
        self.refuse_recv: list[type[Exception]] = []

    def send(self, data: bytes) -> int:
        if self.refuse_send:
            raise self.refuse_send.pop(0)
        self.sent += data
        return self.sock.send(data)

    def recv(self, size: int) -> bytes:
        if self.refuse_recv:
            raise self.refuse_recv.pop(0)
        return self.sock.recv(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


def test_reading_and_writing_need_each_other() -> None:
    """A write that waits for data goes on after it, and a read that waits to write."""

    async def run() -> None:
        mine, other = socket.socketpair()
        for end in (mine, other):
            end.setblocking(False)
        sock, protocol = Renegotiating(mine), Protocol()
        SocketTransport(asyncio.get_running_loop(), sock, protocol)  # type: ignore[arg-type]
        sock.refuse_send = [ssl.SSLWantReadError]
        protocol.transport.write(b"first")
        assert not sock.sent
        for _ in range(5):
            await asyncio.sleep(0)
        assert not sock.sent, "it asked again before there was anything to read"
        sock.refuse_recv = [ssl.SSLWantReadError]
        other.send(b"a")
        await protocol.until(lambda: protocol.received == b"a")
        assert sock.sent == b"first"
        sock.refuse_send = [ssl.SSLWantReadError]
        protocol.transport.write(b"now")
        other.send(b"b")
        await protocol.until(lambda: sock.sent == b"firstnow")
        sock.refuse_recv = [ssl.SSLWantWriteError]
        other.send(b"c")
        await protocol.until(lambda: protocol.received == b"abc")
        sock.refuse_send = [ssl.SSLWantWriteError]
        protocol.transport.write(b"second")
        protocol.transport.close()
        await protocol.until(lambda: "lost" in protocol.calls)
        assert sock.sent == b"firstnowsecond"
        other.close()

    asyncio.run(run())


def test_a_protocol_that_fails() -> None:
    """The connection ends, and the loop hears of the defect."""
    heard: list[Any] = []

    class Failing(Protocol):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError(data)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: heard.append(context))
        mine, other = socket.socketpair()
        mine.setblocking(False)
        protocol = Failing()
        await open_transport(mine, protocol, context_of(ssl.SSLContext))
        other.send(b"x")
        await protocol.until(lambda: "lost" in protocol.calls)
        other.close()

    asyncio.run(run())
    assert [type(context["exception"]) for context in heard] == [ZeroDivisionError]


def test_a_write_that_fails() -> None:
    """The connection has ended, and keeps nothing of what was not sent."""

    async def run() -> None:
        mine, other = socket.socketpair()
        mine.setblocking(False)
        protocol = Protocol()
        transport = SocketTransport(asyncio.get_running_loop(), mine, protocol)
        other.close()
        transport.write(b"data")
        assert transport.is_closing()
        assert not transport.get_write_buffer_size()
        await protocol.until(lambda: "lost" in protocol.calls)
        assert isinstance(protocol.error, BrokenPipeError)

    asyncio.run(run())


def test_a_socket_that_cannot_be_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed."""

    async def run() -> None:
        def refuse(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refuse)
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(OSError, match="No space"):
                await open_transport(sock, Protocol(), context_of(ssl.SSLContext))
            assert sock.fileno() == -1

    asyncio.run(run())


def test_which_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own where the loop and the context are the standard library's, else theirs."""
    found = []

    class Loop(asyncio.SelectorEventLoop):
        """A loop that watches descriptors, as programs derive them."""

    async def run(context: ssl.SSLContext) -> None:
        mine, other = socket.socketpair()
        mine.setblocking(False)
        protocol = Protocol()
        await open_transport(mine, protocol, context)
        found.append(type(protocol.transport) is SocketTransport)
        assert protocol.transport.get_extra_info("sockname") is not None
        assert protocol.transport.get_extra_info("ssl_object") is None
        assert protocol.transport.get_extra_info("nothing", 7) == 7
        protocol.transport.abort()
        await protocol.until(lambda: "lost" in protocol.calls)
        other.close()

    for context in (context_of(ssl.SSLContext), context_of(Context)):
        asyncio.run(run(context))
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(run(context_of(ssl.SSLContext)))
    for place, name, value in [
        (ssl.SSLContext, "sslobject_class", type("Pin", (ssl.SSLObject,), {})),
        (ssl.SSLContext, "sslsocket_class", type("Pin", (ssl.SSLSocket,), {})),
        (ssl.SSLContext, "wrap_bio", lambda *_, **__: None),
        (ssl.SSLObject, "do_handshake", lambda _: None),
        (ssl, "SSLContext", Context),  # as truststore does it
    ]:
        with monkeypatch.context() as patched:
            patched.setattr(place, name, value)
            asyncio.run(run(context_of(ssl.SSLContext)))
    assert found == [True, False, True] + [False] * 5


@pytest.mark.parametrize("send", WAYS)
def test_checks_of_a_caller_are_made(send: Send) -> None:
    """A class of TLS objects in the context of a caller refuses what it refuses."""

    class Pin(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            raise ssl.SSLCertVerificationError("not the pinned key")

    context = tls.client_context()
    context.sslobject_class = Pin
    with one_port() as scripted:
        with pytest.raises(CertificateError, match="not the pinned key"):
            send(MESSAGE, server_for(scripted, ssl_context=context), **envelope())
    assert not scripted.accepted


def test_functions_of_a_caller_s_context_are_called() -> None:
    """What a caller has put into a context refuses what it refuses."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise ssl.SSLError(1, "not today")

    context = tls.client_context()
    context.wrap_bio = refuse  # type: ignore[method-assign]
    with one_port() as scripted:
        with pytest.raises(TLSError):
            WAYS[0](MESSAGE, server_for(scripted, ssl_context=context), **envelope())
    assert not scripted.accepted


def test_another_thread_ends_a_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it calls in the loop does not wait for the end of the poll."""
    monkeypatch.setattr(polling, "_LONGEST", 600_000)  # ten minutes

    async def run() -> None:
        loop = asyncio.get_running_loop()
        OWN_LOOPS.add(loop)
        mine, other = socket.socketpair()
        mine.setblocking(False)
        protocol, called = Protocol(), loop.create_future()
        transport = SocketTransport(loop, mine, protocol)
        polls, poll = threading.Event(), transport._poller._poll  # type: ignore[union-attr]

        class Noted:
            def poll(self, milliseconds: int) -> list[tuple[int, int]]:
                polls.set()
                return poll.poll(milliseconds)

        def call() -> None:
            polls.wait(20)
            loop.call_soon_threadsafe(called.set_result, None)

        transport._poller._poll = Noted()  # type: ignore[union-attr,assignment]
        thread = threading.Thread(target=call)
        thread.start()
        assert not transport.poll()
        await called
        thread.join()
        transport.abort()
        other.close()
        await protocol.until(lambda: "lost" in protocol.calls)

    asyncio.run(run())


def test_a_loop_that_stops_is_not_held_up() -> None:
    """A stop is for another thread, which waits for it."""
    loop, found = asyncio.new_event_loop(), []
    OWN_LOOPS.add(loop)
    mine, other = socket.socketpair()
    mine.setblocking(False)

    def stop() -> None:
        transport = SocketTransport(loop, mine, Protocol())
        other.send(b"data")
        loop.stop()
        found.append(transport.poll())
        transport.abort()

    loop.call_soon(stop)
    loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    other.close()
    assert found == [False]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_is_thrown_into_a_thread_is_for_its_loop(kind: type[BaseException]) -> None:
    """`poll` does not raise it in the task, and the loop does."""
    waited: list[bool] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        OWN_LOOPS.add(loop)
        mine, other = socket.socketpair()
        mine.setblocking(False)
        protocol = Protocol()
        transport = SocketTransport(loop, mine, protocol)

        class Thrown:
            def poll(self, _: float) -> None:
                raise kind

        transport._poller._poll = Thrown()  # type: ignore[union-attr,assignment]
        waited.append(transport.poll())
        transport.abort()
        other.close()
        await protocol.until(lambda: "lost" in protocol.calls)

    with pytest.raises(kind):
        asyncio.run(run())
    assert waited == [False]


# Polling, which is for the library's own loops.


def polled(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each `poll` returns from now on."""
    found: list[bool] = []
    wait = SocketTransport.poll

    def noted(self: SocketTransport) -> bool:
        found.append(wait(self))
        return found[-1]

    monkeypatch.setattr(SocketTransport, "poll", noted)
    return found


def test_a_sync_call_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies of a server nearby are read without a turn of the loop."""
    found = polled(monkeypatch)
    with one_port() as scripted, Client(server_for(scripted)) as client:
        for _ in range(5):
            client.send(MESSAGE, **envelope())
    assert found.count(True) > len(found) / 2


@pytest.mark.parametrize("polls", [True, False])
def test_a_sync_call_connects(monkeypatch: pytest.MonkeyPatch, *, polls: bool) -> None:
    """The loop connects where a poll does not see that the socket has connected."""
    waited: list[object] = []
    writable = dial._writable

    async def noted(sock: socket.socket) -> None:
        waited.append(sock.getsockname()[0])
        await writable(sock)

    monkeypatch.setattr(dial, "_writable", noted)
    if not polls:
        monkeypatch.setattr(Poller, "wait", lambda _: False)
    with one_port() as scripted:
        server = server_for(scripted)
        WAYS[0](MESSAGE, server, **envelope())
        assert len(scripted.accepted) == 1
    assert waited == ([] if polls else ["127.0.0.1"])
    with pytest.raises(ConnectError, match="connection refused"):
        WAYS[0](MESSAGE, server, **envelope())


def test_a_handshake_is_polled_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop has its turns if the flight of a server comes in many pieces."""
    found: list[bool] = []
    wait = SocketTransport.poll

    def noted(self: SocketTransport) -> bool:
        if self._handshake is None:
            return wait(self)
        found.append(True)
        self._continue_handshake()
        return True

    monkeypatch.setattr(SocketTransport, "poll", noted)
    with one_port() as scripted:
        WAYS[0](MESSAGE, server_for(scripted), **envelope())
        assert len(scripted.accepted) == 1
    assert len(found) <= 2


def test_the_loop_of_a_program_is_not_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a loop of the caller's, only the loop waits."""
    found = polled(monkeypatch)

    async def run() -> None:
        async with AsyncClient(server_for(scripted)) as client:
            await client.send(MESSAGE, **envelope())

    with one_port() as scripted:
        asyncio.run(run())
    assert found
    assert not any(found)


def test_a_loop_that_has_something_to_do_does_not_wait() -> None:
    """Neither where a callback is ready, nor where another descriptor becomes so."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        OWN_LOOPS.add(loop)
        (mine, other), (second, third) = socket.socketpair(), socket.socketpair()
        for end in (mine, second):
            end.setblocking(False)
        protocol = Protocol()
        transport = SocketTransport(loop, mine, protocol)
        other.send(b"data")
        loop.call_soon(lambda: None)
        assert not transport.poll(), "a callback was ready"
        for _ in range(3):  # it would be read otherwise
            transport.pause_reading()
            await asyncio.sleep(0)
        transport.resume_reading()
        due = loop.call_later(0, lambda: None)
        assert not transport.poll(), "a timer was due"
        due.cancel()
        assert not protocol.received
        await protocol.until(lambda: protocol.received)
        assert not transport.poll(), "nothing came"
        other.send(b"data")
        assert transport.poll()
        assert protocol.received == b"datadata"
        read = loop.create_future()
        loop.add_reader(second, lambda: read.done() or read.set_result(None))
        third.send(b"x")
        assert not transport.poll(), "another descriptor was ready"
        other.send(b"data")
        assert not transport.poll(), "another descriptor was ready as well"
        await protocol.until(lambda: len(protocol.received) == 12)
        await read
        second.recv(10)
        for _ in range(3):  # until the selector has forgotten it
            await asyncio.sleep(0)
        read = loop.create_future()
        other.send(b"data")
        third.send(b"x")
        assert not transport.poll(), "another descriptor was ready after it"
        await protocol.until(lambda: len(protocol.received) == 16)
        await read
        loop.remove_reader(second)
        transport.pause_reading()
        for _ in range(3):
            await asyncio.sleep(0)
        other.send(b"data")
        assert not transport.poll(), "reading is paused"
        assert protocol.received == 4 * b"data"
        transport.abort()
        assert not transport.poll(), "it has ended"
        loop.set_debug(True)
        third.setblocking(False)
        protocol = Protocol()
        debugged = SocketTransport(loop, third, protocol)
        loop.set_debug(False)
        for _ in range(3):  # for what `set_debug` calls in the loop
            await asyncio.sleep(0)
        second.send(b"x")
        assert not debugged.poll(), "asyncio would log the wait"
        debugged.abort()
        await protocol.until(lambda: "lost" in protocol.calls)
        for end in (other, second, third):
            end.close()

    asyncio.run(run())
