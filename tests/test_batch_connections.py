"""Whatever a further connection of a batch meets costs nothing but that connection."""

from __future__ import annotations

import gc
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from leaks import eventually, one_port
from scripted import Action, Script, ScriptedServer, close, hang, nothing, reply
from sending import MESSAGE, envelope, patiently, server_for

from smtpsend import Client, OAuth2, Outcome, Receipt
from smtpsend._wire.connection import Session
from smtpsend.errors import AuthError


OFFERS = ("8BITMIME", "AUTH PLAIN XOAUTH2")
COUNT = 40
# A test that waits for one of these limits does not end in time.
LONG = {"reply_timeout": 600, "final_timeout": 600, "deadline": 900}
# A server whose messages take a moment, so that one connection has messages pending.
SLOW = {"final": Action("slow", lambda talk: (talk.pause(0.01), talk.do_normal()))}

FURTHER: dict[str, dict[str, Action]] = {
    "no greeting": {"greeting": nothing() + hang()},
    "421 greeting": {"greeting": reply(421, "4.7.0", "too many connections")},
    "554 greeting": {"greeting": reply(554, "5.7.1", "too many connections")},
    "closed at once": {"greeting": close()},
    "hangs at EHLO": {"ehlo": hang()},
    "hangs in AUTH": {"auth": hang()},
    "closes in AUTH": {"auth": close()},
    "421 in AUTH": {"auth": reply(421, "4.7.0", "too many")},
    "454 in AUTH": {"auth": reply(454, "4.7.0", "too many")},
    "535 in AUTH": {"auth": reply(535, "5.7.8", "too many sessions")},
    "421 at the first MAIL": {"mail": reply(421, "4.7.0", "too many")},
    "closes at the first MAIL": {"mail": close()},
}


def items() -> Iterator[Any]:
    """Messages, each with a Message-ID of its own."""
    to = envelope()
    for n in range(COUNT):
        message = MESSAGE.replace(b"<1@", b"<%d@" % n)
        yield message, to["sender"], to["recipients"]


def good() -> Script:
    """The script of a connection that works."""
    return Script(SLOW, offers=OFFERS)


def bad(case: str) -> Script:
    """The script of a further connection."""
    return Script(FURTHER[case], offers=OFFERS)


def all_arrived(scripted: ScriptedServer, outcomes: list[Outcome]) -> None:
    """Each message has a receipt, and arrived once."""
    assert [o for o in outcomes if not isinstance(o.receipt, Receipt)] == []
    assert len(outcomes) == COUNT
    arrived = Counter(m.message_id for m in scripted.accepted)
    assert set(arrived.values()) == {1}
    assert len(arrived) == COUNT


@pytest.mark.parametrize("case", FURTHER)
@pytest.mark.parametrize("working", [1, 3])
@patiently
def test_further_connections_that_fail(working: int, case: str) -> None:
    """All messages go out over the connections that work, and at once."""
    scripts = [*(good() for _ in range(working)), bad(case)]
    with one_port(*scripts) as scripted:
        with Client(server_for(scripted, **LONG), max_connections=4) as client:
            outcomes = list(client.send_many(items()))
        all_arrived(scripted, outcomes)
        logins = sum("AUTH" in c.verbs for c in scripted.connections)
    # A failed connection is not tried again at once.
    assert logins <= working + 6


def test_a_token_function_that_fails_for_a_further_connection() -> None:
    """Nor does a token that cannot be had for a second connection fail a message."""
    calls = itertools.count()

    def token() -> str:
        if next(calls):
            raise OSError("no more tokens")
        return "s3cret-Pa55word"

    with one_port(good()) as scripted:
        server = server_for(scripted, auth=OAuth2("user@example.org", token))
        with Client(server, max_connections=4) as client:
            outcomes = list(client.send_many(items()))
        all_arrived(scripted, outcomes)


def test_a_failed_token_function_keeps_nothing() -> None:
    """The error of a token function is remembered without the connection it was for."""

    def token() -> str:
        raise OSError("no token")

    with one_port(good()) as scripted:
        auth = OAuth2("user@example.org", token)
        with Client(server_for(scripted, auth=auth), max_connections=4) as client:
            errors = [type(o.error) for o in client.send_many(items())]
    assert errors == [AuthError] * COUNT

    def sessions() -> list[Session]:
        gc.collect()
        found = [x for x in gc.get_objects() if isinstance(x, Session)]
        return [x for x in found if x.target.auth is auth]

    eventually(lambda: not sessions())


@pytest.mark.parametrize("before", ["check", "send", "batch"])
def test_a_client_with_a_connection_opens_further_ones(before: str) -> None:
    """What a client did before does not keep its next batch to one connection."""
    to = envelope()
    with (
        one_port(good()) as scripted,
        Client(server_for(scripted), max_connections=4) as client,
    ):
        first = MESSAGE.replace(b"<1@", b"<first@")
        if before == "check":
            client.check()
        elif before == "send":
            client.send(first, **to)
        else:
            list(client.send_many([(first, to["sender"], to["recipients"])]))
        outcomes = list(client.send_many(items()))
        assert all(isinstance(o.receipt, Receipt) for o in outcomes)
        assert len(scripted.connections) == 4


def test_no_connection_at_all() -> None:
    """If none can be opened, each message carries the error of one that was tried."""
    with one_port(Script({"auth": reply(535, "5.7.8", "no")}, offers=OFFERS)) as scripted:
        with Client(server_for(scripted), max_connections=4) as client:
            outcomes = list(client.send_many(items()))
        assert {type(o.error) for o in outcomes} == {AuthError}
        assert sum("AUTH" in c.verbs for c in scripted.connections) == 1


def test_the_last_message_is_not_kept_waiting() -> None:
    """A connection that is still being opened does not delay the end of a batch."""
    with one_port(good(), bad("hangs in AUTH")) as scripted:
        with Client(server_for(scripted, **LONG), max_connections=2) as client:
            outcomes = list(client.send_many(items()))
        all_arrived(scripted, outcomes)
