"""`ScriptedProxy`: a SOCKS5 or HTTP proxy on this machine, with one fault where asked.

It connects to 127.0.0.1 whatever host it is asked for, so that a host name which exists
nowhere shows who looks it up.
"""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import threading
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote


Kind = Literal["socks5", "http"]
KINDS: tuple[Kind, ...] = ("socks5", "http")
USER, PASSWORD = "proxy-user", "pr0xy-Pa55/word"

GRANTED = {
    "socks5": b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00",
    "http": b"HTTP/1.1 200 Connection established\r\nVia: 1.1 a-proxy\r\n\r\n",
}
_SOCKS = {"refused": 5, "rule": 2, "unreachable": 4, "failure": 1, "unsupported": 7}
_HTTP = {
    "refused": b"502 Bad Gateway",
    "rule": b"403 Forbidden by the rule for mail",
    "unreachable": b"504 Gateway Timeout",
    "failure": b"500 Internal Error",
    "unsupported": b"405 Method Not Allowed",
}


class ScriptedProxy:
    """A proxy; a context manager.

    Args:
        kind: its protocol.
        login: whether it wants `USER` and `PASSWORD`.
        says: what it says in place of a step, by name (methods, login, reply); None for
            nothing at all, for ever.
        relays: whether it connects to the server after such words.
        refuses: the ports that it refuses, each by one of the words of the tables above.
        together: send the greeting of the server in one segment with the reply.
    """

    def __init__(
        self,
        kind: Kind,
        *,
        login: bool = False,
        says: dict[str, bytes | None] | None = None,
        relays: bool = False,
        refuses: dict[int, str] | None = None,
        together: bool = False,
    ) -> None:
        self.kind, self.login, self.together = kind, login, together
        self.says, self.relays, self.refuses = says or {}, relays, refuses or {}
        self.asked: list[tuple[str, int]] = []
        self.logins: list[tuple[str, str]] = []
        self.peers: list[tuple[str, int]] = []
        self._ending = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, name="scripted-proxy")]
        self._open: list[socket.socket] = []
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Its URL, with the login if it wants one."""
        login = f"{USER}:{quote(PASSWORD, safe='')}@" if self.login else ""
        return f"{self.kind}://{login}127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for one in (self._listener, *self._open):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, peer = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            self.peers.append(peer)
            thread = threading.Thread(target=self._serve, args=[client])
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if port := (self._socks if self.kind == "socks5" else self._http)(client):
                self._relay(client, port)

    def _say(self, client: socket.socket, step: str, usual: bytes) -> bool:
        """Say what the script has for a step; return whether to go on."""
        words = self.says.get(step, usual)
        if words is None:
            while client.recv(4096):
                pass
            return False
        if words and not self.together:
            client.sendall(words)
        return step not in self.says or self.relays

    def _socks(self, client: socket.socket) -> int:
        """Return the port that the client asks for, and gets; else 0."""
        wanted = 2 if self.login else 0
        _, count = _exactly(client, 2)
        offered = _exactly(client, count)
        method = wanted if wanted in offered else 0xFF
        # The steps before the last one are never sent together with a greeting.
        together, self.together = self.together, False
        if not self._say(client, "methods", bytes([5, method])) or method == 0xFF:
            return 0
        if self.login:
            user = _exactly(client, _exactly(client, 2)[1]).decode()
            password = _exactly(client, _exactly(client, 1)[0]).decode()
            self.logins.append((user, password))
            good = (user, password) == (USER, PASSWORD)
            if not self._say(client, "login", bytes([1, 0 if good else 1])) or not good:
                return 0
        self.together = together
        *_, kind = _exactly(client, 4)
        if kind == 3:
            host = _exactly(client, _exactly(client, 1)[0]).decode()
        else:
            packed = _exactly(client, 4 if kind == 1 else 16)
            family = socket.AF_INET if kind == 1 else socket.AF_INET6
            host = socket.inet_ntop(family, packed)
        port = int.from_bytes(_exactly(client, 2))
        self.asked.append((host, port))
        if port in self.refuses:
            client.sendall(bytes([5, _SOCKS[self.refuses[port]]]) + GRANTED["socks5"][2:])
            return 0
        return port if self._say(client, "reply", GRANTED["socks5"]) else 0

    def _http(self, client: socket.socket) -> int:
        """Return the port that the client asks for, and gets; else 0."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += _exactly(client, 1)
        first, *lines = head.decode().split("\r\n")
        host, _, asked = first.split()[1].rpartition(":")
        port, good = int(asked), not self.login
        headers = dict(line.split(": ", 1) for line in lines if line)
        if login := headers.get(
            "Proxy-Authorization", headers.get("proxy-authorization")
        ):
            user, _, password = base64.b64decode(login[6:]).decode().partition(":")
            self.logins.append((user, password))
            good = good or (user, password) == (USER, PASSWORD)
        self.asked.append((host, port))
        if not good:
            client.sendall(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                b"Proxy-Authenticate: Basic\r\nContent-Length: 6\r\n\r\nlogin!"
            )
            return 0
        if port in self.refuses:
            status = _HTTP[self.refuses[port]]
            client.sendall(b"HTTP/1.1 %s\r\nContent-Length: 4\r\n\r\nno!\n" % status)
            return 0
        return port if self._say(client, "reply", GRANTED["http"]) else 0

    def _relay(self, client: socket.socket, port: int) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", port), 5)
        except OSError:
            return
        with server:
            self._open.append(server)
            if self.together:
                words = self.says.get("reply", GRANTED[self.kind])
                client.sendall((words or b"") + server.recv(4096))
            ends = {client: server, server: client}
            while not self._ending.is_set():
                ready, _, _ = select.select(list(ends), [], [], 5)
                for one in ready:
                    if not (data := one.recv(65536)):
                        return
                    ends[one].sendall(data)


def _exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (more := client.recv(count - len(data))):
            raise OSError("the client is gone")
        data += more
    return data
