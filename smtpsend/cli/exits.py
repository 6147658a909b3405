"""The exit codes; those of sysexits.h where it has one that fits."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from smtpsend import Receipt, SendError


class Exit(IntEnum):
    """The exit code of a command; see `TABLE`."""

    OK = 0
    UNKNOWN = 20
    PARTIAL = 21
    USAGE = 64
    DATA = 65
    NO_INPUT = 66
    PERMANENT = 69
    CANNOT_WRITE = 73
    TEMPORARY = 75
    TLS = 76
    AUTH = 77
    CONFIG = 78
    INTERRUPTED = 130


TABLE: dict[Exit, str] = {
    Exit.OK: "done: accepted for everybody, or the server is fine",
    Exit.UNKNOWN: "it may have been delivered: look before you send it again",
    Exit.PARTIAL: "accepted for some recipients, refused for others",
    Exit.USAGE: "wrong arguments",
    Exit.DATA: "the message cannot be sent as it is",
    Exit.NO_INPUT: "a file cannot be read",
    Exit.PERMANENT: "refused, or unknown host: the same will fail again",
    Exit.CANNOT_WRITE: "the results file cannot be written, or is in use",
    Exit.TEMPORARY: "not sent, but may work later: try again",
    Exit.TLS: "the certificate was refused, or TLS is not available",
    Exit.AUTH: "the login was refused, or is not offered",
    Exit.CONFIG: "server, credentials or CA file cannot be used",
    Exit.INTERRUPTED: "interrupted",
}


def help_text() -> str:
    """The table of exit codes for ``--help``."""
    lines = [f"  {code.value:>3}  {text}" for code, text in TABLE.items()]
    return "exit codes:\n" + "\n".join(lines)


class Problem(Exception):
    """A problem of the command line that ends a command; its text is for a person."""

    def __init__(self, code: Exit, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.hint = hint


def exit_of(error: SendError) -> Exit:
    """The exit code for an error of the library."""
    from smtpsend import errors

    if isinstance(error, errors.DeliveryUnknown):
        return Exit.UNKNOWN
    if error.accepted:
        return Exit.PARTIAL
    if error.temporary:
        return Exit.TEMPORARY
    kinds = {
        errors.ConfigError: Exit.CONFIG,
        errors.AuthError: Exit.AUTH,
        errors.CertificateError: Exit.TLS,
        errors.TLSError: Exit.TLS,
    }
    return next(
        (kinds[kind] for kind in kinds if isinstance(error, kind)), Exit.PERMANENT
    )


# The option to type in place of an argument that a hint names.
_ARGUMENTS = {
    "Server(cafile=...)": "--cafile",
    "Server(fingerprint=...)": "--fingerprint",
    "Server(tls_name=...)": "--tls-name",
    "Method(port, 'implicit')": "smtps://host:port",
    "Method(port, 'starttls')": "smtp://host:port",
    " or into Policy(methods=...)": "",
    "sender=": "--from",
    "recipients=": "--to",
    "notify, ret and envid": "--notify",
    "require_tls": "--require-tls",
}


def advise(error: SendError) -> str:
    """The hint of an error as a sentence, with options in place of arguments."""
    text = as_typed(error.hint)
    return text and f"{text[0].upper()}{text[1:]}."


def as_typed(text: str) -> str:
    """Advice with the options of the commands in place of arguments."""
    for argument, option in _ARGUMENTS.items():
        text = text.replace(argument, option)
    return text


def state_of(receipt: Receipt | None, error: SendError | None) -> str:
    """The state of a message after a send, in one word.

    ``accepted``; ``partial`` (accepted for some recipients only); ``unknown`` (it may
    have been delivered); ``deferred`` (not sent, a later send may work); ``refused`` (by
    the server, for good); ``invalid`` (refused by us); ``failed`` (not sent, for another
    reason).
    """
    from smtpsend import errors

    if error is None:
        return "partial" if receipt is not None and receipt.refused else "accepted"
    if isinstance(error, errors.DeliveryUnknown):
        return "unknown"
    if error.accepted:
        return "partial"
    if error.temporary:
        return "deferred"
    if isinstance(error, errors.ConfigError):
        return "invalid"
    # Without a reply, only what was asked for ruled the message out.
    refused = isinstance(error, errors.Rejected) and error.reply is not None
    return "refused" if refused else "failed"
