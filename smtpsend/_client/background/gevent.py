"""Beside gevent's monkey-patching: what works, and what is refused.

With everything patched before the library is imported, the background "thread" is a
greenlet, and all works together. Patched later, or in part, asyncio's loop and its thread
no longer fit each other, and a call would hang for ever.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable

from smtpsend.errors import ConfigError


_PARTS = ("socket", "select", "threading")
_HINT = "call gevent.monkey.patch_all() before smtpsend is imported"


def _patched() -> tuple[bool, ...]:
    monkey = sys.modules.get("gevent.monkey")
    return tuple(monkey is not None and monkey.is_module_patched(p) for p in _PARTS)


def _native_thread() -> int:
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None:
        return 0
    return int(monkey.get_original("_thread", "get_ident")())


_AT_IMPORT, _HOME = _patched(), _native_thread()


def refuse_partial_patching() -> None:
    """Refuse what would hang.

    Raises:
        ConfigError: gevent patched in part, or too late, or this is its thread pool.
    """
    if "gevent.monkey" not in sys.modules:
        return
    now = _patched()
    if any(now) and not all(now):
        raise ConfigError(
            "gevent has replaced some of socket, select and threading, and not all",
            hint=_HINT,
        )
    if now != _AT_IMPORT:
        raise ConfigError(
            "gevent has replaced parts of Python after smtpsend was imported", hint=_HINT
        )
    if any(now) and _native_thread() != _HOME:
        raise ConfigError(
            "with gevent, smtpsend works in the thread of the main hub only",
            hint="do not send from gevent's thread pool",
        )


def forget(sockets: Iterable[socket.socket]) -> None:
    """Let a forked child go of its copies of the parent's sockets.

    Under gevent the greenlets survive a fork, and the loop among them: closing its
    descriptors would end the process, and leaving them would let it speak on the
    parent's connections. So each becomes a socket whose peer is gone.
    """
    for sock in sockets:
        if sock.fileno() < 0:
            continue
        if any(_AT_IMPORT):
            mine, other = socket.socketpair()
            os.dup2(mine.fileno(), sock.fileno())
            mine.close()
            other.close()
        else:
            os.close(sock.detach())
