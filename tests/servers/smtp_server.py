"""nodemailer's smtp-server, under Node.js. It needs no root."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from servers.setup import PREFIX, Program, Setup, programs_missing


CAPABILITIES = frozenset(
    {
        "PIPELINING",
        "8BITMIME",
        "SMTPUTF8",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "SIZE",
        "AUTH",
    }
)
MECHANISMS = frozenset({"PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2"})
REFUSES_SENDER_AT = "MAIL"


def missing() -> str | None:
    if problem := programs_missing("node"):
        return problem
    if (PREFIX / "node_modules/smtp-server/package.json").exists():
        return None
    return f"no smtp-server in {PREFIX}; run tests/servers/install as root"


def oauth_token(user: str, password: str) -> str:
    return password


async def prepare(setup: Setup) -> Program:
    settings = json.dumps({**asdict(setup), "hostname": setup.hostname})
    config = setup.write("settings.json", settings, mode=0o600)
    script = Path(__file__).with_name("smtp_server.js")
    return Program(
        ("node", script, config), env={"NODE_PATH": str(PREFIX / "node_modules")}
    )
