"""The benchmarks run: each case gives numbers, and every message arrives.

No test looks at how long anything took: that is for a machine with nothing else to do.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from servers import ALL


ROOT = Path(__file__).parents[1]
# One process runs them all: the benchmarks run once.
# It takes forty seconds alone, and some minutes beside other tests.
pytestmark = [pytest.mark.xdist_group("benchmarks"), pytest.mark.timeout(400)]

SERVER = "postfix"
SETS = ("none", "pipelining", "chunking")


class Quick:
    """A quick run: its results, what it printed, and what it left out."""

    def __init__(self, folder: Path) -> None:
        self.picture = folder / "picture.svg"
        written = ["--json", folder / "results.json", "--svg", self.picture]
        command = [sys.executable, "-m", "benchmarks", "--quick", "--servers", SERVER]
        ran = subprocess.run(
            [*command, *map(str, written)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=360,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-2000:]
        self.printed, self.told = ran.stdout, ran.stderr
        text = (folder / "results.json").read_text("utf-8")
        self.results: dict[str, Any] = json.loads(text)
        self.cases: dict[str, Any] = self.results["cases"]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Quick:
    """A quick run with one of the real servers, if it can run here."""
    pytest.importorskip("trustme")
    return Quick(tmp_path_factory.mktemp("benchmarks"))


@pytest.fixture
def far(quick: Quick) -> Quick:
    """The same, where there are links with a round-trip time."""
    if "what is far away is skipped" in quick.told:
        pytest.skip("there are no network namespaces here")
    return quick


def test_every_driver_gave_numbers_in_every_case(quick: Quick) -> None:
    """Each driver has its times; a message that was lost would have ended the run."""
    assert len(quick.cases) > 30
    for key, case in quick.cases.items():
        assert case["drivers"], key
        for name, driver in case["drivers"].items():
            assert driver.get("seconds", 0) > 0, (key, name, driver)
    for name, driver in quick.results["imports"].items():
        assert driver["seconds"] > 0, name


def test_what_is_missing_is_named(quick: Quick) -> None:
    """What cannot run here is left out and named."""
    for name, missing in (
        (SERVER, ALL[SERVER].missing() is not None),
        ("nodemailer", shutil.which("node") is None),
    ):
        if missing or os.environ.get("SMTPSEND_REQUIRE_SERVERS") == "1":
            assert (f"{name} is skipped" in quick.told) is missing
    assert (f"one {SERVER} starttls" in quick.cases) is (ALL[SERVER].missing() is None)


def test_round_trips_are_those_of_the_limit(far: Quick) -> None:
    """One message costs as many round trips as the extensions of the server allow."""
    for offers, trips in {"none": 11, "pipelining": 9, "chunking": 8}.items():
        drivers = far.cases[f"one {offers} far"]["drivers"]
        for name in ("sync", "async", "limit"):
            # One more where a busy machine stood still between two writes.
            assert trips <= drivers[name]["trips"] <= trips + 1, (offers, name)


def test_the_limit_of_many_messages_is_what_the_protocol_allows(far: Quick) -> None:
    """The limit needs round trips for the connection, and for each message."""
    for offers, (before, each) in {
        "none": (7, 4),
        "pipelining": (8, 1),
        "chunking": (8, 0),
    }.items():
        case = far.cases[f"bulk {offers} far"]
        trips = before + each * case["units"]
        assert trips <= case["drivers"]["limit"]["trips"] <= trips + 1, offers


def test_the_report_has_its_tables_and_the_picture_is_svg(quick: Quick) -> None:
    """Each group of cases has its table, and the picture can be read."""
    titles = ("One 10 KB message, sink", "Many messages of 2 KB, sink", "Blocked ports")
    more = ("Many `EmailMessage`", "A process that", "Import", "Growth", "Goals")
    for title in (*titles, *more):
        assert f"### {title}" in quick.printed
    picture = ElementTree.parse(quick.picture).getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"


def test_the_crossing_point_is_between_the_times_that_were_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The round-trip time at which two clients are level, by linear interpolation."""
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.report.crossing import crossing

    slow_far = [(0.0, 1.0), (10.0, 101.0)]
    assert crossing([(0.0, 2.0), (10.0, 92.0)], slow_far) == pytest.approx(1.0)
    assert crossing([(0.0, 1.0), (10.0, 92.0)], slow_far) == 0.0
    assert crossing([(0.0, 0.5), (10.0, 102.0)], slow_far) is None
    level_later = [(0.0, 2.0), (5.0, 52.0), (10.0, 90.0)]
    assert crossing(level_later, [(0.0, 1.0), (5.0, 51.0), (10.0, 101.0)]) > 5.0


def test_the_sink_in_python_does_what_the_sink_in_c_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both take a message by every client that is there without a compiler or node."""
    pytest.importorskip("trustme")
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.drivers.limit_driver import TheLimit
    from benchmarks.places import real, sink

    made = real.certificates(tmp_path, "127.0.0.1")
    for compiler in (True, False):
        if not compiler:
            monkeypatch.setattr(shutil, "which", lambda name: None)
        with sink.Sink(tmp_path, "127.0.0.1", made.cert, made.key) as running:
            for offers, modes in zip(
                SETS, (("plain",) * 2, ("group", "cross"), ("bdat",) * 2), strict=True
            ):
                for security, port in running.ports[offers].items():
                    job = {"host": "127.0.0.1", "routes": [(port, security)]}
                    more = {"modes": modes, "size": 3000, "recipients": 2, "count": 3}
                    before = running.counts()
                    TheLimit(made.ca).many({**job, **more, "connections": 1})
                    found = running.counts() - before
                    assert (found.messages, found.recipients) == (3, 6)
                    assert found.octets == 9000
        assert compiler or running.language == "Python"
