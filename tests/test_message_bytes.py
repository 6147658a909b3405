"""A message given as bytes or str: what is changed, what is refused, and how fast."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_messages import A, B, compat

from smtpsend._model.message.envelope import Envelope, dot_stuff, envelope
from smtpsend.errors import ConfigError


def test_bytes_go_out_as_given() -> None:
    """Bytes with CRLF line ends and without Bcc are not changed and nothing is added."""
    content = (
        b"Subject: x\r\nX:y\r\n folded\r\n\r\n.\r\n..\r\n\xff" + b"z" * 2000 + b"\r\n"
    )
    found = envelope(content, "a@b", ["c@d"])
    assert found == Envelope("a@b", ("c@d",), content, None, True, False)
    assert envelope("Message-ID: <x@y>\n\nhi", "", "c@d") == Envelope(
        "", ("c@d",), b"Message-ID: <x@y>\r\n\r\nhi\r\n", "<x@y>", False, False
    )


@pytest.mark.parametrize("message", [b"x", "x"])
def test_bytes_need_addresses(message: bytes | str) -> None:
    """Bytes and str need both sender and recipients."""
    for sender, recipients in ((None, None), (A, None), (None, [B])):
        with pytest.raises(ConfigError, match="sender= and recipients="):
            envelope(message, sender, recipients)


@pytest.mark.parametrize("text", ["ü", "Subject: ü\n\n", "\ud800", "\u2028"])
def test_str_must_be_ascii(text: str) -> None:
    """A str that is not ASCII is refused, as in smtplib."""
    with pytest.raises(ConfigError, match="ASCII"):
        envelope(text, A, [B])


def test_raw_utf8_in_bytes() -> None:
    """Bytes with UTF-8 in the header need SMTPUTF8, in the body only 8BITMIME."""
    assert envelope("Subject: ü\r\n\r\n".encode(), A, [B]).utf8
    found = envelope("Subject: x\r\n\r\nü\r\n".encode(), A, [B])
    assert (found.eight_bit, found.utf8) == (True, False)


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b""),
        (b".", b".\r\n"),
        (b"hello", b"hello\r\n"),
        (b"\n", b"\r\n"),
        (b"a\rb\nc\r\nd\r\re", b"a\r\nb\r\nc\r\nd\r\n\r\ne\r\n"),
        (b"Subject: x\n\na\n.\r\n.\rb", b"Subject: x\r\n\r\na\r\n.\r\n.\r\nb\r\n"),
        (b"Subject: x\r\n\r\na\r", b"Subject: x\r\n\r\na\r\n"),
        (b"Subject: x", b"Subject: x\r\n"),
        (
            b"From me Mon\nSubject: x\nBcc: e\n\nhi\n",
            b"Subject: x\r\n\r\nhi\r\n",
        ),
    ],
)
def test_line_ends(content: bytes, wire: bytes) -> None:
    """Every line end becomes CRLF, the last line gets one, and empty stays empty."""
    assert envelope(content, A, [B]).content == wire


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: x\rBcc: e@x\r\n\r\n",
        b"Subject: x\r\r\n\r\n",
        b"Subject: x\r\n y\rz\r\n\r\n",
        b"Subject: x\r",
        b"a\0b",
        b"Subject: x\0\r\n\r\n",
        b"Subject: x\r\n\r\n\0",
        b"Subject: x\r\nbroken line\r\nBcc: e@x\r\n\r\nhi",
        b"Subject: x\nbroken\rBcc: e@x\n\nhi",
        b"broken\r\nBCC : e@x\r\n\r\nhi",
    ],
)
def test_bytes_refused(content: bytes) -> None:
    """A bare CR in a header, a NUL, and a Bcc behind a broken header are refused."""
    with pytest.raises(ConfigError):
        envelope(content, A, [B])


@pytest.mark.parametrize(
    "bcc",
    [
        b"Bcc: e@x\r\n",
        b"bcc: e@x,\r\n\tf@x,\r\n  g@x\r\n",
        b"BCC:e@x\r\n",
        b"Bcc : e@x\n",
        b"Bcc\t:\n e@x\n",
        b"Resent-Bcc: e@x\r\n",
        b"rESENT-bCC \t : e@x\n \n e@x\n",
        b"Bcc: e@x\r\nBcc: f@x\r\n",
    ],
)
def test_bcc_never_leaves(bcc: bytes) -> None:
    """Bcc and Resent-Bcc are removed from bytes, in any spelling, with their folds."""
    rest = b"X-Bcc: kept\r\n\r\nBcc: in the text\r\n"
    for first in (b"", b"Subject: x\r\n"):
        assert envelope(first + bcc + rest, A, [B]).content == first + rest
    assert envelope(b"Subject: x\r\n" + bcc, A, [B]).content == b"Subject: x\r\n"


NAMES = st.sampled_from(
    ["Subject", "To", "X-A", "Bcc", "BCC", "Resent-Bcc", "bcc ", "X-Bcc"]
)
VALUES = st.text(alphabet="ab@,: .", max_size=10)


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(st.tuples(NAMES, VALUES, st.lists(VALUES, max_size=2)), max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.text(alphabet="ab.\r\n: Bc", max_size=30),
)
def test_bcc_property(
    given_fields: list[tuple[str, str, list[str]]], end: str, body: str
) -> None:
    """What is left is exactly the other fields, in order, and the whole text."""
    kept, source = "", ""
    for name, value, folds in given_fields:
        text = f"{name}: {value}{end}" + "".join(f" {fold}{end}" for fold in folds)
        source += text
        kept += "" if "bcc" in name.lower() and "X-" not in name else text
    text = kept + end + body
    expected = re.sub(r"\r\n|\r|\n", "\r\n", text)
    found = envelope(source + end + body, A, [B]).content.decode()
    assert found == expected + ("" if expected.endswith("\r\n") else "\r\n")


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(max_size=60).map(lambda b: b.replace(b"\0", b"")), st.booleans())
@example(b"\r\r\n\n\r.\r\n.\n", True)
def test_normalisation_property(body: bytes, header: bool) -> None:
    """No bare CR or LF is left, the text between line ends is as it was."""
    source = b"Subject: x\r\n\r\n" + body if header else b"\r\n" + body
    content = envelope(source, A, [B]).content
    assert re.search(rb"\r(?!\n)|(?<!\r)\n", content) is None
    lines = re.split(rb"\r\n|\r|\n", source)
    assert content.split(b"\r\n")[: len(lines)] == lines
    assert envelope(content, A, [B]).content == content


def unstuff(data: bytes) -> bytes:
    """What a server makes of DATA (RFC 5321 section 4.5.2), line by line."""
    lines = data.split(b"\r\n")
    end = lines.index(b".")
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end])


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.text(alphabet=".a \xff", max_size=4).map(str.encode), max_size=12))
@example([b".", b"..", b"", b".a"])
def test_dot_stuffing(lines: list[bytes]) -> None:
    """After stuffing no line is a lone dot, and a server gets back what was given."""
    content = b"".join(line + b"\r\n" for line in lines)
    stuffed = dot_stuff(content)
    assert b"." not in stuffed.split(b"\r\n")
    assert unstuff(stuffed + b".\r\n") == content


@pytest.mark.parametrize(
    "dot", [b"\n.\n", b"\r.\r", b"\r\n.\n", b"\n.\r\n", b"\r.\n", b"\r\n.\r\n"]
)
def test_smuggling_sequences(dot: bytes) -> None:
    """No sequence around a dot ends the data early (CVE-2023-51764 and its kin)."""
    source = b"Subject: x\r\n\r\na" + dot + b"MAIL FROM:<e@x>\r\n"
    stuffed = dot_stuff(envelope(source, A, [B]).content)
    assert b"\r\n..\r\nMAIL FROM" in stuffed
    message = compat()
    message.set_payload("a" + dot.decode() + "MAIL FROM:<e@x>\n")
    assert b"\r\n..\r\nMAIL FROM" in dot_stuff(envelope(message, A, [B]).content)


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 150_000,
        b"Subject: x\n\n" + (b"x" * 70 + b"\n") * 150_000,
        b"Subject: x\n\n" + b"\r" * 10_000_000,
        b"x" * 10_000_000,
        b"\n.\n" * 3_000_000,
        b"X: y\r\n" + b" z\r\n" * 2_000_000,
        b"X: " + b"\r\n " * 2_000_000,
        b"X" * 10_000_000 + b" " * 100_000,
        b"bcc " * 2_000_000,
    ],
    ids=range(9),
)
def test_linear_time(content: bytes) -> None:
    """Ten megabytes of anything take a moment."""
    started = time.perf_counter()
    dot_stuff(envelope(content, A, [B]).content)
    assert time.perf_counter() - started < 30


def test_large_content_is_not_walked() -> None:
    """Ten megabytes with CRLF line ends are done in milliseconds."""
    content = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 150_000
    best = min(_timed(content) for _ in range(5))
    assert best < 0.5


def _timed(content: bytes) -> float:
    started = time.perf_counter()
    envelope(content, A, [B])
    return time.perf_counter() - started
