"""The results as Markdown: the tables, and the goals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.report import crossing, faster
from benchmarks.report.goals import goals
from benchmarks.report.times import Times
from benchmarks.works.case import ALL, IDLE, OURS, PEERS
from benchmarks.works.cold import CLIENTS, COMMAND


COLUMNS = {
    "smtplib": "smtplib",
    "aiosmtplib": "aiosmtplib",
    "nodemailer": "nodemailer",
    "sync": "smtpsend, sync",
    "async": "smtpsend, async",
    "limit": "limit",
    IDLE: "without sending",
    COMMAND: "`smtpsend send`",
}


@dataclass(frozen=True)
class _Kind:
    """A table of one group of cases.

    Attributes:
        title: its title.
        drivers: whose columns it has.
        least: the driver that does the least that has to be done; None: nobody does.
        rate: whether it has the messages a second.
        cpu: whether the CPU a message follows in a table of its own.
    """

    title: str
    drivers: tuple[str, ...] = ALL
    least: str | None = "limit"
    rate: bool = False
    cpu: bool = False


_GROUPS = {
    "one real": _Kind("One 10 KB message, real servers, RTT 0"),
    "one": _Kind("One 10 KB message, sink"),
    "distance": _Kind("One 10 KB message, other round-trip times"),
    "bulk real": _Kind("Many messages of 2 KB, real servers", rate=True),
    "bulk": _Kind("Many messages of 2 KB, sink", rate=True),
    "kept": _Kind(
        "A call of `Client.send` for each message of 2 KB, `Client()`",
        rate=True,
        cpu=True,
    ),
    "cold": _Kind(
        "A process that makes and sends one message", (*CLIENTS, COMMAND), None
    ),
    "blocked": _Kind("Blocked ports"),
    "objects": _Kind(
        "Many `EmailMessage` objects", (*PEERS, *OURS, IDLE), IDLE, rate=True
    ),
}


def span(seconds: float) -> str:
    """A time for people."""
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            return f"{seconds * factor:.3g} {unit}"
    raise AssertionError


def told(case: dict[str, Any], seconds: float) -> str:
    """The time of a case, and how many messages a second that is, if there are many."""
    kind = _GROUPS.get(case["group"])
    if kind is None or not kind.rate:
        return span(seconds)
    rate = case["units"] / seconds
    return f"{span(seconds)}, " + (f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.3g}/s")


def ratios(case: dict[str, Any], others: tuple[str, ...]) -> str:
    """Sync and async as multiples of the best of `others`."""
    drivers = case["drivers"]
    best = [
        drivers[name]["seconds"] for name in others if "seconds" in drivers.get(name, {})
    ]
    ours = [drivers[name].get("seconds") for name in OURS if name in drivers]
    if not best or not all(ours):
        return ""
    return " / ".join(f"{seconds / min(best):.2f}" for seconds in ours)


def tables(results: dict[str, Any]) -> str:
    """All of it, in Markdown."""
    parts = []
    for group, kind in _GROUPS.items():
        parts.append(_table(results, group, kind))
        if kind.cpu:
            parts.append(_cpu(results, group, kind))
    parts += [
        _crossing(results),
        _faster(results),
        _trips(results),
        _memory(results),
        _imports(results),
        _growth(results),
        _goals(results),
    ]
    return "\n\n".join(filter(None, parts))


def _rows(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def _table(results: dict[str, Any], group: str, kind: _Kind) -> str:
    columns = [COLUMNS[name] for name in kind.drivers]
    least = [f"of {_THE[kind.least]}"] if kind.least else []
    rows = [["work", *columns, "of the best peer", *least]]
    for case in results["cases"].values():
        if case["group"] == group:
            cells = [_cell(case, name) for name in kind.drivers]
            others = [PEERS, (kind.least,)] if kind.least else [PEERS]
            both = [ratios(case, names) for names in others]
            rows.append([case["title"], *cells, *both])
    return f"### {kind.title}\n\n{_rows(rows)}" if len(rows) > 1 else ""


def _cpu(results: dict[str, Any], group: str, kind: _Kind) -> str:
    rows = [["CPU of the client, a message", *(COLUMNS[name] for name in kind.drivers)]]
    times = Times(results)
    for key, case in results["cases"].items():
        if case["group"] == group:
            found = [times.of(key, name, "cpu") for name in kind.drivers]
            cells = [span(cpu / case["units"]) if cpu else "" for cpu in found]
            rows.append([case["title"], *cells])
    return _rows(rows) if len(rows) > 1 else ""


_THE = {"limit": "the limit", IDLE: "that without sending"}


def _faster(results: dict[str, Any]) -> str:
    titles = {group: kind.title for group, kind in _GROUPS.items()}
    rows = faster.rows(results, titles)
    if len(rows) == 1:
        return ""
    return f"### Where a peer is faster\n\n{_rows(rows)}"


def _crossing(results: dict[str, Any]) -> str:
    rows = crossing.rows(results)
    if len(rows) == 1:
        return ""
    return f"### From which RTT on a one-shot send is no slower\n\n{_rows(rows)}"


def _cell(case: dict[str, Any], name: str) -> str:
    driver = case["drivers"].get(name)
    if driver is None:
        return ""
    return told(case, driver["seconds"]) if "seconds" in driver else "fails"


def _trips(results: dict[str, Any]) -> str:
    rows = [["round trips", *(COLUMNS[name] for name in ALL)]]
    for case in results["cases"].values():
        if case["rtt"] and case["rtt"] == results["far"]:
            found = [case["drivers"].get(name, {}).get("trips") for name in ALL]
            rows.append([case["title"], *(str(trips or "") for trips in found)])
    if len(rows) == 1:
        return ""
    return f"### Round trips\n\n{_rows(rows)}"


def _memory(results: dict[str, Any]) -> str:
    case, drivers = results["cases"]["attachment"], ALL
    found = [case["drivers"].get(name, {}).get("memory") for name in drivers]
    cells = [f"{memory / 1e6:.0f} MB" if memory else "" for memory in found]
    encoded = results["encoded"] / 1e6
    columns = [COLUMNS[name] for name in drivers]
    rows = [["peak above the idle process", *columns]]
    rows.append([f"{case['title']} ({encoded:.1f} MB encoded)", *cells])
    return f"### Memory\n\n{_rows(rows)}"


def _imports(results: dict[str, Any]) -> str:
    found = results["imports"]
    rows = [["whole process", *found]]
    rows.append(["import", *(span(runs["seconds"]) for runs in found.values())])
    return f"### Import\n\n{_rows(rows)}"


def growth(results: dict[str, Any], what: str) -> Iterator[tuple[str, int, list[float]]]:
    """Title, size and times of each step in which `what` grows."""
    for key, case in results["cases"].items():
        if key.startswith(f"growth {what} "):
            times = [case["drivers"][name]["seconds"] for name in OURS]
            yield case["title"], case["units"], times


def _growth(results: dict[str, Any]) -> str:
    rows = [["work", "sync", "async", "a recipient, KiB or message: sync", "async"]]
    for what, unit in (("recipients", 1), ("bytes", 1024), ("messages", 1)):
        for title, units, times in growth(results, what):
            each = [span(seconds / units * unit) for seconds in times]
            rows.append([title, *map(span, times), *each])
    return f"### Growth\n\n{_rows(rows)}"


def _goals(results: dict[str, Any]) -> str:
    rows = [["goal", "at most", "sync", "async", "reached"]]
    for goal in goals(results):
        values = [f"{value:.3g}{goal.unit}" for value in goal.values]
        values += [""] * (2 - len(values))
        reached = "yes" if goal.reached else "**no**"
        rows.append([goal.title, f"{goal.at_most:.3g}{goal.unit}", *values, reached])
    return f"### Goals\n\n{_rows(rows)}"
