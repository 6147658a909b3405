"""Settings and messages of Django that hold lone surrogates: a ConfigError each."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.test import override_settings

from smtpsend import SendError, Server
from smtpsend.contrib.django import EmailBackend, mail_outcome
from smtpsend.errors import ConfigError
from smtpsend.testing import capture


SECRET = "s3cr3t"

# Django 6.1 warns of its old settings, which stay until the next version but one.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*deprecated:PendingDeprecationWarning"),
]

SETTINGS: dict[str, dict[str, str]] = {
    "host": {"EMAIL_HOST": "h\udce4.example"},
    "user": {"EMAIL_HOST_USER": "ann\udce4"},
    "password": {"EMAIL_HOST_PASSWORD": f"{SECRET}\udce4"},
    "certificate": {"EMAIL_SSL_CERTFILE": "/nowhere\udce4"},
    "no path": {"EMAIL_SSL_CERTFILE": "/nowhere\ud800"},
    "key": {"EMAIL_SSL_CERTFILE": __file__, "EMAIL_SSL_KEYFILE": "/nowhere\ud800"},
    "URL": {"SMTPSEND_SERVER": f"smtp://ann:{SECRET}\udce4@h.example"},
}


@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str, silently: bool) -> None:
    """A setting that is no text is a typed error without a secret, causes included."""
    given: dict[str, Any] = {"EMAIL_HOST": "127.0.0.1", "EMAIL_USE_TLS": True}
    given |= {"EMAIL_HOST_USER": "ann", "EMAIL_HOST_PASSWORD": SECRET} | SETTINGS[name]
    with override_settings(**given):
        if silently and name != "URL":
            assert EmailBackend(fail_silently=True).open() is None
            return
        with pytest.raises(ConfigError) as caught:
            EmailBackend(fail_silently=silently).open()
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error!r} {vars(error)}"
        error = error.__cause__ or error.__context__


MESSAGES: dict[str, dict[str, Any]] = {
    "subject": {"subject": "Hello \ud800"},
    "body": {"body": "Hello \ud800"},
    "sender": {"from_email": "ann\udce4@example.org"},
    "recipient": {"to": ["bob\udce4@example.net"]},
    "header": {"headers": {"X-A": "\udfff"}},
    "attachment": {"attachments": [("n\udce4.txt", b"x", "text/plain")]},
}


@pytest.mark.parametrize("silently", [False, True])
@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name: str, silently: bool) -> None:
    """A message that cannot be encoded is a ConfigError, which the signal tells, too."""
    given = {"subject": "Hello", "body": "x", "from_email": "ann@example.org"}
    given |= {"to": ["bob@example.net"]}
    reported: list[SendError | None] = []

    def listen(error: SendError | None, **_: object) -> None:
        reported.append(error)

    mail_outcome.connect(listen)
    try:
        with capture() as outbox:
            backend = EmailBackend(server=Server("h.example"), fail_silently=silently)
            message = EmailMessage(**(given | MESSAGES[name]))
            with pytest.raises(ConfigError) as caught:
                backend.send_messages([message])
    finally:
        mail_outcome.disconnect(listen)
    assert reported == [caught.value] == [message.smtpsend_error]  # type: ignore[attr-defined]
    assert not outbox.messages
