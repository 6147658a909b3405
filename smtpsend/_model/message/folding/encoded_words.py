"""Text of a header as lines, with encoded words where it is not ASCII (RFC 2047).

ASCII words stay as they are: a program that reads a header expects its URLs and ids
unbroken. Lines end at white space only. A reader drops the white space between two
encoded words, so white space that has to be kept there is inside one of them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

from smtpsend._patterns import pattern
from smtpsend.errors import ConfigError


__all__ = [
    "LONGEST_LINE",
    "LONGEST_WORD",
    "Lines",
    "encode_word",
    "fold_encoded",
    "fold_text",
    "raw_bytes_in",
    "reads_otherwise",
]

# RFC 5322 section 2.1.1 sets this limit for a line, in octets without CRLF.
LONGEST_LINE = 998
LONGEST_WORD = 75  # RFC 2047 section 2
_SAFE = frozenset(b"-!*+/ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_ONE = frozenset(" " + bytes(_SAFE).decode("ascii"))
# What some reader decodes as an encoded word.
_ENCODED_START = pattern(r"=\?[^?]*+\?[qQbB]\?")
# Blanks, and the word after them. Some programs read a fold before a tab as one blank, so
# a tab, with the blanks before it, belongs to a word.
_WORD = pattern(r"(?<! )( *+)([^ ]++(?:\ ++(?=\t)[^ ]++)*+)")
_BLANKS = " \t"


def encode_word(text: str) -> str:
    """Make one encoded word of `text`, by "q" or by "b", whichever is shorter.

    The "q" encoding, which people can read in part, may be up to four octets longer. The
    charset is UTF-8, or "unknown-8bit" (RFC 1428) for bytes of an unknown charset.
    """
    charset = _charset(text)
    data = text.encode("utf-8", "surrogateescape")
    if _length_q(data) - _length_b(len(data)) < 5:
        encoded = "".join(map(_q, data))
        return f"=?{charset}?q?{encoded}?="
    return f"=?{charset}?b?{base64.b64encode(data).decode('ascii')}?="


def _encoded_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where some reader sees an encoded word: from its start to the next ``?=``."""
    place = 0
    while (start := _ENCODED_START.search(text, place)) is not None:
        end = text.find("?=", start.end())
        if end < 0:
            return
        place = end + len("?=")
        yield start.start(), place


def _charset(text: str) -> str:
    return "unknown-8bit" if raw_bytes_in(text) else "utf-8"


def _q(octet: int) -> str:
    if octet == 32:
        return "_"
    return chr(octet) if octet in _SAFE else f"={octet:02X}"


def _length_q(data: bytes) -> int:
    return sum(1 if octet in _SAFE or octet == 32 else 3 for octet in data)


def _length_b(octets: int) -> int:
    return (octets + 2) // 3 * 4


def _fitting(text: str, room: int) -> int:
    """How many characters of `text` fit into `room` octets when encoded."""
    best = size_q = octets = 0
    for count, char in enumerate(text, 1):
        size = 1 if char < "\x80" else len(char.encode("utf-8", "surrogateescape"))
        octets += size
        size_q += 1 if char in _ONE else 3 * size
        size_b = _length_b(octets)
        if (size_q if size_q - size_b < 5 else size_b) <= room:
            best = count
        elif min(size_q, size_b) > room:
            break
    return best


def fold_text(
    name: str,
    text: str,
    width: int,
    *,
    free: bool = False,
    utf8: bool = False,
) -> str:
    """Write a header, folded.

    Args:
        name: the name of the header.
        text: its value, unfolded.
        width: the longest line to write, in characters, where white space allows it.
        free: whether people read the text, so that white space at its ends and words
            that look like encoded words are kept by an encoding. Other texts have no
            such meaning, and lose white space at their ends.
        utf8: whether to write text beyond ASCII as UTF-8 (RFC 6532).

    Returns:
        The header with CRLF line ends, the last one included.

    Raises:
        ConfigError: a word is longer than a line may be.
    """
    inside = text.strip(_BLANKS)
    words = _WORD.findall(inside)
    encoded = _hidden_words(inside, words)
    if encoded or not text.isascii() or (free and inside != text):
        # Next to encoded words, the start of one is enough to mislead a reader.
        encoded |= {index for index, (_, word) in enumerate(words) if "=?" in word}
    if free and inside != text:
        lead = text[: len(text) - len(text.lstrip(_BLANKS))]
        trail = text[len(lead) + len(inside) :]
        words = words or [("", "")]
        if lead:
            words[0] = ("", lead + words[0][1])
            encoded.add(0)
        if trail:
            words[-1] = (words[-1][0], words[-1][1] + trail)
            encoded.add(len(words) - 1)
    lines = Lines(f"{name}:", width)
    for index, (space, word) in enumerate(words):
        bare = word.isascii() or (utf8 and not raw_bytes_in(word))
        add = lines.plain if bare and index not in encoded else lines.encoded
        add(space or " ", word)
    return lines.finished(name)


