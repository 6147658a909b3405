"""Refuses passwords in arguments, because other users of the machine can read these."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from smtpsend._patterns import pattern
from smtpsend.cli.exits import Exit, Problem


_SCHEME = pattern(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]*+://")
_HOW = (
    "give it by a prompt (--user NAME, or smtp://NAME@HOST), --password-file, "
    "SMTP_PASSWORD or SMTP_PASSWORD_FILE, or put the whole URL into SMTP_URL"
)


def refuse_passwords(arguments: argparse.Namespace) -> None:
    """Refuse a password in --user and --proxy, or in the URL of a server in any argument.

    The error text does not repeat the argument, because it may hold the password.

    Raises:
        Problem: an argument may hold a password.
    """
    user = getattr(arguments, "user", None)
    if user is not None and ":" in user:
        raise Problem(
            Exit.USAGE,
            f"--user has a colon: if a password follows it, {_HOW}. A colon that belongs "
            "to the name is written as %3A in smtp://NAME@HOST",
        )
    proxy = getattr(arguments, "proxy", None)
    if proxy is not None and "@" in proxy:
        raise Problem(
            Exit.USAGE,
            "the login of a proxy is no argument: others could read it. Put the whole "
            "URL into SMTP_PROXY",
        )
    if any(_holds_password(value) for value in _servers(arguments)):
        raise Problem(
            Exit.USAGE,
            f"a password in a URL is no argument: others could read it. Instead {_HOW}",
        )


def _servers(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the server, and each other argument that looks like the URL of a server."""
    for name, value in vars(arguments).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and (
                name == "server" or text.lower().startswith(("smtp://", "smtps://"))
            ):
                yield text


def _holds_password(server: str) -> bool:
    """Return whether a URL has text between a colon and its last @.

    The URL need not be well-formed. A text without a scheme is no usable server, but its
    password is as secret.
    """
    user = _SCHEME.sub("", server, count=1).rpartition("@")[0]
    return bool(user.partition(":")[2])
