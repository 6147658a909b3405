"""`RealServer`: a real server, as tests use it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trustme

from servers.delivery import Delivery
from servers.kinds import ALL
from servers.setup import Setup


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


MIB = 1 << 20
DEFAULT_SIZE = 16 * MIB
SMALL_SIZE = MIB  # the least that every server can be set to

USER, PASSWORD = "alice@example.test", "s3cret-pw"
TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Certificates:
    """The paths of a certificate for the servers, its key, and the CA to trust."""

    ca: str
    cert: str
    key: str

    @classmethod
    def make(cls, folder: Path, *names: str) -> Certificates:
        authority = trustme.CA()
        leaf = authority.issue_cert(*(names or ("127.0.0.1", "localhost")))
        made = cls(*(str(folder / name) for name in ("ca.pem", "cert.pem", "key.pem")))
        authority.cert_pem.write_to_path(made.ca)
        leaf.private_key_pem.write_to_path(made.key)
        Path(made.cert).write_bytes(b"".join(c.bytes() for c in leaf.cert_chain_pems))
        return made


def _free_ports(host: str) -> tuple[int, int, int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        first, second, third = (
            stack.enter_context(socket.create_server((host, 0), family=family))
            for _ in range(3)
        )
        return tuple(held.getsockname()[1] for held in (first, second, third))


class RealServer:
    """A running server: how to reach it, and what it has delivered.

    The server refuses `unknown*@DOMAIN` (550), defers `later*@DOMAIN` (450; chasquid
    accepts it), and refuses the sender `banned@DOMAIN` at MAIL or after the content
    (`refuses_sender_at`). It accepts every other address of the domain; Postfix also
    `returned*@DOMAIN`, which its relay refuses later.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        certificates: Certificates,
        *,
        host: str = "127.0.0.1",
        ports: tuple[int, int, int] | None = None,
        user: str = USER,
        password: str = PASSWORD,
        max_size: int = DEFAULT_SIZE,
        prefix: Sequence[str] = (),
        token_key: str = "",
        keep: bool = True,
        relay: int = 0,
    ) -> None:
        """Start the server; `folder` must be empty.

        `ports` are the ports for STARTTLS, implicit TLS and STARTTLS again; by default
        free ones. `prefix` is a command that runs the rest of its command line, such
        as one that enters a network namespace. `token_key` is a PEM file with the key of
        an authorization server, whose tokens Dovecot then accepts. With `keep` False
        nothing of what the server accepts is stored. `relay` is a port of `host` to
        which Dovecot passes the messages, instead of a relay of ours.
        """
        kind = ALL[name]
        self._token_key, self._keep, self._relay = token_key, keep, relay
        self.name, self.folder, self.host = name, folder, host
        self.ca = certificates.ca
        self.user, self.password = user, password
        self.domain = user.rpartition("@")[2]
        self.max_size = max_size
        self.capabilities: frozenset[str] = kind.CAPABILITIES
        self.mechanisms: frozenset[str] = kind.MECHANISMS
        self.refuses_sender_at: str = kind.REFUSES_SENDER_AT
        token = getattr(kind, "oauth_token", None)
        self.oauth_token: str | None = token and token(user, password)
        self._known: dict[str, Delivery] = {}
        # Another program may bind a free port before the server does: three tries.
        for left in (2, 1, 0):
            self.ports = ports or _free_ports(host)
            if self._start(certificates, prefix):
                break
            if ports or not left:
                raise RuntimeError(f"{name} did not start:\n{self.log()[-3000:]}")
        self.starttls, self.implicit, self.starttls2 = self.ports

    def __repr__(self) -> str:
        return f"<RealServer {self.name} {self.host} {self.ports}>"

    def _start(self, certificates: Certificates, prefix: Sequence[str]) -> bool:
        settings = self.folder / "settings.json.in"
        Setup(
            name=self.name,
            host=self.host,
            ports=self.ports,
            cert=certificates.cert,
            key=certificates.key,
            user=self.user,
            password=self.password,
            max_size=self.max_size,
            out=str(self.folder),
            token_key=self._token_key,
            keep=self._keep,
            relay=self._relay,
        ).dump(settings)
        command = [sys.executable, "-m", "servers.supervise", str(settings)]
        self._owner = os.getpid()
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, *command, str(self._owner)],
                cwd=TESTS,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # Only pytest gets SIGINT on Ctrl-C; it then stops the servers in order.
                start_new_session=True,
            )
        with self._process.stdout as stdout:
            answered, _, _ = select.select([stdout], [], [], 45)
            if answered and stdout.readline() == b"READY\n":
                return True
        self.stop()
        return False

    def address(self, local: str) -> str:
        """An address of the server's domain."""
        return f"{local}@{self.domain}"

    def log(self) -> str:
        """What the server has logged so far."""
        return (self.folder / "server.log").read_text(errors="replace")

    def _wait(
        self, wanted: Callable[[Delivery], bool], count: int, timeout: float
    ) -> list[Delivery]:
        end = time.monotonic() + timeout
        while True:
            # Not `Path.glob`, which takes milliseconds where hundreds are stored.
            for name in os.listdir(self.folder):
                if name.endswith(".json") and name not in self._known:
                    self._known[name] = Delivery.load(self.folder / name)
            found = [one for _, one in sorted(self._known.items()) if wanted(one)]
            if len(found) >= count or time.monotonic() > end:
                return found
            time.sleep(0.02)

    def messages(self, count: int = 1, timeout: float = 10) -> list[Delivery]:
        """All deliveries of the session, once there are `count` or the time is over."""
        return self._wait(lambda one: True, count, timeout)

    def delivered(
        self,
        message_id: str,
        count: int = 1,
        timeout: float = 10,
        *,
        settle: float = 0.0,
    ) -> list[Delivery]:
        """The deliveries whose header holds `message_id`, or any other text.

        Returns once there are `count` of them, or after `timeout` seconds. With `settle`
        it waits for that many seconds more, to see a second delivery that must not come.
        """
        wanted = message_id.encode()
        found = self._wait(lambda one: wanted in one.header, count, timeout)
        if not settle:
            return found
        time.sleep(settle)
        return self._wait(lambda one: wanted in one.header, 0, 0)

    def ask_to_stop(self) -> None:
        # A forked child of a test must not stop its parent's servers.
        if self._owner == os.getpid() and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Stop the server and all that it started; may be called twice."""
        if self._owner != os.getpid():
            return
        self.ask_to_stop()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
