"""The results as a picture: bars in SVG, written by hand, for light and dark pages."""

from __future__ import annotations

from html import escape
from typing import Any

from benchmarks.report.tables import COLUMNS, told
from benchmarks.works.case import IDLE


# The cases, each with what its title lacks where no table stands around it.
_SHOWN = {
    "black hole first": "",
    "one chunking far": "one 10 KB message: ",
    "one postfix starttls": "one 10 KB message, RTT 0 ms: ",
    "one exim starttls": "one 10 KB message, RTT 0 ms: ",
    "50 far": "one 10 KB message ",
    "many recipients": "one 10 KB message ",
    "attachment": "one message, ",
    "bulk chunking far": "",
    "bulk pipelining far": "",
    "bulk postfix four": "",
    "bulk exim four": "",
    "kept postfix": "a call of send for each: ",
    "cold postfix": "a process that makes and sends one message, ",
    "objects loop": "",
}
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.peer { fill: #8c959f } .ours { fill: #0969da } .limit { fill: #d0d7de }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .peer { fill: #6e7681 } .ours { fill: #58a6ff } .limit { fill: #30363d }
}
"""
_KINDS = {"sync": "ours", "async": "ours", "limit": "limit", IDLE: "limit"}
_WIDTH, _LEFT, _BAR = 760, 130, 500


def svg(results: dict[str, Any]) -> str:
    """The picture; each group of bars has a scale of its own."""
    y, parts = 8, []
    for key, before in _SHOWN.items():
        case = results["cases"].get(key)
        if case is None:
            continue
        y += 22
        title = escape(before + case["title"].replace("`", ""))
        parts.append(f'<text class="title" x="8" y="{y}">{title}</text>')
        drivers = {n: d for n, d in case["drivers"].items() if "seconds" in d}
        longest = max(driver["seconds"] for driver in drivers.values())
        for name, label in COLUMNS.items():
            if name not in drivers:
                continue
            y += 18
            seconds = drivers[name]["seconds"]
            kind = _KINDS.get(name, "peer")
            width = max(1.0, _BAR * seconds / longest)
            parts += [
                f'<text x="{_LEFT - 8}" y="{y}" text-anchor="end">{label}</text>',
                f'<rect class="{kind}" x="{_LEFT}" y="{y - 11}" width="{width:.1f}" '
                'height="13" rx="2"/>',
                f'<text x="{_LEFT + width + 6:.1f}" y="{y}">{told(case, seconds)}</text>',
            ]
        y += 10
    height = y + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img">\n'
        "<title>Time for the same work; shorter is better</title>\n"
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )
