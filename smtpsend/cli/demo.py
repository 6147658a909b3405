"""``smtpsend demo``: a message through the fallback, to a server on this machine."""

from __future__ import annotations

import logging
import sys

from smtpsend import Receipt, SendError, compose, send
from smtpsend.cli.timeline import bars, draw


def demo() -> int:
    """Send a message to an embedded server whose first port refuses, and show it all."""
    try:
        from smtpsend.testing.server import LocalServer
    except ImportError:
        print(
            "The demo needs an embedded server: pip install 'smtpsend[testing]'",
            file=sys.stderr,
        )
        return 2
    # All that the logs say is shown below, in full.
    for name in ("smtpsend", "mail.log"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with LocalServer(refuse=["starttls"]) as local:
        print(
            "An SMTP server with TLS and login runs on this machine; its first port\n"
            "refuses connections. Sending one message to it:\n"
        )
        message = compose(
            sender="Demo <demo@example.test>",
            to="you@example.test",
            subject="Hello from smtpsend ✓",
            text="If you can read this, the fallback worked.",
        )
        try:
            receipt = send(message, local.server())
        except SendError as error:
            print(draw(bars(error.attempts)))
            print(f"\nNot sent: {error}", file=sys.stderr)
            return 1
        print(draw(bars(receipt.attempts, receipt)))
        print(f"\n{describe(receipt)}\n")
        stored = local.messages[0]
        print(f"What the server stored, for {', '.join(stored.recipients)}:\n")
        print(_indented(stored.content.decode("utf-8", "replace")))
    return 0


def describe(receipt: Receipt) -> str:
    """A receipt in words."""
    lines = [
        "Receipt",
        f"  message    {receipt.message_id or '(no Message-ID)'}",
        f"  method     {receipt.method}, {receipt.tls or 'no TLS'}, {receipt.address}",
        f"  reply      {receipt.reply}",
        f"  accepted   {', '.join(receipt.accepted)}",
    ]
    lines += [
        f"  refused    {address}: {reply}" for address, reply in receipt.refused.items()
    ]
    lines += [
        f"  elapsed    {receipt.elapsed * 1000:.0f} ms",
        f"  before it  {'; '.join(map(str, receipt.attempts)) or 'nothing'}",
    ]
    return "\n".join(lines)


def _indented(text: str) -> str:
    return "\n".join(f"  | {line}" for line in text.splitlines())
