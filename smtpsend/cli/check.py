"""``smtpsend check``: report on a server, and on what to change, without sending."""

from __future__ import annotations

import argparse

from smtpsend._model.server.providers import provider_named
from smtpsend.check import Certificate, MethodReport, Report
from smtpsend.check import check as look
from smtpsend.cli.credentials import server_from
from smtpsend.cli.exits import Exit, as_typed, exit_of
from smtpsend.cli.terminal.output import OUT
from smtpsend.cli.terminal.screen import NO_BREAK, Part, Screen, seconds
from smtpsend.errors import Phase


_LABEL = 13
_NAMES = {Phase.CONNECT: "TCP", Phase.EHLO: "EHLO", Phase.TLS: "TLS"}
_NAMES |= {Phase.STARTTLS: "STARTTLS"}


def check(arguments: argparse.Namespace) -> Exit:
    """Check a server, and show the report."""
    server = server_from(arguments)
    screen = Screen()
    with screen.live() as update:
        if not arguments.json:
            update([(f"Looking at {server.host} ...", "dim")])
        report = look(server, timeout=arguments.timeout)
    code = Exit.OK if report.error is None else exit_of(report.error)
    if arguments.json:
        OUT.json({"exit": int(code), **report.as_dict()}, indent=2)
    else:
        show(report, screen)
    return code


def show(report: Report, screen: Screen) -> None:
    """Print a report for people."""
    addresses = ", ".join(report.addresses)
    where = f"  {addresses}" if addresses not in ("", report.host) else ""
    screen.line((report.host, "head"), where)
    if report.provider is not None:
        screen.line(f"  {provider_named(report.provider).name}")
    if report.proxy is not None:
        screen.line(f"  through the proxy {report.proxy}")
    seen: dict[str, MethodReport] = {}
    for method in report.methods:
        screen.line()
        _method(method, screen, seen)
    if report.port25 is not None:
        screen.line()
        _port25(report, screen)
    if report.login is not None:
        screen.line()
        _login(report, screen)
    screen.line()
    screen.block((report.verdict, "good" if report.ok else "bad"))
    if report.ok and report.login is None:
        _no_login(report, screen)
    if report.advice:
        screen.line()
        worst = "What could be better" if report.ok else "What to change"
        screen.line((worst, "head"))
        for sentence in report.advice:
            named = sentence.startswith(report.host)
            text = sentence if named else sentence[0].upper() + sentence[1:]
            screen.block(as_typed(text) + ".", indent="    ", first="  - ")


def _no_login(report: Report, screen: Screen) -> None:
    if any(method.mechanisms for method in report.methods):
        screen.block(
            ("No credentials were given: whether they are right was not tried.", "dim")
        )


def _method(m: MethodReport, screen: Screen, seen: dict[str, MethodReport]) -> None:
    if m.error is None:
        end: Part = (f"ready in {seconds(m.elapsed)}", "good")
    else:
        end = (f"FAILED at {_name(m.error.phase)}, after {seconds(m.elapsed)}", "bad")
    screen.line((str(m.method), "head"), "  ", end)
    if m.error is not None:
        _fact(screen, "error", m.error.said(), "bad")
    if m.address:
        _fact(screen, "connected to" if m.connected else "tried", m.address)
    _conversation(m, screen, seen)
    if m.steps:
        steps = [
            f"{_name(step.phase)} {seconds(step.seconds)}".replace(" ", NO_BREAK)
            for step in m.steps
        ]
        _fact(screen, "time", ", ".join(steps))


def _conversation(m: MethodReport, screen: Screen, seen: dict[str, MethodReport]) -> None:
    """Print the server's greeting, TLS, certificate and extensions."""
    if m.greeting is not None:
        _fact(screen, "greeting", str(m.greeting))
    if m.starttls is not None:
        _fact(screen, "STARTTLS", "offered" if m.starttls else "NOT offered")
    if m.tls is not None:
        _fact(screen, "TLS", f"{m.tls}, {m.cipher}")
    if m.certificate is not None:
        _certificate(m, m.certificate, screen, seen)
    if m.extensions:
        _offers(m, screen)


def _offers(m: MethodReport, screen: Screen) -> None:
    if m.tls is not None or m.method.security == "plaintext":
        _fact(screen, "login by", ", ".join(m.mechanisms) or "none offered")
        limit = "not said" if m.size_limit is None else _size(m.size_limit)
        _fact(screen, "size limit", limit)
    shown = [line for line in m.extensions if not line.upper().startswith("AUTH")]
    _fact(screen, "extensions", ", ".join(shown))


def _certificate(
    m: MethodReport, shown: Certificate, screen: Screen, seen: dict[str, MethodReport]
) -> None:
    refused = "" if shown.verified else "REFUSED; "
    style = "" if shown.verified else "bad"
    same = seen.setdefault(shown.fingerprint, m)
    if same is not m:
        text = f"{refused}the same as on {same.method.port}"
        _fact(screen, "certificate", text, style)
        return
    names = ", ".join(shown.names[:8]) or "no name at all"
    more = f" and {len(shown.names) - 8} more" if len(shown.names) > 8 else ""
    _fact(screen, "certificate", f"{refused}for {names}{more}", style)
    issuer = "itself" if shown.self_signed else shown.issuer
    _fact(screen, "", f"issued by {issuer}")
    _fact(screen, "", _validity(shown), "warn" if shown.days_left < 14 else "")
    _fact(screen, "", shown.fingerprint)


def _validity(shown: Certificate) -> str:
    until = f"{shown.not_after:%Y-%m-%d}"
    if shown.days_left < 0:
        return f"EXPIRED on {until}"
    return f"valid until {until}, {shown.days_left:,} days left"


def _port25(report: Report, screen: Screen) -> None:
    port25 = report.port25
    assert port25 is not None  # noqa: S101
    screen.line(("25", "head"), "  not used: it is for servers talking to servers")
    if port25.greeting is not None:
        _fact(screen, "greeting", str(port25.greeting))
    else:
        _fact(screen, "there", f"{port25.error}, after {seconds(port25.elapsed)}")


def _login(report: Report, screen: Screen) -> None:
    login = report.login
    assert login is not None  # noqa: S101
    accepted = login.error is None
    end: Part = ("accepted", "good") if accepted else ("REFUSED", "bad")
    screen.line(("Login", "head"), "  ", end)
    _fact(screen, "user", login.username)
    how = " over ".join(filter(None, (login.mechanism, str(login.method or ""))))
    if how:
        _fact(screen, "by", how)
    if login.error is not None:
        _fact(screen, "error", login.error.said(), "bad")
    _fact(screen, "time", f"{seconds(login.elapsed)}, with the connection")


def _fact(screen: Screen, label: str, value: str, style: str = "") -> None:
    indent = " " * (_LABEL + 3)
    screen.block((value, style), indent=indent, first=f"  {label:<{_LABEL}} ")


def _name(phase: Phase) -> str:
    return _NAMES.get(phase, phase.value)


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit} ({count:,} bytes)"
    return f"{count} bytes"
