"""The error tree: what each error is, says and keeps, through pickle and copy."""

from __future__ import annotations

import copy
import pickle
import smtplib
from typing import Any

import pytest
from scripted import Script, ScriptedServer, close, reply
from sending import MESSAGE, WAYS, Send, envelope, server_for

import smtpsend
from smtpsend import Method, Receipt, SendError, errors
from smtpsend.errors import Attempt, ConfigError, Event, Phase, RecipientsRefused, Reply


KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, SendError)
]
METHOD = Method(587, "starttls")
SAID = Reply(451, "4.7.1", "try\nlater")
ATTEMPTS = (
    Attempt(METHOD, "192.0.2.1", Phase.CONNECT, "refused", 0.0, 0.1, Event.UNREACHABLE),
    Attempt(Method(465, "implicit"), None, Phase.TLS, "cut", 0.1, 0.2, Event.HANDSHAKE),
)
FACTS: dict[str, Any] = {
    "phase": Phase.RCPT,
    "event": Event.LOST,
    "reply": SAID,
    "temporary": True,
    "timed_out": True,
    "hint": "do this",
    "message_id": "<1@example.org>",
}


def full(kind: type[SendError]) -> SendError:
    """An error of this kind with every attribute set."""
    error = kind("it went wrong", **FACTS)
    error.attempts, error.accepted = ATTEMPTS, ("a@example.org",)
    if isinstance(error, RecipientsRefused):
        error.refused = {"b@example.org": SAID}
    return error


COPIES = {f"pickle {n}": n for n in range(pickle.HIGHEST_PROTOCOL + 1)}
COPIES |= {"copy": copy.copy, "deepcopy": copy.deepcopy}  # type: ignore[dict-item]


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("kind", KINDS)
def test_copies(kind: type[SendError], way: str) -> None:
    """Every error survives pickle and copy with all that it knows."""
    error, how = full(kind), COPIES[way]
    twin = how(error) if callable(how) else pickle.loads(pickle.dumps(error, how))
    assert type(twin) is kind
    assert vars(twin) == vars(error)
    assert (twin.args, str(twin)) == (error.args, str(error))
    assert twin.attempts == ATTEMPTS
    assert twin.accepted == ("a@example.org",)


@pytest.mark.parametrize("kind", KINDS)
def test_bases(kind: type[SendError]) -> None:
    """Every error is what smtplib's callers catch, and no errno is made up."""
    error = full(kind)
    assert isinstance(error, smtplib.SMTPException)
    assert isinstance(error, OSError)
    assert isinstance(error, ValueError) == issubclass(kind, ConfigError)
    assert (error.errno, error.strerror) == (None, None)
    assert not isinstance(error, smtplib.SMTPResponseException)


@pytest.mark.parametrize("kind", KINDS)
def test_text(kind: type[SendError]) -> None:
    """str() says what went wrong, what the server said, what was tried, what to do."""
    text = str(full(kind))
    assert text.startswith("it went wrong: 451 4.7.1 try later (do this)")
    assert "587 STARTTLS: refused" in text
    assert "465 implicit TLS: cut" in text
    assert "\n" not in text


def test_text_of_little() -> None:
    """Without facts an error still has a text, and nothing of it is None."""
    assert str(SendError()) == "SendError"
    assert str(SendError("no")) == "no"
    assert str(Reply(250, None, "")) == "250"
    assert len(str(Reply(550, "5.1.1", "x" * 10_000))) < 500


@pytest.mark.parametrize("kind", [errors.DeliveryUnknown, errors.CertificateError])
def test_never_temporary(kind: type[SendError]) -> None:
    """Where sending again is not safe or cannot help, no argument says otherwise."""
    assert kind("x", temporary=True).temporary is False


@pytest.mark.parametrize("event", Event)
def test_hints(event: Event) -> None:
    """Whatever ends a send, its error says what to do."""
    never_raised = (Event.INJECTED, Event.ABANDONED)
    assert SendError("x", event=event).hint or event in never_raised


REAL = {
    "MAIL": ("mail", reply(550, "5.7.1", "not you"), "550 5.7.1 not you"),
    "RCPT": ("rcpt", reply(550, "5.1.1", "unknown"), "550 5.1.1 unknown"),
    "final": ("final", reply(554, "5.6.0", "spam"), "554 5.6.0 spam"),
    "AUTH": ("auth", reply(535, "5.7.8", "wrong"), "535 5.7.8 wrong"),
    "421": ("final", reply(421, "4.3.2", "bye") + close(), "421 4.3.2 bye"),
    "greeting": ("greeting", reply(554, "", "go away") + close(), "554 go away"),
    "unknown": ("final", close(), "may have been delivered"),
}


@pytest.mark.parametrize("case", REAL)
@pytest.mark.parametrize("send", WAYS)
def test_real_errors(case: str, send: Send) -> None:
    """An error of a real send quotes the server, has a hint, and copies with it all."""
    moment, action, said = REAL[case]
    with ScriptedServer(Script({moment: action})) as scripted:
        with pytest.raises(SendError) as caught:
            send(MESSAGE, server_for(scripted, "implicit"), **envelope())
    error = caught.value
    assert said in str(error)
    assert error.hint
    assert error.hint in str(error)
    assert error.attempts
    twin = pickle.loads(pickle.dumps(error))
    assert vars(twin) == vars(error)
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__


def receipt(**options: Any) -> Receipt:
    """A receipt of a message that one of two recipients got."""
    facts = {
        "message_id": "<1@example.org>",
        "method": METHOD,
        "address": "192.0.2.1",
        "tls": "TLSv1.3",
        "reply": Reply(250, "2.0.0", "ok"),
        "accepted": ("a@example.org",),
        "refused": {"b@example.org": SAID},
        "attempts": ATTEMPTS,
        "elapsed": 0.5,
    }
    return Receipt(**{**facts, **options})  # type: ignore[arg-type]


def test_raise_for_refused() -> None:
    """raise_for_refused() names both sides, and to repeat it is never safe."""
    with pytest.raises(RecipientsRefused) as caught:
        receipt().raise_for_refused()
    error = caught.value
    assert error.refused == {"b@example.org": SAID}
    assert error.accepted == ("a@example.org",)
    assert error.attempts == ATTEMPTS
    assert error.reply == SAID
    assert error.message_id == "<1@example.org>"
    assert not error.temporary
    assert error.hint
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


def test_nothing_refused() -> None:
    """raise_for_refused() is silent where everybody was accepted."""
    receipt(refused={}).raise_for_refused()


@pytest.mark.parametrize("number", range(pickle.HIGHEST_PROTOCOL + 1))
def test_values_pickle(number: int) -> None:
    """Receipts, outcomes, servers and policies pickle and copy, too."""
    outcome = smtpsend.Outcome(0, b"x", receipt(), full(SendError))
    server = smtpsend.Server("host.example", smtpsend.Password("u", "pässword"))
    for value in (receipt(), server, server.policy, *ATTEMPTS):
        assert pickle.loads(pickle.dumps(value, number)) == value
        assert copy.deepcopy(value) == value
    twin = pickle.loads(pickle.dumps(outcome, number))
    assert (twin.receipt, str(twin.error)) == (outcome.receipt, str(outcome.error))
