"""A real submission server on loopback, with TLS and login (extra ``testing``)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import ssl
import tempfile
import threading
import warnings
from collections.abc import Collection
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import trustme

from smtpsend._model.policy.policy import Method, Policy
from smtpsend._model.server.credentials import Password
from smtpsend._model.server.server import Server
from smtpsend._values import dataclass
from smtpsend.testing._page import open_page


with warnings.catch_warnings():
    # aiosmtpd 1.4.6 imports typing.ByteString, which Python 3.15 deprecates. A suite of
    # tests that turns warnings into errors could not use this server there.
    warnings.filterwarnings("ignore", r"'typing\.ByteString' ", DeprecationWarning)
    from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


PortName = Literal["starttls", "implicit", "starttls2"]
_PORTS: tuple[PortName, ...] = ("starttls", "implicit", "starttls2")


@dataclass(frozen=True, slots=True)
class Stored:
    """A message that the server accepted, with attributes like those of `Captured`.

    Attributes:
        sender: the envelope sender.
        recipients: the envelope recipients that were accepted.
        content: the bytes that the client sent, without dot-stuffing.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        """The content, parsed, with LF line ends."""
        content = self.content.replace(b"\r\n", b"\n")
        return message_from_bytes(content, policy=policy.default)

    def open(self) -> Path:
        """Show the message in a web browser, as `Captured.open` does."""
        return open_page(self.content, self.sender, self.recipients)


class LocalServer:
    """A server on three ports of 127.0.0.1: STARTTLS, implicit TLS, STARTTLS.

    It is a context manager; `smtpsend.testing.local_server` and the pytest fixture
    ``smtpsend_server`` make one. Its certificate is for 127.0.0.1 and localhost, signed
    by a CA of its own. It accepts no message without TLS and a login. For smtpsend pass
    `server()` to `send`; any other client needs `port`, `cafile`, `username` and
    `password`.

    It refuses recipients that begin with ``unknown`` (550) or ``later`` (450), and
    senders that begin with ``banned`` (550).

    Args:
        refuse: the ports that refuse connections: ``"starttls"``, ``"implicit"``,
            ``"starttls2"``. None by default.
        max_size: the largest message, in bytes (SIZE, RFC 1870).

    Attributes:
        messages: the messages accepted so far, each a `Stored`.
        cafile: the CA to trust, as the path of a PEM file.
        username: the user name of the login.
        password: the password, a different one for each server.
    """

    def __init__(
        self, *, refuse: Collection[PortName] = (), max_size: int = 33554432
    ) -> None:
        self.messages: list[Stored] = []
        self.username = "alice@example.test"
        self.password: str = secrets.token_urlsafe(12)
        self.max_size = max_size
        self._refuse = set(refuse)
        self._stack = contextlib.ExitStack()
        self._ports: dict[PortName, int] = {}

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            authority = trustme.CA()
            self.cafile: str = str(folder / "ca.pem")
            authority.cert_pem.write_to_path(self.cafile)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
            log = logging.getLogger("mail.log")  # aiosmtpd's
            log.addFilter(_of_the_test)
            stack.callback(log.removeFilter, _of_the_test)
            self._serve(stack, context)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def port(self, name: PortName) -> int:
        """The number of a port.

        Args:
            name: ``"starttls"``, ``"implicit"`` or ``"starttls2"``.

        Raises:
            KeyError: the server has not been started, or there is no such port.
        """
        return self._ports[name]

    def server(self, **options: Any) -> Server:
        """Make a `Server` for this server, with the default policy on its own ports.

        Args:
            options: keyword arguments of `Server`, such as ``policy``.
        """
        methods = tuple(
            Method(self._ports[name], "implicit" if name == "implicit" else "starttls")
            for name in _PORTS
        )
        options.setdefault("policy", Policy(methods=methods))
        options.setdefault("cafile", self.cafile)
        return Server("127.0.0.1", Password(self.username, self.password), **options)

    def _serve(self, stack: contextlib.ExitStack, context: ssl.SSLContext) -> None:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(
            target=loop.run_forever, name="smtp-server", daemon=True
        )
        thread.start()
        stack.callback(_stop, loop, thread)
        for name in _PORTS:
            # asyncio sets TCP_NODELAY on accepted sockets only if the protocol is given.
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            sock.bind(("127.0.0.1", 0))
            self._ports[name] = sock.getsockname()[1]
            if name in self._refuse:
                # Bound but not listening: the port refuses connections and is kept.
                stack.callback(sock.close)
                continue
            listening = self._listen(sock, context, implicit=name == "implicit")
            server = asyncio.run_coroutine_threadsafe(listening, loop).result(10)
            stack.callback(loop.call_soon_threadsafe, server.close)

    async def _listen(
        self, sock: socket.socket, context: ssl.SSLContext, *, implicit: bool
    ) -> asyncio.Server:
        loop = asyncio.get_running_loop()

        def protocol() -> SMTP:
            # `_Handler` asks for the login: aiosmtpd does not see the TLS layer of an
            # implicit port, and its own auth_required would warn there. This is not the
            # caller's thread, so `warnings.catch_warnings` is no way out: it changes the
            # filters of the process.
            return SMTP(
                _Handler(self),
                hostname="mail.example.test",
                data_size_limit=self.max_size,
                enable_SMTPUTF8=True,
                authenticator=self._authenticate,
                auth_require_tls=not implicit,
                tls_context=None if implicit else context,
                require_starttls=not implicit,
                loop=loop,
            )

        return await loop.create_server(
            protocol, sock=sock, ssl=context if implicit else None
        )

    def _authenticate(
        self,
        _server: SMTP,
        _session: Session,
        _envelope: Envelope,
        _mechanism: str,
        data: object,
    ) -> AuthResult:
        good = (
            isinstance(data, LoginPassword)
            and data.login == self.username.encode()
            and data.password == self.password.encode()
        )
        return AuthResult(success=good, handled=False)


def _of_the_test(record: logging.LogRecord) -> bool:
    """Drop aiosmtpd's log record about its own plans, which would go to stderr."""
    return not str(record.msg).startswith("Session.login_data is deprecated")


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    async def end() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(end(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


class _Handler:
    def __init__(self, owner: LocalServer) -> None:
        self._owner = owner

    async def handle_MAIL(  # noqa: N802  # aiosmtpd's name
        self,
        _server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        if address.startswith("banned"):
            return "550 5.7.1 Sender refused"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_RCPT(  # noqa: N802
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        if address.startswith("unknown"):
            return "550 5.1.1 User unknown"
        if address.startswith("later"):
            return "450 4.2.0 Try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        stored = Stored(
            envelope.mail_from or "",
            tuple(envelope.rcpt_tos),
            envelope.original_content or b"",
        )
        self._owner.messages.append(stored)
        return f"250 2.0.0 Stored as message {len(self._owner.messages)}"
