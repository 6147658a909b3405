"""Opens the socket of a session through a proxy.

TLS begins after the tunnel is open, with the server at its other end. So a proxy can
delay or end a connection, but neither read nor change what is sent inside TLS. What it
sends itself is not trusted: it is limited, and cleaned before it is shown.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from smtpsend._model.server.proxy import Proxy
from smtpsend._model.server.url import bracketed
from smtpsend._model.shortage import HINT, shortage
from smtpsend._model.tracebacks import forget_locals
from smtpsend._values import dataclass
from smtpsend._wire.dial import Peer, dial
from smtpsend._wire.look_up import Address
from smtpsend._wire.proxy import http_connect, socks5
from smtpsend._wire.proxy.refusal import Kind, ProxyRefused
from smtpsend.errors import ConnectError, Event, Phase, SendError


if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpsend._protocol.redaction.redact import Redactor
    from smtpsend._wire.deadline import Deadline
    from smtpsend._wire.progress import Track
    from smtpsend._wire.target import Target


async def open_tunnel(
    proxy: Proxy,
    target: Target,
    track: Track,
    deadline: Deadline,
    limit: float,
    addresses: Sequence[Address],
) -> socket.socket:
    """Connect to the port of `track.method` through a proxy.

    Args:
        proxy: the proxy.
        target: the server.
        track: has the method, and receives the address.
        deadline: the deadline of the call.
        limit: seconds for all of it.
        addresses: those of the proxy.

    Raises:
        ConnectError: there is no connection to the proxy, or by it to the server.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + limit
    tunnel = _Tunnel(proxy, target.host, track.method.port, target.redact)
    sock = await dial(addresses, limit, deadline, track, tunnel.peer(target.source))
    track.last_progress = loop.time()  # the step itself ends with the tunnel
    failure = await tunnel.open(sock, limit, max(0.0, end - loop.time()))
    if failure is not None:
        raise failure
    return sock


@dataclass(frozen=True, slots=True)
class _Tunnel:
    """A connection to a server that a proxy is asked for."""

    proxy: Proxy
    host: str
    port: int
    redact: Redactor

    @property
    def authority(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"

    def peer(self, source: tuple[str, int] | None) -> Peer:
        """The proxy, as the peer of the socket."""

        def shown(ip: str) -> str:
            return f"{self.authority} via {bracketed(ip)}:{self.proxy.port}"

        to = f"{self.host}: the proxy {self.proxy.where} cannot be reached"
        return Peer(self.proxy.port, source, to, _DOWN, shown)

    async def open(
        self, sock: socket.socket, limit: float, left: float
    ) -> SendError | None:
        """Ask the proxy for the connection; close the socket if it does not open.

        Args:
            sock: the connection to the proxy.
            limit: seconds that the connection may take in all, for the error.
            left: those of them that are left.

        Returns:
            What went wrong. It is raised where no frame has the login in a variable, and
            without a cause, since the frames of a library have it in theirs.
        """
        try:
            async with asyncio.timeout(left):
                if self.proxy.scheme == "http":
                    await http_connect.ask(sock, self.proxy, self.host, self.port)
                else:
                    await socks5.ask(sock, self.proxy, self.host, self.port, left)
        except ProxyRefused as error:
            sock.close()
            return self._refused(error)
        except TimeoutError as error:
            sock.close()
            if error.errno is not None:
                return self._failed("ended the connection", _ENDED)
            return self._failed(
                f"did not connect within {limit:.3g} s", _SLOW, timed_out=True
            )
        except OSError as error:
            sock.close()
            # The package that speaks the protocol is imported by the first connection.
            if (short := shortage(error)) is not None:
                return self._failed(f"is not asked: {short}", HINT)
            return self._failed("ended the connection", _ENDED)
        except BaseException as error:
            sock.close()
            forget_locals(error)
            raise
        return None

    def _failed(self, what: str, hint: str, *, timed_out: bool = False) -> SendError:
        return ConnectError(
            f"no connection to {self.authority}: the proxy {self.proxy.where} {what}",
            phase=Phase.CONNECT,
            event=Event.UNREACHABLE,
            temporary=True,
            timed_out=timed_out,
            hint=hint,
        )

    def _refused(self, error: ProxyRefused) -> SendError:
        words = _clean(self.redact(error.words))
        what, hint = _WHAT[error.kind]
        failure = self._failed(
            f"{what} ({words})" if words else what,
            hint.format(self.authority, self.proxy.scheme),
        )
        failure.temporary = error.temporary
        if error.kind is Kind.LOGIN:
            failure.event = Event.PROXY_LOGIN
            if self.proxy.username is None:
                failure.hint = _NO_LOGIN
        return failure


# The words of a proxy are for people, and no longer than a line of a log.
_LONGEST_WORDS = 200


def _clean(words: str) -> str:
    """Make a text of the proxy fit for one line: no control characters, not long."""
    text = "".join(c if c.isprintable() else " " for c in words[: 2 * _LONGEST_WORDS])
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_WORDS else f"{text[:_LONGEST_WORDS]}..."


_DOWN = "check host and port of the proxy, and see whether it runs"
_ENDED = "see whether the proxy runs, and what its log says"
_SLOW = (
    "the proxy may be overloaded, or the port of the mail server may be blocked where "
    "the proxy is; its log says which"
)
_NO_LOGIN = "the proxy wants a login: write it as user:password@ in the URL of the proxy"
_WHAT = {
    Kind.LOGIN: ("refused the login", "check user and password in the URL of the proxy"),
    Kind.RULE: (
        "does not allow it",
        "whoever runs the proxy has to allow {}; many proxies allow port 443 only, which "
        "some providers have for mail, too (`smtpsend providers` lists them)",
    ),
    Kind.FAILED: (
        "cannot connect",
        "see whether {} is right; the log of the proxy says why it cannot connect",
    ),
    Kind.GARBAGE: (
        "does not speak its protocol",
        "check that the URL of the proxy has the right port, and that {1}:// is right",
    ),
}
