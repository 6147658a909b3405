"""Clients that keep their connections, on each of the real servers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from email.utils import make_msgid
from typing import Any

import pytest
from servers import Delivery, RealServer

from smtpsend import (
    AsyncClient,
    Client,
    Method,
    Outcome,
    Password,
    Policy,
    Receipt,
    SendError,
    Server,
    compose,
)
from smtpsend.errors import AuthError, ConfigError, RecipientsRefused, Rejected


def server_on(real: RealServer, password: str | None = None) -> Server:
    """A real server, by STARTTLS only."""
    auth = Password(real.user, password or real.password)
    policy = Policy(methods=(Method(real.starttls, "starttls"),))
    return Server(real.host, auth, policy=policy, cafile=real.ca)


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The port of each connection that this process makes in the test."""
    made = []

    class Counted(socket.socket):
        def connect(self, address: Any) -> None:
            made.append(address[1])
            return super().connect(address)

    monkeypatch.setattr(socket, "socket", Counted)
    return made


# Each way to use a client: a function of a server and of the calls to make in turn, each
# a method's name and its arguments, which gives what they returned or raised.
Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def call(method: str, *args: Any, **options: Any) -> Call:
    """One call of a client."""
    return method, args, options


def in_sync(server: Server, *calls: Call) -> list[Any]:
    """By a `Client`."""
    results: list[Any] = []
    with Client(server) as client:
        for method, args, options in calls:
            try:
                result = getattr(client, method)(*args, **options)
                results.append(list(result) if method == "send_many" else result)
            except SendError as error:
                results.append(error)
    return results


def in_async(server: Server, *calls: Call) -> list[Any]:
    """By an `AsyncClient`."""

    async def run() -> list[Any]:
        results: list[Any] = []
        async with AsyncClient(server) as client:
            for method, args, options in calls:
                try:
                    result = getattr(client, method)(*args, **options)
                    if method == "send_many":
                        results.append([outcome async for outcome in result])
                    else:
                        results.append(await result)
                except SendError as error:
                    results.append(error)
        return results

    return asyncio.run(run())


def in_generator(server: Server, *calls: Call) -> list[Any]:
    """By an `AsyncClient`, the messages of a batch from an async generator."""

    async def each(items: Iterable[Any]) -> AsyncIterator[Any]:
        for item in items:
            await asyncio.sleep(0)
            yield item

    return in_async(server, *((m, tuple(map(each, args)), o) for m, args, o in calls))


Drive = Callable[..., list[Any]]
both = pytest.mark.parametrize("drive", [in_sync, in_async])
each = pytest.mark.parametrize("drive", [in_sync, in_async, in_generator])


class Batch:
    """Messages that can be told from all others on a server."""

    def __init__(self, real: RealServer) -> None:
        self.real = real
        self.token = make_msgid(domain=real.domain)[1:-1]

    def message(self, name: object, *to: str) -> Any:
        """A message of the batch, for some local parts of the server's domain."""
        return compose(
            sender=self.real.user,
            to=[self.real.address(one) for one in to or ("bob",)],
            text=f"{name}\n.\n",
            headers={"X-Name": f"{name}", "Message-ID": f"<{name}.{self.token}>"},
        )

    def arrived(self, drive: Drive, count: int) -> list[str]:
        """The names of what arrived, in order, once there are `count` of them.

        One more is sent last, so that a second copy of another would be there in time.
        """
        (receipt,) = drive(server_on(self.real), call("send", self.message("last")))
        assert isinstance(receipt, Receipt)
        found = self.real.delivered(self.token, count + 1, timeout=60)
        names = sorted(map(self._name, found))
        names.remove("last")
        return names

    def _name(self, delivery: Delivery) -> str:
        (line,) = (x for x in delivery.header.splitlines() if x.startswith(b"X-Name:"))
        return line.partition(b": ")[2].decode()


@both
def test_fifty(real_server: RealServer, drive: Drive, connects: list[int]) -> None:
    """Fifty messages over four connections at most, each delivered once."""
    batch = Batch(real_server)
    names = [f"{n:02}" for n in range(50)]
    messages = [batch.message(name) for name in names]
    (outcomes,) = drive(server_on(real_server), call("send_many", messages))
    # chasquid loses what stands after the final dot, and one connection finds out.
    assert 1 <= len(connects) <= 4 + (real_server.name == "chasquid")
    assert sorted(outcome.index for outcome in outcomes) == list(range(50))
    for outcome in outcomes:
        assert outcome.message is messages[outcome.index]
        assert (outcome.error, outcome.receipt.reply.code) == (None, 250)
        assert outcome.receipt.message_id == outcome.message["Message-ID"]
    assert batch.arrived(in_sync, 50) == names


