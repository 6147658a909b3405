"""The reply parser: any bytes in any pieces are replies or garbage, within bounds."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpsend._protocol.failures import Garbage
from smtpsend._protocol.redaction.redact import Redactor
from smtpsend._protocol.replies import ReplyReader, _known
from smtpsend.errors import Reply


LONGEST_LINE = 8192
LONGEST_REPLY = 65536


def read(*pieces: bytes) -> tuple[list[Reply], str | None]:
    """The replies in `pieces`, and what is said of the garbage if there is any."""
    reader = ReplyReader(Redactor())
    replies = [reply for piece in pieces for reply in reader.feed(piece)]
    garbage = reader.garbage
    assert garbage is None or isinstance(garbage, Garbage)
    return replies, None if garbage is None else str(garbage)


GOOD = {
    b"250 ok\r\n": [Reply(250, None, "ok")],
    b"250\r\n": [Reply(250, None, "")],
    b"250 \r\n": [Reply(250, None, "")],
    b"250\tok\r\n": [Reply(250, None, "ok")],
    b"250 ok\n": [Reply(250, None, "ok")],
    b"250-a\r\n250-b\r\n250 c\r\n": [Reply(250, None, "a\nb\nc")],
    b"250-a\r\n250\r\n": [Reply(250, None, "a")],
    b"250-\r\n250-\r\n250 c\r\n": [Reply(250, None, "c")],
    b"220 a\r\n250 b\r\n": [Reply(220, None, "a"), Reply(250, None, "b")],
    b"250 2.1.5 ok\r\n": [Reply(250, "2.1.5", "ok")],
    b"250 2.1.5\r\n": [Reply(250, "2.1.5", "")],
    b"550 5.1.1  no such user\r\n": [Reply(550, "5.1.1", "no such user")],
    b"550 5.123.999 x\r\n": [Reply(550, "5.123.999", "x")],
    b"550-5.1.1 no\r\n550 5.1.1 user\r\n": [Reply(550, "5.1.1", "no\nuser")],
    b"550-5.1.1 no\r\n550 user\r\n": [Reply(550, "5.1.1", "no\nuser")],
    b"550 \xc3\xbc\xff\r\n": [Reply(550, None, "ü\ufffd")],
    b"250 a\r\n250 b": [Reply(250, None, "a")],
    b"": [],
}


@pytest.mark.parametrize("data", GOOD)
def test_good(data: bytes) -> None:
    """What RFC 5321 allows, and what is seen in the wild and clear, is read."""
    assert read(data) == (GOOD[data], None)


@pytest.mark.parametrize("data", [data for data in GOOD if data.endswith(b"\n")])
def test_what_is_known_is_not_taken_for_what_it_begins(data: bytes) -> None:
    """What was read on one connection is the same on another, wherever it is cut."""
    assert read(data) == (GOOD[data], None)
    for place in range(1, len(data)):
        start = ReplyReader(Redactor()).feed(data[:place])
        assert start == GOOD[data][: len(start)]
        assert len(start) == data[:place].count(b"\n") or b"-" in data
        assert read(data[:place], data[place:]) == (GOOD[data], None)
    assert read(data, data) == (2 * GOOD[data], None)


@pytest.mark.parametrize("data", [b"334 Zm9v\r\n", b"250 ok\r\n334 Zm9v\r\n"])
def test_a_challenge_is_never_known(data: bytes) -> None:
    """Each connection has the text of a 334 that another has had before."""
    for _ in range(2):
        reader = ReplyReader(Redactor())
        assert reader.feed(data)[-1].code == 334
        assert reader.challenge == b"Zm9v"


def test_what_is_kept_is_bounded() -> None:
    """Of replies that each occur once, as with queue IDs, few are kept."""
    redact = Redactor()
    reader = ReplyReader(redact)
    for n in range(1000):
        assert reader.feed(b"250 queued as %d\r\n" % n) == [
            Reply(250, None, f"queued as {n}")
        ]
    known = _known(redact.hide)
    assert 0 < len(known.lines) <= 50
    assert 0 < len(known.data) <= 50
    assert reader.feed(b"250 " + 600 * b"x" + b"\r\n")
    assert max(map(len, known.data)) < 600


@pytest.mark.parametrize(
    "text",
    [
        "2.1.5 ok",  # another class than the code's
        "5.1 x",
        "5.1.1.1 x",
        "5.1.1x",
        "5.1234.1 x",
        "6.1.1 x",
        "05.1.1 x",
        "x 5.1.1",
        "١.1.1 x",
    ],
)
def test_no_enhanced_code(text: str) -> None:
    """What is no enhanced code of the reply's class stays in the text."""
    assert read(f"550 {text}\r\n".encode()) == ([Reply(550, None, text)], None)


BAD = [
    b"\r\n",
    b"hello\r\n",
    b"25 ok\r\n",
    b" 250 ok\r\n",
    b"2500 ok\r\n",
    b"250ok\r\n",
    b"250_ok\r\n",
    b"150 ok\r\n",
    b"650 ok\r\n",
    b"000 ok\r\n",
    b"2\xb250 ok\r\n",
    "٢٥٠ ok\r\n".encode(),
    b"250-a\r\n550 b\r\n",
    b"250-a\r\nb\r\n",
    b"250-a\r\n\r\n",
    b"250 a\r\n\x00\r\n",
    b"HTTP/1.1 400 Bad Request\r\n",
    b"\x16\x03\x01\x02\r\n",
    b"SSH-2.0-OpenSSH\r\n",
]


