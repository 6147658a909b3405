"""The hints of the Django backend name the settings of Django, where those are in use."""

from __future__ import annotations

import re
from typing import Any

import django
import pytest
import tls
from scripted import Script, ScriptedServer, garbage, reply
from sending import server_for

from smtpsend import ConfigError, SendError
from smtpsend._wire.tls import context
from smtpsend.contrib.django import EmailBackend


# Django 6.1 warns of its old settings, which stay until the next version but one.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*deprecated:PendingDeprecationWarning"),
]


def backend(**options: Any) -> EmailBackend:
    """A backend as Django makes it."""
    alias = {"alias": "default"} if django.VERSION >= (6, 1) else {}
    return EmailBackend(**alias, **options)


REFUSED_LOGIN = Script({"auth": reply(535, "5.7.8", "no")})
HINTS: dict[str, tuple[Script, str, dict[str, Any], str]] = {
    "unknown CA": (
        Script(certificate="unknown_ca"),
        "starttls",
        {"use_tls": True},
        "PEM file with SMTPSEND_SERVER = Server(..., cafile=...)",
    ),
    "wrong name": (
        Script(certificate="wrong_host"),
        "implicit",
        {"use_ssl": True},
        "use a name that it covers as EMAIL_HOST",
    ),
    "old TLS": (
        Script(certificate="old_tls"),
        "implicit",
        {"use_ssl": True},
        "whoever runs it has to turn on TLS 1.2",
    ),
    "no STARTTLS": (
        Script(offers_in_clear=("SIZE",)),
        "starttls",
        {"use_tls": True},
        "set SMTPSEND_SERVER = 'smtp://127.0.0.1:",
    ),
    "login": (REFUSED_LOGIN, "starttls", {"use_tls": True}, "EMAIL_HOST_PASSWORD"),
    "EHLO": (
        Script({"ehlo": reply(550, "", "no")}),
        "starttls",
        {"use_tls": True},
        "SMTPSEND_SERVER = Server(..., ehlo_name=...)",
    ),
    "554": (
        Script({"greeting": reply(554, "", "no")}),
        "starttls",
        {"use_tls": True},
        "the reply says why",
    ),
    "garbage": (
        Script({"greeting": garbage()}),
        "starttls",
        {"use_tls": True},
        "check EMAIL_HOST and EMAIL_PORT",
    ),
}


@pytest.mark.parametrize("case", HINTS)
def test_hints_name_settings(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hint names the settings that its reader wrote, and only those that help."""
    script, port, given, words = HINTS[case]
    monkeypatch.setattr(context, "_public_cas", tls.ca_file)
    with ScriptedServer(script) as scripted:
        number = scripted.port(port)
        login = {"username": scripted.user, "password": scripted.password}
        mailer = backend(host=scripted.host, port=number, timeout=20, **login, **given)
        with pytest.raises(SendError) as caught:
            mailer.open()
        server = backend(server=server_for(scripted, port))
        with pytest.raises(SendError) as other:
            server.open()
    assert words in caught.value.hint
    assert not re.search(r"Method\(|(?<!= )Server\(|EMAIL_USE", caught.value.hint)
    assert "EMAIL_HOST" not in other.value.hint.partition("; the server is")[0]


def test_plaintext_to_the_public() -> None:
    """Neither use_tls nor a login at a public host: the hint names the settings."""
    mailer = backend(host="203.0.113.7", timeout=5)
    with pytest.raises(ConfigError) as caught:
        mailer.open()
    assert "EMAIL_USE_TLS = True with EMAIL_PORT = 587" in caught.value.hint
    assert "EMAIL_USE_SSL = True with EMAIL_PORT = 465" in caught.value.hint
