"""Write the verdict and the advice of a check.

The rules are the tables of remedies.py. If a rule of `WHOLE` fits every method, the first
such rule gives one sentence for all methods. Otherwise each method gets the sentence of
the first rule of `EACH` that fits it; none fits a method that works. The rules of
`BESIDES` (below) are tried in any case.
"""

from __future__ import annotations

from smtpsend._model.diagnosis.login_remedies import LATER
from smtpsend._model.diagnosis.remedies import (
    EACH,
    PROXY_DOWN,
    WHOLE,
    Rule,
    rewritten,
    untried_methods,
)
from smtpsend._model.diagnosis.report import MethodReport, Report
from smtpsend._model.diagnosis.tls_remedies import listed
from smtpsend._model.server.providers import provider_named
from smtpsend._patterns import pattern
from smtpsend.errors import AuthError, Event, Phase


def advice(report: Report) -> tuple[str, ...]:
    """Return sentences that name what to change, the most important first."""
    lines = list(_login(report))
    if not report.methods:
        lines += [_unresolved(report)] if _is_unresolved(report) else []
    elif (common := _common(report)) is not None:
        lines.append(common)
    else:
        lines += _by_method(report)
    if report.methods:
        first = report.methods[0]
        lines += [rule.say(report, first) for rule in BESIDES if rule.fits(report, first)]
    return tuple(dict.fromkeys(lines))


def _common(report: Report) -> str | None:
    if any(method.ready for method in report.methods):
        return None
    for rule in WHOLE:
        if all(rule.fits(report, method) for method in report.methods):
            return rule.say(report, report.methods[0])
    return None


def _by_method(report: Report) -> list[str]:
    """Return one sentence for each fault, with the ports that have it."""
    ports: dict[str, list[str]] = {}
    for method in report.methods:
        rule = next((rule for rule in EACH if rule.fits(report, method)), None)
        if rule is not None:
            text = rule.say(report, method)
            ports.setdefault(text, []).append(str(method.method.port))
    return [
        f"port{'s' * (len(of) > 1)} {listed(of)}: {text}" for text, of in ports.items()
    ]


def verdict(report: Report) -> str:
    """Return one or two sentences that predict the result of a send, with the cause."""
    if report.chosen is None:
        why = "" if report.error is None else f": {report.error.said().rstrip('.')}"
        return f"Nothing would be sent{why}."
    where = f"A message would go by {report.chosen}"
    known = {method.method: method for method in report.methods}
    before = report.methods[: list(known).index(report.chosen)] if known else ()
    failed = [m for m in before if m.error is not None]
    if failed:
        why = "; ".join(
            f"{m.method}: {m.error.message.rstrip('.')}" for m in failed if m.error
        )
        return f"{where}, since what comes before it does not work ({why})."
    if before:
        names = listed([str(m.method) for m in before])
        return f"{where}: it was ready before {names}, which works too, but slowly."
    if len(report.methods) == 1:
        return f"{where}, the only method that was asked for."
    return f"{where}, which comes first in the policy and works."


def _is_unresolved(report: Report) -> bool:
    return report.error is not None and report.error.event is Event.UNRESOLVED


def _unresolved(report: Report) -> str:
    error = report.error
    if error is not None and error.message.startswith("the proxy's"):
        return f"{error.message}: {error.hint}"
    if error is not None and error.temporary:
        return (
            f"the host name {report.host} cannot be looked up: "
            "check the DNS of this machine"
        )
    return (
        f"the host name {report.host} is unknown: check its spelling, and that the DNS "
        "of this machine knows it"
    )


def _login(report: Report) -> list[str]:
    login = report.login
    if login is None or login.error is None:
        return []
    if not isinstance(login.error, AuthError):
        return ["the login was not answered: try again later"]
    if login.error.reply is None:
        # No secret could be obtained, so the server was never asked.
        return [f"no login was tried: {login.error.hint}"]
    if login.error.temporary:
        return [LATER]
    # The hint names the causes that are possible with these credentials and this reply.
    return [f"login refused: {login.error.hint}"]


def _blocked(report: Report) -> bool:
    """Return whether the network may be what keeps every method from the server.

    Another port may lead out of a network that closes one, or lets a firewall take the
    connection. It does not help where there is no way to the host or to the proxy.
    """
    return all(_blocks(report, m) for m in report.methods)


def _blocks(report: Report, method: MethodReport) -> bool:
    error = method.error
    if error is None or error.reply is not None or method.speaks is not None:
        return False
    if error.phase is Phase.CONNECT:
        closed = error.timed_out or _CLOSED.search(error.message) is not None
        return closed and PROXY_DOWN not in error.message
    if error.event is Event.NO_STARTTLS:
        return rewritten(report, method)
    # A firewall in between accepts the connection, and is silent or cuts it off.
    return error.event is Event.NO_GREETING or (
        error.event is Event.HANDSHAKE and (error.timed_out or error.temporary)
    )


# The texts for a port that is closed, here or by a rule of the proxy.
_CLOSED = pattern("refused|does not allow|cannot connect")


def _other_ports(report: Report) -> str:
    assert report.provider is not None  # noqa: S101  # it has untried methods
    provider = provider_named(report.provider)
    return (
        f"{provider.name} also has {listed(untried_methods(report))}: "
        f"Server.at({provider.key!r}, ...), or SMTP_PROVIDER={provider.key} in place of "
        "the host, tries them all"
    )


BESIDES: tuple[Rule, ...] = (
    Rule(
        "other-ports",
        lambda r, _: bool(untried_methods(r)) and _blocked(r),
        lambda r, _: _other_ports(r),
    ),
    Rule(
        "detour",
        lambda r, m: r.ok and not m.ready,
        lambda r, _: (
            f"a policy that begins with {r.chosen} saves the detour: Policy(methods=...)"
        ),
    ),
    Rule(
        "only-25",
        lambda r, _: (
            not r.ok
            and not any(m.connected for m in r.methods)
            and r.port25 is not None
            and r.port25.greeting is not None
        ),
        lambda r, _: (
            f"port 25 answers: {r.host} seems to be a server that receives mail (MX). "
            "Programs send through a submission server, whose name is often another one"
        ),
    ),
    Rule(
        "expires-soon",
        lambda r, _: _expiring(r) is not None,
        lambda r, _: (
            f"the certificate expires in {_expiring(r)} days; nothing will be sent after "
            "that"
        ),
    ),
)


def _expiring(report: Report) -> int | None:
    days = [
        m.certificate.days_left
        for m in report.methods
        if m.certificate is not None and m.certificate.verified
    ]
    return min(days) if days and 0 <= min(days) < _SOON else None


_SOON = 14
