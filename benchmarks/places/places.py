"""All places of a run: started together, and closed so that nothing of them is left."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any, Self

import certifi

from benchmarks.drivers.jobs import PASSWORD, USERNAME, Job
from benchmarks.places import node, real
from benchmarks.places.network import Network
from benchmarks.places.process import Process
from benchmarks.places.real import RealServers
from benchmarks.places.sink import Sink


class Places:
    """The servers and the links to them, and the drivers that were started.

    Attributes:
        network: the host of the servers, and what is far from it.
        sink: the sink.
        cafile, bundle: the CA to trust; the same with all others of certifi.
    """

    def __init__(self, folder: Path, round_trips: list[int], servers: list[str]) -> None:
        """Start the sink, the links and the real servers `servers`."""
        with contextlib.ExitStack() as stack:
            # First: it moves this process, and so all that it starts.
            self.network = stack.enter_context(Network(round_trips))
            host = self.network.host
            made = real.certificates(folder, host)
            self.cafile = made.ca
            self.bundle = str(folder / "bundle.pem")
            authorities = (Path(certifi.where()), Path(made.ca))
            texts = [path.read_text("ascii") for path in authorities]
            Path(self.bundle).write_text("\n".join(texts), "ascii")
            self.sink = stack.enter_context(Sink(folder, host, made.cert, made.key))
            self._real = stack.enter_context(
                RealServers(servers, folder, host, made, self.sink.relay)
            )
            self._workers: dict[tuple[str, int], Process] = {}
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def port(self, server: str, security: str) -> int:
        """A port of a real server, or of the sink by the extensions that it offers."""
        ports = self.sink.ports.get(server) or self._real.ports(server)
        return ports[security]

    def work(self, driver: str, job: Job, rtt: int, *, fresh: bool) -> dict[str, Any]:
        """What a driver that far away reports of a job.

        Args:
            driver: its name.
            job: what it does.
            rtt: the milliseconds to the servers and back.
            fresh: whether the process is a new one, which ends afterwards.
        """
        if fresh:
            with self._worker(driver, rtt) as worker:
                return dict(json.loads(worker.ask(json.dumps(job))))
        if (driver, rtt) not in self._workers:
            worker = self._worker(driver, rtt)
            self._workers[driver, rtt] = self._stack.enter_context(worker)
        return dict(json.loads(self._workers[driver, rtt].ask(json.dumps(job))))

    def _worker(self, driver: str, rtt: int) -> Process:
        prefix = self.network.prefix(rtt)
        if driver == "nodemailer":
            script = Path(__file__).parents[1] / "drivers/nodemailer.js"
            command = ["node", str(script), self.cafile, USERNAME, PASSWORD]
            return Process(*prefix, *command, NODE_PATH=str(node.MODULES))
        module = [sys.executable, "-m", "benchmarks.drivers"]
        return Process(*prefix, *module, driver, self.cafile)