@each
def test_bad_ones_among_them(real_server: RealServer, drive: Drive) -> None:
    """What is wrong with one message, or said to it, is that one's outcome alone."""
    real, batch = real_server, Batch(real_server)
    bob, banned = real.address("bob"), real.address("banned")
    loose = b"X-Name: tuple\r\nMessage-ID: <tuple.%b>\r\n\r\n" % batch.token.encode()
    table: list[tuple[Any, type]] = [
        (batch.message("first"), Receipt),
        (batch.message("nobody", "unknown1"), RecipientsRefused),
        (batch.message("second"), Receipt),
        (b"no sender, and no recipients", ConfigError),
        (object(), ConfigError),
        ((loose, real.user, [bob]), Receipt),
        ((batch.message("banned"), banned, [bob]), Rejected),
        ((batch.message("header"), "x@y\r\nRSET", [bob]), ConfigError),
        (batch.message("third"), Receipt),
        (batch.message("most", "unknown1", "bob"), Receipt),
        (batch.message("fourth"), Receipt),
    ]
    (outcomes,) = drive(server_on(real), call("send_many", [item for item, _ in table]))
    outcomes.sort(key=lambda outcome: outcome.index)
    got = [type(one.receipt or one.error) for one in outcomes]
    assert got == [kind for _, kind in table]
    assert [one.index for one in outcomes] == list(range(len(table)))
    assert all((one.receipt is None) == (one.error is not None) for one in outcomes)
    assert list(outcomes[9].receipt.refused) == [real.address("unknown1")]
    wanted = ["first", "fourth", "most", "second", "third", "tuple"]
    assert batch.arrived(in_sync, len(wanted)) == wanted


@both
def test_require_all(real_server: RealServer, drive: Drive) -> None:
    """require_all goes for each message of a batch by itself."""
    batch = Batch(real_server)
    items = [batch.message("both", "bob", "unknown1"), batch.message("one")]
    (outcomes,) = drive(
        server_on(real_server), call("send_many", items, require_all=True)
    )
    by_index: dict[int, Outcome] = {outcome.index: outcome for outcome in outcomes}
    assert type(by_index[0].error) is RecipientsRefused
    assert by_index[1].receipt is not None
    assert batch.arrived(drive, 1) == ["one"]


@both
def test_check(real_server: RealServer, drive: Drive, connects: list[int]) -> None:
    """A check delivers nothing, and its connection serves the next message."""
    batch = Batch(real_server)
    before = len(real_server.messages(0))
    calls = [call("check"), call("send", batch.message("after"))]
    checked, receipt = drive(server_on(real_server), *calls)
    assert (checked, receipt.attempts) == (None, ())
    assert connects == [real_server.starttls]
    assert batch.arrived(drive, 1) == ["after"]
    assert len(real_server.messages(0)) == before + 2


def test_checks_keep_to_the_limit(aiosmtpd_server: RealServer) -> None:
    """However many checks, a client keeps no more connections than it may have."""
    with Client(server_on(aiosmtpd_server), max_connections=2) as client:
        for _ in range(5):
            client.check()
        assert len(client._servers.pools[0]._idle) <= 2


@both
def test_check_of_a_wrong_password(real_server: RealServer, drive: Drive) -> None:
    """A check raises what a send would raise, and so does the send after it."""
    message = Batch(real_server).message("never")
    errors = drive(
        server_on(real_server, "wrong-pw"), call("check"), call("send", message)
    )
    for error in errors:
        assert type(error) is AuthError
        assert (error.reply.code, error.reply.enhanced) == (535, "5.7.8")
        assert "wrong-pw" not in str(error)
    assert real_server.delivered(message["Message-ID"], 0) == []


@both
def test_after_a_refusal(
    real_server: RealServer, drive: Drive, connects: list[int]
) -> None:
    """A refusal leaves the connection fit for the next message."""
    batch = Batch(real_server)
    banned = real_server.address("banned")
    bad = [
        (call("send", batch.message("nobody", "unknown1")), RecipientsRefused),
        (call("send", batch.message("banned"), sender=banned), Rejected),
        (
            call("send", batch.message("both", "bob", "unknown1"), require_all=True),
            RecipientsRefused,
        ),
        (call("send", object()), ConfigError),
    ]
    calls = []
    for number, (refused, _) in enumerate(bad):
        calls += [refused, call("send", batch.message(number))]
    results = drive(server_on(real_server), *calls)
    assert [type(one) for one in results[::2]] == [kind for _, kind in bad]
    assert [type(one) for one in results[1::2]] == [Receipt] * len(bad)
    assert all(one.attempts == () for one in results[1::2])
    # chasquid ends a connection at its third error, and Dovecot 2.3 dies of a MAIL after
    # a refused one without RSET between them: the next message is sent over a new one.
    count = 2 if real_server.name in ("chasquid", "dovecot") else 1
    assert connects == [real_server.starttls] * count
    assert batch.arrived(drive, 4) == ["0", "1", "2", "3"]
