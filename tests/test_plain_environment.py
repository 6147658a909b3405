"""The tests do not depend on what a developer's machine sets for Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


SET = {
    "PYTHONUNBUFFERED": "1",
    "PYTHONWARNINGS": "ignore",
    "PYTHONIOENCODING": "latin-1",
    "PYTHONHASHSEED": "0",
    "PYTHON_COLORS": "1",
    "SMTP_URL": "smtp://ann:secret@mail.example.org",
    "NO_COLOR": "1",
    "COLUMNS": "20",
}


def test_nothing_is_set() -> None:
    """What changes the programs that tests start is not in their environment."""
    assert not SET.keys() & os.environ.keys()


def test_it_is_removed() -> None:
    """It is removed from the environment that the tests were started in."""
    test = f"{Path(__file__).name}::{test_nothing_is_set.__name__}"
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", test],
        cwd=Path(__file__).parent,
        env={**os.environ, **SET},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
