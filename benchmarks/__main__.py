"""Measures smtpsend beside smtplib, aiosmtplib and nodemailer.

The same work is done by each of them in turn, on a server that costs next to nothing (the
sink) and on real ones, with round-trip times of up to 100 ms. The whole run takes twelve
minutes and wants a machine with nothing else to do. It prints its tables, and writes
benchmarks/results.json, docs/benchmarks.svg and the tables of docs/benchmarks.md.
"""

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

from benchmarks.places import node, real
from benchmarks.places.places import Places
from benchmarks.places.process import ROOT
from benchmarks.processes import imports
from benchmarks.report import page
from benchmarks.report.plot import svg
from benchmarks.report.tables import tables
from benchmarks.rounds import Setting, all_cases
from benchmarks.works.scale import QUICK, WHOLE
from benchmarks.works.table import cases


def _arguments() -> argparse.Namespace:
    summary, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"{summary} {more}",
        epilog="benchmarks/README.md lists the cases and the files.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="everything once and small; writes no files")
    add("--rounds", type=int, help="how often each driver runs, however long it takes")
    add("--only", help="only the cases whose key contains this; prints the raw results")
    add(
        "--servers",
        default=",".join(real.NAMES),
        help="the real servers, separated by commas (%(default)s); '' for none",
    )
    add("--defaults", action="store_true", help="wait for the peers' default time-outs")
    add("--list", action="store_true", help="print the keys of the cases, and end")
    add("--report", action="store_true", help="no run: write the page from the results")
    add("--json", type=Path, help="where the results go (benchmarks/results.json)")
    add("--svg", type=Path, help="where the picture goes (docs/benchmarks.svg)")
    return parser.parse_args()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _servers(asked: str) -> list[str]:
    """The real servers to use; what is missing is named."""
    names = [name for name in asked.split(",") if name]
    if strangers := set(names) - set(real.NAMES):
        raise SystemExit(f"no such servers: {', '.join(sorted(strangers))}")
    problems = real.missing()
    for name in names:
        if name in problems:
            _tell(f"{name} is skipped: {problems[name]}")
    return [name for name in names if name not in problems]


def main() -> None:
    """Run it, and write what came of it."""
    arguments = _arguments()
    scale = QUICK if arguments.quick else WHOLE
    if arguments.list:
        for case in cases(scale, real.NAMES, defaults=arguments.defaults):
            print(f"{case.key:32}{case.title}")
        return
    path = arguments.json or ROOT / "benchmarks/results.json"
    if arguments.report:
        _write(arguments, json.loads(path.read_text("utf-8")))
        return
    results = _measured(arguments)
    if arguments.only:
        print(json.dumps(results, indent=1))
        return
    if arguments.json or not arguments.quick:
        path.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    _write(arguments, results)


def _measured(arguments: argparse.Namespace) -> dict[str, Any]:
    scale = QUICK if arguments.quick else WHOLE
    rounds = arguments.rounds or scale.rounds
    servers = _servers(arguments.servers)
    skipped = node.missing()
    if skipped:
        _tell(f"nodemailer is skipped: {skipped}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # for the servers' own users
        file = folder / "file.bin"
        file.write_bytes(os.urandom(scale.file))
        with Places(folder, list(scale.round_trips), servers) as places:
            network, sink = places.network, places.sink
            if network.problem:
                _tell(f"what is far away is skipped: {network.problem}")
            chosen = cases(
                scale,
                servers,
                links=network.problem is None,
                defaults=arguments.defaults,
            )
            if arguments.only:
                chosen = [case for case in chosen if arguments.only in case.key]
            skip = frozenset({"nodemailer"} if skipped else ())
            setting = Setting(
                places,
                rounds,
                file,
                skip,
                warm=not arguments.quick,
                budget=float("inf") if arguments.rounds else scale.budget,
            )
            found = all_cases(setting, chosen, _tell)
            language = sink.language
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "rounds": rounds,
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "system": platform.system(),
        "cores": os.cpu_count(),
        "aiosmtplib": version("aiosmtplib"),
        "nodemailer": skipped or node.version(),
        "sink in": language,
        "servers": " ".join(servers) or "none",
    }
    results: dict[str, Any] = {"about": about, "cases": found}
    if not arguments.only:
        results["imports"] = imports(
            rounds * (1 if arguments.quick else 5), warm=not arguments.quick
        )
        results["encoded"] = (scale.file + 2) // 3 * 4 * 78 // 76
        results["far"] = scale.far
    return results


def _write(arguments: argparse.Namespace, results: dict[str, Any]) -> None:
    text = tables(results)
    print(text)
    if arguments.svg or not arguments.quick:
        picture = arguments.svg or ROOT / "docs/benchmarks.svg"
        picture.write_text(svg(results), "utf-8")
    if not arguments.quick:
        page.write(results, text)


if __name__ == "__main__":
    main()
