"""Real proxies: microsocks (SOCKS5) and tinyproxy (HTTP CONNECT), without root."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pytest

from servers.setup import programs_missing


PROGRAMS = {"socks5": "microsocks", "http": "tinyproxy"}
USER, PASSWORD = "ann", "proxy-Pa55word"
_READY = 10.0


def require(kind: str) -> None:
    """Skip the test where the proxy is not installed, or fail it where it must be."""
    if problem := programs_missing(PROGRAMS[kind]):
        required = os.environ.get("SMTPSEND_REQUIRE_SERVERS") == "1"
        (pytest.fail if required else pytest.skip)(problem)


@contextlib.contextmanager
def proxy(
    kind: str, folder: Path, *, login: bool = False, ports: Sequence[int] = ()
) -> Iterator[str]:
    """Run a proxy on a free port of this machine, and give its URL, with the login.

    Args:
        kind: ``"socks5"`` or ``"http"``.
        folder: where its files go.
        login: whether it wants `USER` and `PASSWORD`.
        ports: those that it allows; all, if none. tinyproxy has such a rule.
    """
    require(kind)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    name = PROGRAMS[kind]
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
    program = shutil.which(name, path=path)
    assert program is not None
    if kind == "socks5":
        words = [program, "-i", "127.0.0.1", "-p", str(port)]
        words += ["-u", USER, "-P", PASSWORD] if login else []
    else:
        lines = [f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "Allow 127.0.0.1"]
        lines += [f"BasicAuth {USER} {PASSWORD}"] if login else []
        lines += [f"ConnectPort {one}" for one in ports]
        config = folder / "tinyproxy.conf"
        config.write_text("\n".join([*lines, ""]), "utf-8")
        words = [program, "-d", "-c", str(config)]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            _wait_for(port, process)
            shown = f"{USER}:{quote(PASSWORD, safe='')}@" if login else ""
            yield f"{kind}://{shown}127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _READY
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise RuntimeError(f"the proxy did not start (exit code {process.poll()})")
