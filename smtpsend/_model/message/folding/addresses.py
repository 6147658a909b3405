"""Address headers as lines: each mailbox is kept together where it fits into a line.

The addresses themselves are never encoded or broken. A name that is not ASCII becomes
encoded words (RFC 2047 section 5), and so does a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from smtpsend._model.address.display_name import display_name
from smtpsend._model.address.mailbox import Group, Mailbox
from smtpsend._model.message.folding.encoded_words import LONGEST_WORD, Lines, encode_word
from smtpsend._patterns import pattern
from smtpsend._values import NamedTuple
from smtpsend.errors import ConfigError


__all__ = ["address_list", "fold_addresses", "quoted_phrase"]

_ATOM = pattern(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_LITERAL = r"\[[^]]*+\]"
_PART = pattern(
    rf"""(?P<space>[ \t]++)
        |(?P<special>[,:;])
        |(?P<comment>\()
        |(?P<angle><(?:{_QUOTED}|{_LITERAL}|[^<>"\[])*+>)
        |(?P<word>(?:{_QUOTED}|{_LITERAL}|[^][\s,:;()<>"]++)++)""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT = pattern(r"[()]|\\.", re.DOTALL)
_ENCODED = pattern(r"=\?[^?\s]+\?[qQbB]\?[^?\s]*\?=")
_COMMENT_WIDTH = 72  # with its parentheses it fits into a line


def fold_addresses(name: str, text: str, width: int, *, utf8: bool = False) -> str | None:
    """Write an address header, folded.

    Args:
        name: the name of the header.
        text: a well-formed address list (RFC 5322 section 3.4), unfolded.
        width: the longest line to write, in characters, where white space allows it.
        utf8: whether to write names beyond ASCII as UTF-8 (RFC 6532).

    Returns:
        The header with CRLF line ends, the last one included; None if this module cannot
        split `text`.

    Raises:
        ConfigError: an address is too long for one line.
    """
    parts = _parts(text)
    if parts is None:
        return None
    lines = Lines(f"{name}:", width)
    for element in _elements(parts):
        _add(lines, element, utf8=utf8)
    return lines.finished(name)


def _parts(text: str) -> list[tuple[str, str]] | None:
    """Split `text` into the parts of `_PART`, with comments as a whole."""
    parts: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _PART.match(text, at)
        if match is None:
            return None
        kind, end = str(match.lastgroup), match.end()
        if kind == "comment":
            end = _comment_end(text, at)
            if end < 0:
                return None
        parts.append((kind, text[at:end]))
        at = end
    return parts


def _comment_end(text: str, start: int) -> int:
    depth = 0
    for match in _COMMENT.finditer(text, start):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return -1


class _Token(NamedTuple):
    """A part of an element, with the white space before it and the specials after it."""

    space: str
    text: str
    after: str
    kind: str


def _elements(parts: list[tuple[str, str]]) -> Iterator[list[_Token]]:
    """Yield the tokens of each element: of a mailbox, or of the name of a group."""
    tokens: list[_Token] = []
    space = ""
    for kind, text in parts:
        if kind == "space":
            space += text
            continue
        if kind in ("angle", "special") and text != ",":
            # Words before an angle-addr or a colon are a phrase.
            named = kind == "angle" or text == ":"
            tokens = [t._replace(kind="phrase") if named and t.kind == "word" else t
                      for t in tokens]  # fmt: skip
        if kind == "special" and tokens:
            tokens[-1] = tokens[-1]._replace(after=tokens[-1].after + text)
        else:
            tokens.append(_Token(space or " ", text, "", kind))
        space = ""
        if kind == "special":
            yield tokens
            tokens = []
    yield tokens


def _add(lines: Lines, tokens: list[_Token], *, utf8: bool) -> None:
    """Add an element, on a line of its own if only such a line has room for it."""
    if tokens and tokens[0].kind == "special":  # a comma after the end of a group
        lines.line += tokens[0].text
        return
    alone = Lines("", lines.width)
    _write(alone, tokens, utf8=utf8)
    if alone.lines or len(alone.line) > lines.width:
        _write(lines, tokens, utf8=utf8)
    elif alone.line:
        lines.plain(" ", alone.line[1:])


def _write(lines: Lines, tokens: list[_Token], *, utf8: bool) -> None:
    words_of_name = sum(token.kind == "phrase" for token in tokens)
    for named, group in groupby(tokens, lambda token: token.kind == "phrase"):
        found = list(group)
        if named and not utf8 and not all(token.text.isascii() for token in found):
            _write_phrase(lines, found, alone=words_of_name == 1)
            continue
        words = [
            word
            for token in found
            for word in ([token] if utf8 else _encoded_comment(token))
        ]
        # An address and the comments after it are kept together.
        whole = "".join(word.space + word.text + word.after for word in words)
        if not named and len(whole) <= lines.width:
            lines.plain(words[0].space, whole.removeprefix(words[0].space))
            continue
        for word in words:
            lines.plain(word.space, word.text + word.after)


def _write_phrase(lines: Lines, tokens: list[_Token], *, alone: bool) -> None:
    """Add a name: all from its first word that is not ASCII to its last one, encoded.

    Quotation marks around some words of a name are part of it (see `display_name`), so
    they are encoded, too. Those around an only word (`alone`) are not.
    """
    foreign = [
        index
        for index, token in enumerate(tokens)
        if not token.text.isascii() or _ENCODED.search(token.text)
    ]
    first, last = foreign[0], foreign[-1]
    for token in tokens[:first]:
        lines.plain(token.space, token.text)
    lines.end_run()
    text = display_name([token.text for token in tokens[first : last + 1]])
    if first == last and tokens[first].text[:1] == '"' and not alone:
        text = f'"{text}"'
    # Some programs show a blank between the encoded words of a name, so a name is not
    # split where one word can hold it.
    if len(word := encode_word(text)) <= LONGEST_WORD:
        lines.plain(" ", word)
    else:
        lines.encoded(" ", text)
    lines.end_run()
    lines.line += tokens[last].after
    for token in tokens[last + 1 :]:
        lines.plain(token.space, token.text + token.after)


def _encoded_comment(token: _Token) -> list[_Token]:
    """The words of a comment that is not ASCII: all but the parentheses is encoded."""
    if token.kind != "comment" or token.text.isascii():
        return [token]
    lines = Lines("", _COMMENT_WIDTH)
    lines.encoded("", re.sub(r"\\(.)", r"\1", token.text[1:-1]))
    words = [line.strip(" ") for line in [*lines.lines, lines.line]]
    words[0] = f"({words[0]}"
    found = [_Token(" ", word, "", "comment") for word in words]
    found[0] = found[0]._replace(space=token.space)
    found[-1] = found[-1]._replace(text=f"{words[-1]})", after=token.after)
    return found


def address_list(name: str, found: Iterable[Group], width: int = 78) -> str:
    """Write an address header from what was read of it."""
    text = ", ".join(_group_text(group) for group in found)
    folded = fold_addresses(name, text, width)
    if folded is None:
        raise ConfigError(f"the header {name} cannot be written")
    return folded


def _group_text(group: Group) -> str:
    members = ", ".join(map(_box_text, group.members))
    if group.name is None:
        return members
    name = quoted_phrase(group.name) or '""'
    return f"{name}: {members};"


def _box_text(box: Mailbox) -> str:
    name = quoted_phrase(box.display)
    return f"{name} <{box.address}>" if name else box.address


def quoted_phrase(display: str) -> str:
    """Write a display name as a phrase, in quotes if it needs them.

    In quotes, every blank within the name is kept.
    """
    text = display.strip(" \t")
    if not text or all(map(_ATOM.fullmatch, text.split(" "))):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
