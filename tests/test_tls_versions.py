"""Nothing older than TLS 1.2: by what a context was made for, and by what came of it."""

from __future__ import annotations

import ssl
import warnings
from typing import Any

import pytest
import tls
from scripted import Script, ScriptedServer
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend.check import check
from smtpsend.errors import ConfigError, Event, Phase, TLSError


pytestmark = pytest.mark.parametrize("send", WAYS)

V = ssl.TLSVersion
NO_OLD = ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1


def made(lowest: V = V.MINIMUM_SUPPORTED, options: int = 0, **facts: Any) -> Any:
    """A context that trusts our CA; by default as Debian's Python makes it."""
    context = tls.client_context()
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = lowest
        context.options &= ~NO_OLD
        context.options |= options
        for name, value in facts.items():
            setattr(context, name, value)
    return context


FIT = {
    "Debian": {},
    "TLS 1.2": {"lowest": V.TLSv1_2},
    "TLS 1.3": {"lowest": V.TLSv1_3},
    "1.0, ruled out": {"lowest": V.TLSv1, "options": NO_OLD},
    "1.1, ruled out": {"lowest": V.TLSv1_1, "options": ssl.OP_NO_TLSv1_1},
    "SSL 3, ruled out": {"lowest": V.SSLv3, "options": NO_OLD},
    "up to 1.2": {"maximum_version": V.TLSv1_2},
}


@pytest.mark.parametrize("case", FIT)
def test_fit(case: str, send: Send) -> None:
    """What cannot negotiate old TLS is used, and so is what only might."""
    context = made(**FIT[case])
    with ScriptedServer() as scripted:
        receipt = send(MESSAGE, server_for(scripted, ssl_context=context), **envelope())
    assert receipt.tls in ("TLSv1.2", "TLSv1.3")


UNFIT = {
    "SSL 3": {"lowest": V.SSLv3},
    "TLS 1.0": {"lowest": V.TLSv1},
    "TLS 1.1": {"lowest": V.TLSv1_1},
    "TLS 1.0, half ruled out": {"lowest": V.TLSv1, "options": ssl.OP_NO_TLSv1},
    "up to 1.1": {"maximum_version": V.TLSv1_1},
    "the oldest only": {"maximum_version": V.MINIMUM_SUPPORTED},
}


@pytest.mark.parametrize("case", UNFIT)
def test_unfit(case: str, send: Send) -> None:
    """What was made for old TLS is a ConfigError, and nothing is connected."""
    context = made(**UNFIT[case])
    with ScriptedServer() as scripted:
        with pytest.raises(ConfigError, match=r"TLS"):
            send(MESSAGE, server_for(scripted, ssl_context=context), **envelope())
    assert not scripted.connections


@pytest.mark.usefixtures("probed_soon")
@pytest.mark.parametrize("security", ["implicit", "starttls"])
def test_old_server(security: str, send: Send) -> None:
    """Where TLS 1.1 is negotiated all the same, nothing goes out inside it."""
    context = made()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with ScriptedServer(Script(certificate="old_tls")) as scripted:
        server = server_for(scripted, security, ssl_context=context)
        with pytest.raises(TLSError, match=r"TLSv1\.1") as caught:
            send(MESSAGE, server, **envelope())
        report = check(server)
    error = caught.value
    assert (error.event, error.phase) == (Event.HANDSHAKE, Phase.TLS)
    assert not error.temporary
    assert "TLS 1.2 or newer" in error.hint
    assert [c.tls_version for c in scripted.connections[:1]] == ["TLSv1.1"]
    assert not any(c.received for c in scripted.connections)
    assert "TLS 1.2" in report.advice[0]
    scripted.assert_clean(auths=0)


@pytest.fixture
def _debian(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ssl.create_default_context` as Debian's Python has it, and strict as on 3.13."""
    create = ssl.create_default_context

    def bare(*args: Any, **options: Any) -> ssl.SSLContext:
        context = create(*args, **options)
        context.minimum_version = V.MINIMUM_SUPPORTED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.hostname_checks_common_name = True
        return context

    monkeypatch.setattr(ssl, "create_default_context", bare)


@pytest.mark.usefixtures("_debian")
def test_default_context(send: Send) -> None:
    """`ssl.create_default_context()` is good enough, however Python was built."""
    context = ssl.create_default_context(cafile=tls.ca_file())
    with ScriptedServer() as scripted:
        send(MESSAGE, server_for(scripted, ssl_context=context), **envelope())
    assert len(scripted.accepted) == 1
