"""Several servers in clients and functions: pauses, time, hooks, checks and captures."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from typing import Any

import pytest
from frames import nothing_of
from leaks import InLoop, numbered
from scripted import Script, close, hang, reply
from sending import MESSAGE, Send, envelope, patiently, server_for
from two_servers import FIRST, SECOND, each_way, two_servers

from smtpsend import AsyncClient, Client, Outcome, SendError, Server, compose, send
from smtpsend._client.servers import retries
from smtpsend.errors import (
    Attempt,
    AuthError,
    ConfigError,
    ConnectError,
    DeliveryUnknown,
    Event,
)
from smtpsend.testing import capture


pytestmark = pytest.mark.usefixtures("no_leaks")
faces = pytest.mark.parametrize("face", [Client, InLoop], ids=["sync", "async"])

LATER = reply(451, "4.3.0", "later")


def bad(moment: str, action: object) -> Script:
    """A script with one fault."""
    return Script({moment: action})  # type: ignore[dict-item]


# A server that failed is left alone.


@faces
def test_a_failed_server_is_left_alone(face: Any) -> None:
    """The next sends begin with the second; after the pause, the first is tried once."""
    with two_servers([bad("greeting", close()), {}]) as pair:
        with face(pair.servers(retry_interval=300)) as client:
            for n in (1, 2, 3):
                assert client.send(numbered(n), **envelope()).server == SECOND
            assert pair.connections[0] == 1
            end_pauses()
            assert client.send(numbered(4), **envelope()).server == FIRST
            assert client.send(numbered(5), **envelope()).server == FIRST
    assert pair.accepted == (2, 3)


def end_pauses() -> None:
    """Let the time pass for which servers are left alone."""
    for failed in retries.in_process._failed.values():
        failed.until = 0.0


def test_one_shots_share_it() -> None:
    """`send` and clients know the same of a server that cannot be reached."""
    with two_servers(bad("greeting", close())) as pair:
        servers = pair.servers(retry_interval=300)
        assert send(MESSAGE, servers, **envelope()).server == SECOND
        assert send(MESSAGE, servers, **envelope()).attempts == ()
        with Client(servers) as client:
            assert client.send(MESSAGE, **envelope()).attempts == ()
        # Where it is the only one, it is tried whatever is known.
        with pytest.raises(ConnectError):
            send(MESSAGE, servers[0], **envelope())
    assert pair.connections[0] == 2


def test_a_refused_login_is_the_clients() -> None:
    """A client that was refused leaves the server alone; other sends log in there."""
    with two_servers(bad("auth", reply(535, "5.7.8", "no"))) as pair:
        servers = pair.servers(retry_interval=300)
        with Client(servers) as client:
            for n in (1, 2, 3):
                assert client.send(numbered(n), **envelope()).server == SECOND
        assert pair.connections[0] == 1
        assert send(MESSAGE, servers, **envelope()).attempts
    assert pair.connections[0] == 2


def test_all_are_tried_where_all_failed() -> None:
    """If every server failed lately, they are tried in order, and none is skipped."""
    gone = bad("greeting", close())
    with two_servers([gone, gone, {}], gone) as pair:
        servers = pair.servers(retry_interval=300)
        for _ in range(2):
            with pytest.raises(ConnectError):
                send(MESSAGE, servers, **envelope())
        assert pair.connections == (2, 2)
        assert send(MESSAGE, servers, **envelope()).server == FIRST


def test_no_pause_by_choice() -> None:
    """retry_interval=0: the first server is tried by each send."""
    with two_servers(bad("greeting", close())) as pair:
        servers = pair.servers(retry_interval=0)
        for _ in range(3):
            assert send(MESSAGE, servers, **envelope()).server == SECOND
    assert pair.connections[0] == 3


def test_a_refusal_is_no_failure_of_the_server() -> None:
    """After a 451 to one message, the next one begins with the first server again."""
    with two_servers(Script({"mail:1": LATER})) as pair:
        with Client(pair.servers()) as client:
            assert client.send(numbered(1), **envelope()).server == SECOND
            assert client.send(numbered(2), **envelope()).server == FIRST


# The rest of the public face.


@faces
def test_check(face: Any) -> None:
    """`check` logs in as a send would: to the next server where the first fails."""
    refused = bad("auth", reply(535, "5.7.8", "no"))
    with two_servers(refused) as pair:
        with face(pair.servers()) as client:
            client.check()
            assert client.send(MESSAGE, **envelope()).server == SECOND
        assert pair.connections == (1, 1)
    with two_servers(refused, refused) as pair, face(pair.servers()) as client:
        with pytest.raises(AuthError) as caught:
            client.check()
    assert [a.server for a in caught.value.attempts] == [FIRST, SECOND]


@faces
def test_hooks_and_log(face: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Each failed method is told with its server, and each message once."""
    attempts: list[Attempt] = []
    told: list[Outcome] = []
    hooks = {"on_attempt": attempts.append, "on_outcome": told.append}
    with caplog.at_level(logging.INFO), two_servers(bad("mail", close())) as pair:
        with face(pair.servers(retry_interval=300), **hooks) as client:
            receipt = client.send(MESSAGE, **envelope())
    assert tuple(attempts) == receipt.attempts
    assert [a.server for a in attempts] == [FIRST, FIRST]
    assert [one.receipt for one in told] == [receipt]
    text = caplog.text
    assert f"{FIRST} failed: the other servers are tried first for 300 s" in text
    assert f"{SECOND}: fell back to {receipt.method} ({FIRST} " in text
    assert f"1 recipient(s) by {SECOND}:" in text


