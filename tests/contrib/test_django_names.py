"""The Django backend's own context: a client certificate does not loosen the names."""

from __future__ import annotations

from typing import Any

import django
import pytest
import tls
from django.core.mail import EmailMessage
from scripted import Script, ScriptedServer

from smtpsend.contrib.django import EmailBackend
from smtpsend.errors import CertificateError


# Django 6.1 warns of its old settings, which stay until the next version but one.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*deprecated:PendingDeprecationWarning"),
]


def sent(scripted: ScriptedServer, **options: Any) -> int:
    """One message, with a client certificate."""
    alias = {"alias": "default"} if django.VERSION >= (6, 1) else {}
    pair = str(tls._built("self_signed"))
    backend = EmailBackend(
        host="localhost",
        port=scripted.port("implicit"),
        username=scripted.user,
        password=scripted.password,
        use_ssl=True,
        ssl_certfile=pair,
        ssl_keyfile=pair,
        **alias,
        **options,
    )
    context = backend._context()
    assert context is not None
    assert not context.hostname_checks_common_name
    note = EmailMessage("note", "text", "ann@example.org", ["bob@example.net"])
    return backend.send_messages([note])


@pytest.mark.parametrize("kind", ["cn_only", "cn_and_ip", "good"])
def test_names(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A common name is no name, and subjectAltName is one, with a client certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", tls.ca_file())
    with ScriptedServer(Script(certificate=kind)) as scripted:
        if kind == "good":
            assert sent(scripted) == 1
        else:
            with pytest.raises(CertificateError, match=r"(?i)hostname mismatch"):
                sent(scripted)
    assert len(scripted.accepted) == (kind == "good")
