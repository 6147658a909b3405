"""How the tests are run in several processes: nothing that one finds is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


TESTS = Path(__file__).parent

MODULE = """
import pytest

@pytest.fixture
def no_set_up():
    raise RuntimeError("the set-up")

@pytest.fixture
def no_tear_down():
    yield
    raise RuntimeError("the tear-down")

@pytest.fixture
def skips():
    pytest.skip("by a fixture")

@pytest.fixture
def slow():
    yield

@pytest.mark.parametrize("n", range(20))
def test_passes(n, slow): pass

def test_fails(): assert not "the call"
def test_set_up_fails(no_set_up): pass
def test_tear_down_fails(no_tear_down): pass
def test_both_fail(no_tear_down): assert not "the call of both"
def test_is_skipped(skips): pass
def test_skips(): pytest.skip("by itself")
@pytest.mark.xfail
def test_is_expected_to_fail(): assert False
@pytest.mark.xfail(strict=True)
def test_passes_against_all_expectation(): pass
@pytest.mark.xdist_group("together")
def test_in_a_group(): pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with tests that end in each way."""
    (tmp_path / "test_it.py").write_text(MODULE, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", "utf-8")
    return tmp_path


def pytest_in(folder: Path, *arguments: str, workers: int = 1) -> str:
    """What pytest prints, with the plugins that the arguments need and no others."""
    plugins = ("xdist", "scheduling") if workers else ("xdist",)
    more = [word for name in plugins for word in ("-p", name)]
    command = [sys.executable, "-m", "pytest", "-q", *more, "-n", str(workers)]
    ran = subprocess.run(
        [*command, "--dist", "loadgroup", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": f"{TESTS}",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode in (1, 2), ran.stdout + ran.stderr
    return ran.stdout


def summary(out: str) -> list[str]:
    """The lines about each test that did not pass, and about how many there were."""
    last = re.sub(" in [0-9.]+s.*", "", out.splitlines()[-1]).strip("= ")
    named = re.findall(r"^(?:ERROR|FAILED|SKIPPED|XFAIL|XPASS) .*$", out, re.MULTILINE)
    return [*sorted(line.replace("@together", "") for line in named), last]


def test_the_outcomes_are_those_of_one_process(folder: Path) -> None:
    """Failures of each phase, what is skipped, and how many passed."""
    alone = summary(pytest_in(folder, "-rfEsxX", "-p", "no:cacheprovider", workers=0))
    shared = summary(pytest_in(folder, "-rfEsxX"))
    assert shared == alone
    counts = "3 failed, 22 passed, 2 skipped, 1 xfailed, 3 errors"
    assert shared[-1] == counts
    again = summary(pytest_in(folder, "--last-failed"))
    assert again[-1] == "3 failed, 1 passed, 3 errors"


def test_options_that_need_more_of_a_test(folder: Path) -> None:
    """Each of these has the set-up and the tear-down of each test, or stops in time."""
    arguments = ("--durations=0", "--durations-min=0", "--junitxml=junit.xml")
    for workers in (0, 1):
        out = pytest_in(folder, *arguments, workers=workers)
        assert out.count("s setup ") == out.count("s teardown ") == 29
        report = (folder / "junit.xml").read_text("utf-8")
        assert report.count("<testcase ") == 30  # one that fails twice is there twice
    assert "test_it.py::test_passes[0] \n" in pytest_in(folder, "-vv")
    stopped = pytest_in(folder, "-x")
    assert "stopping after 1 failures" in stopped