def test_one_deadline_for_all() -> None:
    """timeout= is for the whole call; by default each server has its own deadline."""

    @patiently
    def silent_first() -> None:
        with two_servers(bad("greeting", hang())) as pair:
            own = {"deadline": 0.5}
            receipt = send(MESSAGE, pair.servers(own), **envelope())
            assert receipt.server == SECOND
            assert receipt.attempts[0].event is Event.NO_GREETING
        with two_servers(bad("greeting", hang())) as pair:
            with pytest.raises(ConnectError) as caught:
                send(MESSAGE, pair.servers(), **envelope(timeout=0.5))
            assert pair.connections[1] == 0
        assert caught.value.timed_out

    silent_first()


def test_the_settings_of_every_server_are_checked_first() -> None:
    """A CA file of the second server that cannot be read: nothing is connected."""
    with two_servers({}) as pair:
        first, second = pair.servers()
        broken = [first, replace(second, cafile="/nowhere.pem")]
        with pytest.raises(ConfigError, match="nowhere"):
            send(MESSAGE, broken, **envelope())
        with Client(broken) as client:
            with pytest.raises(ConfigError, match="nowhere"):
                client.check()
            (outcome,) = client.send_many([(MESSAGE, "a@b.c", ["d@e.f"])])
            assert type(outcome.error) is ConfigError
        assert pair.connections == (0, 0)


def test_all_connections_in_use_is_no_failure() -> None:
    """A send that waits in vain for its turn goes to no other server."""
    hooks: dict[str, Any] = {"max_rate": 0.001}
    with two_servers({}) as pair, Client(pair.servers(), **hooks) as client:
        client.send(numbered(1), **envelope())
        with pytest.raises(ConnectError, match="max_rate"):
            client.send(numbered(2), **envelope(timeout=5))
        assert pair.connections == (1, 0)
        assert not retries.in_process._failed


@each_way
def test_captured(way: Send) -> None:
    """A capture plays the failures of servers in turn, and keeps nothing of them."""
    servers = [Server("a.example.org"), "b.example.org"]
    message = compose(sender="ann@example.org", to="bob@example.net", text="Hello.")
    options = {"sender": None, "recipients": None}
    with capture() as outbox:
        outbox.fail_next(ConnectError)
        receipt = way(message, servers, **options)
        assert receipt.server == "b.example.org"
        assert {a.server for a in receipt.attempts} == {"a.example.org"}
        assert [one.server.host for one in outbox] == ["b.example.org"]
        assert [one.server.host for one in outbox.failed] == ["a.example.org"]
        assert way(message, servers, **options).server == "a.example.org"
        outbox.fail_next(DeliveryUnknown)
        with pytest.raises(DeliveryUnknown) as caught:
            way(message, servers, **options)
        assert caught.value.server == "a.example.org"
        outbox.fail_next(ConnectError, times=2)
        with pytest.raises(ConnectError):
            way(message, servers, **options)
    assert len(outbox) == 2


@faces
def test_explain(face: Any) -> None:
    """A client says its servers in order, and which of them failed lately."""
    with two_servers(bad("greeting", close())) as pair:
        servers = pair.servers(retry_interval=300)
        methods = [str(server.policy.methods[0]) for server in servers]
        first, second = (
            f"  {n}. {host}: {method}"
            for n, (host, method) in enumerate(
                zip((FIRST, SECOND), methods, strict=True), 1
            )
        )
        with face(servers) as client:
            explain = (client if face is Client else client.client).explain
            head = "Servers, in order:"
            assert explain() == f"{head}\n{first}\n{second}"
            client.send(MESSAGE, **envelope())
            assert explain().startswith(f"{head}\n{first}; failed; tried again in ")
            end_pauses()
            assert explain() == f"{head}\n{first}; failed; tried next\n{second}"
        with face(servers[1]) as client:
            explain = (client if face is Client else client.client).explain
            assert explain() == f"{head}\n{second.replace('2.', '1.', 1)}"


ENDS = {
    "login": {"auth": reply(535, "5.7.8", "no s3cret-Pa55word here")},
    "lost login": {"auth": close()},
    "sender": {"mail": reply(451, "4.3.0", "s3cret-Pa55word?")},
    "lost": {"mail": close()},
}


@each_way
@pytest.mark.parametrize("end", ENDS)
def test_no_secret_is_kept(way: Send, end: str) -> None:
    """Neither the error, nor its frames, nor what the first server said has a secret."""
    script = Script(ENDS[end])
    with two_servers(script, script) as pair:
        with pytest.raises(SendError) as caught:
            way(MESSAGE, pair.servers(), **envelope())
    nothing_of("s3cret-Pa55word", caught.value)
    nothing_of("s3cret-Pa55word", pickle.loads(pickle.dumps(caught.value)))
    assert "s3cret-Pa55word" not in repr(caught.value.attempts)


def test_no_url_is_kept() -> None:
    """An error about one of several URLs has none of them, nor have its frames."""
    urls = ["smtp://u:s3cret-Pa55word@a.example.org", "smtp://u:s3cret-Pa55word@b.c/path"]
    for call in (
        lambda: send(MESSAGE, urls, **envelope()),
        lambda: Client(urls),
        lambda: AsyncClient(urls),
        lambda: Client([urls[0], urls[0]]),
    ):
        with pytest.raises(ConfigError) as caught:
            call()
        nothing_of("s3cret-Pa55word", caught.value)


def test_one_server_in_a_sequence() -> None:
    """A sequence of one is that server."""
    with two_servers({}) as pair:
        receipt = send(MESSAGE, [server_for(pair.first)], **envelope())
    assert receipt.server == FIRST
