"""The sink: a server that costs next to nothing, so that the times are the clients'.

It is written in C (`sink.c`) and compiled when a run starts. Where that is not possible,
`python_sink.py` takes its place; the results say which of them it was.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.drivers.jobs import PASSWORD, USERNAME
from benchmarks.places.process import Process


SETS = ("none", "pipelining", "chunking")
"""What the sink offers besides AUTH: neither, PIPELINING, or CHUNKING with PIPELINING."""


@dataclass(frozen=True)
class Counts:
    """What the sink accepted."""

    messages: int
    recipients: int
    octets: int

    def __sub__(self, before: Counts) -> Counts:
        return Counts(
            self.messages - before.messages,
            self.recipients - before.recipients,
            self.octets - before.octets,
        )


def _compiled(folder: Path) -> list[str] | None:
    """The command of the sink in C; None where it cannot be compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    source, program = Path(__file__).with_name("sink.c"), folder / "sink"
    libraries = ["-lssl", "-lcrypto", "-lpthread"]
    command = [compiler, "-O2", "-o", str(program), str(source), *libraries]
    done = subprocess.run(command, capture_output=True, check=False)
    return None if done.returncode else [str(program)]


class Sink:
    """The running sink.

    Attributes:
        language: what it is written in.
        ports: by set of extensions, then by security.
        relay: a port without TLS and login, for a server that relays.
    """

    def __init__(self, folder: Path, host: str, certificate: str, key: str) -> None:
        command = _compiled(folder)
        self.language = "C" if command else "Python"
        module = [sys.executable, "-m", "benchmarks.places.python_sink"]
        login = base64.b64encode(f"\0{USERNAME}\0{PASSWORD}".encode()).decode()
        self._process = Process(*(command or module), certificate, key, login, host)
        *rest, self.relay = map(int, self._process.hello.split())
        pairs = zip(rest[::2], rest[1::2], strict=True)
        self.ports = {
            name: {"starttls": starttls, "implicit": implicit}
            for name, (starttls, implicit) in zip(SETS, pairs, strict=True)
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.close()

    def counts(self) -> Counts:
        """What it accepted so far."""
        return Counts(*map(int, self._process.ask().split()))
