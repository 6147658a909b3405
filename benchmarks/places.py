"""The processes of a run: the sink, the proxies, and the drivers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from benchmarks.jobs import PASSWORD, USERNAME, Job


ROOT = Path(__file__).parents[1]

_NODE_MODULES = (
    Path(os.environ.get("SMTPSEND_SERVERS_PREFIX", "/opt/smtpsend-test-servers"))
    / "node/node_modules"
)


class Process:
    """A process that answers lines with lines."""

    def __init__(self, *command: str, **environment: str) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, **environment},
        )
        self._command = command
        try:
            self.hello = self._line()
        except BaseException:
            self.close()
            raise

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            raise SystemExit(f"{' '.join(self._command)}: ended, status {status}")
        return line

    def ask(self, question: Any = None) -> Any:
        """The answer to one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._line())

    def close(self) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def nodemailer_missing() -> str | None:
    """Why nodemailer cannot be measured, if so."""
    if shutil.which("node") is None:
        return "no node here"
    if not (_NODE_MODULES / "nodemailer/package.json").exists():
        return f"no nodemailer in {_NODE_MODULES}: run tests/servers/install"
    return None


def nodemailer_version() -> str:
    """Which nodemailer is measured."""
    manifest = (_NODE_MODULES / "nodemailer/package.json").read_text("utf-8")
    return str(json.loads(manifest)["version"])


class Places:
    """What a run needs, started as it is needed; closed, nothing of it is left."""

    def __init__(self, folder: Path) -> None:
        self._stack = contextlib.ExitStack()
        self._cafile = str(folder / "ca.pem")
        self._sink = self._start(sys.executable, "-m", "benchmarks.sink", str(folder))
        self._ports: dict[str, dict[str, int]] = json.loads(self._sink.hello)
        self._proxies: dict[int, tuple[Process, dict[int, int]]] = {}
        self._workers: dict[str, Process] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, *command: str) -> Process:
        process = Process(*command)
        self._stack.callback(process.close)
        return process

    def port(self, extensions: str, security: str, milliseconds: int) -> int:
        """The port of the sink that offers `extensions`, that far away."""
        port = self._ports[extensions][security]
        if not milliseconds:
            return port
        if milliseconds not in self._proxies:
            ports = [port for both in self._ports.values() for port in both.values()]
            command = [sys.executable, "-m", "benchmarks.proxy", str(milliseconds)]
            proxy = self._start(*command, *map(str, ports))
            slow = dict(zip(ports, json.loads(proxy.hello), strict=True))
            self._proxies[milliseconds] = proxy, slow
        return self._proxies[milliseconds][1][port]

    def taken(self) -> dict[str, int]:
        """What the sink took so far."""
        taken: dict[str, int] = self._sink.ask()
        return taken

    def trips(self, milliseconds: int, *, wait: bool = True) -> int | None:
        """The round trips of the connection that was just ended."""
        if not milliseconds:
            return None
        proxy, _ = self._proxies[milliseconds]
        for _ in range(300 if wait else 1):
            if ended := proxy.ask():
                return int(max(ended))
            time.sleep(0.01)
        return None

    def work(self, driver: str, job: Job, *, fresh: bool) -> dict[str, Any]:
        """What a driver says of a job, from a new process of its own if `fresh`."""
        if fresh:
            worker = self._worker(driver)
            try:
                return dict(worker.ask(job))
            finally:
                worker.close()
        if driver not in self._workers:
            self._workers[driver] = self._worker(driver)
            self._stack.callback(self._workers[driver].close)
        return dict(self._workers[driver].ask(job))

    def _worker(self, driver: str) -> Process:
        if driver == "nodemailer":
            script = str(Path(__file__).with_name("nodemailer.js"))
            modules = str(_NODE_MODULES)
            command = ["node", script, self._cafile, USERNAME, PASSWORD]
            return Process(*command, NODE_PATH=modules)
        return Process(sys.executable, "-m", "benchmarks.drivers", driver, self._cafile)


@contextlib.contextmanager
def blocked(kind: str) -> Iterator[int]:
    """A port where nothing goes on.

    ``refused`` refuses connections, ``silent`` accepts them and says nothing, and
    ``black hole`` does not even answer (on Linux, where a full backlog drops what comes).
    """
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        if kind == "silent":
            sock.listen(1024)
        elif kind == "black hole":
            sock.listen(0)
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(sock.getsockname())
            time.sleep(0.1)
        yield int(sock.getsockname()[1])
