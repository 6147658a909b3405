"""The command line: ``smtpsend``, or ``python -m smtpsend``."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO, cast

from smtpsend.cli.arguments import Parser, build, option_name
from smtpsend.cli.exits import Exit, Problem, advise, exit_of
from smtpsend.cli.secrecy import refuse_passwords
from smtpsend.cli.terminal.output import ERR, OUT, printable


if TYPE_CHECKING:
    import argparse

    from smtpsend import SendError


_COMMANDS = {
    "check": ("check", "check"),
    "send": ("send", "send"),
    "send-many": ("many", "send_many"),
    "login": ("login", "login"),
    "explain": ("explain", "explain"),
    "providers": ("providers", "list_providers"),
    "demo": ("demo", "demo"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments, by default those of the process.

    Returns:
        The exit code; ``smtpsend --help`` shows what they mean.
    """
    try:
        return _main(argv)
    finally:
        # What fails when the interpreter ends would change the exit code.
        OUT.flush()
        ERR.flush()


def _main(argv: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    parser = build(given[0] if given and given[0] in _COMMANDS else None)
    try:
        arguments = _parsed(parser, given)
    except SystemExit as end:
        return int(end.code or 0)
    _set_up(debug=getattr(arguments, "debug", False))
    try:
        refuse_passwords(arguments)
        return int(_run(arguments))
    except Problem as problem:
        return _failed(arguments, problem.code, str(problem), problem.hint)
    except KeyboardInterrupt:
        return _failed(arguments, Exit.INTERRUPTED, "interrupted")


def _parsed(parser: Parser, given: list[str]) -> argparse.Namespace:
    if not given:
        *most, last = _COMMANDS
        parser.error(f"give a command: {', '.join(most)} or {last} (--help says more)")
    arguments, unknown = parser.parse_known_args(given)
    if any(word == "--password" or word.startswith("--password=") for word in unknown):
        parser.error(
            "a password is no argument: others could read it. Use --password-file, "
            "the environment, or the prompt that comes with --user"
        )
    if unknown:
        # Only the names of options are shown, since a value could be a secret.
        names = [option_name(word) for word in unknown if word.startswith("-")]
        parser.error(
            f"unknown option: {' '.join(names)}" if names else "an argument too many"
        )
    return arguments


def _run(arguments: argparse.Namespace) -> Exit:
    """Import the module of one command, and run the command."""
    from importlib import import_module

    module, function = _COMMANDS[arguments.command]
    command = getattr(import_module(f"smtpsend.cli.{module}"), function)
    from smtpsend import SendError

    try:
        return Exit(command(arguments))
    except SendError as error:
        return _failed(arguments, exit_of(error), error.said(), advise(error), error)


def _set_up(*, debug: bool) -> None:
    # A reply may hold characters that the encoding of the terminal lacks.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    log = logging.getLogger("smtpsend")
    if debug:
        handler = logging.StreamHandler(cast("TextIO", ERR))
        handler.setFormatter(_Formatter("%(asctime)s %(message)s"))
        log.handlers, log.propagate = [handler], False
    # Without --debug nothing is logged: the commands show it all themselves.
    log.setLevel(logging.DEBUG if debug else logging.CRITICAL)


class _Formatter(logging.Formatter):
    """Lines of the log, each on one line of the terminal, without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).split("\n")
        return "\n".join(printable(line.removesuffix("\r")) for line in lines)


def _failed(
    arguments: argparse.Namespace,
    code: Exit,
    text: str,
    hint: str = "",
    error: SendError | None = None,
) -> Exit:
    if getattr(arguments, "json", False):
        from smtpsend._model.diagnosis.report import plain

        message = f"{text}\n  {hint}".rstrip()
        what = {"message": message} if error is None else plain(error)
        OUT.json({"ok": False, "exit": int(code), "error": what})
    else:
        ERR.line(f"smtpsend: {text}")
        if hint:
            ERR.line(f"  {hint}")
    return code
