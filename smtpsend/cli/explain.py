"""``smtpsend explain``: the policy in words."""

from __future__ import annotations

import argparse
import textwrap

from smtpsend import Policy
from smtpsend.cli.credentials import server_named
from smtpsend.cli.exits import Exit
from smtpsend.cli.terminal.screen import Screen


def explain(arguments: argparse.Namespace) -> Exit:
    """Print the default policy, or that of a server given by its URL."""
    given = arguments.server
    policy = Policy() if given is None else server_named(given)[0].policy
    screen = Screen()
    for line in policy.explain().splitlines():
        indent = line[: len(line) - len(line.lstrip(" -"))]
        deeper = " " * len(indent)
        for part in textwrap.wrap(
            line.strip(" -") if indent else line,
            screen.width,
            initial_indent=indent,
            subsequent_indent=deeper,
        ) or [""]:
            screen.line((part, "head") if part.endswith(":") and not indent else part)
    return Exit.OK
