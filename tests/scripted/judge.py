"""The judges: they find in the server's records what a correct client never does."""

from __future__ import annotations

import base64
import re
from collections import Counter
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scripted.records import Connection


_CLEAR = re.compile(rb"(?i)((EHLO|HELO) .*|STARTTLS|QUIT|NOOP|RSET)\r?")
_BARE = re.compile(rb"\r(?!\n|\Z)|(?<!\r)\n")
_PATH = rb'<(("(\\[\x20-\x7e]|[^\x00-\x1f\x7f"\\])*"@)?[^<>\x00-\x20\x7f]*)>'
_HONEST = re.compile(
    rb"(?i)(EHLO|HELO) (\[[0-9a-z.:]+\]|[0-9a-z.-]+)|STARTTLS|DATA|RSET|NOOP|QUIT"
    rb"|AUTH [A-Z0-9_-]+( [A-Za-z0-9+/]+=*| =)?|BDAT \d+( LAST)?"
    rb"|MAIL FROM: ?" + _PATH + rb"( (SIZE=\d+|BODY=(7BIT|8BITMIME)|SMTPUTF8|AUTH=<>"
    rb"|RET=(FULL|HDRS)|ENVID=[!-<>-~]+|REQUIRETLS))*"
    rb"|RCPT TO: ?" + _PATH + rb"( NOTIFY=[A-Z,]+)?( ORCPT=(rfc822|utf-8);[!-<>-~]+)?"
)
"""The commands that this library sends, with all their parameters."""


def secret_forms(secret: str) -> set[bytes]:
    """A secret in clear and in base64, at each of the three alignments of base64."""
    raw = secret.encode()
    forms = {raw}
    for before in range(3):
        text = base64.b64encode(b"\0" * before + raw).rstrip(b"=")
        tail = 1 if (before + len(raw)) % 3 else 0  # shares its bits with what follows
        forms.add(text[(0, 2, 3)[before] : len(text) - tail])
    return forms


def is_client_hello(data: bytes) -> bool:
    """Whether a client sent one TLS record, to see whether a silent port speaks TLS."""
    return data[:2] == b"\x16\x03" and len(data) == 5 + int.from_bytes(data[3:5])


def plaintext(connections: Iterable[Connection], secret: str) -> list[str]:
    """Find commands before TLS that need TLS, and the secret anywhere in clear."""
    found = []
    for name, record in _named(connections):
        lines = bytes(record.plaintext).split(b"\n")
        bad = [line for line in lines if line and not _CLEAR.fullmatch(line)]
        bad = [] if is_client_hello(bytes(record.plaintext)) else bad
        found += [f"plaintext: {name} {line[:80]!r}" for line in bad]
        forms = [form for form in secret_forms(secret) if form in record.raw]
        found += [f"plaintext: {name} the secret, as {form!r}" for form in forms]
    return found


def duplicates(connections: Iterable[Connection]) -> list[str]:
    """Find each Message-ID that was, or may have been, accepted more than once."""
    ids = Counter(
        message.message_id
        for record in connections
        for message in record.messages
        if message.state in ("accepted", "unknown") and message.message_id
    )
    return [f"duplicate: {key} {n} times" for key, n in ids.items() if n > 1]


def injection(connections: Iterable[Connection]) -> list[str]:
    """Find injected commands, bare CR and LF, and replies that were not waited for."""
    found = []
    for name, record in _named(connections):
        if is_client_hello(bytes(record.plaintext)):
            continue
        lines = [line for _, line in record.commands if not _HONEST.fullmatch(line)]
        found += [f"injection: {name} {line[:80]!r}" for line in lines]
        for data in (bytes(record.plaintext), bytes(record.received)):
            # The expression is slow for megabytes of lines.
            bare = _has_bare(data) and _BARE.search(data)
            if bare:
                around = data[max(0, bare.start() - 20) : bare.end() + 20]
                found.append(f"bare CR or LF: {name} {around!r}")
        found += [f"not waited: {name} behind {line[:80]!r}" for line in record.early]
    return found


def _has_bare(data: bytes) -> bool:
    """Whether a CR, but for one at the end, or an LF stands without the other one."""
    pairs, pending = data.count(b"\r\n"), data.endswith(b"\r")
    return data.count(b"\n") != pairs or data.count(b"\r") != pairs + pending


def logins(connections: Iterable[Connection], most: int) -> list[str]:
    """Find more AUTH commands than allowed, over all connections."""
    count = sum(record.verbs.count("AUTH") for record in connections)
    return [f"auth: {count} times, not {most}"] if count > most else []


def judge(
    connections: Sequence[Connection], secret: str, *, auths: int | None = 1
) -> list[str]:
    """Find all faults of the client; `auths` is the allowed number of AUTH commands."""
    found = plaintext(connections, secret) + duplicates(connections)
    found += injection(connections)
    return found + (logins(connections, auths) if auths is not None else [])


def _named(connections: Iterable[Connection]) -> Iterable[tuple[str, Connection]]:
    return ((f"#{n} {c.port_kind}", c) for n, c in enumerate(connections, 1))
