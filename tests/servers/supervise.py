"""python -m servers.supervise SETTINGS PARENT: run one server until it has to stop.

It prints READY once all three ports greet. It stops on SIGTERM, and when PARENT is no
longer its parent, since pytest may be killed. It ends all processes that it started: it
is the subreaper of their daemons. If it is killed itself, the kernel sends the server
(all but Postfix) SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from servers.kinds import ALL
from servers.setup import Setup


if TYPE_CHECKING:
    from servers.setup import Program


PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LINUX = sys.platform == "linux"
READY_TIMEOUT = 30.0

# Opened before any fork, since a forked child must not import or open a library.
_libc = ctypes.CDLL(None) if LINUX else None


def _prctl(option: int, value: int) -> None:
    if _libc is not None:
        _libc.prctl(option, value, 0, 0, 0)


async def _greets(setup: Setup, place: int) -> bool:
    """Whether one of the three ports greets with 220."""
    context = None
    if place == 1:
        # Not verified: this only finds out whether the server runs.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(
                setup.host, setup.ports[place], ssl=context
            )
            try:
                while (line := await reader.readline())[3:4] == b"-":
                    pass
                writer.write(b"QUIT\r\n")
                await reader.readline()
                return line.startswith(b"220")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def _descendants() -> set[int]:
    """Every live process below this one."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*") if LINUX else ():
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    found: set[int] = set()
    todo = [os.getpid()]
    while todo:
        above = todo.pop()
        below = {child for child, parent in parents.items() if parent == above}
        todo += below - found
        found |= below
    return found


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    for number in (signal.SIGTERM, signal.SIGKILL):
        end = time.monotonic() + 2
        for pid in _descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        while _descendants() and time.monotonic() < end:
            _reap()
            time.sleep(0.02)


class Supervisor:
    def __init__(self, setup: Setup, parent: int) -> None:
        self.setup, self.parent = setup, parent
        self.asked = asyncio.Event()
        self.process: subprocess.Popen[bytes] | None = None

    def over(self) -> bool:
        ended = self.process is not None and self.process.poll() is not None
        return self.asked.is_set() or ended or os.getppid() != self.parent

    def start(self, program: Program) -> None:
        self.process = subprocess.Popen(
            [str(part) for part in program.argv],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            cwd=self.setup.work,
            env={**os.environ, **program.env},
            start_new_session=True,
            preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
        )

    async def ready(self) -> bool:
        end = time.monotonic() + READY_TIMEOUT
        for place in range(3):
            while not await _greets(self.setup, place):
                if self.over() or time.monotonic() > end:
                    return False
                await asyncio.sleep(0.03)
        return not self.over()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.asked.set)
        try:
            program = await ALL[self.setup.name].prepare(self.setup)
            if program:
                self.start(program)
            if not await self.ready():
                return 1
            print("READY", flush=True)
            while not self.over():
                # Seldom, since ten servers run beside all of the tests.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.asked.wait(), 0.5)
            return 0 if self.asked.is_set() else 1
        finally:
            if self.process:
                _stop(self.process)


def main() -> int:
    settings, parent = sys.argv[1:]
    # Debian installs daemons in directories that are not in the PATH of a normal user.
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    # Not pytest's folder, which the server's own users cannot enter; and the name of a
    # Unix socket must be shorter than 108 bytes.
    place = os.environ.get("SMTPSEND_SERVERS_TMP", "/tmp")
    work = tempfile.mkdtemp(prefix="smtpsend-server-", dir=place)
    try:
        Path(work).chmod(0o755)
        setup = Setup.load(Path(settings), work)
        return asyncio.run(Supervisor(setup, int(parent)).run())
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
