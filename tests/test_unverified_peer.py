"""P1: no handshake that shows no certificate carries anything, whatever the context."""

from __future__ import annotations

import hashlib
import ssl
import sys
from dataclasses import replace
from typing import Any

import pytest
import tls
from scripted import Action, Script, ScriptedServer
from sending import MESSAGE, WAYS, Send, envelope, server_for

from smtpsend import Server
from smtpsend._wire.tls import context as wire_tls
from smtpsend.check import check
from smtpsend.errors import CertificateError, ConfigError, Phase


ANONYMOUS = "ALL:@SECLEVEL=0"  # found in many a reply about old mail servers
UNFIT = {
    "all ciphers": ANONYMOUS,
    "ADH": "ADH:@SECLEVEL=0",
    "AECDH": "AECDH-AES256-SHA:@SECLEVEL=0",
    "high": "HIGH:@SECLEVEL=0",
    "unencrypted": "ECDHE:NULL-SHA256:@SECLEVEL=0",
}
FIT = ["DEFAULT:@SECLEVEL=0", "DEFAULT", "ALL:!aNULL:!eNULL", "ECDHE+AESGCM"]
SERVERS = {"anonymous": "a server without a certificate", "unencrypted": "NULL-SHA256"}


def context(ciphers: str, kind: type[ssl.SSLContext] = ssl.SSLContext) -> ssl.SSLContext:
    """A verifying context with these ciphers, for TLS 1.2, where they still exist."""
    made = kind(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(tls.ca_file())
    made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers(ciphers)
    return made


class Blind(ssl.SSLContext):
    """A context that keeps to itself which ciphers it has, as a wrapper may."""

    def get_ciphers(self) -> list[Any]:
        """None that anybody could object to."""
        return []


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("case", UNFIT)
@pytest.mark.parametrize("send", WAYS)
def test_unfit_ciphers(case: str, server: str, send: Send) -> None:
    """A context with anonymous or NULL ciphers is a ConfigError before any network."""
    script = Script(certificate=server)
    with ScriptedServer(script) as scripted:
        ours = server_for(scripted, "implicit", ssl_context=context(UNFIT[case]))
        with pytest.raises(ConfigError, match="ciphers"):
            send(MESSAGE, ours, **envelope())
    assert not scripted.connections


@pytest.mark.parametrize("ciphers", FIT)
def test_fit_ciphers(ciphers: str) -> None:
    """Old ciphers are the caller's choice, as long as they verify and encrypt."""
    with ScriptedServer() as scripted:
        ours = server_for(scripted, "implicit", ssl_context=context(ciphers))
        WAYS[0](MESSAGE, ours, **envelope())
    assert len(scripted.accepted) == 1


@pytest.mark.parametrize("send", WAYS)
def test_ciphers_changed_later(send: Send) -> None:
    """A context that gets anonymous ciphers after the send began is refused, too."""
    weakened = context("DEFAULT")

    def weaken(talk: Any) -> None:
        weakened.set_ciphers(ANONYMOUS)
        talk.do_normal()

    script = Script({"starttls": Action("weaken", weaken)}, certificate="anonymous")
    with ScriptedServer(script, implicit=None, starttls2=None) as scripted:
        with pytest.raises(ConfigError, match="ciphers"):
            send(MESSAGE, server_for(scripted, ssl_context=weakened), **envelope())
    assert not scripted.connections[0].received
    scripted.assert_clean(auths=0)


@pytest.mark.parametrize("method", ["implicit", "starttls"])
@pytest.mark.parametrize("send", WAYS)
def test_no_certificate(method: str, send: Send) -> None:
    """A peer that shows no certificate is refused right after its handshake."""
    blind = context(ANONYMOUS, Blind)
    with ScriptedServer(Script(certificate="anonymous")) as scripted:
        with pytest.raises(CertificateError, match="no certificate") as caught:
            send(MESSAGE, server_for(scripted, method, ssl_context=blind), **envelope())
    assert scripted.connections[0].tls_version == "TLSv1.2"
    assert not scripted.connections[0].received
    assert caught.value.phase is Phase.TLS
    assert not caught.value.temporary
    scripted.assert_clean(auths=0)


@pytest.mark.parametrize("method", ["implicit", "starttls"])
@pytest.mark.parametrize("send", WAYS)
def test_pinned_nothing(method: str, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fingerprint of nothing pins no peer: not even one without a certificate."""
    anonymous = context(ANONYMOUS)
    anonymous.check_hostname, anonymous.verify_mode = False, ssl.CERT_NONE
    monkeypatch.setattr("smtpsend._wire.handshake.pinning_context", lambda: anonymous)
    nothing = "sha256:" + hashlib.sha256(b"").hexdigest()
    with ScriptedServer(Script(certificate="anonymous")) as scripted:
        ours = server_for(scripted, method)
        ours = replace(ours, cafile=None, fingerprint=nothing)
        with pytest.raises(CertificateError, match="no certificate"):
            send(MESSAGE, ours, **envelope())
    assert not scripted.connections[0].received
    scripted.assert_clean(auths=0)


def test_our_own_contexts() -> None:
    """The library's own contexts have no cipher that does not verify and encrypt."""
    for ours in (wire_tls.context_for(tls.ca_file(), None), wire_tls.pinning_context()):
        assert wire_tls.unsafe_ciphers(ours) == []


def test_diagnosis() -> None:
    """A check of such a server says why it is refused, and logs in nowhere."""
    with ScriptedServer(Script(certificate="anonymous")) as scripted:
        ours = server_for(
            scripted, "implicit", ssl_context=context(ANONYMOUS, Blind), deadline=20
        )
        report = check(ours)
    assert isinstance(report.error, CertificateError)
    assert report.methods[0].certificate is None
    assert report.advice
    assert not any(record.received for record in scripted.connections)


def pre_shared(scripted: ScriptedServer) -> Server:
    """A server that is known by a key that both sides have, and by no certificate."""
    ours = context("PSK-AES128-GCM-SHA256:@SECLEVEL=0")
    ours.set_psk_client_callback(lambda _: ("us", b"key"))  # type: ignore[attr-defined]
    return server_for(scripted, "implicit", ssl_context=ours)


if sys.version_info >= (3, 13):

    @pytest.mark.parametrize("send", WAYS)
    def test_pre_shared_key(send: Send) -> None:
        """A key that both sides have is no certificate: nothing goes to its host."""
        with ScriptedServer(Script(certificate="pre_shared_key")) as scripted:
            with pytest.raises(CertificateError, match="no certificate"):
                send(MESSAGE, pre_shared(scripted), **envelope())
        assert scripted.connections[0].tls_version == "TLSv1.2"
        assert not scripted.connections[0].received
