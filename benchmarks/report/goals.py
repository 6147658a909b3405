"""What we are after, and whether a run shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.report.times import Times
from benchmarks.works.case import OURS
from benchmarks.works.one import NAMES


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


def goals(results: dict[str, Any]) -> Iterator[Goal]:
    """Each goal with what was measured; those that were not measured are left out."""
    times = Times(results)
    for title, at_most, values, *unit in (
        *_blocked(times),
        *_one(times),
        *_real(times),
        *_large(times, results),
        *_kept(times),
        *_bulk(times),
        *_objects(times),
        *_processes(times, results),
        *_growth(times),
    ):
        if values is not None:
            yield Goal(title, at_most, values, *unit)


# The title, what is the most, the values if there are any, and their unit if it is one.
_Row = tuple[str, float, list[float] | None] | tuple[str, float, list[float] | None, str]


def _blocked(times: Times) -> Iterator[_Row]:
    for kind in ("black hole", "silent"):
        pairs = times.beside_healthy(f"{kind} first") or []
        yield (
            f"587 {kind}, first send: of the head start and a healthy send",
            1.1,
            [seconds / (HEAD_START + healthy) for seconds, healthy in pairs] or None,
        )
        pairs = times.beside_healthy(f"{kind} later") or []
        title = f"587 {kind}, later sends: of a healthy send"
        yield title, 1.1, [seconds / healthy for seconds, healthy in pairs] or None
    for when in ("first", "later"):
        pairs = times.beside_healthy(f"refused {when}") or []
        title = f"587 refused, {when}: of a healthy send on 465"
        yield title, 1.2, [seconds / healthy for seconds, healthy in pairs] or None


_MODES = (("none", "neither"), ("pipelining", "PIPELINING"), ("chunking", "CHUNKING"))


def _one(times: Times) -> Iterator[_Row]:
    for name, short in _MODES:
        key = f"one {name} far"
        title = f"one message far away, {short}: of the limit"
        yield title, 1.05, times.over(key, times.of(key, "limit"))
        title = f"one message far away, {short}: of the best peer"
        yield title, 1.0, times.over(key, times.best_peer(key))
        key = f"one {name} near"
        title = f"one message, sink, RTT 0, {short}: of aiosmtplib.send"
        yield title, 1.0, times.over(key, times.of(key, "aiosmtplib"))
        title = f"one message, sink, RTT 0, {short}: of smtplib"
        yield title, 1.5, times.over(key, times.of(key, "smtplib"))


def _real(times: Times) -> Iterator[_Row]:
    for server, name in NAMES.items():
        for security in ("starttls", "implicit"):
            key = f"one {server} {security}"
            title = f"one message, {name}, {security}: of aiosmtplib.send"
            yield title, 1.0, times.over(key, times.of(key, "aiosmtplib"))
            title = f"one message, {name}, {security}: of smtplib"
            yield title, 1.25, times.over(key, times.of(key, "smtplib"))
        for where, of in (("one", "one connection"), ("four", "four connections")):
            key = f"bulk {server} {where}"
            title = f"bulk, {name}, {of}, as it is: of smtplib"
            yield title, 1.0, times.over(key, times.of(key, "smtplib"))
    key = "bulk postfix one"
    title = "bulk, Postfix, one connection, as it is: of the limit"
    yield title, 1.2, times.over(key, times.of(key, "limit"))


def _large(times: Times, results: dict[str, Any]) -> Iterator[_Row]:
    far = "50 far"
    yield "50 recipients: of the limit", 1.05, times.over(far, times.of(far, "limit"))
    over = times.over(far, times.of(far, "smtplib"))
    yield "50 recipients: of smtplib", 1 / 7, over
    yield "100,000 recipients", 2.0, times.ours("many recipients"), " s"
    key = "attachment"
    yield "attachment: of the limit", 4.0, times.over(key, times.of(key, "limit"))
    memory = times.ours(key, "memory")
    title = "attachment: peak memory above idle, of the encoded message"
    yield title, 2.5, memory and [value / results["encoded"] for value in memory]


def _kept(times: Times) -> Iterator[_Row]:
    cpu = times.ours("kept near", "cpu")
    for number, (peer, face, most) in enumerate(
        (("smtplib", "sync", 1.5), ("aiosmtplib", "async", 1.0))
    ):
        base = times.of("kept near", peer, "cpu")
        title = f"a kept connection, sink: CPU of {face}, of {peer}'s"
        yield title, most, [cpu[number] / base] if cpu and base else None
    key = "kept postfix"
    title = "a kept connection, Postfix: of smtplib"
    yield title, 1.2, times.over(key, times.of(key, "smtplib"))


def _bulk(times: Times) -> Iterator[_Row]:
    for name, short, far, near in (
        ("none", "neither", None, 1.0),
        ("pipelining", "PIPELINING", 3.4, 1.8),
        ("chunking", "CHUNKING", 20.0, 10.0),
    ):
        key = f"bulk {name} far"
        if name != "chunking":
            title = f"bulk far away, {short}, as it is: of the limit"
            yield title, 1.1, times.over(key, times.of(key, "limit"))
        if far is not None:
            title = f"bulk far away, {short}, as it is: of smtplib"
            yield title, 1 / far, times.over(key, times.of(key, "smtplib"))
        key = f"bulk {name} near"
        title = f"bulk, sink, RTT 0, {short}, as it is: of smtplib"
        yield title, 1 / near, times.over(key, times.of(key, "smtplib"))
    wide = "bulk chunking wide far"
    title = "bulk far away, CHUNKING, `Client()` as it is: of windows of 64"
    yield title, 1.3, times.over(wide, times.of(wide, "limit"))
    as_it_is, tuned = "bulk chunking default far", "bulk chunking tuned far"
    title = "bulk far away, CHUNKING, tuned: of the limit"
    yield title, 1.1, times.over(tuned, times.of(tuned, "limit"))
    default, best = times.ours(as_it_is), times.ours(tuned)
    yield (
        "bulk far away, CHUNKING, one connection: of that with `max_messages=200`",
        1.3,
        default and best and [a / b for a, b in zip(default, best, strict=True)],
    )


_MADE = {
    "before": "made beforehand: of flattening alone",
    "loop": "made in the loop: of smtplib",
    "compose": "made by `compose`: of smtplib and the standard library",
}


def _objects(times: Times) -> Iterator[_Row]:
    for made, other, most in (
        ("before", "flatten", 1.3),
        ("loop", "smtplib", 1 / 2),
        ("compose", "smtplib", 1 / 2),
    ):
        key = f"objects {made}"
        over = times.over(key, times.of(key, other))
        yield f"bulk of `EmailMessage`s, {_MADE[made]}", most, over


def _processes(times: Times, results: dict[str, Any]) -> Iterator[_Row]:
    for server, name in (("chunking", "sink"), ("postfix", "Postfix")):
        key = f"cold {server}"
        title = f"a process that sends one message, {name}: of aiosmtplib"
        yield title, 1.15, times.over(key, times.of(key, "aiosmtplib"))
    parts = [times.ours(f"cold {part}") for part in ("first", "second", "bundle")]
    first, second, bundle = parts
    yield (
        "the first send of a process: of 1.3 times the second and the CAs",
        1.0,
        [
            first[number] / (1.3 * second[number] + bundle[number])
            for number in range(len(OURS))
        ]
        if first and second and bundle
        else None,
    )
    found = results["imports"]
    ratio = found["smtpsend.send"]["seconds"] / found["aiosmtplib"]["seconds"]
    yield "import, of `import aiosmtplib, email.message`", 1.15, [ratio]


def _growth(times: Times) -> Iterator[_Row]:
    for what in ("recipients", "bytes", "messages"):
        keys = [key for key in times.cases if key.startswith(f"growth {what} ")]
        before, after = times.ours(keys[0]), times.ours(keys[-1])
        factor = times.cases[keys[-1]]["units"] / times.cases[keys[0]]["units"]
        title = f"{factor:.0f} times the {what}: the time, over {factor:.0f} times"
        yield (
            title,
            1.1,
            before
            and after
            and [b / a / factor for a, b in zip(before, after, strict=True)],
        )
