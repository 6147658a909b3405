"""One header of a message object as bytes for the wire.

This package folds every header itself, so that the bytes are the same on every Python.
The standard library's folding encodes ASCII words that are long, loses and doubles white
space next to encoded words, and differs between versions.
"""

from __future__ import annotations

import contextlib
import sys
from email import headerregistry as registry
from email.header import Header
from email.headerregistry import BaseHeader, HeaderRegistry
from email.policy import Compat32, EmailPolicy, Policy
from functools import lru_cache
from typing import Any

from smtpsend._model.address.mailbox import Group
from smtpsend._model.message.content import fields
from smtpsend._model.message.folding.addresses import address_list, fold_addresses
from smtpsend._model.message.folding.encoded_words import (
    LONGEST_LINE,
    LONGEST_WORD,
    fold_encoded,
    fold_text,
    raw_bytes_in,
)
from smtpsend._model.message.folding.parameters import fold_parameters
from smtpsend._model.message.headers import (
    ADDRESS_HEADERS,
    FREE_TEXT,
    addresses_and_text,
    idn_in,
    names_addresses,
    unfolded_text,
)
from smtpsend._patterns import pattern
from smtpsend._values import NamedTuple
from smtpsend.errors import ConfigError


__all__ = [
    "WirePolicy",
    "address_field",
    "field",
    "folds_to_itself",
    "is_built",
    "wire_policy",
]

_PARAMETERS = frozenset({"content-type", "content-disposition"})
_PRINTED = frozenset(
    {
        registry.UnstructuredHeader,
        registry.UniqueUnstructuredHeader,
        registry.DateHeader,
        registry.UniqueDateHeader,
        registry.MIMEVersionHeader,
        registry.ContentTypeHeader,
        registry.ContentDispositionHeader,
        registry.ContentTransferEncodingHeader,
        registry.MessageIDHeader,
    }
)
_STRUCTURED = HeaderRegistry().registry.keys() - {"subject"}
_REGISTRY = HeaderRegistry()
_CRLF = "\r\n"
_LINE_END = pattern(r"\r\n|\r|\n")
_FOLD = pattern(r"(?:\r\n|\r|\n)(?=[ \t])")
_ENCODED_WORD = pattern(r"=\?[^?\s]*\?[^?]*\?[^?\s]*\?=")
# White space at the start of a line that some readers make one blank, and a first line
# without a value, which some readers make a blank.
_MISREAD = pattern(r"\r\n(?: [ \t]|\t)|\A[^:]*: *\r\n")


class WirePolicy(NamedTuple):
    """A policy with CRLF line ends, and what it asks for.

    Attributes:
        policy: the policy, with CRLF line ends.
        own: whether its class folds by itself, so that it has to be asked.
        width: the longest line to write, in characters.
        compat32: whether a str that the caller set is stored as it is.
        refold: whether headers of a parsed message are to be folded anew.
        utf8: whether headers are written as UTF-8 (RFC 6532).
        seven: whether to encode bytes of a parsed message that are not ASCII.
    """

    policy: Policy[Any]
    own: bool
    width: int
    compat32: bool
    refold: bool
    utf8: bool
    seven: bool


# Policies are immutable, and most messages have one of a few policies.
@lru_cache(maxsize=16)
def wire_policy(policy: Policy[Any]) -> WirePolicy:
    """Make the `WirePolicy` of `policy`."""
    kind = type(policy)
    base = Compat32 if isinstance(policy, Compat32) else EmailPolicy
    own = any(
        getattr(kind, name, None) is not getattr(base, name)
        for name in ("fold", "fold_binary", "_fold")
    )
    return WirePolicy(
        policy.clone(linesep="\r\n"),
        own,
        min(policy.max_line_length or LONGEST_LINE, LONGEST_LINE),
        base is Compat32,
        getattr(policy, "refold_source", "") == "all",
        getattr(policy, "utf8", False),
        policy.cte_type == "7bit",
    )


def folds_to_itself(text: str) -> bool:
    """Whether folding leaves `text` unchanged if it fits into one line.

    It does for printable ASCII. White space at either end is excepted, since folding may
    remove it; so is a text with "=?", since an encoded word (RFC 2047) may be decoded or
    encoded again.
    """
    return (
        text.isascii()
        and text.isprintable()
        and text != ""
        and text[0] != " "
        and text[-1] != " "
        and "=?" not in text
    )


def is_built(message: object) -> bool:
    """Whether the headers of a message were certainly set by a program.

    A str in a message of another class may be what was read from a file: with the policy
    `compat32`, nothing tells.
    """
    # A program that has such a message has imported the class.
    module = sys.modules.get("email.mime.base")
    return module is not None and isinstance(message, module.MIMEBase)


