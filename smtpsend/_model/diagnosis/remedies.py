"""Rules for the advice of a check: what is wrong with a server, and what to change.

`WHOLE` has the rules for a fault that all methods have in common, `EACH` those for the
fault of one method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smtpsend._events import HINTS, NO_MD5
from smtpsend._model.diagnosis.report import MethodReport, Report
from smtpsend.errors import Event, Phase


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on the facts of a check, and the sentence for facts that meet it."""

    name: str
    fits: Callable[[Report, MethodReport], bool]
    say: Callable[[Report, MethodReport], str]


def listed(words: Sequence[str]) -> str:
    """Join words for a sentence: "a, b and c"."""
    *most, last = words or [""]
    return f"{', '.join(most)} and {last}" if most else last


# the conditions


def _event(*events: Event) -> Callable[[Report, MethodReport], bool]:
    return lambda _, m: m.error is not None and m.error.event in events


def _timed_out(_: Report, m: MethodReport) -> bool:
    error = m.error
    return error is not None and error.phase is Phase.CONNECT and error.timed_out


def _silent(_: Report, m: MethodReport) -> bool:
    error = m.error
    if error is None:
        return False
    waited = error.event is Event.HANDSHAKE and error.timed_out
    return waited or error.event is Event.NO_GREETING


def _unconnected(*words: str) -> Callable[[Report, MethodReport], bool]:
    def fits(_: Report, m: MethodReport) -> bool:
        error = m.error
        if error is None or error.phase is not Phase.CONNECT:
            return False
        return any(word in error.message for word in words)

    return fits


def _refused_for(*words: str) -> Callable[[Report, MethodReport], bool]:
    def fits(_: Report, m: MethodReport) -> bool:
        error = m.error
        if error is None or error.event is not Event.CERTIFICATE:
            return False
        return any(word in error.message.lower() for word in words)

    return fits


def _certificate(m: MethodReport) -> str:
    """Name the certificate by its subject and its issuer."""
    if m.certificate is None:
        return "the certificate"
    return (
        f"the certificate of {m.certificate.subject}, issued by {m.certificate.issuer},"
    )


