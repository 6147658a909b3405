"""What we are after, and whether a run shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.cases import OURS, PEERS


@dataclass(frozen=True)
class Goal:
    """A number that is to stay below another; for sync and async, or for both at once."""

    title: str
    at_most: float
    values: list[float]
    unit: str = ""

    @property
    def reached(self) -> bool:
        """Whether all of them do."""
        return max(self.values) <= self.at_most


HEAD_START = 0.3
"""`Policy.stagger`."""


class _Times:
    def __init__(self, results: dict[str, Any]) -> None:
        self.cases = results["cases"]

    def of(self, key: str, driver: str) -> float:
        return float(self.cases[key]["drivers"][driver]["seconds"])

    def ours(self, key: str) -> list[float]:
        return [self.of(key, name) for name in OURS]

    def beside_healthy(self, key: str) -> list[tuple[float, float]]:
        """Each of ours, and the healthy sends that ran in turn with it."""
        return [(self.of(key, name), self.of(key, f"{name} healthy")) for name in OURS]

    def best_peer(self, key: str) -> float:
        return min(
            driver["seconds"]
            for name, driver in self.cases[key]["drivers"].items()
            if name in PEERS and "seconds" in driver
        )

    def over(self, key: str, base: float) -> list[float]:
        return [seconds / base for seconds in self.ours(key)]


def goals(results: dict[str, Any]) -> Iterator[Goal]:
    """Each goal with what was measured."""
    times = _Times(results)
    yield from _blocked(times)
    yield from _one(times)
    yield from _large(times, results)
    yield from _bulk(times)
    found = results["imports"]
    ratio = found["smtpsend"]["seconds"] / found["aiosmtplib"]["seconds"]
    yield Goal("import, of `import aiosmtplib`", 1.15, [ratio])
    yield from _growth(times)


def _blocked(times: _Times) -> Iterator[Goal]:
    for kind in ("black hole", "silent"):
        pairs = times.beside_healthy(f"{kind} first")
        yield Goal(
            f"587 {kind}, first send: of the head start and a healthy send",
            1.1,
            [seconds / (HEAD_START + healthy) for seconds, healthy in pairs],
        )
        pairs = times.beside_healthy(f"{kind} later")
        title = f"587 {kind}, later sends: of a healthy send"
        yield Goal(title, 1.1, [seconds / healthy for seconds, healthy in pairs])
    for when in ("first", "later"):
        pairs = times.beside_healthy(f"refused {when}")
        title = f"587 refused, {when}: of a healthy send on 465"
        yield Goal(title, 1.2, [seconds / healthy for seconds, healthy in pairs])


def _one(times: _Times) -> Iterator[Goal]:
    for name, short in (
        ("none", "neither"),
        ("pipelining", "PIPELINING"),
        ("chunking", "CHUNKING"),
    ):
        key = f"one {name} far"
        title = f"one message far away, {short}: of the limit"
        yield Goal(title, 1.05, times.over(key, times.of(key, "limit")))
        title = f"one message far away, {short}: of the best peer"
        yield Goal(title, 1.0, times.over(key, times.best_peer(key)))
        key = f"one {name} near"
        title = f"one message, RTT 0, {short}: of aiosmtplib.send"
        yield Goal(title, 1 / 1.3, times.over(key, times.of(key, "aiosmtplib")))
        title = f"one message, RTT 0, {short}: of smtplib"
        yield Goal(title, 2.0, times.over(key, times.of(key, "smtplib")))


def _large(times: _Times, results: dict[str, Any]) -> Iterator[Goal]:
    far = "50 far"
    yield Goal(
        "50 recipients: of the limit", 1.05, times.over(far, times.of(far, "limit"))
    )
    over = times.over(far, times.of(far, "smtplib"))
    yield Goal("50 recipients: of smtplib", 1 / 7, over)
    yield Goal("100,000 recipients", 2.0, times.ours("many recipients"), " s")
    key = "attachment"
    yield Goal("attachment: of the limit", 4.0, times.over(key, times.of(key, "limit")))
    drivers = times.cases[key]["drivers"]
    if all(drivers[name]["memory"] is not None for name in OURS):
        memory = [drivers[name]["memory"] / results["encoded"] for name in OURS]
        title = "attachment: peak memory above idle, of the encoded message"
        yield Goal(title, 2.5, memory)


def _bulk(times: _Times) -> Iterator[Goal]:
    modes = (
        ("none", "neither", None, 1.0),
        ("pipelining", "PIPELINING", 3.4, 1.8),
        ("chunking", "CHUNKING", 20.0, 10.0),
    )
    for name, short, far, _ in modes:
        key = f"bulk {name} far"
        title = f"bulk far away, {short}: of the limit"
        yield Goal(title, 1.1, times.over(key, times.of(key, "limit")))
        if far is not None:
            title = f"bulk far away, {short}: of smtplib"
            yield Goal(title, 1 / far, times.over(key, times.of(key, "smtplib")))
    for name, short, _, near in modes:
        key = f"bulk {name} near"
        title = f"bulk, RTT 0, {short}: of smtplib"
        yield Goal(title, 1 / near, times.over(key, times.of(key, "smtplib")))
    for made, other, most in (
        ("before", "flatten", 1.3),
        ("loop", "smtplib", 1 / 2),
        ("compose", "smtplib", 1 / 2),
    ):
        key = f"objects {made}"
        over = times.over(key, times.of(key, other))
        yield Goal(f"bulk of `EmailMessage`s, {_MADE[made]}", most, over)


_MADE = {
    "before": "made beforehand: of flattening alone",
    "loop": "made in the loop: of smtplib",
    "compose": "made by `compose`: of smtplib and the standard library",
}


def _growth(times: _Times) -> Iterator[Goal]:
    for what in ("recipients", "bytes", "messages"):
        keys = [key for key in times.cases if key.startswith(f"growth {what} ")]
        first, last = keys[0], keys[-1]
        factor = times.cases[last]["units"] / times.cases[first]["units"]
        pairs = zip(times.ours(last), times.ours(first), strict=True)
        title = f"{factor:.0f} times the {what}: the time, over {factor:.0f} times"
        yield Goal(title, 1.1, [after / before / factor for after, before in pairs])
