"""The headers of a message object: nothing injected, every address as it was meant.

The standard library's parser repairs malformed addresses and its folding has written
addresses that differ from the ones given (CVE-2023-27043, CVE-2025-1795). So the
addresses are read here from what was written, by our own parser, and an address header
whose folded form does not say the same is written anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email.errors import InvalidHeaderDefect
from email.header import Header
from email.message import Message
from email.policy import SMTPUTF8

from smtpsend._model.address import Group, Mailbox, groups
from smtpsend._model.content import fields, unfolded
from smtpsend._model.domain import shown
from smtpsend.errors import ConfigError


__all__ = [
    "ADDRESS_HEADERS",
    "address_list",
    "check_header",
    "check_headers",
    "meant",
    "says",
]

ADDRESS_HEADERS = frozenset(
    prefix + name
    for prefix in ("", "resent-")
    for name in ("from", "sender", "to", "cc", "bcc", "reply-to")
)
_NAME = re.compile(r"[!-9;-~]+")
_FOLD = re.compile(r"\r?\n[ \t]++(?=[^ \t\r\n])")
# Line breaks, and what str.splitlines (by which the standard library folds) takes for one.
_BREAK = re.compile("[\\0\\r\\n\\x0b\\x0c\\x1c-\\x1e\\x85\\u2028\\u2029]")
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")
_IDN = re.compile(r'@[^\s<>,;:()"@]*[^\x00-\x7f]')
_WIDTH = 76
_AS_WRITTEN = SMTPUTF8.clone(max_line_length=0)


def check_header(name: object, value: object) -> None:
    """Refuse a header that could become more than one header, or end the headers.

    Raises:
        ConfigError: the name or the value cannot stand in a header (RFC 5322 section 2.2).
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"not a header name: {shown(name)}",
            hint="a header name is printable ASCII without a colon or a space",
        )
    if not isinstance(value, (str, Header)):
        raise ConfigError(f"the header {shown(name)} holds no text but {shown(value)}")
    if bad := _BREAK.search(_FOLD.sub(" ", str(value))):
        raise ConfigError(
            f"the header {shown(name)} holds the control character {bad[0]!r}",
            hint="a header is one line; replace line breaks in what it is made from",
        )


def check_headers(message: Message) -> None:
    """`check_header` for each header of each part, as written and as it will be folded.

    Raises:
        ConfigError: a header is unsafe.
    """
    policy = message.policy.clone(linesep="\r\n")
    for part in message.walk():
        for name, value in part.raw_items():
            check_header(name, value)
            if part is not message:  # the top's own are looked at on the wire
                folded = policy.fold_binary(name, value)
                found = next(fields(folded), None)
                if found is None or found.end != len(folded) or b"\r" in unbroken(folded):
                    raise ConfigError(
                        f"the header {shown(name)} of a part would not stay one header"
                    )


def unbroken(folded: bytes) -> bytes:
    return folded.replace(b"\r\n", b"")


def meant(value: object) -> list[Group]:
    """The addresses of a header as they were written.

    Args:
        value: as `Message.raw_items` has it: a header object, a `Header` or a str.

    Raises:
        ConfigError: an address is malformed.
    """
    if isinstance(value, Header):
        return groups(str(value))
    if not hasattr(value, "fold"):
        text = str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        return groups(_FOLD.sub(" ", text))
    defects = getattr(value, "defects", ())
    if any(isinstance(defect, InvalidHeaderDefect) for defect in defects):
        raise ConfigError(f"malformed address: {shown(str(value))}")
    written = value.fold(policy=_AS_WRITTEN).partition(":")[2].removesuffix("\r\n")
    try:
        return groups(written)
    except ConfigError:
        if defects:
            raise
        # Encoded words, decoded without the quotes that their text then needs.
        return groups(str(value))


def says(value: bytes, wanted: list[Group]) -> bool:
    """Whether a field's value on the wire names the addresses wanted, in ASCII domains."""
    text = unfolded(value)
    if text is None or _IDN.search(text):
        return False
    try:
        return _addresses(groups(text)) == _addresses(wanted)
    except ConfigError:
        return False


def _addresses(found: list[Group]) -> list[str]:
    return [box.address for group in found for box in group.members]


def address_list(name: str, found: Iterable[Group]) -> bytes:
    """An address header, folded, with encoded words for names that are not ASCII.

    Only a local part that is not ASCII is written as UTF-8 (RFC 6532).
    """
    lines = [f"{name}:"]
    for token in _tokens(found):
        if len(lines[-1]) + 1 + len(token) > _WIDTH and lines[-1] != f"{name}:":
            lines.append("")
        lines[-1] += " " + token
    return ("\r\n".join(lines) + "\r\n").encode()


def _tokens(found: Iterable[Group]) -> Iterator[str]:
    items = [list(_group_tokens(group)) for group in found]
    for item in items[:-1]:
        item[-1] += ","
    for item in items:
        yield from item


def _group_tokens(group: Group) -> Iterator[str]:
    boxes = [list(_box_tokens(box)) for box in group.members]
    for box in boxes[:-1]:
        box[-1] += ","
    members = [token for box in boxes for token in box]
    if group.name is None:
        yield from members
        return
    *first, last = _name_tokens(group.name) or ['""']
    yield from first
    yield last + ":"
    yield from members[:-1]
    yield (members[-1] if members else "") + ";"


def _box_tokens(box: Mailbox) -> list[str]:
    name = _name_tokens(box.display)
    return [*name, f"<{box.address}>"] if name else [box.address]


def _name_tokens(display: str) -> list[str]:
    words = display.split()
    if not display.isascii():
        encoded = Header(" ".join(words), "utf-8", maxlinelen=_WIDTH - 1).encode()
        return encoded.split()
    if all(map(_ATOM.fullmatch, words)):
        return words
    return ('"' + re.sub(r'(["\\])', r"\\\1", " ".join(words)) + '"').split(" ")