def fold_encoded(name: str, text: str, width: int) -> str:
    """Write a header whose text is encoded already, folded; its words stay as they are.

    Args:
        name: the name of the header.
        text: its value in ASCII, unfolded.
        width: the longest line to write, in characters, where white space allows it.

    Raises:
        ConfigError: a word is longer than a line may be.
    """
    lines = Lines(f"{name}:", width)
    for space, word in _WORD.findall(text.strip(_BLANKS)):
        lines.plain(space or " ", word)
    return lines.finished(name)


def raw_bytes_in(text: str) -> bool:
    """Whether `text` holds bytes of an unknown charset (PEP 383)."""
    return not text.isascii() and any("\udc80" <= char <= "\udcff" for char in text)


def _hidden_words(text: str, words: list[tuple[str, str]]) -> set[int]:
    """Which words look, alone or together, like an encoded word."""
    if "=?" not in text:
        return set()
    starts, at = [], 0
    whole = "".join(space + word for space, word in words)
    for space, word in words:
        starts.append((at + len(space), at + len(space) + len(word)))
        at += len(space) + len(word)
    spans = list(_encoded_spans(whole))
    return {
        index
        for index, (start, end) in enumerate(starts)
        if any(start < last and first < end for first, last in spans)
    }


def reads_otherwise(text: str) -> bool:
    """Whether a reader takes white space off `text`, or decodes a part of it."""
    return text != text.strip(_BLANKS) or ("=?" in text and any(_encoded_spans(text)))


class Lines:
    """The lines of one header, and the run of encoded words at the end of the last one.

    A word that follows an encoded word in the same line is encoded together with it, and
    with the ASCII words between.

    Attributes:
        lines: the lines that are complete.
        first: the name of the header, with the colon.
        line: the last line.
        start: where the run begins in the last line; -1 if there is none.
        run: the text of the run.
        tail: what follows the run in the last line.
    """

    def __init__(self, first: str, width: int) -> None:
        self.lines: list[str] = []
        self.line = self.first = first
        self.width = width
        self.start = -1
        self.run = self.tail = ""

    def plain(self, space: str, word: str) -> None:
        """Add a word as it is."""
        size = len(self.line) + len(space) + len(word)
        # A reader may show a blank for a first line without a value, so a word stays on
        # it unless that makes the line too long.
        limit = LONGEST_LINE if self.line is self.first else self.width
        if size <= limit:
            self.line += space + word
            self.tail += space + word
            return
        self._fold(space)
        self.line += word

    def encoded(self, space: str, word: str) -> None:
        """Add a word as an encoded word, or as several."""
        if self.tail and self.start >= 0 and len(self.line) + len(space) > self.width:
            self._fold(space)
            space = ""
        if self.start >= 0:
            text = self.run + self.tail + space + word
            self.line = self.line[: self.start]
        else:
            text = word
            self.line += space
        room = LONGEST_WORD - len(f"=?{_charset(text)}?q??=")
        while True:
            used = len(self.line) + LONGEST_WORD - room
            count = _fitting(text, min(room, self.width - used))
            if not count and self.line.strip(_BLANKS):
                space = self.line[len(self.line.rstrip(_BLANKS)) :]
                self.line = self.line.rstrip(_BLANKS)
                self._fold(space)
                continue
            count = count or 1
            self.start, self.run, self.tail = len(self.line), text[:count], ""
            self.line += encode_word(self.run)
            text = text[count:]
            if not text:
                return
            self.lines.append(self.line)
            self.line = " "

    def end_run(self) -> None:
        """Encode what follows on its own."""
        self.start = -1

    def _fold(self, space: str) -> None:
        # Some programs read the white space at the start of a line as one blank, so all
        # but one of several stand at the end of the line before.
        self.lines.append(self.line + space[:-1])
        self.line = space[-1:]
        self.start = -1

    def finished(self, name: str) -> str:
        """The header, if none of its lines is too long."""
        lines = [*self.lines, self.line]
        if any(len(line) > LONGEST_LINE // 4 for line in lines) and any(
            len(line.encode("utf-8", "surrogateescape")) > LONGEST_LINE for line in lines
        ):
            raise ConfigError(
                f"the header {name} holds a word that is too long for one line",
                hint=f"a line has at most {LONGEST_LINE} octets (RFC 5322 section "
                "2.1.1), and is folded at white space only",
            )
        return "\r\n".join(lines) + "\r\n"