@pytest.mark.parametrize("data", BAD)
def test_bad(data: bytes) -> None:
    """What is no reply is garbage, what was whole before it counts, nothing after it."""
    replies, garbage = read(data + b"250 after\r\n")
    assert garbage
    assert replies == ([Reply(250, None, "a")] if data.startswith(b"250 a") else [])
    assert garbage.isprintable()


@pytest.mark.parametrize("character", "\0\a\b\x0b\x0c\x1b\x7f\x85\x9b\u2028\u2029\r")
def test_control_characters(character: str) -> None:
    """Nothing in a reply's text can move a terminal's cursor or begin a line of a log."""
    replies, garbage = read(f"550 a{character}[31mb\r\n".encode())
    assert garbage is None
    assert replies[0].text == "a [31mb"


ENDLESS = {
    "line": ([b"250 " + b"a" * 4000] * 40, "line"),
    "multi-line": ([b"250-more\r\n" * 100] * 200, "reply"),
    "empty lines of a reply": ([b"250-\r\n" * 1000] * 1000, "reply"),
    "one piece": ([b"250 " + b"a" * (1 << 20) + b"\r\n"], "line"),
    "no code": ([b"a" * 1000] * 100, "line"),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_endless(case: str) -> None:
    """A line or a reply without end is garbage soon, and its memory is given back."""
    pieces, word = ENDLESS[case]
    reader = ReplyReader(Redactor())
    tracemalloc.start()
    try:
        for piece in pieces:
            assert reader.feed(piece) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reader.garbage is not None
    assert f"a reply{' line' if word == 'line' else ''} without end" in str(
        reader.garbage
    )
    assert peak < 20 * LONGEST_REPLY + 2 * max(map(len, pieces))


def test_longest() -> None:
    """A line and a reply of the greatest length are read; one byte more is garbage."""
    line = b"250 " + b"a" * (LONGEST_LINE - 6) + b"\r\n"
    assert len(read(line)[0]) == 1
    assert read(line.replace(b" ", b" aaaa", 1))[1]


def test_idle() -> None:
    """A reader is idle only between whole replies."""
    reader = ReplyReader(Redactor())
    assert reader.idle
    reader.feed(b"250-a\r\n")
    assert not reader.idle
    reader.feed(b"250 b\r\n2")
    assert not reader.idle
    reader.clear()
    assert reader.idle
    reader.feed(b"x\r\n")
    assert not reader.idle


def test_challenges_are_data() -> None:
    """The text of a 334 is kept as it came, since redacting it could change it."""
    redact = Redactor()
    redact.add("s3cret-Pa55word")
    reader = ReplyReader(redact)
    assert reader.feed(b"334 s3cret-Pa55word\r\n") == [Reply(334, None, "***")]
    assert reader.challenge == b"s3cret-Pa55word"


@pytest.mark.parametrize("begin", [b"250 ", b"250-mx.example.org\r\n250 "])
def test_replies_that_are_kept(begin: bytes) -> None:
    """What was said before is hidden as soon as it is a secret, and only for whom."""
    data = begin + b"hunter2hunter\r\n"
    knows, learns, other = Redactor(), Redactor(), Redactor()
    knows.add("hunter2hunter")
    readers = [ReplyReader(redact) for redact in (knows, learns, other)]

    def shown() -> list[bool]:
        return ["hunter2" in reader.feed(data)[0].text for reader in readers]

    assert shown() == [False, True, True]
    learns.add("hunter2hunter")
    assert shown() == [False, False, True]
    large = ReplyReader(knows).feed(b"250-" + b"x " * 3000 + b"\r\n" + data)
    assert "hunter2" not in large[0].text


LINES = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda code, mark, text: b"%d%s%s\r\n" % (code, mark, text),
        st.integers(150, 620),
        st.sampled_from([b" ", b"-", b"", b"\t"]),
        st.one_of(st.just(b"5.1.1 no"), st.just(b"2.0.0 ok"), st.binary(max_size=20)),
    ),
    st.just(b"a" * 5000),
)
STREAMS = st.lists(LINES, max_size=12).map(b"".join)


@settings(deadline=None)  # a busy machine is no failure
@given(STREAMS, st.lists(st.integers(0, 1 << 14), max_size=20))
def test_any_bytes_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    """Nothing is ever raised, and how the bytes are split does not change the result."""
    places = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    whole = read(data)
    assert read(*(data[a:b] for a, b in pairwise(places))) == whole
    for reply in whole[0]:
        assert 200 <= reply.code < 600
        assert all(c == "\n" or c == "\t" or ord(c) >= 32 for c in reply.text)


@settings(deadline=None)  # a busy machine is no failure
@given(STREAMS)
def test_byte_by_byte(data: bytes) -> None:
    """One byte at a time is as good as all at once."""
    assert read(*(data[n : n + 1] for n in range(len(data)))) == read(data)


TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF), max_size=20)


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(200, 599), st.lists(TEXT, min_size=1, max_size=5))
def test_round_trip(code: int, texts: list[str]) -> None:
    """A reply that is written well is read as it was meant."""
    lines = [f"{code}-{text}" for text in texts[:-1]] + [f"{code} {texts[-1]}"]
    replies, garbage = read("".join(f"{line}\r\n" for line in lines).encode())
    assert garbage is None
    assert [reply.code for reply in replies] == [code]


@settings(deadline=None)  # a busy machine is no failure
@given(STREAMS, st.text(min_size=4, max_size=12))
def test_redactor_never_raises(data: bytes, secret: str) -> None:
    """Whatever the secret, redacting never fails."""
    redact = Redactor()
    redact.add(secret)
    reader = ReplyReader(redact)
    for reply in reader.feed(data + f"550 {secret}\r\n".encode("utf-8", "ignore")):
        assert isinstance(reply.text, str)
