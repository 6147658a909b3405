"""The pytest plugin, as a user's pytest run loads it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent

USES_BOTH = """
import pathlib
import pytest
import smtpsend

NOTE = smtpsend.compose(sender="ann@example.org", to="bob@example.net", text="Hello.")


def test_outbox(smtpsend_outbox):
    smtpsend.send(NOTE, "smtp.example.org")
    assert smtpsend_outbox[0].recipients == ("bob@example.net",)
    smtpsend_outbox.fail_next(smtpsend.DeliveryUnknown)
    with pytest.raises(smtpsend.DeliveryUnknown):
        smtpsend.send(NOTE, "smtp.example.org")


def test_each_test_has_its_own(smtpsend_outbox):
    assert not smtpsend_outbox.messages


def test_server(smtpsend_server):
    receipt = smtpsend.send(NOTE, smtpsend_server.server())
    assert receipt.tls and smtpsend_server.messages[0].sender == "ann@example.org"
"""

USES_NEITHER = """
import sys


def test_what_is_imported():
    heavy = {"aiosmtpd", "aiosmtplib", "trustme", "smtpsend.errors", "smtpsend._client"}
    assert not heavy & set(sys.modules)
    assert ("smtpsend.testing.plugin" in sys.modules) is LOADED
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the entry points of pyproject.toml, as an installation has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    folder = tmp_path / "site"
    info = folder / "smtpsend-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: smtpsend\nVersion: 0\n")
    points = project["entry-points"]["pytest11"]
    lines = ["[pytest11]", *(f"{name} = {where}" for name, where in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def run(folder: Path, test: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A pytest run of its own, outside of this checkout, with plugins of the user's."""
    place = folder.parent / "app"
    place.mkdir()
    (place / "test_app.py").write_text(test)
    (place / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    path = os.pathsep.join([str(folder), str(ROOT)])
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=place,
        env={**env, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )


def test_both_fixtures(installed: Path) -> None:
    """A user's tests have the fixtures with nothing but the installation."""
    ran = run(installed, USES_BOTH)
    assert "3 passed" in ran.stdout, ran.stdout


@pytest.mark.parametrize(
    ("options", "loaded"), [((), True), (("-p", "no:smtpsend"), False)]
)
def test_it_costs_little(installed: Path, options: tuple[str, ...], loaded: bool) -> None:
    """A run that uses no fixture imports no server, and the plugin can be left out."""
    ran = run(installed, f"LOADED = {loaded}\n{USES_NEITHER}", *options)
    assert "1 passed" in ran.stdout, ran.stdout


def test_the_fixtures_are_listed(installed: Path) -> None:
    """``pytest --fixtures`` says what each is for."""
    ran = run(installed, "", "--fixtures")
    assert "smtpsend_outbox -- " in ran.stdout
    assert "An outbox for all messages that the test sends" in ran.stdout
    assert "A submission server with TLS and login on loopback" in ran.stdout
