"""Recognises shortages of this machine: of file descriptors, memory, threads.

A shortage is temporary, and its cause is not the server, file or name that was in use. So
it always becomes a temporary error, and never a `ConfigError`.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from smtpsend.errors import ConnectError, Phase


_RAN_OUT = {
    "EMFILE": "this process has no file descriptor left",
    "ENFILE": "this machine has no file descriptor left",
    "ENOBUFS": "this machine has no buffer space left for a socket",
    "ENOMEM": "this machine has no memory left",
    # The same on Windows, where sockets have numbers of their own.
    "WSAEMFILE": "this process has no file descriptor left",
    "WSAENOBUFS": "this machine has no buffer space left for a socket",
}
_BY_ERRNO = {
    getattr(errno, name): text for name, text in _RAN_OUT.items() if hasattr(errno, name)
}

HINT = (
    "nothing was sent: send again later; see what this process holds open, and its "
    "limits (ulimit -n, ulimit -u)"
)
"""The hint of each error about a shortage."""


def shortage(error: BaseException) -> str | None:
    """Return a text that names what ran out; None if `error` is no shortage."""
    if isinstance(error, MemoryError):
        return _RAN_OUT["ENOMEM"]
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "this machine can start no further thread"
    # Subclasses are excluded, because in those of ssl, of the socket module's name
    # look-ups and of this library, `errno` has another meaning.
    if type(error) is OSError:
        return _BY_ERRNO.get(error.errno or 0)
    return None


def raise_if_short(error: BaseException, what: str, phase: Phase = Phase.CONNECT) -> None:
    """Raise the typed error of a shortage, if `error` is one.

    Args:
        error: the exception that was caught.
        what: the consequence, such as "the CA file cannot be read".
        phase: the phase of the send in which it was raised.

    Raises:
        ConnectError: `error` is a shortage; the `ConnectError` is temporary.
    """
    if (why := shortage(error)) is not None:
        text = f"{what}: {why}"
        raise ConnectError(text, phase=phase, temporary=True, hint=HINT) from None


@contextmanager
def importing() -> Iterator[None]:
    """Surround the import of a module that is put off until it is needed.

    Raises:
        ConnectError: this machine has no file descriptor left to read the module, or
            the interpreter is ending.
    """
    try:
        yield
    except ImportError:
        if not sys.is_finalizing():
            raise
        text = "a module of smtpsend cannot be imported: the interpreter is ending"
        raise ConnectError(
            text,
            phase=Phase.CONFIG,
            temporary=True,
            hint="nothing was sent: send before the program ends",
        ) from None
    except OSError as error:
        raise_if_short(error, "a module of smtpsend cannot be imported", Phase.CONFIG)
        raise
