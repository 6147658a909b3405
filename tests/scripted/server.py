"""The server: ports, threads, records, and functions that wait for a record."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import quote

import tls

from scripted import judge
from scripted.conversation import Conversation
from scripted.records import Connection, Message
from scripted.script import SILENT, Scripts, as_scripts
from scripted.wire import Wire


if TYPE_CHECKING:
    from collections.abc import Callable


Special = Literal["refused", "blackhole", "silent"]
"""refused: TCP is refused. blackhole: TCP neither succeeds nor fails. silent: TCP
succeeds, and the server never sends anything."""

SECURITY = {"starttls": "starttls", "implicit": "implicit", "starttls2": "starttls"}
_DEFAULT: Scripts = MappingProxyType({})
_GRACE = 1.0  # seconds for threads to read received bytes before the server closes
_STUCK = 10.0


class ScriptedServer:
    """Up to three ports on one address, each with its script; a context manager.

    Args:
        default: the scripts of each port without scripts of its own.
        starttls, implicit, starttls2: the scripts of that port, or "refused", "blackhole"
            or "silent"; None for no such port.
        host: the loopback address.
        user, password: the one account; the password is the token of OAuth, too.
    """

    def __init__(
        self,
        default: Scripts | Special = _DEFAULT,
        *,
        starttls: Scripts | Special | None = _DEFAULT,
        implicit: Scripts | Special | None = _DEFAULT,
        starttls2: Scripts | Special | None = _DEFAULT,
        host: str = "127.0.0.1",
        user: str = "user@example.org",
        password: str = "s3cret-Pa55word",
    ) -> None:
        self.host, self.user, self.password = host, user, password
        self.ca = tls.ca_file()
        self.connections: list[Connection] = []
        self._changed = threading.Condition()
        self._ending = threading.Event()
        self._threads: list[tuple[threading.Thread, Wire]] = []
        self._errors: list[Exception] = []
        self._ports: dict[str, int] = {}
        self._sockets: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._wake, wakened = socket.socketpair()
        self._sockets += [self._wake, wakened]
        self._selector.register(wakened, selectors.EVENT_READ)
        given = {"starttls": starttls, "implicit": implicit, "starttls2": starttls2}
        try:
            for name, what in given.items():
                if what is not None:
                    self._open(name, default if what is _DEFAULT else what)
        except BaseException:
            self._close_sockets()
            raise
        self._acceptor = threading.Thread(target=self._accept, name="scripted-acceptor")
        self._acceptor.start()

    # The interface for tests.

    def port(self, name: str) -> int:
        """The number of the port starttls, implicit or starttls2."""
        return self._ports[name]

    @property
    def ports(self) -> dict[str, int]:
        """The ports of this server, by name."""
        return dict(self._ports)

    def methods(self) -> tuple[tuple[int, str], ...]:
        """(port, security) of each port, for `Method(port, security)`."""
        return tuple((port, SECURITY[name]) for name, port in self._ports.items())

    def url_of(self, name: str) -> str:
        """The URL of one port, with user and password."""
        scheme = "smtps" if SECURITY[name] == "implicit" else "smtp"
        host = f"[{self.host}]" if ":" in self.host else self.host
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"{scheme}://{login}@{host}:{self.port(name)}"

    @property
    def url(self) -> str:
        """The URL of the first port."""
        return self.url_of(next(iter(self._ports)))

    @property
    def accepted(self) -> list[Message]:
        """The messages accepted, over all connections."""
        return [message for record in self.connections for message in record.accepted]

    def on(self, name: str) -> list[Connection]:
        """The connections to one port."""
        return [record for record in self.connections if record.port_kind == name]

    def wait_for(self, predicate: Callable[[], object], timeout: float = 10) -> None:
        """Wait until the predicate, which reads the records, is true.

        Raises:
            AssertionError: it did not become true in time.
        """
        with self._changed:
            if not self._changed.wait_for(predicate, timeout):
                raise AssertionError(f"not in {timeout} s: {self.connections}")

    def wait_closed(self, n: int, timeout: float = 10) -> None:
        """Wait until `n` connections have been closed."""
        self.wait_for(lambda: sum(c.closed for c in self.connections) >= n, timeout)

    def judge(self, *, auths: int | None = 1) -> list[str]:
        """Find the faults of the clients; see `scripted.judge`."""
        return judge.judge(self.connections, self.password, auths=auths)

    def assert_clean(self, *, auths: int | None = 1) -> None:
        """Assert that the clients made no fault.

        Best called after `close()`, when all bytes have been read.

        Raises:
            AssertionError: there was a fault.
        """
        found = self.judge(auths=auths)
        if found:
            raise AssertionError("\n".join(found))

    # Ports and threads.

    def _open(self, name: str, what: Scripts | Special) -> None:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        self._sockets.append(sock)
        sock.bind((self.host, 0))
        self._ports[name] = sock.getsockname()[1]
        if what == "refused":
            return  # bound but not listening: it refuses connections and stays reserved
        if what == "blackhole":
            self._fill(sock)
            return
        scripts = as_scripts(SILENT if what == "silent" else what)
        sock.listen(128)
        self._selector.register(sock, selectors.EVENT_READ, (name, scripts))

    def _fill(self, sock: socket.socket) -> None:
        """Fill the queue of a port that accepts nothing, so that Linux drops SYNs."""
        sock.listen(0)
        for n in range(4):
            filler = socket.socket(sock.family, socket.SOCK_STREAM)
            self._sockets.append(filler)
            filler.setblocking(n == 0)  # the first one fits
            filler.connect_ex(sock.getsockname())

    def _accept(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                name, scripts = key.data
                sock, _ = key.fileobj.accept()
                self._start(sock, name, scripts)

    def _start(self, sock: socket.socket, name: str, scripts: list) -> None:
        record = Connection(name, self._ports[name])
        wire = Wire(sock, record, self._notify)
        script = scripts[min(len(self.on(name)), len(scripts) - 1)]
        conversation = Conversation(
            wire,
            script,
            self._ending,
            login=lambda: (self.user, self.password),
            implicit=SECURITY[name] == "implicit",
        )
        thread = threading.Thread(
            target=self._talk, args=(conversation,), name=f"scripted-{name}"
        )
        self.connections.append(record)
        self._threads.append((thread, wire))
        self._notify()
        thread.start()

    def _talk(self, conversation: Conversation) -> None:
        by = "error"
        try:
            by = conversation.run()
        except Exception as error:
            self._errors.append(error)
        finally:
            conversation.wire.close()
            ended = by == "client" and self._ending.is_set()
            conversation.record.closed_by = "end" if ended else by
            self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """End all threads and close all sockets; may be called twice.

        Raises:
            Exception: a fault of the server itself, such as one in a script.
        """
        if not self._ending.is_set():
            self._ending.set()
            self._wake.send(b"x")
            self._acceptor.join()
            self._join(socket.SHUT_RD, _GRACE)  # received bytes can still be read
            self._join(socket.SHUT_RDWR, _STUCK)
            self._close_sockets()
            stuck = [thread.name for thread, _ in self._threads if thread.is_alive()]
            if stuck:
                raise RuntimeError(f"threads that do not end: {stuck}")
        if self._errors:
            raise self._errors.pop()

    def _join(self, how: int, seconds: float) -> None:
        for _, wire in self._threads:
            wire.wake(how)
        until = time.monotonic() + seconds
        for thread, _ in self._threads:
            thread.join(max(0, until - time.monotonic()))

    def _close_sockets(self) -> None:
        self._selector.close()
        for sock in self._sockets:
            sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except Exception:
            if error is None:
                raise
