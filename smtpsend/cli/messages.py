"""Messages read from files, with the addresses in their headers."""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Callable, Sequence
from email.utils import formatdate, make_msgid
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from smtpsend._model.delivery import Delivery
from smtpsend._model.message.originator import HeaderAddresses
from smtpsend._model.shortage import raise_if_short
from smtpsend._patterns import pattern
from smtpsend._values import dataclass
from smtpsend.cli.exits import Exit, Problem
from smtpsend.errors import ConfigError, Phase
from smtpsend.prepared import Prepared, prepare


if TYPE_CHECKING:
    from pathlib import Path


_FROM_LINE = pattern(rb"\A>?From [^\n]*\n")
_LAST_LINE = pattern(rb"(\n)\r?\n\Z")
_QUOTED = pattern(rb"^>From ", re.MULTILINE)


def ready(
    content: bytes, sender: str | None = None, recipients: Sequence[str] | None = None
) -> Prepared:
    """Make a message ready to send, with its envelope and a Message-ID.

    The bytes stay unchanged; Date and Message-ID are put before them if they are missing.

    Args:
        content: the message.
        sender: the envelope sender, by default that of Sender, else of From.
        recipients: the envelope recipients, by default those of To, Cc and Bcc.

    Raises:
        ConfigError: the message cannot be sent.
    """
    content = _FROM_LINE.sub(b"", content)
    from email.parser import BytesHeaderParser

    headers = BytesHeaderParser().parsebytes(content)
    if not headers.keys():
        raise ConfigError(
            "it does not begin with headers",
            hint="a mere text is sent with --text - and --from, --to and --subject",
        )
    addresses = HeaderAddresses.of(headers)
    if sender is None:
        sender = addresses.sender()
    if not recipients:
        recipients = [box.address for box in addresses.recipients()]
    missing = []
    if "Message-ID" not in headers:
        domain = sender.rpartition("@")[2]
        domain = domain if domain.isascii() and domain else "localhost"
        missing.append(f"Message-ID: {make_msgid(domain=domain)}\n")
    if "Date" not in headers:
        missing.append(f"Date: {formatdate(localtime=True)}\n")
    return prepare(
        "".join(missing).encode() + content, sender=sender, recipients=recipients
    )


def delivery_from(arguments: argparse.Namespace) -> Delivery | None:
    """What --notify and --require-tls ask for; None for nothing."""
    if not (arguments.notify or arguments.require_tls):
        return None
    return Delivery(notify=arguments.notify, require_tls=arguments.require_tls)


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a source: its name there, and a function that reads it."""

    name: str
    read: Callable[[], bytes]


def digest(content: bytes) -> str:
    """The digest that identifies a message: the SHA-256 of its content."""
    return hashlib.sha256(content).hexdigest()


def entries(source: str) -> list[Entry]:
    """List the messages of a folder of ``*.eml`` files, a Maildir, or an mbox file.

    Raises:
        Problem: there are no messages, or the source cannot be read.
    """
    try:
        from pathlib import Path

        path = Path(source)
        found = _in_folder(path) if path.is_dir() else _in_mbox(path)
    except (OSError, ValueError) as error:
        raise_if_short(error, f"{source} cannot be read", Phase.CONFIG)
        why = getattr(error, "strerror", None) or "not a path"
        raise Problem(Exit.NO_INPUT, f"{source} cannot be read: {why}") from None
    if not found:
        raise Problem(
            Exit.NO_INPUT,
            f"no messages in {source}: give a folder of *.eml files, a Maildir, "
            "or an mbox file",
        )
    return found


def _in_folder(path: Path) -> list[Entry]:
    if (path / "cur").is_dir() and (path / "new").is_dir():
        files = [*(path / "new").iterdir(), *(path / "cur").iterdir()]
    else:
        files = [file for file in path.iterdir() if file.suffix.lower() == ".eml"]
    kept = [file for file in files if file.is_file() and not file.name.startswith(".")]
    return [Entry(str(file.relative_to(path)), file.read_bytes) for file in sorted(kept)]


def _in_mbox(path: Path) -> list[Entry]:
    """List the messages of an mbox; a "From " line after an empty line begins each."""
    starts = []
    with path.open("rb") as file:
        if file.readline().startswith(b"From "):
            file.seek(0)
            before, at = b"\n", 0
            for line in file:
                if line.startswith(b"From ") and not before.strip():
                    starts.append(at)
                before, at = line, at + len(line)
            starts.append(at)
    spans = enumerate(pairwise(starts), 1)
    return [Entry(f"{path.name}#{n}", partial(_cut, path, *span)) for n, span in spans]


def _cut(path: Path, start: int, end: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        content = file.read(end - start)
    content = _FROM_LINE.sub(b"", content)
    # An empty line ends each message, and lines that begin with "From " are quoted.
    content = _QUOTED.sub(b"From ", content)
    return _LAST_LINE.sub(rb"\1", content)
