"""Commands as processes of their own, and the login of a scripted server for them."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from scripted import ScriptedServer


COMMAND = (sys.executable, "-m", "smtpsend")


def environment(**changes: str) -> dict[str, str]:
    """The environment of a process: that of the tests, without any server in it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SMTP_")}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[1]), **changes}


def without_login(server: ScriptedServer) -> str:
    """The URL of a server without user and password."""
    return re.sub("//.*@", "//", server.url)


def login(server: ScriptedServer) -> list[str]:
    """The options to log in to a server; the password is in SMTP_PASSWORD."""
    return ["--cafile", server.ca, "--user", server.user]
