"""The Celery task in real prefork workers, with a real Redis, some of them killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from celery.exceptions import WorkerLostError
from leaks import eventually, ids, numbered, one_port
from scripted import Message, ScriptedServer, close, hang, reply
from sending import RECIPIENT, SENDER

from smtpsend import DeliveryUnknown
from smtpsend.errors import Phase
from smtpsend.prepared import prepare


HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LIMIT = 60.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of the tests' own, on a socket in a folder."""
    program = shutil.which("redis-server")
    if program is None:
        required = os.environ.get("SMTPSEND_REQUIRE_SERVERS") == "1"
        (pytest.fail if required else pytest.skip)("redis-server is not installed")
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "r"
    process = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder],
        stdout=subprocess.DEVNULL,
    )
    try:
        eventually(path.exists, "Redis did not start")
        yield f"redis+socket://{path}"
    finally:
        process.terminate()
        process.wait(LIMIT)


class Worker:
    """One Celery worker with one process, and the app to give it tasks."""

    def __init__(self, scripted: ScriptedServer, broker: str, log: Path) -> None:
        self.redis = redis.Redis(unix_socket_path=broker.partition("://")[2])
        self.redis.flushall()
        self.app = Celery("tests", broker=broker, backend=broker, set_as_current=False)
        self._log = log
        environ = {
            "BROKER": broker,
            "SMTP_PORT": str(scripted.port("starttls")),
            "SMTP_USER": scripted.user,
            "SMTP_SECRET": scripted.password,
            "SMTP_CA": str(scripted.ca),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
        }
        self._environ = {**os.environ, **environ}
        self.start()

    def start(self) -> None:
        """Start it."""
        options = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        options += ["-P", "prefork", "-c", "1", "-l", "info"]
        command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", *options]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=HERE, env=self._environ, stdout=log, stderr=log
            )

    def send(self, n: int) -> Any:
        """Give it message `n`."""
        given = prepare(numbered(n), sender=SENDER, recipients=[RECIPIENT])
        return self.app.send_task("tests.worker", [given.to_dict()])

    def children(self) -> list[int]:
        """Its processes."""
        pid = self.process.pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in text.split()]

    def kill(self, *, all_of_it: bool) -> None:
        """Kill its processes, and itself, at once."""
        children = self.children()
        if all_of_it:
            self.process.kill()
            self.process.wait(LIMIT)
        for child in children:
            os.kill(child, signal.SIGKILL)

    def waiting(self) -> int:
        """How many tasks the broker holds, or would deliver again."""
        return int(self.redis.llen("celery")) + int(self.redis.hlen("unacked"))

    def stop(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(LIMIT / 6)
            except subprocess.TimeoutExpired:
                self.kill(all_of_it=True)
        self.app.close()
        self.redis.close()


@contextmanager
def worker(
    broker: str, folder: Path, *scripts: Any
) -> Iterator[tuple[Worker, ScriptedServer]]:
    """A worker, and a server with a script for each of its connections."""
    with one_port(*scripts) as scripted:
        made = Worker(scripted, broker, folder / "worker.log")
        try:
            yield made, scripted
        except BaseException:
            print((folder / "worker.log").read_text())
            raise
        finally:
            made.stop()


def came(scripted: ScriptedServer) -> list[Message]:
    """All that came to the server, taken or not."""
    return [m for c in scripted.connections for m in c.messages]


def test_tries_and_results(broker: str, tmp_path: Path) -> None:
    """What is temporary comes back until it is sent; what is unknown never does."""
    first = {"mail:2": reply(451, "4.7.1", "greylisted"), "final:3": close()}
    with worker(broker, tmp_path, first, {}) as (made, scripted):
        for n in (0, 1):
            done = made.send(n).get(timeout=LIMIT)
            assert done["message_id"] == f"<{n}@example.org>"
        with pytest.raises(DeliveryUnknown, match="may have been delivered") as caught:
            made.send(2).get(timeout=LIMIT)
        assert caught.value.message_id == "<2@example.org>"
        assert caught.value.phase is Phase.FINAL
        assert caught.value.hint
        made.send(3).get(timeout=LIMIT)
        eventually(lambda: made.waiting() == 0)
    assert ids(scripted) == [0, 1, 3]
    whole = [m.content for m in came(scripted) if m.content]
    assert whole == [numbered(n) for n in range(4)]


@pytest.mark.parametrize("all_of_it", [False, True], ids=["process", "worker"])
def test_a_worker_killed_in_mid_send(
    broker: str, tmp_path: Path, all_of_it: bool
) -> None:
    """The message is unknown: it is not sent again, and the next one is sent."""
    with worker(broker, tmp_path, {"final:1": hang()}, {}) as (made, scripted):
        lost = made.send(1)
        scripted.wait_for(lambda: [m.state for m in came(scripted)] == ["unknown"], LIMIT)
        eventually(lambda: made.waiting() == 0, "the task was not acknowledged")
        made.kill(all_of_it=all_of_it)
        if all_of_it:
            made.start()
        else:
            with pytest.raises(WorkerLostError):
                lost.get(timeout=LIMIT)
        assert made.send(2).get(timeout=LIMIT)["accepted"] == [RECIPIENT]
        eventually(lambda: made.waiting() == 0)
    assert [m.content for m in came(scripted)] == [numbered(1), numbered(2)]
