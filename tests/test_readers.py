"""Three readers that have no code in common read in a message what was put into it.

By default some hundred messages are read; `SMTPSEND_MESSAGES=100000` reads more.
"""

from __future__ import annotations

import os
import random
from email.message import EmailMessage
from functools import cache
from typing import NamedTuple

import pytest
from folding import readers, texts

from smtpsend import compose
from smtpsend._model.message.envelope import envelope


COUNT = int(os.environ.get("SMTPSEND_MESSAGES", "400"))
PIECE = 2000
ADDRESS = "ann@example.org"


def quoted(name: str) -> str:
    """A display name as a quoted string."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Made(NamedTuple):
    """A message, what its headers mean, and a URL in it."""

    message: EmailMessage
    meaning: readers.Meaning
    url: str


def message(draw: random.Random) -> Made:
    """A message at random."""
    subject, name, file = texts.text(draw), texts.name(draw), texts.filename(draw)
    url = f"<https://example.org/{'0' * draw.randrange(0, 400)}>"
    made = compose(
        sender=f"{quoted(name)} <{ADDRESS}>",
        to="bob@example.net",
        subject=subject,
        text="Hello",
        attachments=[(file, b"x")],
        headers={"X-URL": url},
    )
    return Made(made, readers.Meaning(subject, (name,), (ADDRESS,), (file,)), url)


@cache
def made(piece: int) -> list[tuple[Made, bytes]]:
    """The messages of a piece, and their bytes."""
    draw = random.Random(piece)
    messages = [message(draw) for _ in range(min(PIECE, COUNT - piece * PIECE))]
    return [(one, envelope(one.message, None, None).content) for one in messages]


pieces = pytest.mark.parametrize("piece", range((COUNT + PIECE - 1) // PIECE))


@pieces
def test_python_reads_what_was_written(piece: int) -> None:
    """Subject, name, address and file name are read by the standard library."""
    for one, content in made(piece):
        assert max(map(len, content.split(b"\r\n"))) <= 998
        assert readers.by_python(content) == one.meaning
        assert one.url.encode() in content


@pieces
def test_rust_reads_what_was_written(piece: int) -> None:
    """The subject is read by mailparse."""
    for one, content in made(piece):
        assert readers.by_rust(content) == one.meaning.subject


@pieces
def test_node_reads_what_was_written(piece: int) -> None:
    """Subject, name, address and file name are read by nodemailer's mailparser."""
    if missing := readers.node_missing():
        assert os.environ.get("SMTPSEND_REQUIRE_SERVERS") != "1", missing
        pytest.skip(missing)
    messages = made(piece)
    read = readers.by_node(content for _, content in messages)
    for (one, _), meaning in zip(messages, read, strict=True):
        assert meaning == one.meaning