def field(
    to: WirePolicy, name: str, value: Any, *, built: bool = False, signed: bool = False
) -> bytes | None:
    """Write a header; None if the result is not exactly one header.

    Args:
        to: the policy.
        name: the name of the header.
        value: its value, as `Message.raw_items` gives it.
        built: whether the program has set it (see `is_built`). Otherwise a str is left as
            it is, as long as its lines are no longer than a line may be.
        signed: whether a signature covers the header, so that it has to be exactly what
            the standard library's generator writes.

    Raises:
        ConfigError: a word is too long for a line.
    """
    plain = type(value) is str
    if plain and _fits(to, name, value) and not to.own and not to.refold:
        return f"{name}: {value}\r\n".encode("ascii")
    if to.own or signed:
        folded = _as_generated(to, name, value, built=built)
    elif _prints_as_written(value) and _fits(to, name, value):
        return f"{name}: {value}\r\n".encode("ascii")
    elif name.lower() in ADDRESS_HEADERS or hasattr(value, "addresses"):
        return address_field(to, name, value, built=built)[1]
    elif plain:
        folded = _of_str(to, name, value, built=built)
    elif isinstance(value, Header):
        folded = _by_header(to, name, value) or _of_text(to, name, str(value))
    else:
        folded = _of_object(to, name, value)
    return _whole(name, folded)


def address_field(
    to: WirePolicy, name: str, value: Any, *, built: bool = False, signed: bool = False
) -> tuple[list[Group] | ConfigError, bytes | None]:
    """Write an address header, so that it names the addresses that are read of it.

    Returns:
        The addresses, or the error if they are malformed; and what `field` returns.
    """
    try:
        found, text = addresses_and_text(value)
    except ConfigError as error:
        # The header stays as it is, if the envelope is made without it.
        return error, _whole(
            name, _malformed(to, name, value, built=built, signed=signed)
        )
    if type(value) is str and _fits(to, name, value) and not (to.own or to.refold):
        return found, f"{name}: {value}\r\n".encode("ascii")
    printed = isinstance(value, BaseHeader) and not (to.own or signed)
    if printed and text is not None and _fits(to, name, text):
        return found, f"{name}: {text}\r\n".encode("ascii")
    kept = _kept_addresses(to, name, value, built=built, signed=signed)
    for written in (kept, _folded_addresses(to, name, text)):
        folded = _whole(name, written or "")
        if folded and names_addresses(folded.partition(b":")[2], found):
            return found, folded
    return found, _whole(name, address_list(name, found, to.width))


def _prints_as_written(value: Any) -> bool:
    """Whether the `str` of a header object is the text of its parse tree.

    It is for these classes, if the parse found nothing wrong. The `str` of an address
    header lacks comments. To print a tree takes longer than all else.
    """
    kind = type(value)
    bases = kind.__bases__
    return (
        len(bases) == 2
        and bases[1] is BaseHeader
        and bases[0] in _PRINTED
        and kind.fold is BaseHeader.fold
        and not value.defects
    )


def _fits(to: WirePolicy, name: str, text: str) -> bool:
    return len(name) + 2 + len(text) <= to.width and folds_to_itself(text)


def _whole(name: str, folded: str) -> bytes | None:
    """The folded header, if it is one field of that name, with CRLF line ends."""
    content = folded.encode("utf-8", "surrogateescape")
    found = next(fields(content), None)
    pairs = content.count(b"\r\n")
    whole = (
        found is not None
        and found.name == name.encode("ascii")
        and found.end == len(content)
        and content.endswith(b"\r\n")
        and content.count(b"\r") == pairs == content.count(b"\n")
    )
    return content if whole else None


def _as_generated(to: WirePolicy, name: str, value: Any, *, built: bool) -> str:
    """The header as the standard library's generator writes it."""
    if type(value) is str and not to.own and not built:
        kept = _as_it_is(name, value)
        if value.isascii() or raw_bytes_in(value):
            return kept
    return to.policy.fold_binary(name, value).decode("utf-8", "surrogateescape")


def _as_it_is(name: str, value: str) -> str:
    # The parser leaves out the blank after the colon, but not a fold there.
    blank = "" if value[:1] in ("\r", "\n") else " "
    return f"{name}:{blank}{_LINE_END.sub(_CRLF, value)}\r\n"


def _longest(text: str) -> int:
    if len(text) * 4 <= LONGEST_LINE:
        return len(text)
    lines = text.split("\r\n")
    return max(len(line.encode("utf-8", "surrogateescape")) for line in lines)


