"""The cipher suites of TLS 1.2: the same on every Python, however it was built."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import tls
import trustme
from scripted import ScriptedServer
from sending import MESSAGE, envelope, send_in_loop, server_for

from smtpsend import Server
from smtpsend._wire.tls import context as library
from smtpsend.errors import SendError, TLSError


# Builds of Python: with the list of OpenSSL, as Debian has it, and with other levels.
BUILDS = {
    "this Python": None,
    "OpenSSL's list": "DEFAULT",
    "everything": "ALL:COMPLEMENTOFALL:@SECLEVEL=0",
    "level 3": "DEFAULT:@SECLEVEL=3",
}
SUITES = {
    *("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
    *("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"),
    *("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"),
    *("ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384"),
    *("ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256"),
    *("DHE-RSA-AES256-GCM-SHA384", "DHE-RSA-AES128-GCM-SHA256"),
    *("DHE-RSA-AES256-SHA256", "DHE-RSA-AES128-SHA256"),
}


def built_with(ciphers: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the library see an `ssl` whose new contexts begin with this list."""
    if ciphers is None:
        return

    class Context(ssl.SSLContext):
        def __new__(cls, protocol: int) -> Context:
            made: Context = super().__new__(cls, protocol)
            made.set_ciphers(ciphers)
            return made

    seen = SimpleNamespace(**{**vars(ssl), "SSLContext": Context})
    monkeypatch.setattr(library, "ssl", seen)


@pytest.fixture(params=BUILDS)
def build(request: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each of the builds in turn; a context made under one is not used under another."""
    kept = (library._build, library.pinning_context)
    for one in kept:
        one.cache_clear()
    built_with(BUILDS[request.param], monkeypatch)
    yield request.param
    for one in kept:
        one.cache_clear()


def serving(ciphers: str, key: trustme.KeyType, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let scripted servers offer these suites of TLS 1.2 alone; the certificate's pin."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    leaf = tls.ca().issue_cert(*tls.NAMES, key_type=key)
    leaf.configure_cert(made)
    monkeypatch.setattr(tls, "server_context", lambda *_: made)
    pem = leaf.cert_chain_pems[0].bytes().decode()
    return "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def trusting(scripted: ScriptedServer, pin: str | None) -> Server:
    """The scripted server, trusted by its CA, or by the pin of its certificate."""
    server = server_for(scripted, "implicit")
    return replace(server, cafile=None, fingerprint=pin) if pin else server


@pytest.mark.parametrize("pinned", [False, True], ids=["by its CA", "pinned"])
@pytest.mark.parametrize(
    ("suite", "key"),
    [
        ("AES128-GCM-SHA256", trustme.KeyType.RSA),  # no forward secrecy
        ("AES128-SHA", trustme.KeyType.RSA),
        ("ECDHE-RSA-AES128-SHA", trustme.KeyType.RSA),
        ("ECDHE-ECDSA-AES256-SHA", trustme.KeyType.ECDSA),
    ],
)
def test_refused(
    build: str,
    suite: str,
    key: trustme.KeyType,
    pinned: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server with suites of SHA-1, or without forward secrecy, alone is a TLSError."""
    pin = serving(suite, key, monkeypatch)
    with ScriptedServer() as scripted:
        server = trusting(scripted, pin if pinned else None)
        with pytest.raises(SendError) as caught:
            send_in_loop(MESSAGE, server, **envelope())
        assert type(caught.value) is TLSError
        assert not scripted.accepted


@pytest.mark.parametrize("pinned", [False, True], ids=["by its CA", "pinned"])
@pytest.mark.parametrize(
    "suite",
    [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES256-SHA384",
        "ECDHE-ECDSA-AES128-SHA256",
    ],
)
def test_accepted(
    build: str, suite: str, pinned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server with one suite of the list is sent to, by TLS 1.2."""
    pin = serving(suite, trustme.KeyType.ECDSA, monkeypatch)
    with ScriptedServer() as scripted:
        server = trusting(scripted, pin if pinned else None)
        receipt = send_in_loop(MESSAGE, server, **envelope())
        assert receipt.tls == "TLSv1.2"
        assert len(scripted.accepted) == 1


def test_the_list(build: str) -> None:
    """Both contexts have exactly these suites, and level 2 or the higher one set."""
    for made in (library.context_for(tls.ca_file(), None), library.pinning_context()):
        suites = {c["name"] for c in made.get_ciphers() if c["protocol"] != "TLSv1.3"}
        assert suites == SUITES
        assert made.security_level == (3 if build == "level 3" else 2)


def test_an_own_context_keeps_its_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """The context that a caller gives is the way to a server with older suites."""
    serving("ECDHE-ECDSA-AES256-SHA", trustme.KeyType.ECDSA, monkeypatch)
    own = ssl.create_default_context(cafile=tls.ca_file())
    own.minimum_version = ssl.TLSVersion.TLSv1_2
    own.set_ciphers("DEFAULT")
    with ScriptedServer() as scripted:
        server = server_for(scripted, "implicit", ssl_context=own)
        assert send_in_loop(MESSAGE, server, **envelope()).tls == "TLSv1.2"
