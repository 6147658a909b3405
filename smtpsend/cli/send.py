"""``smtpsend send``: one message, from a file, standard input or options."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from smtpsend import Receipt, SendError, Server, compose
from smtpsend import send as send_it
from smtpsend._model.diagnosis.report import plain
from smtpsend._model.shortage import raise_if_short
from smtpsend.cli.credentials import is_asked, server_from
from smtpsend.cli.exits import Exit, Problem, advise, exit_of, state_of
from smtpsend.cli.messages import delivery_from, ready
from smtpsend.cli.terminal.output import OUT
from smtpsend.cli.terminal.screen import Screen, seconds
from smtpsend.cli.terminal.timeline import Bar, bars, show
from smtpsend.errors import ConfigError, Phase
from smtpsend.prepared import Prepared, prepare


# A send that takes longer than this shows where the time went; in seconds.
SLOW = 2.0


def send(arguments: argparse.Namespace) -> Exit:
    """Send one message, and print the receipt or the error."""
    server = server_from(arguments)
    delivery = delivery_from(arguments)
    try:
        message = _message(arguments)
    except ConfigError as error:
        text = f"the message cannot be sent: {error.message}"
        raise Problem(Exit.DATA, text, advise(error)) from None
    screen = Screen()
    receipt, failure = None, None
    try:
        with screen.live() as update:
            if not arguments.json:
                update([(f"Sending by {server.host} ...", "dim")])
            receipt = send_it(
                message.content,
                server,
                sender=message.sender,
                recipients=message.recipients,
                require_all=arguments.require_all,
                timeout=arguments.timeout,
                delivery=delivery,
            )
    except SendError as error:
        failure = error
    code = _code(receipt, failure)
    if arguments.json:
        state = state_of(receipt, failure)
        facts = {"ok": failure is None, "exit": int(code), "state": state}
        facts |= {"receipt": plain(receipt), "error": plain(failure)}
        OUT.json(facts, indent=2)
    elif receipt is not None:
        show_receipt(receipt, server, screen)
    elif failure is not None:
        show_failure(failure, screen)
    return code


def _code(receipt: Receipt | None, error: SendError | None) -> Exit:
    if error is not None:
        return exit_of(error)
    return Exit.PARTIAL if receipt is not None and receipt.refused else Exit.OK


def _message(arguments: argparse.Namespace) -> Prepared:
    texts = (arguments.subject, arguments.text, arguments.html)
    composing = arguments.attach or any(text is not None for text in texts)
    if arguments.file is not None or not composing:
        if composing or arguments.cc or arguments.bcc:
            raise Problem(
                Exit.USAGE,
                "a whole message goes with no other options than --from and --to, which "
                "replace the addresses in its headers",
            )
        return ready(_whole(arguments.file), arguments.sender, arguments.to)
    if arguments.sender is None or not (arguments.to or arguments.cc or arguments.bcc):
        raise Problem(Exit.USAGE, "a new message needs --from and --to")
    if arguments.text == arguments.html == "-":
        raise Problem(Exit.USAGE, "only one of --text and --html can be standard input")
    text, html = (_text(value) for value in (arguments.text, arguments.html))
    return prepare(
        compose(
            sender=arguments.sender,
            to=arguments.to,
            cc=arguments.cc,
            bcc=arguments.bcc,
            subject=arguments.subject or "",
            text=text,
            html=html,
            attachments=arguments.attach,
        )
    )


def _text(value: str | None) -> str | None:
    if value != "-":
        return value
    try:
        return _stdin().decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError("what standard input holds is not UTF-8 text") from None


def _whole(file: str | None) -> bytes:
    if file in (None, "-"):
        if file is None and is_asked():
            raise Problem(
                Exit.USAGE,
                "no message: name a file, pipe a message in, or make one with --from, "
                "--to, --subject and --text",
            )
        return _stdin()
    try:
        from pathlib import Path  # a message that is made of arguments needs no path

        return Path(str(file)).read_bytes()
    except (OSError, ValueError) as error:
        raise_if_short(error, f"{file} cannot be read", Phase.CONFIG)
        why = getattr(error, "strerror", None) or "not a path"
        raise Problem(Exit.NO_INPUT, f"{file} cannot be read: {why}") from None


def _stdin() -> bytes:
    if sys.stdin is None:
        raise Problem(Exit.NO_INPUT, "standard input is closed")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        why = error.strerror or "it is not open for reading"
        raise Problem(Exit.NO_INPUT, f"standard input cannot be read: {why}") from None


def show_receipt(receipt: Receipt, server: Server, screen: Screen) -> None:
    """Print a receipt for people."""
    end = ("accepted", "good") if not receipt.refused else ("accepted in part", "warn")
    screen.line(end, f", in {seconds(receipt.elapsed)}")
    _fact(screen, "by", f"{server.host}, {receipt.method}, {receipt.tls or 'no TLS'}")
    _fact(screen, "for", ", ".join(receipt.accepted))
    for address, reply in receipt.refused.items():
        _fact(screen, "refused", f"{address}: {reply}", "bad")
    _fact(screen, "reply", str(receipt.reply))
    _fact(screen, "id", receipt.message_id or "none")
    for attempt in receipt.attempts:
        _fact(screen, "before", str(attempt))
    if receipt.elapsed > SLOW:
        screen.line()
        screen.line(("Where the time went", "head"))
        show(bars(receipt.attempts, receipt), screen)


def show_failure(error: SendError, screen: Screen) -> None:
    """Print an error for people: what happened, what was tried, what to do."""
    state = state_of(None, error)
    heads = {
        "unknown": "UNKNOWN whether it was delivered",
        "deferred": "NOT SENT; it may work later",
        "partial": f"SENT IN PART: {', '.join(error.accepted)} have it",
    }
    screen.line((heads.get(state, "NOT SENT"), "bad"))
    screen.block(error.said(), indent="  ")
    for address, reply in getattr(error, "refused", {}).items():
        _fact(screen, "refused", f"{address}: {reply}", "bad")
    if error.hint:
        screen.block(advise(error), indent="  ")
    if error.message_id:
        _fact(screen, "id", error.message_id)
    if error.attempts:
        screen.line()
        screen.line(("What was tried", "head"))
        # The text of the error itself is printed above.
        shown = {b for b in bars(error.attempts) if b.outcome.endswith(error.said())}
        show([_short(b) if b in shown else b for b in bars(error.attempts)], screen)


def _short(bar: Bar) -> Bar:
    return replace(bar, outcome=bar.outcome.partition(":")[0] + ", as shown above")


def _fact(screen: Screen, label: str, value: str, style: str = "") -> None:
    screen.block((value, style), indent=" " * 11, first=f"  {label:<8} ")
