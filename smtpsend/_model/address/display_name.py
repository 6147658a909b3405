"""The display name of a mailbox or a group, from its words and comments (RFC 5322).

A display name is a phrase (section 3.2.5): words, each an atom or a quoted string. A
comment, in parentheses, is no part of it (section 3.2.2), and mail programs do not show
it. But people write ``O'Neil (CEO) <user@host>``, and older programs write
``user@host (Ann)``. So a comment counts as part of the name here, as it does for
`email.utils.parseaddr`. In the same way, quotation marks around some words of a name
count as part of it, as in ``William "Bill" Gates``, though RFC 5322 removes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from itertools import groupby

from smtpsend._patterns import pattern


__all__ = ["UNSAFE", "display_name"]

UNSAFE = pattern(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""The control characters, but for the tab, that no address and no name may hold."""

_ATOM = pattern(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")
_QUOTED_PAIR = pattern(r"\\(.)", re.DOTALL)
_ENCODED_WORD = r"=\?[^?\s]*+\?[QqBb]\?[^?\s]*+\?="
_ENCODED_WORDS = pattern(rf"{_ENCODED_WORD}(?:[ \t]++{_ENCODED_WORD})*+")


def display_name(parts: Sequence[str]) -> str:
    """Make the text of a display name.

    Args:
        parts: the words and comments in order, as they are written: atoms, quoted strings
            with their quotes, comments with their parentheses.

    Returns:
        The name, unquoted. A comment without any word is the name, without its
        parentheses. Encoded words (RFC 2047) are kept as they are if the name consists of
        atoms only. Otherwise they are decoded, since the name will be written as a quoted
        string, in which nothing is decoded.
    """
    if all(map(_ATOM.fullmatch, parts)):
        return " ".join(parts)
    filled = [part for part in parts if part != '""']
    words = sum(part[0] != "(" for part in filled)
    if words == 0 and filled:
        first, *rest = filled
        texts = [_comment(first)[1:-1].strip(" \t"), *map(_comment, rest)]
    else:
        texts = [*_texts(filled, one_word=words == 1)]
    return " ".join(texts).strip(" \t")


def _texts(parts: Sequence[str], *, one_word: bool) -> Iterator[str]:
    for kind, run in groupby(parts, key=lambda part: part[0] if part[0] in '"(' else ""):
        if kind == "(":
            yield from map(_comment, run)
        elif kind == '"':
            for part in run:
                text = _QUOTED_PAIR.sub(r"\1", part[1:-1])
                yield text if one_word else f'"{text}"'
        else:
            # White space between two encoded words is no part of the text.
            yield _decoded(" ".join(run))


def _comment(part: str) -> str:
    return _decoded(_QUOTED_PAIR.sub(r"\1", part).replace("\t", " "))


def _decoded(text: str) -> str:
    return _ENCODED_WORDS.sub(_text_of, text) if "=?" in text else text


def _text_of(words: re.Match[str]) -> str:
    """Decode encoded words; keep any that are malformed or hold control characters."""
    try:
        text = str(make_header(decode_header(words[0])))
    except (HeaderParseError, LookupError, ValueError):
        return words[0]
    return words[0] if UNSAFE.search(text) or "\t" in text else text
