"""``smtpsend demo``: send a message with a fallback, to a server on this machine."""

from __future__ import annotations

import argparse
import logging

from smtpsend import Receipt, SendError, compose, send
from smtpsend.cli.exits import Exit, Problem, exit_of
from smtpsend.cli.screen import Screen
from smtpsend.cli.timeline import bars, show


def demo(_: argparse.Namespace) -> Exit:
    """Send a message to an embedded server whose first port refuses connections."""
    try:
        from smtpsend.testing.server import LocalServer
    except ImportError:
        raise Problem(
            Exit.CONFIG,
            "the demo needs an embedded server: pip install 'smtpsend[testing]'",
        ) from None
    # The log of the embedded server would hide the output of the demo.
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    screen = Screen()
    with LocalServer(refuse=["starttls"]) as local:
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
