"""Three readers of messages that have no code in common.

They are the standard library of Python, `mailparse` of Rust (by the package
fast-mail-parser), and nodemailer's mailparser on Node.js.
"""

from __future__ import annotations

import base64
import email
import email.policy
import email.utils
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from email.header import decode_header, make_header
from pathlib import Path
from typing import NamedTuple

from servers.setup import PREFIX


class Meaning(NamedTuple):
    """What the headers of a message mean."""

    subject: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    files: tuple[str, ...]


_FOLD = re.compile(r"\r?\n(?=[ \t])")
NODE_MODULES = PREFIX / "mailparser/node_modules"


def by_python(content: bytes) -> Meaning:
    """Read by the standard library."""
    message = email.message_from_bytes(content, policy=email.policy.compat32)
    subject = _FOLD.sub("", message["Subject"]).strip(" \t")
    # Not by the header registry: older ones leave a blank between encoded words of names.
    boxes = email.utils.getaddresses([_FOLD.sub("", message["From"])])
    modern = email.message_from_bytes(content, policy=email.policy.default)
    return Meaning(
        str(make_header(decode_header(subject))),
        tuple(str(make_header(decode_header(name))) for name, _ in boxes),
        tuple(address for _, address in boxes),
        tuple(str(part.get_filename()) for part in modern.iter_attachments()),  # type: ignore[attr-defined]
    )


def by_rust(content: bytes) -> str:
    """Read the subject by mailparse."""
    import fast_mail_parser

    return str(fast_mail_parser.parse_email(content).subject)


def node_missing() -> str | None:
    """Why nodemailer's mailparser cannot be used; None if it can."""
    if shutil.which("node") is None:
        return "no node"
    if not (NODE_MODULES / "mailparser/package.json").exists():
        return f"no mailparser in {NODE_MODULES}; run tests/servers/install as root"
    return None


def by_node(contents: Iterable[bytes]) -> list[Meaning]:
    """Read all messages by mailparser, in one process."""
    lines = b"".join(base64.b64encode(content) + b"\n" for content in contents)
    script = Path(__file__).with_name("readers.js")
    done = subprocess.run(
        ["node", script],
        input=lines,
        capture_output=True,
        check=True,
        env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
    )
    read = (json.loads(line) for line in done.stdout.splitlines())
    return [
        Meaning(one["subject"], *(tuple(one[k]) for k in ("names", "addresses", "files")))
        for one in read
    ]
