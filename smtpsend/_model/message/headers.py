"""The headers of a message object: no injected header, no changed address.

The standard library's parser repairs malformed addresses (CVE-2023-27043). So this module
reads the addresses from the original text by our own parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.errors import InvalidHeaderDefect
from email.header import Header
from email.headerregistry import BaseHeader
from email.message import Message
from typing import Any

from smtpsend._model.address.domain import shown
from smtpsend._model.address.mailbox import Group, Mailbox, groups
from smtpsend._model.message.content import unfolded
from smtpsend._model.message.folding.addresses import quoted_phrase
from smtpsend._model.message.folding.encoded_words import encode_word, raw_bytes_in
from smtpsend._patterns import pattern
from smtpsend.errors import ConfigError


__all__ = [
    "ADDRESS_HEADERS",
    "FREE_TEXT",
    "NEVER_SENT",
    "addresses_and_text",
    "addresses_of",
    "check_header",
    "check_headers",
    "idn_in",
    "mailbox_text",
    "names_addresses",
    "unfolded_text",
]

ADDRESS_HEADERS = frozenset(
    prefix + name
    for prefix in ("", "resent-")
    for name in ("from", "sender", "to", "cc", "bcc", "reply-to")
)
# What people read, so that each blank of it counts.
FREE_TEXT = frozenset({"subject", "comments", "content-description"})
NEVER_SENT = frozenset({"bcc", "resent-bcc"})
_NAME = pattern(r"[!-9;-~]+")
_FOLD = pattern(r"\r?\n[ \t]++(?=[^ \t\r\n])")
_FOLD_BEFORE = pattern(r"(?:\r\n|\r|\n)(?=[ \t])")
# NUL, and the line breaks: all that str.splitlines recognises, since `email` folds by it.
_BREAK = pattern("[\\0\\r\\n\\x0b\\x0c\\x1c-\\x1e\\x85\\u2028\\u2029]")
_IDN = pattern(r'@[^\s<>,;:()"@]*[^\x00-\x7f]')
# The defects of encoded words in places where many mailers write them. The parser reports
# repairs, such as a ">" that it added, by the same class.
_ENCODED_OTHERWISE = frozenset(
    {
        "encoded word inside quoted string",
        "missing trailing whitespace after encoded-word",
        "missing whitespace before encoded word",
    }
)
_QUOTE = (
    "write addresses as user@host, and quote names that hold any of ()<>[]:;@, as "
    "email.utils.formataddr does"
)


def check_header(name: object, value: object) -> None:
    """Refuse a header that could become more than one header, or end the headers.

    Raises:
        ConfigError: the name or the value is not allowed in a header (RFC 5322
            section 2.2).
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"not a header name: {shown(name)}",
            hint="a header name is printable ASCII without a colon or a space",
        )
    if not isinstance(value, (str, Header)):
        raise ConfigError(f"the header {shown(name)} must be a str, not {shown(value)}")
    text = str(value)
    # What is printable is looked at without a pattern, so that it need not be compiled.
    if not text.isprintable() and (bad := _BREAK.search(_FOLD.sub(" ", text))):
        raise ConfigError(
            f"the header {shown(name)} holds the control character {bad[0]!r}",
            hint="a header is one line; replace line breaks in what it is made from",
        )


def check_headers(message: Message) -> None:
    """Check each header of each part, as it was set.

    Raises:
        ConfigError: a header is unsafe.
    """
    for part in message.walk():
        for name, value in part.raw_items():
            check_header(name, value)


def addresses_of(value: object) -> list[Group]:
    """Read the addresses of a header as its author wrote them.

    Args:
        value: the value from `Message.raw_items`: a header object, a `Header` or a str.

    Raises:
        ConfigError: an address is malformed.
    """
    return addresses_and_text(value)[0]


