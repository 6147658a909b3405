"""Compatibility with the monkey-patching of gevent.

If gevent patches all modules before the library is imported, the background "thread" is a
greenlet, and the library works. If gevent patches later, or only some modules, one of the
event loop and its thread is gevent's and the other is not. A call would hang forever, so
it is refused.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable

from smtpsend.errors import ConfigError


_MODULES = ("socket", "select", "threading")
_HINT = "call gevent.monkey.patch_all() before smtpsend is imported"


def _patched() -> tuple[bool, ...]:
    monkey = sys.modules.get("gevent.monkey")
    return tuple(monkey is not None and monkey.is_module_patched(p) for p in _MODULES)


def _native_thread() -> int:
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None:
        return 0
    return int(monkey.get_original("_thread", "get_ident")())


_AT_IMPORT, _IMPORTING_THREAD = _patched(), _native_thread()


def is_patched() -> bool:
    """Return whether gevent may have patched a module."""
    return "gevent.monkey" in sys.modules


def refuse_partial_patching() -> None:
    """Refuse a call that would hang forever because of gevent.

    Raises:
        ConfigError: gevent patched only some modules, or patched them after the import
            of the library, or the call comes from gevent's thread pool.
    """
    if not is_patched():
        return
    now = _patched()
    if any(now) and not all(now):
        raise ConfigError(
            "gevent has patched some of socket, select and threading, but not all",
            hint=_HINT,
        )
    if now != _AT_IMPORT:
        raise ConfigError(
            "gevent has patched Python modules after smtpsend was imported", hint=_HINT
        )
    if any(now) and _native_thread() != _IMPORTING_THREAD:
        raise ConfigError(
            "with gevent, smtpsend works only in the thread that imported it",
            hint="do not send from gevent's thread pool",
        )


def forget(sockets: Iterable[socket.socket]) -> None:
    """Close a forked child's copies of the parent's sockets.

    Under gevent, greenlets survive a fork, the event loop of the library included. If its
    file descriptors were closed, the loop would end the process; if they stayed open, the
    loop would write to the parent's connections. So each descriptor is replaced by a
    socket whose peer has closed the connection.
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
            sock.close()
