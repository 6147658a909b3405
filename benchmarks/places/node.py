"""nodemailer, where it is installed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path


MODULES = (
    Path(os.environ.get("SMTPSEND_SERVERS_PREFIX", "/opt/smtpsend-test-servers"))
    / "node/node_modules"
)


def missing() -> str | None:
    """Why nodemailer cannot be measured, if so."""
    if shutil.which("node") is None:
        return "no node here"
    if not (MODULES / "nodemailer/package.json").exists():
        return f"no nodemailer in {MODULES}: run tests/servers/install"
    return None


def version() -> str:
    """Which nodemailer is measured."""
    manifest = (MODULES / "nodemailer/package.json").read_text("utf-8")
    return str(json.loads(manifest)["version"])
