"""The policy: every row of the table, on its own and in the document."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsend import Method, Policy
from smtpsend._model.policy.decide import Running, Stop, Try, Wait, decide
from smtpsend._model.policy.table import TABLE, Then
from smtpsend.errors import Attempt, ConfigError, Event, Phase


A, B, C = Policy().methods
DOCUMENT = Path(__file__).parent.parent / "docs" / "policy.md"


def ended(method: Method, event: Event) -> Attempt:
    """An attempt that ended with `event`."""
    return Attempt(method, "192.0.2.1", Phase.CONNECT, "words", 0.0, 0.1, event)


NEXT = Try(B)
AFTER_ONE = {
    Event.UNRESOLVED: Stop(),
    Event.UNREACHABLE: NEXT,
    Event.PROXY_LOGIN: Stop(),
    Event.NO_GREETING: NEXT,
    Event.EHLO_REFUSED: NEXT,
    Event.NO_STARTTLS: NEXT,
    Event.INJECTED: NEXT,
    Event.HANDSHAKE: NEXT,
    Event.CERTIFICATE: Stop(),
    Event.CLIENT_CERTIFICATE: NEXT,
    Event.NO_MECHANISM: NEXT,
    Event.AUTH_REFUSED: Stop(),
    Event.AUTH_RENEWED: Try(A),
    Event.AUTH_LOST: NEXT,
    Event.REFUSED: Stop(),
    Event.LOST: NEXT,
    Event.NO_BDAT: Try(A),
    Event.CLOSING_AT_END: Stop(),
    Event.WRONG_CLASS: Stop(),
    Event.ACCEPTED_EARLY: Stop(),
    Event.UNKNOWN: Stop(),
    Event.ABANDONED: NEXT,
}


@pytest.mark.parametrize("event", Event)
def test_row(event: Event) -> None:
    """Each row says what follows one failure of the first method."""
    assert decide(Policy(), [ended(A, event)]) == AFTER_ONE[event]


def test_first_method_first() -> None:
    """With nothing tried, the first method is."""
    assert decide(Policy(), []) == Try(A)


def test_all_failed() -> None:
    """When every method has failed, it is over."""
    failed = [ended(m, Event.UNREACHABLE) for m in (A, B, C)]
    assert decide(Policy(), failed) == Stop()


def test_certificate_next() -> None:
    """on_certificate_error="next" goes on where the default stops."""
    policy = Policy(on_certificate_error="next")
    assert decide(policy, [ended(A, Event.CERTIFICATE)]) == NEXT


def test_stop_while_others_run() -> None:
    """A refused certificate stops what is running beside it."""
    stopped = decide(Policy(), [ended(A, Event.CERTIFICATE)], [Running(B, 0.0)])
    assert stopped == Stop()


@pytest.mark.parametrize("event", [Event.AUTH_LOST, Event.LOST, Event.NO_BDAT])
def test_once(event: Event) -> None:
    """What goes on once stops the second time."""
    assert decide(Policy(), [ended(A, event), ended(B, event)]) == Stop()


def test_fresh_connection_once() -> None:
    """A loss on the sole method is tried again once, on a fresh connection."""
    policy = Policy(methods=(A,))
    assert decide(policy, [ended(A, Event.LOST)]) == Try(A)
    assert decide(policy, [ended(A, Event.LOST), ended(A, Event.LOST)]) == Stop()


def test_lost_login_is_not_tried_again_on_the_same_method() -> None:
    """A lost login goes to the next method, and stops where there is none."""
    assert decide(Policy(methods=(A,)), [ended(A, Event.AUTH_LOST)]) == Stop()


def test_stagger() -> None:
    """The next method starts beside one that makes no progress, and not earlier."""
    policy = Policy(stagger=0.5)
    assert decide(policy, [], [Running(A, 0.125)]) == Wait(0.375)
    assert decide(policy, [], [Running(A, 0.5)]) == Try(B)
    assert decide(policy, [], [Running(A, 9), Running(B, 0.25)]) == Wait(0.25)
    assert decide(policy, [], [Running(A, 9), Running(B, 9), Running(C, 9)]) == Wait(None)


@given(st.lists(st.sampled_from(list(Event)), min_size=8, max_size=8), st.booleans())
def test_ends(events: list[Event], lenient: bool) -> None:
    """Whatever happens, it ends, no method is tried too often, nothing follows a stop."""
    policy = Policy(on_certificate_error="next" if lenient else "stop")
    attempts: list[Attempt] = []
    for event in events:
        choice = decide(policy, attempts)
        if choice == Stop():
            break
        assert isinstance(choice, Try)
        attempts.append(ended(choice.method, event))
    else:
        pytest.fail("it never stopped")
    for method in policy.methods:
        # Once, and once more for each of the three rows that allow a fresh connection.
        assert sum(a.method == method for a in attempts) <= 4
    stops = [n for n, a in enumerate(attempts) if TABLE[a.event].then is Then.STOP]
    if stops and not lenient:
        assert stops[0] == len(attempts) - 1
    assert decide(policy, attempts) == Stop()


def test_document() -> None:
    """docs/policy.md holds the same table as the code, row by row."""
    table_text = DOCUMENT.read_text("utf-8").partition("## What follows what")[2]
    rows = re.findall(
        r"^\| (.+?) \| (.+?) \| (.+?) \|$",
        table_text.partition("## Time")[0],
        re.MULTILINE,
    )
    assert rows[0] == ("what happened on a method", "then", "why")
    table = [(row.what, str(row.then), row.why) for row in TABLE.values()]
    assert [row for row in rows[1:] if set(row[0]) != {"-"}] == table


def test_table_is_whole() -> None:
    """Every event has its row."""
    assert list(TABLE) == list(Event)


def test_explain() -> None:
    """The policy in words names every method, time and row."""
    text = Policy(stagger=0.7).explain()
    for method in Policy().methods:
        assert str(method) in text
    for row in TABLE.values():
        assert row.what in text
        assert row.why in text
    assert "0.7 s" in text
    assert "900 s" in text


def test_explain_follows_the_policy() -> None:
    """explain() says what this policy does, not the default."""
    strict, lenient = Policy(), Policy(on_certificate_error="next")
    line = "certificate refused by us:\n      {} ("
    assert line.format("stop") in strict.explain()
    assert line.format("next") in lenient.explain()
    assert "may mean an attack (" not in lenient.explain()


@pytest.mark.parametrize(
    "options",
    [
        {"methods": ()},
        {"methods": "587"},
        {"methods": (587,)},
        {"methods": (A, A)},
        {"methods": (A, Method(25, "plaintext"))},
        {"stagger": -1},
        {"stagger": float("nan")},
        {"connect_timeout": 0},
        {"reply_timeout": float("inf")},
        {"final_timeout": "600"},
        {"deadline": True},
        {"on_certificate_error": "ignore"},
        {"remember": -1},
        {"pipelining": 1},
        {"chunking": None},
    ],
)
def test_refused_policies(options: dict[str, object]) -> None:
    """A policy that makes no sense is refused when it is made."""
    with pytest.raises(ConfigError):
        Policy(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("port", "security"),
    [
        (0, "starttls"),
        (65536, "implicit"),
        ("587", "starttls"),
        (True, "starttls"),
        (587, ""),
    ],
)
def test_refused_methods(port: object, security: object) -> None:
    """A method is a real port and a known kind of security."""
    with pytest.raises(ConfigError):
        Method(port, security)  # type: ignore[arg-type]
