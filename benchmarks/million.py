"""Many small messages from a generator through `send_many`: does the memory stay flat?

``python -m benchmarks.million [COUNT]`` prints the memory of the process (resident, on
Linux) after each tenth of the messages, a million by default, and how long it took.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.drivers.jobs import NAME, PASSWORD, SENDER, USERNAME, content
from benchmarks.places.places import Places
from smtpsend import Client, Method, Password, Policy, Server


def resident() -> int:
    """KiB of memory of this process now."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise SystemExit("no VmRSS here")


def mails(count: int) -> Iterator[tuple[bytes, str, list[str]]]:
    """Messages to as many recipients."""
    message = content(2048)
    for n in range(count):
        yield message, SENDER, [f"user{n}@example.test"]


def main(count: int) -> None:
    """Send them, over one connection after the other as a `Client` has it by default."""
    with tempfile.TemporaryDirectory() as folder, Places(Path(folder), [], []) as places:
        method = Method(places.port("chunking", "starttls"), "starttls")
        server = Server(
            places.network.host,
            Password(USERNAME, PASSWORD),
            policy=Policy(methods=(method,)),
            cafile=places.cafile,
            ehlo_name=NAME,
        )
        began = time.perf_counter()
        with Client(server) as client:
            for seen, outcome in enumerate(client.send_many(mails(count)), 1):
                if outcome.receipt is None:
                    raise SystemExit(f"message {outcome.index}: {outcome.error}")
                if seen % (count // 10) == 0:
                    print(f"{seen:>9,} messages: {resident() / 1024:.1f} MiB", flush=True)
        seconds = time.perf_counter() - began
        print(f"{seconds:.1f} s, {count / seconds:,.0f} messages a second")
        accepted = places.sink.counts().messages
        if accepted != count:
            raise SystemExit(f"the sink accepted {accepted:,} messages")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
