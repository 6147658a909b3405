"""``smtpsend demo``: send a message with a fallback, to a server on this machine."""

from __future__ import annotations

import argparse
import logging
from contextlib import ExitStack

from smtpsend import Receipt, SendError, compose, send
from smtpsend.cli.exits import Exit, Problem, exit_of
from smtpsend.cli.terminal.screen import Screen
from smtpsend.cli.terminal.timeline import bars, show
from smtpsend.testing import is_missing


def demo(_: argparse.Namespace) -> Exit:
    """Send a message to an embedded server whose first port refuses connections."""
    try:
        from smtpsend.testing.server import LocalServer
    except ImportError as error:
        what = "the demo needs an embedded server"
        if is_missing(error):
            raise Problem(
                Exit.CONFIG, f"{what}: pip install 'smtpsend[testing]'"
            ) from None
        raise Problem(
            Exit.CONFIG, f"{what}, which cannot be imported here: {error}"
        ) from None
    # The log of the embedded server would hide the output of the demo.
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    screen = Screen()
    with ExitStack() as stack:
        try:
            local = stack.enter_context(LocalServer(refuse=["starttls"]))
        except OSError as error:
            # It needs a temporary folder for its certificate, and 127.0.0.1.
            text = f"the embedded server cannot start: {error}"
            raise Problem(Exit.CONFIG, text) from None
        screen.block(
            "An SMTP server with TLS and login runs on this machine; its first port "
            "refuses connections. Sending one message to it:"
        )
        screen.line()
        message = compose(
            sender="Demo <demo@example.test>",
            to="you@example.test",
            subject="Hello from smtpsend ✓",
            text="If you can read this, the fallback worked.",
        )
        try:
            receipt = send(message, local.server())
        except SendError as error:
            show(bars(error.attempts), screen)
            screen.block((f"Not sent: {error}", "bad"))
            return exit_of(error)
        show(bars(receipt.attempts, receipt), screen)
        screen.line()
        _describe(receipt, screen)
        stored = local.messages[0]
        screen.line()
        screen.line(f"What the server stored, for {', '.join(stored.recipients)}:")
        screen.line()
        for line in stored.content.decode("utf-8", "replace").splitlines():
            screen.line(("  | ", "dim"), line)
    return Exit.OK


def _describe(receipt: Receipt, screen: Screen) -> None:
    """Print a receipt, field by field."""
    tls = receipt.tls or "no TLS"
    facts = {
        "message": receipt.message_id or "(no Message-ID)",
        "method": f"{receipt.method}, {tls}, {receipt.address}",
        "reply": str(receipt.reply),
        "accepted": ", ".join(receipt.accepted),
        "elapsed": f"{receipt.elapsed * 1000:.0f} ms",
        "before it": "; ".join(map(str, receipt.attempts)) or "nothing",
    }
    screen.line(("Receipt", "head"))
    for name, value in facts.items():
        screen.block(value, indent=" " * 13, first=f"  {name:<11}")
