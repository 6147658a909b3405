"""A network namespace, in which a server has the ports of its own, behind a firewall.

It wants root on Linux. Where `ip` or `iptables` is missing the tests are skipped, or fail
under SMTPSEND_REQUIRE_SERVERS=1; where the kernel does not allow it, as in many
containers, they are skipped in any case: nothing that could be installed would help.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
# `ip netns exec` puts the files in the folder of a namespace in the place of those in
# /etc (ip-netns(8)).
_ETC = Path("/etc/netns")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command, and let what it prints be read."""
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=90, check=False
    )


@dataclass
class Namespace:
    """A network namespace with a loopback interface and, later, rules for it."""

    name: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What goes in front of a command that is to run in it."""
        return ("ip", "netns", "exec", self.name)

    def run(self, *command: str) -> None:
        """Run a command in it; skips the test where that cannot be."""
        ran = run(*self.prefix, *command)
        if ran.returncode:
            pytest.skip(f"{' '.join(command)}: {ran.stderr.strip()}")

    @contextlib.contextmanager
    def knowing(self, host: str) -> Iterator[None]:
        """Let a host name be this machine in it, for a while."""
        folder = _ETC / self.name
        had = _ETC.exists()
        try:
            folder.mkdir(parents=True)
            (folder / "hosts").write_text(f"127.0.0.1 localhost {host}\n", "ascii")
            yield
        finally:
            shutil.rmtree(folder)
            if not had:
                _ETC.rmdir()

    @contextlib.contextmanager
    def rules(self, *rules: str) -> Iterator[None]:
        """Rules for what comes to the server, for a while."""
        try:
            for rule in rules:
                self.run("iptables", "-w", "-A", "INPUT", "-p", "tcp", *rule.split())
            yield
        finally:
            run(*self.prefix, "iptables", "-w", "-F", "INPUT")


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    """A namespace for the tests of this module."""
    if not sys.platform.startswith("linux") or os.geteuid():
        pytest.skip("a network namespace wants root on Linux")
    if absent := [name for name in ("ip", "iptables") if not shutil.which(name)]:
        required = os.environ.get("SMTPSEND_REQUIRE_SERVERS") == "1"
        why = f"no {' and no '.join(absent)} here; run tests/servers/install as root"
        (pytest.fail if required else pytest.skip)(why)
    made = Namespace(f"smtpsend-{os.getpid()}")
    added = run("ip", "netns", "add", made.name)
    try:
        if added.returncode:
            pytest.skip(f"no network namespaces here: {added.stderr.strip()}")
        made.run("ip", "link", "set", "lo", "up")
        with made.rules("--dport 1 -j DROP"):
            pass
        yield made
    finally:
        run("ip", "netns", "del", made.name)
