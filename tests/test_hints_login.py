"""The hint of a refused or impossible login follows the reply and the credentials."""

from __future__ import annotations

import pytest
from failed_sends import failed
from scripted import Script, ScriptedServer, reply
from sending import WAYS, Send, server_for

from smtpsend import OAuth2
from smtpsend.check import check
from smtpsend.errors import (
    AuthError,
)


pytestmark = pytest.mark.parametrize("send", WAYS)

LOGIN = {
    "wrong": (reply(535, "5.7.8", "wrong"), "check user name", True),
    "app password": (
        reply(534, "5.7.9", "Application-specific password required"),
        "app password",
        True,
    ),
    "disabled": (
        reply(535, "5.7.139", "basic authentication is disabled"),
        "OAuth2(...)",
        True,
    ),
    "later": (reply(454, "4.7.0", "not now"), "try again later", False),
    "smtp auth off": (
        reply(535, "5.7.139", "..., SmtpClientAuthentication is disabled for the Tenant"),
        "SMTP AUTH is off",
        False,
    ),
    "security defaults": (
        reply(535, "5.7.139", "..., locked by your organization's security defaults"),
        "security defaults",
        True,
    ),
    "incorrect": (
        reply(535, "5.7.139", "..., the user credentials were incorrect."),
        "check user name",
        True,
    ),
    "5.7.139": (reply(535, "5.7.139", "did not meet the criteria"), "a rule of", True),
    "5.7.30": (
        reply(550, "5.7.30", "Basic authentication is not supported for Client ..."),
        "OAuth2(...)",
        True,
    ),
    "5.7.3": (
        reply(535, "5.7.3", "Authentication unsuccessful"),
        "check user name",
        True,
    ),
    "Gmail": (
        reply(535, "5.7.8", "Username and Password not accepted. Learn more at"),
        "app password",
        True,
    ),
    "STARTTLS": (
        reply(530, "5.7.0", "Must issue a STARTTLS command first"),
        "TLS",
        False,
    ),
    "538": (reply(538, "5.7.11", "Encryption required"), "sees no TLS", False),
    "browser": (reply(534, "5.7.14", "log in via your web browser"), "browser", True),
}


@pytest.mark.parametrize("case", LOGIN)
def test_refused_login(case: str, send: Send) -> None:
    """The hint of a refused login follows its reply, as the advice of a check does."""
    answer, words, password = LOGIN[case]
    error = failed(send, Script({"auth": answer}))
    assert words in error.hint
    assert ("password" in error.hint) is password
    with ScriptedServer(Script({"auth": answer})) as scripted:
        report = check(server_for(scripted, "implicit"))
    assert any(error.hint in advice for advice in report.advice), report.advice


def test_refused_token(send: Send) -> None:
    """Somebody who gave a token reads about the token, and not about a password."""
    script = Script({"auth": reply(535, "5.7.8", "wrong")}, offers=("AUTH XOAUTH2",))
    error = failed(send, script, auth=OAuth2("ann@example.org", "t0ken"))
    assert isinstance(error, AuthError)
    assert "token" in error.hint
    assert "password" not in error.hint
    with ScriptedServer(script) as scripted:
        server = server_for(scripted, "implicit", auth=OAuth2("ann@example.org", "t0ken"))
        report = check(server)
    assert "token" in report.advice[0]
    assert "password" not in report.advice[0]


TOKEN = {
    "5.7.3": (reply(535, "5.7.3", "Authentication unsuccessful"), "service principal"),
    "off": (reply(535, "5.7.139", "SmtpClientAuthentication is disabled"), "is off"),
    "locked": (reply(535, "5.7.139", "security defaults policy"), "Conditional Access"),
    "incorrect": (reply(535, "5.7.139", "user credentials were incorrect"), "scopes"),
    "scope": (
        reply(535, "5.7.8", "Username and Password not accepted"),
        "https://mail.google.com/",
    ),
    "no TLS": (reply(538, "5.7.11", "Encryption required"), "sees no TLS"),
    "rule": (reply(535, "5.7.139", "criteria"), "a rule of the organisation"),
}


@pytest.mark.parametrize("case", TOKEN)
def test_refused_token_by_its_reply(case: str, send: Send) -> None:
    """For a token, too, the hint follows the reply, and does not ask for a password."""
    answer, words = TOKEN[case]
    script = Script({"auth": answer}, offers=("AUTH XOAUTH2",))
    error = failed(send, script, auth=OAuth2("ann@example.org", "t0ken"))
    assert words in error.hint
    assert "password" not in error.hint


def test_no_mechanism(send: Send) -> None:
    """Where the server offers OAuth 2.0 or passwords alone, the hint names the other."""
    error = failed(send, Script(offers=("AUTH XOAUTH2",)))
    assert "OAuth2(...) in place of Password(...)" in error.hint
    token = OAuth2("ann@example.org", "t0ken")
    error = failed(send, Script(offers=("AUTH PLAIN",)), auth=token)
    assert "Password(...) in place of OAuth2(...)" in error.hint