def _of_str(to: WirePolicy, name: str, value: str, *, built: bool) -> str:
    """Write a str: what a parser has read, or what a program has set."""
    if to.refold and not to.compat32:
        text = _LINE_END.sub("", value)
        return _of_object(to, name, to.policy.header_factory(name, text))  # type: ignore[attr-defined]
    raw = raw_bytes_in(value)
    if value.isascii() or to.utf8 or raw:
        kept = _as_it_is(name, value)
        long = built and any(len(line) > to.width for line in kept.split("\r\n"))
        if not (raw and to.seven) and not long and _longest(kept) <= LONGEST_LINE:
            return kept
    text = unfolded_text(value)
    lower = name.lower()
    if lower in _PARAMETERS and not text.isascii():
        return _of_object(to, name, _REGISTRY(name, text))
    ours = lower in _STRUCTURED or lower.startswith("list-") or not to.compat32
    if not raw and not (ours and not value.isascii()) and (built or not value.isascii()):
        header = Header(value, header_name=name)
        if found := _by_header(to, name, header):
            return found
    if value.isascii() and _ENCODED_WORD.search(text):
        # The program has encoded it, or the parser has read it: a reader decodes it once.
        return fold_encoded(name, text, to.width)
    return _of_text(to, name, text)


def _of_text(to: WirePolicy, name: str, text: str) -> str:
    return fold_text(name, text, to.width, free=name.lower() in FREE_TEXT, utf8=to.utf8)


def _by_header(to: WirePolicy, name: str, header: Header) -> str | None:
    """Fold by `Header.encode`, which is the same on every Python; None if it is wrong."""
    text = str(header)
    if text != text.strip(" \t"):
        return None
    width = to.policy.max_line_length or 0
    for limit in (width, min(width or LONGEST_LINE, LONGEST_WORD + 1)):
        folded = f"{name}: {header.encode(linesep=_CRLF, maxlinelen=limit)}"
        words = _ENCODED_WORD.findall(folded)
        if all(len(word) <= LONGEST_WORD for word in words):
            break
    else:
        return None
    lost = not words and _FOLD.sub("", folded) != f"{name}: {_FOLD.sub('', text)}"
    wrong = lost or _longest(folded) > LONGEST_LINE or _MISREAD.search(folded)
    return None if wrong else f"{folded}\r\n"


def _of_object(to: WirePolicy, name: str, value: Any) -> str:
    """Write a header object of the standard library's registry."""
    kind = type(value)
    known = (
        isinstance(value, BaseHeader)
        and kind.fold is BaseHeader.fold
        and all(base.__module__ == "email.headerregistry" for base in kind.__bases__)
    )
    if not known:
        return to.policy.fold_binary(name, value).decode("utf-8", "surrogateescape")
    text = str(getattr(value, "_parse_tree", value))
    if folds_to_itself(text) and len(name) + 2 + len(text) <= to.width:
        return f"{name}: {text}\r\n"
    parameters = getattr(value, "params", None)
    if not parameters or (value.defects and text.isascii()):
        return _of_text(to, name, text)
    if len(name) + 2 + len(text) <= to.width and text.isascii():
        return f"{name}: {text}\r\n"
    names = ("content_disposition", "content_type")
    found = (getattr(value, one, None) for one in names)
    before = next(filter(None, found), "")
    return fold_parameters(name, str(before), parameters.items(), to.width, utf8=to.utf8)


def _malformed(
    to: WirePolicy, name: str, value: Any, *, built: bool, signed: bool
) -> str:
    """An address header that is malformed, as any other text."""
    if to.own or signed:
        return _as_generated(to, name, value, built=built)
    if type(value) is str:
        return _of_str(to, name, value, built=built)
    return _of_text(to, name, str(value))


def _kept_addresses(
    to: WirePolicy, name: str, value: Any, *, built: bool, signed: bool
) -> str | None:
    """The header without a change to its text, if that is allowed."""
    if signed or (to.own and not idn_in(str(value))):
        with contextlib.suppress(Exception):
            return _as_generated(to, name, value, built=built)
    if isinstance(value, Header):
        return _by_header(to, name, value)
    if type(value) is not str or (to.refold and not to.compat32):
        return None
    if not value.isascii() and (to.seven or not (raw_bytes_in(value) or to.utf8)):
        return None
    kept = _as_it_is(name, value)
    if built and any(len(line) > to.width for line in kept.split("\r\n")):
        if not value.isascii():
            return None
        return _by_header(to, name, Header(value, header_name=name))
    return kept if _longest(kept) <= LONGEST_LINE else None


def _folded_addresses(to: WirePolicy, name: str, text: str | None) -> str | None:
    if text is None or idn_in(text):
        return None
    return fold_addresses(name, text, to.width, utf8=to.utf8)
