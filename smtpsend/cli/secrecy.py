"""No password is accepted as an argument: others on the machine can read those."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from smtpsend.cli.exits import Exit, Problem


_SCHEME = re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*+://")
_HOW = (
    "give it by a prompt (--user NAME, or smtp://NAME@HOST), --password-file, "
    "SMTP_PASSWORD or SMTP_PASSWORD_FILE, or put the whole URL into SMTP_URL"
)


def refuse_passwords(arguments: argparse.Namespace) -> None:
    """Refuse a password in the server's URL, wherever that URL stands.

    The message does not repeat the argument.

    Raises:
        Problem: there is one.
    """
    user = getattr(arguments, "user", None)
    if user is not None and ":" in user:
        raise Problem(
            Exit.USAGE,
            f"--user has a colon: if a password follows it, {_HOW}. A colon that belongs "
            "to the name is written as %3A in smtp://NAME@HOST",
        )
    if any(_holds_password(value) for value in _servers(arguments)):
        raise Problem(
            Exit.USAGE,
            f"a password in a URL is no argument: others could read it. Instead {_HOW}",
        )


def _servers(arguments: argparse.Namespace) -> Iterator[str]:
    """The server, and whatever looks like the URL of one in another's place."""
    for name, value in vars(arguments).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and (
                name == "server" or text.lower().startswith(("smtp://", "smtps://"))
            ):
                yield text


def _holds_password(server: str) -> bool:
    """Whether a URL, well-formed or not, has something between a colon and its last @.

    Also what has no scheme: it cannot be used, and would not be less of a secret.
    """
    user = _SCHEME.sub("", server, count=1).rpartition("@")[0]
    return bool(user.partition(":")[2])
