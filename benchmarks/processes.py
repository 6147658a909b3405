"""Whole processes: those that import something, and those that send one message."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.drivers.jobs import PASSWORD, USERNAME, Job
from benchmarks.places.process import ROOT


IMPORTS = {
    "Python alone": "pass",
    "smtplib": "import smtplib, ssl, email.message",
    "aiosmtplib": "import aiosmtplib, email.message",
    "smtpsend": "import smtpsend",
    "smtpsend.send": "from smtpsend import send, compose, Server, Password, Client",
}
"""What is imported, by the name of the column."""


def _environment() -> dict[str, str]:
    found = {**os.environ, "PYTHONPATH": str(ROOT)}
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found


def imports(rounds: int, *, warm: bool) -> dict[str, Any]:
    """How long a whole process takes that imports something and ends.

    Args:
        rounds: how often.
        warm: whether one more round comes first, in which bytecode may be written.
    """
    environment = _environment()
    found: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for round_ in range(-warm, rounds):
        for name, code in IMPORTS.items():
            began = time.perf_counter()
            command = [sys.executable, "-c", code]
            subprocess.run(command, env=environment, check=True)
            if round_ >= 0:
                found[name].append(time.perf_counter() - began)
    return {
        name: {
            "seconds": statistics.median(runs),
            "runs": [round(seconds, 6) for seconds in runs],
        }
        for name, runs in found.items()
    }


def run_cold(driver: str, job: Job, cafile: str) -> dict[str, Any]:
    """What a process that sends a message needs: the whole of it, or one of its parts."""
    (port, _), *_ = job["routes"]
    environment = _environment()
    if driver == "command":
        login = f"{quote(USERNAME, safe='')}:{PASSWORD}"
        place = f"{job['host']}:{port}?security=starttls"
        environment["SMTP_URL"] = f"smtp://{login}@{place}"
        command = [
            *(sys.executable, "-m", "smtpsend", "send", "--cafile", cafile),
            *("--from", USERNAME, "--to", "bob@example.test"),
            *("--subject", "The report", "--text", "All is well."),
        ]
    else:
        script = Path(__file__).parent / "drivers/cold.py"
        command = [sys.executable, str(script), driver, job["host"], str(port), cafile]
        command += ["2"] if job["work"] == "cold twice" else []
    began = time.perf_counter()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        return {"error": done.stderr[-500:]}
    if job["work"] == "cold twice":
        first, second, bundle = json.loads(done.stdout)
        return {"seconds": first, "second": second, "bundle": bundle}
    return {"seconds": seconds}
