"""The command line: ``smtpsend``, also ``python -m smtpsend``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0 if it did what was asked."""
    parser = argparse.ArgumentParser(
        prog="smtpsend", description="Send mail to a submission server, safely."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser(
        "demo", help="send a message through the fallback, on this machine"
    )
    commands.add_parser("explain", help="print the default policy in words")
    arguments = parser.parse_args(argv)
    if arguments.command == "demo":
        from smtpsend.cli.demo import demo

        return demo()
    from smtpsend import Policy

    print(Policy().explain())
    return 0
