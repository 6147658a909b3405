"""When this machine runs out of something: file descriptors, memory, threads.

Such a failure passes, and says nothing about the server, the file or the name that was
being looked at: it is a temporary error wherever it happens, and never a `ConfigError`.
"""

from __future__ import annotations

import errno

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
_WORDS = {
    getattr(errno, name): words
    for name, words in _RAN_OUT.items()
    if hasattr(errno, name)
}

HINT = (
    "nothing was sent: send again later; see what this process holds open, and its "
    "limits (ulimit -n, ulimit -u)"
)
"""What to do about a shortage."""


def shortage(error: BaseException) -> str | None:
    """What ran out, in words; None if `error` is about something else."""
    if isinstance(error, MemoryError):
        return _RAN_OUT["ENOMEM"]
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return "this machine can start no further thread"
    # No subclass: those of ssl, of name look-ups and ours have numbers of their own.
    if type(error) is OSError:
        return _WORDS.get(error.errno or 0)
    return None


def raise_if_short(error: BaseException, what: str, phase: Phase = Phase.CONNECT) -> None:
    """Raise the typed error of a shortage, if `error` is one.

    Args:
        error: what was caught.
        what: what did not come about, such as "the CA file cannot be read".
        phase: how far the send had come.

    Raises:
        ConnectError: it is one; temporary.
    """
    if (why := shortage(error)) is not None:
        text = f"{what}: {why}"
        raise ConnectError(text, phase=phase, temporary=True, hint=HINT) from None
