"""Rules for the advice of a check: each recognises a fault, and names what to change.

`WHOLE` has the rules for a fault that all methods share. `EACH` has the rules for the
fault of a single method.
"""

from __future__ import annotations

from collections.abc import Callable

from smtpsend._events import HINTS, NO_MD5
from smtpsend._model.diagnosis.hints_by_event import sink_remedy
from smtpsend._model.diagnosis.report import MethodReport, Report
from smtpsend._model.diagnosis.tls_remedies import (
    certificate_remedy,
    handshake_remedy,
    listed,
)
from smtpsend._model.server.host import is_private
from smtpsend._model.server.providers import provider_named
from smtpsend._values import dataclass
from smtpsend.errors import Event, Phase


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition on the facts of a check, and the sentence for facts that meet it."""

    name: str
    fits: Callable[[Report, MethodReport], bool]
    say: Callable[[Report, MethodReport], str]


# the conditions


def _event(*events: Event) -> Callable[[Report, MethodReport], bool]:
    return lambda _, m: m.error is not None and m.error.event in events


def by_proxy(_: Report, m: MethodReport) -> bool:
    """Return whether a proxy opened no connection, or could not be reached itself."""
    error = m.error
    return error is not None and error.phase is Phase.CONNECT and _PROXY in error.message


_PROXY = ": the proxy "
PROXY_DOWN = "cannot be reached ("
"""In the text of an error: the proxy itself was not reached."""


def _timed_out(r: Report, m: MethodReport) -> bool:
    error = m.error
    if error is None or by_proxy(r, m):
        return False
    return error.phase is Phase.CONNECT and error.timed_out


def _silent(_: Report, m: MethodReport) -> bool:
    error = m.error
    if error is None:
        return False
    waited = error.event is Event.HANDSHAKE and error.timed_out
    return waited or error.event is Event.NO_GREETING


def _unconnected(*words: str) -> Callable[[Report, MethodReport], bool]:
    def fits(r: Report, m: MethodReport) -> bool:
        error = m.error
        if error is None or error.phase is not Phase.CONNECT or by_proxy(r, m):
            return False
        return any(word in error.message for word in words)

    return fits


def _message(m: MethodReport) -> str:
    return "" if m.error is None else m.error.message


def _mechanism(_: Report, m: MethodReport) -> str:
    hint = "" if m.error is None else m.error.hint
    if hint == NO_MD5:
        offered = listed(m.mechanisms)
        return f"the server offers {offered}, and this Python has no MD5: {NO_MD5}"
    return hint


def rewritten(_: Report, m: MethodReport) -> bool:
    """Return whether a firewall has overwritten keywords of the EHLO reply by X or A."""
    return any(len(line) > 3 and not line.rstrip("A").strip("X") for line in m.extensions)


# the tables

WHOLE: tuple[Rule, ...] = (
    Rule(
        "blocked",
        lambda r, m: _timed_out(r, m) and len(r.methods) > 1,
        lambda r, _: (
            f"{_count(r)} ports time out: your provider or network blocks outgoing mail "
            f"(SMTP) ports{_or_wrong_host(r)}. Ask for one of them to be opened"
            f"{_or_other_port(r)}"
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


def _proxy_remedy(_: Report, m: MethodReport) -> str:
    assert m.error is not None  # noqa: S101  # `by_proxy` asks for it
    what = m.error.message.partition(_PROXY)[2]
    return f"the proxy {what}: {m.error.hint}"


EACH: tuple[Rule, ...] = (
    Rule("proxy", by_proxy, _proxy_remedy),
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
        "certificate",
        _event(Event.CERTIFICATE),
        lambda r, m: certificate_remedy(
            _message(m),
            r.tls_name or r.host,
            m.certificate,
            tls_name=r.tls_name is not None,
        ),
    ),
    Rule(
        "client-certificate",
        _event(Event.CLIENT_CERTIFICATE),
        lambda _, m: f"{_message(m)}: {HINTS[Event.CLIENT_CERTIFICATE]}",
    ),
    Rule(
        "firewall-rewrites",
        lambda r, m: _event(Event.NO_STARTTLS)(r, m) and rewritten(r, m),
        lambda _, __: (
            "a firewall or virus scanner in between overwrites what the server offers, "
            "STARTTLS included: turn its SMTP inspection off, or use 465"
        ),
    ),
    Rule(
        "no-starttls",
        _event(Event.NO_STARTTLS),
        lambda r, m: (
            f"no STARTTLS; {sink_remedy(r.host, m.method.port)}"
            if m.address is not None and is_private(m.address)
            else "no STARTTLS: the server has to offer it, or something in between "
            "removes it; nothing is ever sent in the clear"
        ),
    ),
    Rule(
        "tls",
        lambda r, m: (
            _event(Event.HANDSHAKE)(r, m) and bool(handshake_remedy(_message(m)))
        ),
        lambda _, m: handshake_remedy(_message(m)),
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


def _or_wrong_host(report: Report) -> str:
    return ", or the host is wrong" if report.provider is None else ""


def _or_other_port(report: Report) -> str:
    if report.provider is None:
        tried = {m.method.port for m in report.methods}
        ports = [str(port) for port in (587, 465, 2525, 2587) if port not in tried]
        such = f" (such as {' or '.join(ports[-2:])})" if ports else ""
        return f", or whether the mail server listens on another port{such}"
    if untried_methods(report):
        return ""  # a rule of its own names them
    return f"; {provider_named(report.provider).name} documents no other port"


def untried_methods(report: Report) -> list[str]:
    """The methods of the provider of a host on ports that the check did not try."""
    if report.provider is None:
        return []
    tried = {m.method.port for m in report.methods}
    methods = provider_named(report.provider).methods
    return [str(method) for method in methods if method.port not in tried]


def _count(report: Report) -> str:
    words = {2: "both", 3: "all three"}
    return words.get(len(report.methods), f"all {len(report.methods)}")
