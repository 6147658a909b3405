"""The benchmarks run: each case gives numbers, and every message arrives.

Nothing is said of how long anything takes: that is for a machine with nothing else to do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest


ROOT = Path(__file__).parents[1]
# One process runs them all: the benchmarks run once.
pytestmark = pytest.mark.xdist_group("benchmarks")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A quick run: the folder with its results, and what it printed."""
    pytest.importorskip("trustme")
    folder = tmp_path_factory.mktemp("benchmarks")
    written = ["--json", folder / "results.json", "--svg", folder / "picture.svg"]
    command = [sys.executable, "-m", "benchmarks", "--quick", *map(str, written)]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    if os.environ.get("SMTPSEND_REQUIRE_SERVERS") == "1":
        assert "nodemailer is skipped" not in ran.stderr
    return folder, ran.stdout


def test_every_driver_gave_numbers_in_every_case(quick):
    # A message that did not arrive, or arrived twice, would have ended the run.
    results = json.loads((quick[0] / "results.json").read_text("utf-8"))
    assert len(results["cases"]) > 30
    for key, case in results["cases"].items():
        assert {"sync", "async"} <= case["drivers"].keys(), key
        for name, driver in case["drivers"].items():
            assert driver.get("seconds", 0) > 0, (key, name, driver)
    for name, driver in results["imports"].items():
        assert driver["seconds"] > 0, name


def test_round_trips_are_those_of_the_limit(quick):
    results = json.loads((quick[0] / "results.json").read_text("utf-8"))
    for offers, trips in {"none": 11, "pipelining": 9, "chunking": 8}.items():
        drivers = results["cases"][f"one {offers} far"]["drivers"]
        for name in ("sync", "async", "limit"):
            # One more where a busy machine stood still between two writes.
            assert trips <= drivers[name]["trips"] <= trips + 1, (offers, name)


def test_the_limit_of_many_messages_is_what_the_protocol_allows(quick):
    results = json.loads((quick[0] / "results.json").read_text("utf-8"))
    for offers, (before, each) in {
        "none": (7, 4),
        "pipelining": (8, 1),
        "chunking": (8, 0),
    }.items():
        case = results["cases"][f"bulk {offers} far"]
        trips = before + each * case["units"]
        assert trips <= case["drivers"]["limit"]["trips"] <= trips + 1, offers


def test_the_report_has_its_tables_and_the_picture_is_svg(quick):
    folder, printed = quick
    titles = ("One message", "Blocked ports", "Many messages", "Many `EmailMessage`")
    for title in (*titles, "Round trips", "Import", "Goals"):
        assert f"### {title}" in printed
    picture = ElementTree.parse(folder / "picture.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
