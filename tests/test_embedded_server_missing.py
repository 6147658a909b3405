"""Where the embedded server cannot be had, the error names the true cause."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commands import environment

from smtpsend.cli import main
from smtpsend.cli.exits import Exit


CAUSE = "this module does not support loading in subinterpreters"
PROGRAM = f"""
import sys
from smtpsend.cli import main
from smtpsend.testing import local_server

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            if sys.argv[2] == "missing":
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
            raise ImportError({CAUSE!r}, name=name)

sys.meta_path.insert(0, Finder())
try:
    local_server()
except ImportError as error:
    print(error)
sys.exit(main(["demo"]))
"""
MODULES = ["aiosmtpd", "trustme", "cryptography", "cryptography.hazmat.bindings._rust"]


def run(module: str, how: str) -> tuple[str, str]:
    """What `local_server` and the demo report where a module cannot be imported."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, module, how],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert ended.returncode == Exit.CONFIG
    return ended.stdout, ended.stderr


@pytest.mark.parametrize("module", MODULES)
def test_missing(module: str) -> None:
    """A module of the extra that is missing can be installed."""
    message, demo = run(module, "missing")
    assert message == "local_server() needs: pip install 'smtpsend[testing]'\n"
    assert demo.endswith("an embedded server: pip install 'smtpsend[testing]'\n")


@pytest.mark.parametrize("module", [*MODULES, "smtpsend.testing.server"])
def test_not_importable(module: str) -> None:
    """A module that is there and cannot be imported is reported by its own error."""
    message, demo = run(module, "broken")
    assert message == f"{CAUSE}\n"
    assert demo.endswith(f"which cannot be imported here: {CAUSE}\n")
    assert "pip install" not in message + demo


def test_missing_elsewhere() -> None:
    """A module that the extra does not bring is not installed by it either."""
    message, demo = run("smtpsend.testing.server", "missing")
    assert message == "No module named 'smtpsend.testing.server'\n"
    assert "pip install" not in message + demo


@pytest.mark.parametrize("folder", ["/nowhere", None])
def test_no_temporary_folder(
    folder: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The demo says that it needs a temporary folder, and ends with an exit code."""
    monkeypatch.setattr("tempfile.tempdir", folder)
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: [str(file)])
    assert main(["demo"]) == Exit.CONFIG
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("smtpsend: the embedded server cannot start: ")
    assert ("No usable temporary directory" if folder is None else "/nowhere") in err
