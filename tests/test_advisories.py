"""What has gone wrong in this field, advisory by advisory, over a real socket.

Each id in a test's name or sentence is a line of the research on security that the
project began with: here what concerns connections and commands, in test_hostile.py what
concerns messages, memory and logs.
"""

from __future__ import annotations

import itertools
import re
import ssl
import time
import warnings
from email import policy
from email.message import Message
from typing import Any

import pytest
from scripted import (
    Script,
    ScriptedServer,
    close,
    inject,
    normal,
    reply,
    say,
)
from sending import MESSAGE, RECIPIENT, SENDER, WAYS, Send, envelope, server_for

from smtpsend import (
    Client,
    Method,
    OAuth2,
    Password,
    Policy,
    SendError,
    Server,
    send,
)
from smtpsend.errors import CertificateError, ConfigError, TLSError


pytestmark = pytest.mark.usefixtures("no_leaks")

Cases = dict[str, Any]


def only(*scripts: Any) -> ScriptedServer:
    """A server with one port, for STARTTLS."""
    return ScriptedServer(starttls=list(scripts), implicit=None, starttls2=None)


def refused(make: Any, kind: type[SendError] = ConfigError) -> None:
    """`make(server)` raises before anything is connected, and quotes no control."""
    with ScriptedServer() as scripted:
        with pytest.raises(kind) as caught:
            make(scripted)
    assert not scripted.connections
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", str(caught.value))


# STARTTLS: what is said before it, around it, and instead of it.

FORGED = b"250-evil.example\r\n250-SIZE 1\r\n250 AUTH LOGIN\r\n"
INJECTIONS: Cases = {
    "GHSA-vxj7-4xrp-5vr4": inject(extra=FORGED),
    "GHSA-vxj7-4xrp-5vr4-more": inject(extra=FORGED + b"235 in\r\n250 ok\r\n250 ok\r\n"),
    "CVE-2026-41319": inject(extra=FORGED + b"250-half a li"),
    "CVE-2021-38371": inject(extra=b"250 evil.example\r\n250-"),
    "libetpan-386": inject(extra=b"250 AUTH PLAIN\r\n" * 100),
    "no-starttls-2021": inject(extra=b"421 no\r\n220 2.0.0 go\r\n"),
    "no-starttls-2021-garbage": inject(extra=b"\xff\x00 no reply"),
}


@pytest.mark.parametrize("case", INJECTIONS)
@pytest.mark.parametrize("send", WAYS)
def test_response_injection(case: str, send: Send) -> None:
    """Plaintext after the 220 is no answer to anything that is asked inside TLS."""
    with only(Script({"starttls": INJECTIONS[case]})) as scripted:
        receipt = send(MESSAGE, server_for(scripted), **envelope())
    (record,) = scripted.connections
    assert record.verbs == [
        "EHLO",
        "STARTTLS",
        "EHLO",
        "AUTH",
        "MAIL",
        "RCPT",
        "DATA",
        "QUIT",
    ]
    assert record.commands[3][1].startswith(b"AUTH PLAIN ")
    assert (receipt.accepted, receipt.attempts) == ((RECIPIENT,), ())
    assert [m.content for m in scripted.accepted] == [MESSAGE]
    scripted.assert_clean()


STRIPPED: Cases = {
    "CVE-2016-0772": Script({"starttls": reply(454, "4.7.0", "no TLS")}),
    "CVE-2016-0772-5yz": Script({"starttls": reply(502, "5.5.1", "what?")}),
    "RFC3207-stripped": Script(offers_in_clear=("SIZE", "AUTH PLAIN LOGIN")),
    "RFC4954-auth-in-the-clear": Script(
        offers_in_clear=("AUTH PLAIN",), require_tls=False
    ),
    "RFC3207-misspelt": Script(offers_in_clear=("XTARTTLS", "AUTH PLAIN")),
    "CVE-2026-42246": Script({"ehlo": say(b"250 STARTTLS\r\n220 2.0.0 go\r\n")}),
    "RFC3207-tampered": Script({"ehlo": normal() + say(b"250 AUTH PLAIN\r\n") + close()}),
    "RFC8314-not-confidential": Script({"tls": say(b"250 ok\r\n" * 9)}),
    "RFC8997": Script(certificate="old_tls"),
}


@pytest.mark.parametrize("case", STRIPPED)
def test_no_tls(case: str) -> None:
    """Without TLS there is a TLSError, and no login and no message in the clear."""
    script = STRIPPED[case]
    with only(script) as scripted:
        with pytest.raises(TLSError):
            send(MESSAGE, server_for(scripted), **envelope())
    assert set(scripted.connections[0].verbs) <= {"EHLO", "STARTTLS", "QUIT"}
    scripted.assert_clean(auths=0)


def test_half_open_is_not_reused() -> None:
    """CVE-2026-7666: after a refused STARTTLS a Client begins anew, in TLS."""
    bad = Script({"starttls": reply(454, "4.7.0", "not now")}, require_tls=False)
    with only(bad, {}) as scripted:
        with Client(server_for(scripted)) as client:
            with pytest.raises(TLSError):
                client.send(MESSAGE, **envelope())
            client.send(MESSAGE, **envelope())
    assert set(scripted.connections[0].verbs) <= {"EHLO", "STARTTLS", "QUIT"}
    assert [len(c.accepted) for c in scripted.connections] == [0, 1]
    scripted.assert_clean()


# Who is at the other end.


@pytest.mark.parametrize("port", ["starttls", "implicit"])
@pytest.mark.parametrize(
    "kind", ["good", "wrong_host", "cn_only", "self_signed", "expired"]
)
def test_verified_by_default(kind: str, port: str) -> None:
    """CVE-2026-41016, -49267, -41132, S4499, RFC 9525: nobody is trusted unasked."""
    with ScriptedServer(Script(certificate=kind)) as scripted:
        trust = None if kind == "good" else scripted.ca
        with pytest.raises(CertificateError):
            send(MESSAGE, server_for(scripted, port, cafile=trust), **envelope())
    scripted.assert_clean(auths=0)


def unverified(what: str) -> ssl.SSLContext:
    """A context that lacks just this."""
    context = ssl.create_default_context()
    if what in ("name", "certificate"):
        context.check_hostname = False
    if what == "certificate":
        context.verify_mode = ssl.CERT_NONE
    if what == "version":
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = ssl.TLSVersion.TLSv1_1
    return context


@pytest.mark.parametrize("what", ["name", "certificate", "version"])
def test_no_option_turns_it_off(what: str) -> None:
    """CVE-2026-41016, S4499, RFC 8997: a context that does not verify is refused."""
    context = unverified(what)
    refused(lambda s: send(MESSAGE, server_for(s, ssl_context=context), **envelope()))


# What becomes a command: addresses, names, credentials.

REFUSED: Cases = {
    "gh-87290": "b@b.example>\r\nRCPT TO:<evil@e.example",
    "GHSA-v3q9-hj7j-63hq": "b@b.example\nRCPT TO:<evil@e.example>",
    "CVE-2015-9097": "b@b.example>\r\nDATA\r\nSubject: spam\r\n\r\n.\r\nQUIT\r\n",
    "CVE-2015-8476": "b@b.example\r",
    "CVE-2025-59419": "b\r\n@b.example",
    "CVE-2025-7962": "b@b.exam\nple",
    "CVE-2026-45067": "\r\nb@b.example",
    "CVE-2026-30227": '"b\r\nRCPT TO:<evil@e.example>"@b.example',
    "CVE-2026-30227-quoted": '"b\\\r\nx"@b.example',
    "CVE-2016-10033-nul": "b\0@b.example",
    "U+2028": "b\u2028@b.example",
    "GHSA-c7w3-x93f-qmm8": "b@b.example> SIZE=99",
    "CVE-2025-59937-parameter": "b@b.example SIZE=99",
    "CVE-2026-45070": "<b@b.example> BODY=8BITMIME",
    "CVE-2019-16056": "b@b.example@e.example",
    "CVE-2019-16056-quoted": '"b@b.example"@e.example@b.example',
    "CVE-2023-27043": "b@b.example)evil@e.example",
    "CVE-2023-27043-route": "<@e.example:b@b.example>",
    "CVE-2023-27043-list": "b@b.example,<evil@e.example>",
    "CVE-2025-13033": '"b@b.example x" b@e.example',
    "gh-152519": "=?utf-8?q?evil=40e.example=3E?=@b.example",
    "heyes-2024": "=?x?q?evil=40e.example=3e=00?=foo@b.example",
    "nodemailer-9.1.0": "b@good.example(x)evil",
    "GHSA-3q53-mvfw-q9v8": "b@good (x).evil.example",
    "GHSA-3q53-mvfw-q9v8-space": "b@good .evil.example",
    "GHSA-9h6g-pr28-7cqp": "<" * 50_000 + "b@b.example",
    "GHSA-2x7j-588g-ccc2": "(" * 50_000 + ")" * 49_999 + "b@b.example",
    "long-address": "b" * 100_000 + "@b.example",
    "long-domain": "b@" + "b." * 50_000 + "example",
    "long-quotes": '"' + '\\"' * 50_000 + "@b.example",
}


