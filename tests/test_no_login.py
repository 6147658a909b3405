"""A login that cannot be had: none offered, none that fits, none without MD5."""

from __future__ import annotations

import hmac
from typing import Any

import pytest
from scripted import OFFERS, Script, ScriptedServer, close
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import OAuth2
from smtpsend.check import check
from smtpsend.errors import AuthError, Event, Phase


pytestmark = pytest.mark.parametrize("send", WAYS)

WITHOUT_AUTH = tuple(offer for offer in OFFERS if not offer.startswith("AUTH"))


def offering(*mechanisms: str) -> Script:
    """A server that offers these mechanisms in one AUTH line."""
    return Script(offers=(*WITHOUT_AUTH, *(f"AUTH {name}" for name in mechanisms)))


@pytest.fixture
def _fips(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python in FIPS mode: HMAC with MD5 is refused, whatever it is asked by."""

    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("[digital envelope routines] unsupported")

    monkeypatch.setattr(hmac, "new", refuse)
    monkeypatch.setattr(hmac, "digest", refuse)


def refused(send: Send, scripted: ScriptedServer, *names: str, **options: Any) -> Any:
    """The error of a send to which no login is offered that fits."""
    with pytest.raises(AuthError) as caught:
        send(MESSAGE, server_for(scripted, *names, **options), **envelope())
    error = caught.value
    assert (error.event, error.phase) == (Event.NO_MECHANISM, Phase.AUTH)
    assert not error.temporary
    scripted.assert_clean(auths=0)
    return error


@pytest.mark.parametrize("others", ["refused", "no greeting", "EHLO lost"])
@pytest.mark.parametrize("offers", [(), ("GSSAPI NTLM",), ("XOAUTH2",)])
def test_others_closed(offers: tuple[str, ...], others: str, send: Send) -> None:
    """No login on the port that answers is permanent, whatever the others do."""
    moment = {"no greeting": "greeting", "EHLO lost": "ehlo"}
    rest: Any = others if others == "refused" else {moment[others]: close()}
    ports = {"starttls": offering(*offers), "implicit": rest, "starttls2": rest}
    with ScriptedServer(**ports) as scripted:
        error = refused(send, scripted, stagger=0.3)
    assert ("leave the credentials out" in error.hint) is (not offers)


def test_token_on_a_password_server(send: Send) -> None:
    """The same for a token where only passwords are accepted."""
    with ScriptedServer(starttls=offering("PLAIN"), implicit="refused") as scripted:
        refused(send, scripted, "starttls", "implicit", auth=OAuth2("u", "t0ken"))


@pytest.mark.usefixtures("_fips")
@pytest.mark.parametrize("offers", ["CRAM-MD5", "cram-md5 NTLM"])
def test_no_md5(offers: str, send: Send) -> None:
    """CRAM-MD5 alone is no login without MD5; the error says so, on check, too."""
    with ScriptedServer(offering(offers)) as scripted:
        error = refused(send, scripted)
        report = check(server_for(scripted))
    assert "which this Python does not have" in error.message
    assert "need one of PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-1;" in error.message
    assert "PLAIN" in error.hint
    assert "this Python has no MD5" in report.advice[0]
    assert not report.ok


@pytest.mark.usefixtures("_fips")
def test_better_than_md5(send: Send) -> None:
    """Where PLAIN or LOGIN is offered beside CRAM-MD5, it is used, and MD5 not missed."""
    with ScriptedServer(offering("CRAM-MD5 LOGIN")) as scripted:
        send(MESSAGE, server_for(scripted), **envelope())
    assert len(scripted.accepted) == 1
    scripted.assert_clean(auths=1)
    with ScriptedServer(offering("PLAIN")) as scripted:
        error = refused(send, scripted, auth=OAuth2("u", "t0ken"))
    assert "MD5" not in str(error)