def _names(m: MethodReport) -> str:
    names = m.certificate.names if m.certificate is not None else ()
    if not names:
        return "no host name at all (a common name does not count)"
    return listed(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _wrong_name(report: Report, m: MethodReport) -> str:
    usable = m.certificate is not None and m.certificate.names
    what = "use a name that it covers as host" if usable else "it needs a new certificate"
    return f"the certificate is for {_names(m)}, not for {report.host}: {what}"


def _untrusted(_: Report, m: MethodReport) -> str:
    pin = "" if m.certificate is None else f' ("{m.certificate.fingerprint}")'
    if m.certificate is not None and m.certificate.self_signed:
        return (
            "the certificate is signed by itself. If this is your own server, trust it "
            "by its file (cafile, --cafile) or by its fingerprint"
            f"{pin}, compared with what the server itself shows"
        )
    issuer = "its issuer" if m.certificate is None else m.certificate.issuer
    return (
        f"the certificate was issued by {issuer}, which is not among the CAs that are "
        "trusted here. If it is the CA of your organisation, give its PEM file (cafile, "
        "--cafile); if not, the server may fail to send its intermediate certificates, "
        "or somebody stands in between"
    )


def _expired(_: Report, m: MethodReport) -> str:
    when = "" if m.certificate is None else f" on {m.certificate.not_after:%Y-%m-%d}"
    return (
        f"the certificate expired{when}: whoever runs the server has to renew it (or the "
        "clock of this machine is wrong)"
    )


def _mechanism(_: Report, m: MethodReport) -> str:
    if not m.mechanisms:
        return (
            "no login is offered there: leave the credentials out if the server needs no "
            "login; else the port may be meant for other servers"
        )
    offered = listed(m.mechanisms)
    if m.error is not None and m.error.hint == NO_MD5:
        return f"the server offers {offered}, and this Python has no MD5: {NO_MD5}"
    if {"XOAUTH2", "OAUTHBEARER"} & {*m.mechanisms}:
        return (
            f"the server takes OAuth 2.0 tokens and no password ({offered}): use "
            "OAuth2(...) in place of Password(...)"
        )
    return f"the server offers {offered}, which the credentials do not fit"


def _rewritten(_: Report, m: MethodReport) -> bool:
    """Whether something in between overwrites extensions, as some firewalls do."""
    return any(len(line) > 3 and not line.rstrip("A").strip("X") for line in m.extensions)


# the tables

WHOLE: tuple[Rule, ...] = (
    Rule(
        "blocked",
        lambda r, m: _timed_out(r, m) and len(r.methods) > 1,
        lambda r, _: (
            f"{_count(r)} ports time out: your provider or network blocks outgoing mail "
            "(SMTP) ports, or the host is wrong. Ask for one of them to be opened, or "
            "whether the mail server listens on another port (such as 2525 or 2587)"
        ),
    ),
    Rule(
        "nobody-listens",
        lambda r, m: _unconnected("refused")(r, m) and len(r.methods) > 1,
        lambda r, _: (
            f"{r.host} refuses connections on {_count(r)} ports: no mail server listens "
            "there. Look for the name of the outgoing (SMTP) server in your provider's "
            "help, or see whether the server runs"
        ),
    ),
    Rule(
        "no-route",
        _unconnected("unreachable", "no route"),
        lambda r, _: (
            f"there is no way to {listed(r.addresses)}: this machine has no network, or "
            "none of that kind (IPv4, IPv6), or the host is down"
        ),
    ),
)

EACH: tuple[Rule, ...] = (
    Rule(
        "tls-at-once",
        lambda _, m: m.speaks == "implicit",
        lambda _, m: (
            f"it speaks TLS at once: use Method({m.method.port}, 'implicit'), or "
            "smtps:// in the URL; 465 is the usual port for that"
        ),
    ),
    Rule(
        "starttls-there",
        lambda _, m: m.speaks == "starttls",
        lambda _, m: (
            f"it speaks plain SMTP first: use Method({m.method.port}, 'starttls'), or "
            "smtp:// with this port in the URL"
        ),
    ),
    Rule(
        "wrong-name",
        _refused_for("hostname mismatch", "ip address mismatch"),
        _wrong_name,
    ),
    Rule("expired", _refused_for("has expired"), _expired),
    Rule(
        "not-yet",
        _refused_for("not yet valid"),
        lambda _, __: "the certificate is not valid yet: see the clock of this machine",
    ),
    Rule(
        "wrong-pin",
        _refused_for("pinned"),
        lambda _, m: (
            f"{_certificate(m)} is not the pinned one: if it was renewed, find its "
            "fingerprint out by another way before you pin it"
        ),
    ),
    Rule(
        "unknown-ca",
        _refused_for("self-signed", "self signed", "issuer", "unable to verify"),
        _untrusted,
    ),
    Rule(
        "certificate",
        _event(Event.CERTIFICATE),
        lambda _, m: (
            f"{_certificate(m)} was refused; verification cannot be turned off, the "
            "server needs a better one"
        ),
    ),
    Rule(
        "client-certificate",
        _event(Event.CLIENT_CERTIFICATE),
        lambda _, m: (
            f"{m.error.message if m.error else ''}: {HINTS[Event.CLIENT_CERTIFICATE]}"
        ),
    ),
    Rule(
        "firewall-rewrites",
        lambda r, m: _event(Event.NO_STARTTLS)(r, m) and _rewritten(r, m),
        lambda _, __: (
            "a firewall or virus scanner in between overwrites what the server offers, "
            "STARTTLS included: turn its SMTP inspection off, or use 465"
        ),
    ),
    Rule(
        "no-starttls",
        _event(Event.NO_STARTTLS),
        lambda _, __: (
            "no STARTTLS: the server has to offer it, or something in between removes "
            "it; nothing is ever sent in the clear"
        ),
    ),
    Rule(
        "old-tls",
        lambda r, m: (
            _event(Event.HANDSHAKE)(r, m)
            and m.error is not None
            and "version" in m.error.message
        ),
        lambda _, __: (
            "the server offers nothing newer than TLS 1.1: whoever runs it has to turn "
            "on TLS 1.2 or 1.3"
        ),
    ),
    Rule("no-mechanism", _event(Event.NO_MECHANISM), _mechanism),
    Rule(
        "turned-away",
        lambda _, m: (
            m.error is not None
            and m.error.event is Event.NO_GREETING
            and m.error.reply is not None
        ),
        lambda _, m: f"the server turns us away: {m.greeting}",
    ),
    Rule(
        "silent",
        _silent,
        lambda _, __: (
            "the port is open, but no mail server answers: a firewall or proxy takes "
            "the connection, or the server is overloaded"
        ),
    ),
    Rule(
        "handshake",
        _event(Event.HANDSHAKE),
        lambda _, __: (
            "the port does not speak TLS as it should: a firewall or proxy in between "
            "may break it, or the server is set up wrongly"
        ),
    ),
    Rule(
        "ehlo",
        _event(Event.EHLO_REFUSED),
        lambda _, __: (
            "the server may not like our name: give one that it knows with "
            "Server(ehlo_name=...)"
        ),
    ),
    Rule(
        "port-blocked",
        _timed_out,
        lambda _, __: "no answer: a firewall drops it on the way",
    ),
    Rule(
        "port-refused",
        _event(Event.UNREACHABLE),
        lambda _, m: (
            "nothing listens there"
            if m.error is None or "refused" in m.error.message
            else m.error.message
        ),
    ),
)


def _count(report: Report) -> str:
    words = {2: "both", 3: "all three"}
    return words.get(len(report.methods), f"all {len(report.methods)}")
