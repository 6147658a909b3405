"""A network of the run's own: a host for the servers, and clients that are far from it.

On Linux, the process of the run moves into a network namespace, where the servers listen
on `HOST`. For each round-trip time there is a second namespace. A pair of TUN devices
connects it with the first; `link.py` carries the packets between them. Root may do
that, and others where the system lets users make namespaces. Elsewhere the servers listen
on 127.0.0.1, and there is nothing far away.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from benchmarks.places.process import Process


_NEWUSER, _NEWNET = 0x10000000, 0x40000000
_TUNSETIFF, _TUN, _NO_PI = 0x400454CA, 1, 0x1000

_DEVICE = "/dev/net/tun"


def _missing() -> str | None:
    """Why there can be no such network, if so."""
    if sys.platform != "linux":
        return "links with a round-trip time need Linux"
    for program in ("ip", "nsenter"):
        if shutil.which(program) is None:
            return f"no program {program} here"
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return f"no access to {_DEVICE}"
    return None


def _call(name: str, *arguments: int) -> None:
    # os.unshare and os.setns are there from Python 3.12 on.
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _new_namespace() -> int:
    """Move into a new network namespace, and return a descriptor of it."""
    _call("unshare", _NEWNET)
    return _namespace()


def _namespace() -> int:
    return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _become_root() -> None:
    """Move into a user namespace as its root."""
    user, group = os.geteuid(), os.getegid()
    _call("unshare", _NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _device(name: str, own: str, peer: str) -> int:
    """A new TUN device in the present namespace, from one address to another."""
    device = os.open(_DEVICE, os.O_RDWR)
    request = struct.pack("16sH22x", name.encode(), _TUN | _NO_PI)
    fcntl.ioctl(device, _TUNSETIFF, request)
    _ip("addr", "add", own, "peer", peer, "dev", name)
    _ip("link", "set", name, "up")
    return device


class Network:
    """The host of the servers, and the links to it.

    Attributes:
        host: the address that the servers listen on.
        problem: why nothing is far away; None if there are links.
    """

    def __init__(self, round_trips: list[int]) -> None:
        """Make a link for each round-trip time, in milliseconds."""
        self.host = "127.0.0.1"
        self._stack = contextlib.ExitStack()
        self._round_trips = [trip for trip in round_trips if trip]
        self._namespaces: dict[int, int] = {}
        self._link: Process | None = None
        self.problem = _missing()
        if self.problem is None:
            try:
                self._make()
            except (OSError, subprocess.CalledProcessError) as error:
                # The process may have moved into a namespace before: it needs its
                # loopback in either case.
                with contextlib.suppress(OSError, subprocess.CalledProcessError):
                    _ip("link", "set", "lo", "up")
                self.host = "127.0.0.1"
                self.problem = f"no network namespace here: {error}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make(self) -> None:
        if os.geteuid():
            _become_root()
        home = _new_namespace()
        self._stack.callback(os.close, home)
        _ip("link", "set", "lo", "up")
        _ip("addr", "add", "10.77.0.1/32", "dev", "lo")
        arguments, devices = [], []
        for number, milliseconds in enumerate(self._round_trips, 1):
            own, peer = f"10.77.{number}.1", f"10.77.{number}.2"
            far = _device(f"far{number}", own, peer)
            namespace = _new_namespace()
            try:
                _ip("link", "set", "lo", "up")
                near = _device(f"near{number}", peer, own)
                _ip("route", "add", "default", "dev", f"near{number}")
            finally:
                _call("setns", home, _NEWNET)
            self._namespaces[milliseconds] = namespace
            self._stack.callback(os.close, namespace)
            devices += [near, far]
            arguments.append(f"{milliseconds},{near},{far}")
        self.host = "10.77.0.1"
        command = (sys.executable, "-m", "benchmarks.places.link", *arguments)
        self._link = self._stack.enter_context(Process(*command, fds=devices))
        for device in devices:
            os.close(device)

    def prefix(self, milliseconds: int) -> list[str]:
        """What a command line begins with that is run that far from the servers."""
        if not milliseconds:
            return []
        # Children do not inherit the descriptor, but can open it by its path.
        path = f"/proc/{os.getpid()}/fd/{self._namespaces[milliseconds]}"
        return ["nsenter", f"--net={path}", "--"]

    def trips(self, milliseconds: int, *, wait: bool = True) -> int | None:
        """The round trips of the connections that ended since the last call: the most."""
        if not milliseconds:
            return None
        assert self._link is not None
        place = self._round_trips.index(milliseconds)
        for _ in range(300 if wait else 1):
            if ended := json.loads(self._link.ask())[place]:
                return int(max(ended))
            time.sleep(0.01)
        return None
