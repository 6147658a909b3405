"""Messages of installed packages, sent as bytes and as parsed objects.

They are the test data of the standard library, where it is installed, and of packages
from PyPI and npm. Nothing of them is part of this project.
"""

from __future__ import annotations

import email
import importlib.util
import re
import sysconfig
from collections.abc import Iterator
from email import policy
from pathlib import Path

import pytest
from scripted import Script, ScriptedServer
from sending import server_for
from servers.setup import PREFIX

from smtpsend import Client, SendError
from smtpsend._model.message.envelope import envelope


A, B = "ann@example.org", "bob@example.net"
PACKAGES = ("fast_mail_parser", "mailparser", "aiosmtpd", "dkim", "django")
_BCC = re.compile(rb"^(?:resent-)?bcc[ \t]*:.*\r\n(?:[ \t].*\r\n)*", re.I | re.M)
LARGEST = 1 << 20


def folders() -> Iterator[Path]:
    """Where packages have their test data."""
    yield Path(sysconfig.get_path("stdlib")) / "test/test_email/data"
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        for place in (found and found.submodule_search_locations) or ():
            yield Path(place)
    yield PREFIX


def files() -> list[Path]:
    """The messages that are installed."""
    found = {
        path
        for folder in folders()
        if folder.is_dir()
        for pattern in ("*.eml", "msg_*.txt", "*.mbox", "*.msg")
        for path in folder.rglob(pattern)
        if path.is_file() and path.stat().st_size <= LARGEST
    }
    return sorted(found)


def normal(content: bytes) -> bytes:
    """The content as it should be sent: CRLF, no mbox line, no Bcc."""
    content = re.sub(rb"\r\n|\r|\n", b"\r\n", content)
    content = re.sub(rb"\A>?From .*\r\n", b"", content)
    head, empty, body = content.partition(b"\r\n\r\n")
    head = _BCC.sub(b"", head + b"\r\n").removesuffix(b"\r\n")
    content = head + empty + body
    return content if content.endswith(b"\r\n") else content + b"\r\n"


def test_messages_of_other_packages_as_bytes() -> None:
    """As bytes, only line ends and Bcc are changed; a refusal is a `SendError`."""
    found = files()
    if not found:
        pytest.skip("no package with messages is installed")
    refused = 0
    with ScriptedServer(Script(offers=("8BITMIME", "SMTPUTF8", "AUTH PLAIN"))) as server:
        with Client(server_for(server, "starttls"), max_connections=1) as client:
            for path in found:
                source = path.read_bytes()
                try:
                    client.send(source, sender=A, recipients=[B])
                except SendError:
                    refused += 1
                    continue
                assert server.accepted[-1].content == normal(source), path
    assert refused == 0


@pytest.mark.parametrize("rules", [policy.default, policy.compat32])
def test_messages_of_other_packages_as_objects(rules: policy.Policy) -> None:  # type: ignore[type-arg]
    """Parsed, they go out as the generator writes them, or are refused by type."""
    found = files()
    if not found:
        pytest.skip("no package with messages is installed")
    refused = unequal = 0
    for path in found:
        message = email.message_from_bytes(path.read_bytes(), policy=rules)
        try:
            content = envelope(message, A, [B]).content
        except SendError:
            refused += 1
            continue
        whole = rules.clone(linesep="\r\n", max_line_length=0)
        try:
            expected = normal(message.as_bytes(policy=whole))
        except Exception:
            continue  # ours is written
        ours = [line for line in content.split(b"\r\n") if line.strip()]
        theirs = [line.strip() for line in expected.split(b"\r\n") if line.strip()]
        added = [one for one in ours if one.strip() not in theirs]
        unequal += any(not re.match(rb"(?i)date:|message-id:", one) for one in added)
    assert (refused, unequal) == (0, 0)
