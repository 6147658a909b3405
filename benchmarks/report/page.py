"""The page of the documentation: its tables are those of the last run."""

from __future__ import annotations

from typing import Any

from benchmarks.places.process import ROOT


_BEGIN, _END = "<!-- results: written by python -m benchmarks -->", "<!-- end -->"
_PAGE = ROOT / "docs/benchmarks.md"


def write(results: dict[str, Any], tables: str) -> None:
    """Write the tables into the page, if it is there."""
    if not _PAGE.exists():
        return
    before, _, rest = _PAGE.read_text("utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    about = ", ".join(f"{key} {value}" for key, value in results["about"].items())
    text = f"{before}{_BEGIN}\n\n{about}\n\n{tables}\n\n{_END}{after}"
    _PAGE.write_text(text, "utf-8")
