"""The verdict and the advice of a check, from its facts alone."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import tls

from smtpsend import Method, SendError
from smtpsend._model.diagnosis.advice import advice, verdict
from smtpsend._model.diagnosis.certificate import read_certificate
from smtpsend.check import Certificate, MethodReport, Port25, Report
from smtpsend.errors import (
    CertificateError,
    ConnectError,
    Event,
    Phase,
    Reply,
    TLSError,
)


NOW = datetime(2026, 1, 1, tzinfo=UTC)
CERTIFICATE = Certificate(
    names=("mail.example.org",),
    subject="mail.example.org",
    issuer="Some CA",
    not_before=NOW,
    not_after=NOW + timedelta(days=90),
    days_left=90,
    fingerprint="sha256:" + "0" * 64,
    verified=True,
)


def failure(
    event: Event, phase: Phase, text: str = "it failed", **options: Any
) -> SendError:
    """The error of a method."""
    kinds = {Event.CERTIFICATE: CertificateError, Event.HANDSHAKE: TLSError}
    return kinds.get(event, ConnectError)(text, phase=phase, event=event, **options)


def method(port: int, error: SendError | None = None, **options: Any) -> MethodReport:
    """The report of one method, ready if nothing else is said."""
    facts: dict[str, Any] = {
        "method": Method(port, "implicit" if port == 465 else "starttls"),
        "address": "192.0.2.1",
        "connected": error is None or error.phase is not Phase.CONNECT,
        "certificate": CERTIFICATE if error is None else None,
    }
    missing = dict.fromkeys(
        ["greeting", "starttls", "tls", "cipher", "size_limit", "speaks"], None
    )
    rest = {"mechanisms": (), "extensions": (), "steps": (), "elapsed": 0.1}
    return MethodReport(**(missing | rest | facts | options), error=error)


def report_of(*methods: MethodReport, **options: Any) -> Report:
    """A report in which the first ready method is chosen."""
    ready = [m.method for m in methods if m.ready]
    errors = [m.error for m in methods if m.error is not None]
    facts: dict[str, Any] = {
        "host": "mail.example.org",
        "addresses": ("192.0.2.1",),
        "methods": methods,
        "port25": None,
        "chosen": ready[0] if ready else None,
        "login": None,
        "attempts": (),
        "error": None if ready else errors[0],
        "elapsed": 1.0,
    }
    return Report(**(facts | options))


TIMED_OUT = failure(
    Event.UNREACHABLE, Phase.CONNECT, "no connection (no answer)", timed_out=True
)
REFUSED = failure(Event.UNREACHABLE, Phase.CONNECT, "no connection (connection refused)")
NO_ROUTE = failure(
    Event.UNREACHABLE, Phase.CONNECT, "no connection (network is unreachable)"
)
MISMATCH = failure(Event.CERTIFICATE, Phase.TLS, "refused: Hostname mismatch, ...")
OTHER = dataclasses.replace(CERTIFICATE, names=("*.hoster.example",), verified=False)
MX = Port25("192.0.2.1", True, Reply(220, None, "mx"), None, 0.1)

ADVICE: dict[str, tuple[Report, list[str]]] = {
    "all is well": (report_of(method(587), method(465)), []),
    "all time out": (
        report_of(*(method(port, TIMED_OUT) for port in (587, 465, 2525))),
        ["all three ports time out: your provider or network blocks outgoing mail"],
    ),
    "two time out": (
        report_of(*(method(port, TIMED_OUT) for port in (587, 465))),
        ["both ports time out"],
    ),
    "one pinned port times out": (
        report_of(method(587, TIMED_OUT)),
        ["port 587: no answer: a firewall drops it on the way"],
    ),
    "all refused": (
        report_of(method(587, REFUSED), method(465, REFUSED)),
        ["mail.example.org refuses connections on both ports"],
    ),
    "a provider with other ports": (
        report_of(
            method(587, TIMED_OUT),
            method(465, TIMED_OUT),
            host="email-smtp.eu-west-1.amazonaws.com",
            provider="ses",
        ),
        [
            "both ports time out: your provider or network blocks outgoing mail (SMTP) "
            "ports. Ask for one of them to be opened",
            "Amazon SES also has 2587 STARTTLS and 2465 implicit TLS: Server.at('ses', ",
        ],
    ),
    "a provider, one port refused": (
        report_of(method(587, REFUSED), provider="resend"),
        ["port 587: nothing listens", "Resend also has 465 implicit TLS, 2587 STARTTLS"],
    ),
    "a provider behind a firewall that is silent": (
        report_of(
            method(587, TIMED_OUT),
            method(465, failure(Event.HANDSHAKE, Phase.TLS, timed_out=True)),
            method(2587, failure(Event.NO_GREETING, Phase.GREETING, timed_out=True)),
            provider="ses",
        ),
        ["port 587: no", "ports 465 and 2587: the port is", "Amazon SES also has 2465"],
    ),
    "a provider behind a firewall that rewrites": (
        report_of(
            method(
                587,
                failure(Event.NO_STARTTLS, Phase.STARTTLS),
                extensions=("SIZE", "XXXXXXXA"),
            ),
            provider="resend",
        ),
        ["port 587: a firewall or virus scanner", "Resend also has 465 implicit TLS"],
    ),
    "a provider that turns us away": (
        report_of(
            method(
                587,
                failure(Event.NO_GREETING, Phase.GREETING, reply=Reply(554, None, "no")),
                greeting=Reply(554, None, "no"),
            ),
            provider="resend",
        ),
        ["port 587: the server turns us away"],
    ),
    "a provider with the wrong kind of TLS": (
        report_of(
            method(587, failure(Event.NO_GREETING, Phase.GREETING), speaks="implicit"),
            provider="resend",
        ),
        ["port 587: it speaks TLS at once"],
    ),
    "a provider without other ports": (
        report_of(method(587, TIMED_OUT), method(465, TIMED_OUT), provider="gmail"),
        [
            "both ports time out: your provider or network blocks outgoing mail (SMTP) "
            "ports. Ask for one of them to be opened; Gmail, Google Workspace documents "
            "no other port"
        ],
    ),
    "a provider that is reached": (
        report_of(method(587, TIMED_OUT), method(465), provider="ses"),
        ["port 587: no answer", "a policy that begins with"],
    ),
    "a provider, no route": (
        report_of(method(587, NO_ROUTE), provider="ses"),
        ["there is no way to 192.0.2.1"],
    ),
    "no route": (report_of(method(587, NO_ROUTE)), ["there is no way to 192.0.2.1"]),
    "an MX": (
        report_of(method(587, REFUSED), method(465, REFUSED), port25=MX),
        ["mail.example.org refuses", "port 25 answers: mail.example.org seems to be"],
    ),
    "wrong names, on two ports": (
        report_of(
            method(587, MISMATCH, certificate=OTHER),
            method(465, MISMATCH, certificate=OTHER),
        ),
        [
            "ports 587 and 465: the certificate is for *.hoster.example, not for "
            "mail.example.org: use a name that it covers as host"
        ],
    ),
    "no names": (
        report_of(
            method(587, MISMATCH, certificate=dataclasses.replace(OTHER, names=()))
        ),
        ["port 587: the certificate is for no host name at all (a common name"],
    ),
    "not valid yet": (
        report_of(method(587, failure(Event.CERTIFICATE, Phase.TLS, "is not yet valid"))),
        ["port 587: the certificate is not valid yet"],
    ),
    "some other defect": (
        report_of(method(587, failure(Event.CERTIFICATE, Phase.TLS, "odd"))),
        ["port 587: the certificate was refused; verification cannot be turned off"],
    ),
    "expires soon": (
        report_of(method(587, certificate=dataclasses.replace(CERTIFICATE, days_left=6))),
        ["the certificate expires in 6 days"],
    ),
    "one blocked, one refused": (
        report_of(method(587, TIMED_OUT), method(465, REFUSED), method(2525)),
        ["port 587: no answer", "port 465: nothing listens", "a policy that begins with"],
    ),
    "several reasons": (
        report_of(method(587, TIMED_OUT), method(465, REFUSED)),
        ["port 587: no answer", "port 465: nothing listens"],
    ),
}


@pytest.mark.parametrize("case", ADVICE)
def test_advice(case: str) -> None:
    """From facts to sentences, in order."""
    report, words = ADVICE[case]
    found = advice(report)
    assert len(found) == len(words), found
    for sentence, beginning in zip(found, words):
        assert sentence.startswith(beginning), found


VERDICTS: dict[str, tuple[Report, str]] = {
    "first": (report_of(method(587), method(465)), "comes first in the policy"),
    "only": (report_of(method(465)), "by 465 implicit TLS, the only method"),
    "second": (report_of(method(587, REFUSED), method(465)), "does not work (587 START"),
    "slow": (
        report_of(method(587), method(465), chosen=Method(465, "implicit")),
        "it was ready before 587 STARTTLS, which works too, but slowly",
    ),
    "none": (report_of(method(587, REFUSED)), "Nothing would be sent: no connection"),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_verdict(case: str) -> None:
    """What the policy would do, and why."""
    report, words = VERDICTS[case]
    assert words in verdict(report)


def test_certificate_facts() -> None:
    """Our reading of a certificate agrees with that of another library."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    leaf = tls.ca().issue_cert("mail.example.org", "192.0.2.7", "2001:db8::7", "*.x.org")
    known = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    der = known.public_bytes(serialization.Encoding.DER)
    found = read_certificate(der, NOW, verified=True)
    assert found is not None
    assert found.names == ("mail.example.org", "192.0.2.7", "2001:db8::7", "*.x.org")
    assert found.not_after == known.not_valid_after_utc
    assert found.not_before == known.not_valid_before_utc
    assert found.days_left == (known.not_valid_after_utc - NOW).days
    assert found.fingerprint == "sha256:" + known.fingerprint(hashes.SHA256()).hex()
    assert "trustme" in found.issuer
    assert not found.self_signed
    for cut in range(len(der)):
        assert read_certificate(der[:cut], NOW, verified=False) is None
    for n in range(0, len(der), 7):
        read_certificate(der[:n] + b"\xff" + der[n + 1 :], NOW, verified=False)


def test_certificates_cannot_paint() -> None:
    """A name in a certificate that would control a terminal is made harmless."""
    leaf = tls.ca().issue_cert("a.example.org", common_name="\x1b[31mred\u202e")
    import ssl

    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    found = read_certificate(der, NOW, verified=False)
    assert found is not None
    assert found.subject.isprintable()
    assert "?[31mred?" in found.subject
