"""The command: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import ssl
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.cases import QUICK, WHOLE, cases
from benchmarks.places import ROOT, Places, nodemailer_missing, nodemailer_version
from benchmarks.plot import svg
from benchmarks.report import tables
from benchmarks.run import all_cases, imports


_BEGIN, _END = "<!-- results: written by python -m benchmarks -->", "<!-- end -->"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, help="how often each driver runs (7; with --quick 1)")
    add("--quick", action="store_true", help="everything once and small; writes no files")
    add("--defaults", action="store_true", help="wait for the peers' default time-outs")
    add("--only", help="only the cases whose key contains this; prints the raw results")
    add("--json", type=Path, help="where to write the results (benchmarks/results.json)")
    add("--svg", type=Path, help="where to write the picture (docs/benchmarks.svg)")
    return parser.parse_args()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _about(skipped: str | None, rounds: int) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "rounds": rounds,
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "system": platform.system(),
        "cores": os.cpu_count(),
        "aiosmtplib": version("aiosmtplib"),
        "nodemailer": skipped or nodemailer_version(),
    }


def main() -> None:
    """Run it, and write what came of it."""
    arguments = _arguments()
    scale = QUICK if arguments.quick else WHOLE
    rounds = arguments.rounds or (1 if arguments.quick else 7)
    skipped = nodemailer_missing()
    if skipped:
        _tell(f"nodemailer is skipped: {skipped}")
    chosen = cases(scale, defaults=arguments.defaults)
    if arguments.only:
        chosen = [case for case in chosen if arguments.only in case.key]
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "file.bin"
        file.write_bytes(os.urandom(scale.file))
        with Places(Path(name)) as places:
            skip = {"nodemailer"} if skipped else set()
            found = all_cases(places, chosen, rounds, file, skip, _tell)
    results: dict[str, Any] = {"about": _about(skipped, rounds), "cases": found}
    if arguments.only:
        print(json.dumps(results, indent=1))
        return
    results["imports"] = imports(rounds * (1 if arguments.quick else 3))
    results["encoded"] = (scale.file + 2) // 3 * 4 * 78 // 76
    text = tables(results)
    print(text)
    _write(arguments, results, text)


def _write(arguments: argparse.Namespace, results: dict[str, Any], text: str) -> None:
    whole = not arguments.quick
    if (
        path := arguments.json or (whole and ROOT / "benchmarks/results.json")
    ) is not False:
        path.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    if (path := arguments.svg or (whole and ROOT / "docs/benchmarks.svg")) is not False:
        path.write_text(svg(results), "utf-8")
    page = ROOT / "docs/benchmarks.md"
    if whole and page.exists():
        before, _, rest = page.read_text("utf-8").partition(_BEGIN)
        _, _, after = rest.partition(_END)
        about = ", ".join(f"{key} {value}" for key, value in results["about"].items())
        page.write_text(
            f"{before}{_BEGIN}\n\n{about}\n\n{text}\n\n{_END}{after}", "utf-8"
        )


if __name__ == "__main__":
    main()
