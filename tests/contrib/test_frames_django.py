"""P5: no frame of an error of the Django backend has a password."""

from __future__ import annotations

from typing import Any

import django
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.test import override_settings
from frames import nothing_of
from scripted import Script, ScriptedServer, reply
from sending import server_for

from smtpsend import SendError
from smtpsend.contrib.django import EmailBackend


SECRET = "s3cret-Pa55word"

# Django 6.1 warns of its old settings, which stay until the next version but one.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*deprecated:PendingDeprecationWarning"),
]


def backend(**options: Any) -> EmailBackend:
    """A backend as Django makes it."""
    alias = {"alias": "default"} if django.VERSION >= (6, 1) else {}
    return EmailBackend(**alias, **options)


UNFIT: dict[str, dict[str, Any]] = {
    "both": {"server": f"smtp://u:{SECRET}@h", "host": "h", "password": SECRET},
    "a bad URL": {"server": f"smtp://u:{SECRET}@h/x"},
    "TLS twice": {"host": "h", "use_tls": True, "use_ssl": True, "password": SECRET},
    "no user": {"host": "h", "password": SECRET},
    "a line end": {"host": "h", "username": "u", "password": f"{SECRET}\n"},
    "a line end, server": {"server": "h", "username": "u", "password": f"{SECRET}\n"},
    "a bad host": {"host": "a..b", "username": "u", "password": SECRET},
}


@pytest.mark.parametrize("case", UNFIT)
def test_unfit(case: str) -> None:
    """What cannot be used is in no frame of the error that says so."""
    # From Django 6.1 on, some of the errors are Django's own.
    with pytest.raises((ValueError, ImproperlyConfigured)) as caught:
        backend(**UNFIT[case]).open()
    nothing_of(SECRET, caught.value)


def test_unfit_setting() -> None:
    """Nor is a setting that cannot be used."""
    with override_settings(SMTPSEND_SERVER=f"smtp://u:{SECRET}@h?x"):
        with pytest.raises(ValueError) as caught:
            backend().open()
    nothing_of(SECRET, caught.value)


def test_refused() -> None:
    """Nor is the password that a server refuses."""
    with ScriptedServer(Script({"auth": reply(535, "5.7.8", "no")})) as scripted:
        assert scripted.password == SECRET
        made = backend(server=server_for(scripted, "implicit"))
        with pytest.raises(SendError) as caught:
            made.send_messages(
                [EmailMessage("hello", "text", "a@x.example", ["b@x.example"])]
            )
    nothing_of(SECRET, caught.value)
