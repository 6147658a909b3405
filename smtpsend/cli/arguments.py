"""The options and arguments of the command line. This module is fast to import."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

from smtpsend._patterns import pattern
from smtpsend.cli.exits import Exit, help_text
from smtpsend.cli.terminal.output import ERR, OUT
from smtpsend.cli.terminal.screen import terminal_columns


_SERVER = """\
The server is a host name, or a URL (smtp://host:587, smtps://host); without one it
comes from the environment: SMTP_URL, or SMTP_HOST or SMTP_PROVIDER with SMTP_USERNAME
and SMTP_PASSWORD or SMTP_PASSWORD_FILE. A development sink without TLS is
'smtp://localhost:1025?security=plaintext', or SMTP_HOST with SMTP_SECURITY=plaintext.
The password is never an argument, which others on this machine could read: it comes
from the environment, a file, or a prompt, and a URL has a user at most
(smtp://ann@host:587, which is the same as --user). SMTP_PROXY is the URL of a proxy.
"""
_SEND = """\
examples:
  smtpsend send message.eml                      addresses from its headers
  smtpsend send < message.eml
  smtpsend send message.eml --to you@example.org only to this address
  smtpsend send --from me@example.org --to you@example.org --subject Hello \\
                --text "It works." --attach report.pdf
"""
_MANY = """\
Each outcome is written to the results file at once, one JSON object a line. A message
is noted there before its send begins, so that after a crash it counts as unknown.
--resume goes on after an interruption. A message that was accepted, refused for good,
or may have been delivered is not sent again; messages are identified by their content.
After the first Ctrl-C the running sends finish; a second one aborts them.
"""
_LOGIN = """\
examples:
  smtpsend login smtp.office365.com --user ann@example.org --client-id ID --tenant ID
  smtpsend login smtp.gmail.com --user ann@gmail.com --client-id ID \\
                 --client-secret-file FILE

At Microsoft 365, a code is shown that is entered in any browser. At Google, a page is
opened in a browser on this machine. The refresh token is stored in the keyring of the
platform (extra keyring), or in a file that only you can read. Then
'smtpsend send --server HOST --user NAME' and the other commands log in by it.
"""
_CHOICE, _CHOOSE = "invalid choice: ", " (choose from "
_COMMAND = pattern(r"'[a-z-]{1,12}'")
_VALUE = pattern(r"(ignored explicit argument ).*", re.DOTALL)
_OPTION = pattern(r"--[A-Za-z0-9-]*+|-.?", re.DOTALL)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Formats a help text. argparse makes one of these for each argument it is told."""

    def __init__(self, prog: str, **options: Any) -> None:
        # Without a width, argparse imports shutil with all that this imports.
        super().__init__(prog, width=(terminal_columns() or 80) - 2, **options)


class Parser(argparse.ArgumentParser):
    """A parser that exits with code 64, and shows nothing that could be a secret."""

    def __init__(self, *, epilog: str = "", **options: Any) -> None:
        options.setdefault("description", options.get("help", ""))
        super().__init__(
            epilog=f"{epilog}\n{help_text()}",
            formatter_class=_Help,
            allow_abbrev=False,
            **options,
        )

    def error(self, message: str) -> NoReturn:
        ERR.write(self.format_usage())
        ERR.line(f"{self.prog}: {_without_value(message)}")
        self.exit(Exit.USAGE)

    def print_help(self, file: object = None) -> None:  # noqa: ARG002  # argparse's own
        OUT.write(self.format_help())


def _without_value(message: str) -> str:
    """An error of argparse without the argument that it quotes."""
    head, found, rest = message.partition(_CHOICE)
    given, choose, options = rest.rpartition(_CHOOSE)
    if found and choose:
        command = given if _COMMAND.fullmatch(given) else "***"
        message = f"{head}{found}{command}{choose}{options}"
    return _VALUE.sub(r"\1***", message)


def option_name(word: str) -> str:
    """The name of an option, without a value that may stand in the same word."""
    match = _OPTION.match(word)
    return "" if match is None else match[0]


class _Version(argparse.Action):
    """Print the version; it is looked up only for this option."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import smtpsend

        OUT.line(f"smtpsend {smtpsend.__version__}")
        parser.exit()


def build(command: str | None = None) -> Parser:
    """Make the parser of the command line, for all commands or for one.

    Args:
        command: the one; to describe all of them takes longer than a send.
    """
    parser = Parser(
        prog="smtpsend", description="Send mail to a submission server, safely."
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show the version and exit"
    )
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="COMMAND",
        parser_class=Parser,
    )
    for name, describe in _COMMANDS.items():
        if command in (name, None):
            describe(commands)
    return parser


def _explain(commands: argparse._SubParsersAction[Parser]) -> None:
    explain = commands.add_parser(
        "explain", help="say in words what a send does, and why"
    )
    _add_server(explain, trust=False)


def _demo(commands: argparse._SubParsersAction[Parser]) -> None:
    commands.add_parser(
        "demo", help="send a message through the fallback, on this machine"
    )


def _providers(commands: argparse._SubParsersAction[Parser]) -> None:
    providers = commands.add_parser(
        "providers", help="list the mail providers that are known by name"
    )
    providers.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="show all that is known of this one; its host is a name, too",
    )
    providers.add_argument("--json", action="store_true", help="print JSON")


def _check(commands: argparse._SubParsersAction[Parser]) -> None:
    check = commands.add_parser(
        "check",
        help="look at a server without sending, and say what to change",
        epilog=_SERVER,
    )
    check.add_argument("server", nargs="?", metavar="HOST|URL", help="the server")
    _add_trust(check)
    check.add_argument(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="time limit for all of it (default: 30)",
    )
    _add_output(check)


def _send(commands: argparse._SubParsersAction[Parser]) -> None:
    send = commands.add_parser(
        "send", help="send one message", epilog=_SEND + "\n" + _SERVER
    )
    send.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="a whole message (RFC 5322); - or nothing: from standard input",
    )
    _add_server(send)
    group = send.add_argument_group("the message, in place of FILE")
    group.add_argument("--from", dest="sender", metavar="ADDRESS", help="who sends it")
    for name, what in (
        ("to", "who gets it"),
        ("cc", "who gets a copy"),
        ("bcc", "who gets a copy that nobody sees"),
    ):
        group.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="ADDRESS",
            help=f"{what}; may be repeated",
        )
    group.add_argument("--subject", metavar="TEXT", help="the subject")
    group.add_argument("--text", metavar="TEXT", help="the text; - reads standard input")
    group.add_argument("--html", metavar="TEXT", help="the same as HTML; - as well")
    group.add_argument(
        "--attach",
        action="append",
        default=[],
        metavar="FILE",
        help="a file to attach; may be repeated",
    )
    _add_sending(send, "time limit for all of it (default: 900)")
    _add_output(send)


def _send_many(commands: argparse._SubParsersAction[Parser]) -> None:
    many = commands.add_parser(
        "send-many",
        help="send all messages of a folder or a mailbox",
        epilog=_MANY + "\n" + _SERVER,
    )
    many.add_argument(
        "source",
        metavar="DIR|MBOX",
        help="a folder of *.eml files, a Maildir, or an mbox file",
    )
    many.add_argument(
        "--results", required=True, metavar="FILE.jsonl", help="the file for the outcomes"
    )
    many.add_argument(
        "--resume",
        action="store_true",
        help="go on after an interruption, by the results file",
    )
    many.add_argument(
        "--connections",
        type=_count,
        default=4,
        metavar="N",
        help="how many connections at once (default: 4)",
    )
    _add_server(many)
    _add_sending(many, "time limit for each message (default: 900)")
    _add_output(many)


def _login(commands: argparse._SubParsersAction[Parser]) -> None:
    login = commands.add_parser(
        "login",
        help="log in by OAuth 2.0, and store the login for the other commands",
        epilog=_LOGIN,
    )
    login.add_argument("server", metavar="HOST", help="the mail server")
    for name, what in (
        ("--user NAME", "the mail address of the account"),
        ("--client-id ID", "the id of the client at the authorization server"),
        ("--client-secret-file FILE", "read the secret of the client from this file"),
        ("--tenant NAME", "the tenant of Microsoft 365: its id or a domain"),
        ("--token-url URL", "the token endpoint of another authorization server"),
        ("--device-url URL", "its endpoint for device codes"),
        ("--browser-url URL", "its page for a browser on this machine"),
        ("--scope TEXT", "the scope, where it is not the usual one"),
        ("--cafile FILE", "trust the CAs in this PEM file for the endpoints"),
        ("--refresh-token-file FILE", "store the refresh token in this file"),
    ):
        option, _, metavar = name.partition(" ")
        required = option == "--client-id"
        login.add_argument(option, metavar=metavar, help=what, required=required)
    login.add_argument(
        "--refresh-token",
        action="store_true",
        help="ask for a refresh token, and store that",
    )
    login.add_argument(
        "--no-keyring", action="store_true", help="store it in a file in any case"
    )


def _add_server(parser: argparse.ArgumentParser, *, trust: bool = True) -> None:
    parser.add_argument("--server", metavar="HOST|URL", help="the server")
    if trust:
        _add_trust(parser)


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--user", metavar="NAME", help="log in by this name; asks for the password"
    )
    parser.add_argument(
        "--password-file", metavar="FILE", help="read the password from this file"
    )
    parser.add_argument(
        "--cafile", metavar="FILE", help="trust the CAs in this PEM file only"
    )
    parser.add_argument(
        "--fingerprint",
        metavar="sha256:...",
        help="trust exactly this certificate; check shows it",
    )
    parser.add_argument(
        "--tls-name",
        metavar="NAME",
        help="the name that the certificate must be for, if it is not the host",
    )
    parser.add_argument(
        "--proxy",
        metavar="URL",
        help="connect through this proxy, socks5://host:1080 or http://host:3128; one "
        "with a login goes into SMTP_PROXY",
    )


def _add_sending(parser: argparse.ArgumentParser, timeout: str) -> None:
    parser.add_argument(
        "--require-all",
        action="store_true",
        help="send to nobody unless the server accepts every recipient",
    )
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help=timeout)
    parser.add_argument(
        "--notify",
        action=_AddEvents,
        type=_events,
        default=(),
        metavar="EVENTS",
        help="ask for notifications to the sender (DSN): any of success,failure,delay, "
        "or never",
    )
    parser.add_argument(
        "--require-tls",
        action="store_true",
        help="every further server must use TLS, too (REQUIRETLS), or return the message",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--debug",
        action="store_true",
        help="show the SMTP conversation on standard error, without secrets",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not (0 < seconds < math.inf):
        raise argparse.ArgumentTypeError("a number of seconds above 0")
    return seconds


def _events(text: str) -> tuple[str, ...]:
    events = tuple([event.strip().lower() for event in text.split(",")])
    if events != ("never",) and not {*events} <= {"success", "failure", "delay"}:
        raise argparse.ArgumentTypeError("any of success,failure,delay, or never")
    return events


class _AddEvents(argparse.Action):
    """Adds the events of `--notify` to those of the same option before it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        del parser, option_string  # argparse gives them to every action
        events = (*getattr(namespace, self.dest), *values)
        if "never" in events and {*events} != {"never"}:
            raise argparse.ArgumentError(self, "never stands alone")
        setattr(namespace, self.dest, events)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 100:
        raise argparse.ArgumentTypeError("a whole number from 1 to 100")
    return int(text)


_COMMANDS: dict[str, Callable[[argparse._SubParsersAction[Parser]], None]] = {
    "check": _check,
    "send": _send,
    "send-many": _send_many,
    "login": _login,
    "explain": _explain,
    "providers": _providers,
    "demo": _demo,
}