PLACES = ["sender", "recipients", "From", "To", "Bcc"]
LISTS = {("CVE-2023-27043-list", place) for place in ("To", "Bcc")}  # where two are two


@pytest.mark.parametrize(
    ("case", "place"),
    [pair for pair in itertools.product(REFUSED, PLACES) if pair not in LISTS],
)
def test_bad_addresses(case: str, place: str) -> None:
    """No part of a malformed address gets mail, wherever it stands, and in no time."""
    bad = REFUSED[case]

    def make(scripted: ScriptedServer) -> None:
        message = Message(policy.compat32)  # keeps headers as they are given
        for name, value in {"From": SENDER, "To": RECIPIENT}.items():
            message[name] = bad if name == place else value
        if place == "Bcc":
            message[place] = bad
        given = {"sender": bad} if place == "sender" else {}
        given |= {"recipients": [RECIPIENT, bad]} if place == "recipients" else {}
        message.set_payload("hello\n")
        send(message, server_for(scripted), **given)

    start = time.monotonic()
    refused(make)
    assert time.monotonic() - start < 30


EXACT: Cases = {
    "CVE-2025-13033": '"x@a.example x"@b.example',
    "CVE-2025-59937": '"toni@e.example> ORCPT=admin@e.example"@b.example',
    "CVE-2020-28247": "-oQ/tmp/x@b.example",
    "CVE-2016-10033": '"a\\" -oQ/tmp/ -X/tmp/x.php b"@b.example',
    "CVE-2016-10074": '"a. -OQueueDirectory=/tmp"@b.example',
    "CVE-2026-45068": "--config@b.example",
    "CVE-2019-16056": '"b@e.example"@b.example',
}


@pytest.mark.parametrize("case", EXACT)
def test_odd_addresses(case: str) -> None:
    """An odd address that is one gets the mail itself, as recipient and as sender."""
    odd = EXACT[case]
    with only({}) as scripted:
        receipt = send(MESSAGE, server_for(scripted), sender=odd, recipients=[odd])
    assert receipt.accepted == (odd,)
    assert [(m.sender, m.recipients) for m in scripted.accepted] == [(odd, (odd,))]
    scripted.assert_clean()


def test_idn_goes_to_its_own_domain() -> None:
    """GHSA-wmmp-3585-3rmp: ß stays ß in the domain, and never becomes ss."""
    with only({}) as scripted:
        send(MESSAGE, server_for(scripted), sender=SENDER, recipients=["b@faß.example"])
    assert scripted.accepted[0].recipients == ("b@xn--fa-hia.example",)
    scripted.assert_clean()


BAD_SERVERS: Cases = {
    "GHSA-vvjj-xcjg-gr5g": {"ehlo_name": "a.example\r\nMAIL FROM:<evil@e.example>"},
    "GHSA-vvjj-xcjg-gr5g-LF": {"ehlo_name": "a.example\nQUIT"},
    "GHSA-vvjj-xcjg-gr5g-space": {"ehlo_name": "a.example SIZE=1"},
    "GHSA-vvjj-xcjg-gr5g-literal": {"ehlo_name": "[127.0.0.1\r\nQUIT]"},
    "gh-87290-host": {"host": "a.example\r\nQUIT"},
    "gh-87290-host-NUL": {"host": "a.example\0.e.example"},
    "gh-87290-host-space": {"host": "a.example e.example"},
    "RFC4616-user": {"auth": ("a\0b", "secret")},
    "RFC4616-password": {"auth": ("a", "sec\0ret")},
    "CVE-2025-7962-password": {"auth": ("a", "secret\r\nQUIT")},
    "CVE-2025-7962-user": {"auth": ("a\r\nQUIT", "secret")},
}


@pytest.mark.parametrize("case", BAD_SERVERS)
def test_bad_servers(case: str) -> None:
    """Nothing in a host, an EHLO name or a credential can add a command."""
    options = {"host": "a.example", **BAD_SERVERS[case]}
    auth = options.pop("auth", ("a", "b"))
    for kind in (Password, OAuth2):
        with pytest.raises(ConfigError) as caught:
            Server(auth=kind(*auth), **options)
        assert "secret" not in str(caught.value)


def test_no_login_in_plaintext() -> None:
    """CVE-2016-0772, RFC 4954: a plaintext method never goes with credentials."""
    policy = Policy(methods=(Method(25, "plaintext"),))
    with pytest.raises(ConfigError):
        Server("127.0.0.1", Password("a", "b"), policy=policy)