def addresses_and_text(value: object) -> tuple[list[Group], str | None]:
    """Read the addresses of a header, and the text that they stand in.

    Returns:
        The addresses; and the text, unfolded, or None if it is not known which of its
        words are encoded.

    Raises:
        ConfigError: an address is malformed.
    """
    if isinstance(value, BaseHeader):
        return _of_object(value)
    if isinstance(value, Header):
        return groups(str(value)), None
    text = unfolded_text(str(value))
    if raw_bytes_in(text):
        found = groups(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
        if any("\ufffd" in address for address in _addresses(found)):
            raise ConfigError(
                "an address holds bytes that are not UTF-8",
                hint="write it in UTF-8, which a server with SMTPUTF8 (RFC 6531) accepts",
            )
        return found, text
    return groups(text), text


def _of_object(value: BaseHeader) -> tuple[list[Group], str]:
    """Read the addresses of a header object.

    The object does not keep its original text. Its parse tree does, but for encoded
    words, which are decoded: "a=2C_b" of a name becomes a comma, without quotes. If the
    text of the tree does not name the addresses that the object names, it is made again
    with quotes around such words.
    """
    printed = _parsed(str(value))
    tree = getattr(value, "_parse_tree", None)
    if printed is not None and tree is not None:
        wanted = _addresses(printed)
        invalid = [d for d in value.defects if type(d) is InvalidHeaderDefect]
        text = str(tree)
        found = None if invalid else printed if text == value else _parsed(text)
        if all(str(defect) in _ENCODED_OTHERWISE for defect in invalid) and (
            found is None or _addresses(found) != wanted
        ):
            text = _written(tree)
            found = _parsed(text)
        if found is not None and _addresses(found) == wanted:
            return found, text
    raise ConfigError(f"malformed address: {shown(str(value))}", hint=_QUOTE)


def _written(tree: Any) -> str:
    """The text of a parse tree, with quotes around each name that has encoded words.

    An encoded word anywhere else stays one, so that it makes the address malformed.
    """
    kind = tree.token_type
    if kind == "display-name" and any(key == "encoded" for key, _ in _pieces(tree)):
        return f"{_as_quoted(_name(tree))} "
    if not isinstance(tree, list) or kind == "comment":
        return str(tree)
    if kind == "encoded-word":
        return encode_word(str(tree))
    inside = "".join(map(_written, tree))
    return _as_quoted(inside) if kind == "bare-quoted-string" else inside


def _name(tree: Any) -> str:
    """The text of a display name with encoded words.

    Quotation marks around some of its words are part of it, as in `display_name`.
    """
    pieces = list(_pieces(tree))
    alone = sum(bool(piece.strip(" \t")) for _, piece in pieces) == 1
    text = blank = before = ""
    for kind, piece in pieces:
        if kind == "" and not piece.strip(" \t"):
            blank += piece
            continue
        # RFC 2047 section 6.2: white space between encoded words is no part of the text.
        text += "" if kind == before == "encoded" else blank
        text += f'"{piece}"' if kind == "quoted" and not alone else piece
        blank, before = "", kind
    return text


def _pieces(token: Any) -> Iterator[tuple[str, str]]:
    """Yield the pieces of a display name: encoded words, quoted strings, and others."""
    kind = token.token_type
    if kind == "encoded-word":
        yield "encoded", str(token)
    elif kind == "bare-quoted-string":
        yield "quoted", "".join(map(str, token))
    elif not isinstance(token, list) or kind == "comment":
        yield "", str(token)
    else:
        for part in token:
            yield from _pieces(part)


def _as_quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _parsed(text: str) -> list[Group] | None:
    try:
        return groups(text)
    except ConfigError:
        return None


def unfolded_text(value: str) -> str:
    """Unfold a str; bytes in it that are UTF-8 become the text that they mean."""
    text = _FOLD_BEFORE.sub("", value) if "\n" in value or "\r" in value else value
    if raw_bytes_in(text):
        try:
            return text.encode("utf-8", "surrogateescape").decode()
        except UnicodeDecodeError:  # another charset, which is not known
            return text
    return text


def idn_in(text: str) -> bool:
    """Whether `text` has an address in a domain that is not ASCII."""
    return not text.isascii() and _IDN.search(text) is not None


def names_addresses(value: bytes, wanted: list[Group]) -> bool:
    """Whether a folded field names exactly the addresses wanted, with ASCII domains."""
    text = unfolded(value)
    if idn_in(text):
        return False
    found = _parsed(text)
    return found is not None and _addresses(found) == _addresses(wanted)


def _addresses(found: list[Group]) -> list[str]:
    return [box.address for group in found for box in group.members]


def mailbox_text(box: Mailbox) -> str:
    """Write a mailbox as text for a header of an `EmailMessage`."""
    name = quoted_phrase(box.display)
    return f"{name} <{box.address}>" if name else box.address
