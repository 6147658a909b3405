"""Real servers, as the tests start them (tests/servers), which store nothing here."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from benchmarks.drivers.jobs import PASSWORD, USERNAME
from benchmarks.places.process import ROOT


NAMES = ("postfix", "exim", "dovecot", "chasquid", "smtp-server")

# Spools in memory: a disk would hide what the clients need.
_MEMORY = "/dev/shm"


def _servers() -> Any:
    if (tests := str(ROOT / "tests")) not in sys.path:
        sys.path.append(tests)
    return importlib.import_module("servers")


def certificates(folder: Path, host: str) -> Any:
    """The paths of a CA, and of a certificate for `host` with its key."""
    return _servers().Certificates.make(folder, host)


def missing() -> dict[str, str]:
    """The servers that cannot run here, and why."""
    kinds = _servers().ALL
    problems = {name: kinds[name].missing() for name in NAMES}
    return {name: problem for name, problem in problems.items() if problem}


class RealServers:
    """The running servers."""

    def __init__(
        self, names: list[str], folder: Path, host: str, certificates: Any, relay: int
    ) -> None:
        """Start the servers `names`; those that relay do so to the port `relay`."""
        self._stack = contextlib.ExitStack()
        if os.access(_MEMORY, os.W_OK):
            os.environ.setdefault("SMTPSEND_SERVERS_TMP", _MEMORY)

        def started(name: str) -> Any:
            (folder / name).mkdir()
            server = _servers().RealServer(
                name,
                folder / name,
                certificates,
                host=host,
                user=USERNAME,
                password=PASSWORD,
                keep=False,
                relay=relay,
            )
            self._stack.callback(server.stop)
            return server

        with self._stack:
            with ThreadPoolExecutor() as threads:
                self._running = dict(zip(names, threads.map(started, names), strict=True))
            self._stack = self._stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._running.values():
            server.ask_to_stop()  # all at once, since each may take seconds
        self._stack.close()

    def ports(self, name: str) -> dict[str, int]:
        """The ports of a server, by security."""
        server = self._running[name]
        return {"starttls": server.starttls, "implicit": server.implicit}
