"""The headers of a message object: nothing injected, every address as it was meant.

The standard library's parser repairs malformed addresses and its folding has written
addresses that differ from the ones given (CVE-2023-27043, CVE-2025-1795). So the
addresses are read here from what was written, by our own parser, and an address header
whose folded form does not say the same is written anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email.errors import InvalidHeaderDefect, NonASCIILocalPartDefect
from email.header import Header
from email.headerregistry import BaseHeader
from email.message import Message
from email.policy import SMTPUTF8

from smtpsend._model.address.domain import shown
from smtpsend._model.address.mailbox import Group, Mailbox, groups
from smtpsend._model.message.content import fields, unfolded
from smtpsend.errors import ConfigError


__all__ = [
    "ADDRESS_HEADERS",
    "NEVER_SENT",
    "address_list",
    "check_header",
    "check_headers",
    "foldable",
    "mailbox_text",
    "meant",
    "meant_and_written",
    "says",
]

ADDRESS_HEADERS = frozenset(
    prefix + name
    for prefix in ("", "resent-")
    for name in ("from", "sender", "to", "cc", "bcc", "reply-to")
)
NEVER_SENT = frozenset({"bcc", "resent-bcc"})
_NAME = re.compile(r"[!-9;-~]+")
_FOLD = re.compile(r"\r?\n[ \t]++(?=[^ \t\r\n])")
# Line breaks, and all that str.splitlines, by which email folds, takes for one.
_BREAK = re.compile("[\\0\\r\\n\\x0b\\x0c\\x1c-\\x1e\\x85\\u2028\\u2029]")
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")
_IDN = re.compile(r'@[^\s<>,;:()"@]*[^\x00-\x7f]')
_SPEC = re.compile(r'[^\s<>(),;:"@]+@[^\s<>(),;:"@]+')
_WIDTH = 76
_QUOTE = "quote names that hold any of ()<>[]:;@, and write addresses as user@host"
_AS_WRITTEN = SMTPUTF8.clone(max_line_length=0)


def check_header(name: object, value: object) -> None:
    """Refuse a header that could become more than one header, or end the headers.

    Raises:
        ConfigError: the name or the value cannot stand in a header (RFC 5322, 2.2).
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"not a header name: {shown(name)}",
            hint="a header name is printable ASCII without a colon or a space",
        )
    if not isinstance(value, (str, Header)):
        raise ConfigError(f"the header {shown(name)} must be a str, not {shown(value)}")
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
                crlf_less = folded.replace(b"\r\n", b"")
                if found is None or found.end != len(folded) or b"\r" in crlf_less:
                    raise ConfigError(
                        f"the header {shown(name)} of a part would not stay one header",
                        hint="look for line breaks in it, encoded ones too",
                    )


def meant(value: object) -> list[Group]:
    """The addresses of a header as they were written.

    Args:
        value: as `Message.raw_items` has it: a header object, a `Header` or a str.

    Raises:
        ConfigError: an address is malformed.
    """
    if isinstance(value, BaseHeader):
        return meant_and_written(value)[0]
    if isinstance(value, Header):
        return groups(str(value))
    text = str(value)
    if text.isascii():
        return groups(_FOLD.sub(" ", text) if "\n" in text else text)
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    found = groups(_FOLD.sub(" ", text))
    if any("\ufffd" in address for address in _addresses(found)):
        raise ConfigError(
            "an address holds bytes that are not UTF-8",
            hint="write it in UTF-8, which a server with SMTPUTF8 (RFC 6531) takes",
        )
    return found


def meant_and_written(value: BaseHeader) -> tuple[list[Group], str | None]:
    """The addresses of a header object, which keeps no record of what it was made from.

    What is left of that are its defects, how it folds and how it prints: a parse that
    repaired something, or decoded an encoded word into an address, shows in one of them.
    Where only the folded text cannot be read (an encoded word in a name, decoded without
    the quotes that it then needs), what it prints is right if the addresses are in both.

    Returns:
        The addresses, and the header as it folds if lines had no limit; None for that
        if it cannot be read.
    """
    defects = {type(defect) for defect in value.defects} - {NonASCIILocalPartDefect}
    if InvalidHeaderDefect in defects:
        raise _malformed(value)
    whole = _unlimited(value)
    folded = whole.partition(":")[2].removesuffix("\r\n").strip(" ")
    printed = _reading(str(value))
    written = printed if folded == value else _reading(folded)
    if printed is None or written is None:
        found = printed or written
        if found is None or defects or not (written or _spelt_out(value, folded, found)):
            raise _malformed(value)
        return found, whole if written else None
    if _addresses(printed) != _addresses(written):
        raise _malformed(value)
    return printed, whole


def _unlimited(value: BaseHeader) -> str:
    """A header object folded with no limit to the length of a line."""
    tree = getattr(value, "_parse_tree", None)
    if tree and type(value).fold is BaseHeader.fold:
        # What fits into its line is folded to the text of its tree, and ASCII fits into
        # one without a limit. That saves half of the time.
        text = str(tree)
        if text.isascii() and text.isprintable():
            return f"{value.name}: {text}\r\n"
    return value.fold(policy=_AS_WRITTEN)


def _malformed(value: BaseHeader) -> ConfigError:
    return ConfigError(f"malformed address: {shown(str(value))}", hint=_QUOTE)


def _reading(text: str) -> list[Group] | None:
    try:
        return groups(text)
    except ConfigError:
        return None


def _spelt_out(printed: str, folded: str, found: list[Group]) -> bool:
    """Whether all addresses found stand in the folded text too, without a gap."""
    specs = _SPEC.findall(printed)
    return len(specs) == len(_addresses(found)) and {*specs} <= {*_SPEC.findall(folded)}


def foldable(value: object, wanted: list[Group]) -> bool:
    """Whether the standard library may be asked to fold these addresses."""
    if not _addresses_ascii(wanted):
        return False
    text = str(value)
    return text.isascii() or not _IDN.search(text)


def says(value: bytes, wanted: list[Group]) -> bool:
    """Whether a field on the wire names the addresses wanted, with ASCII domains."""
    text = unfolded(value)
    if _IDN.search(text):
        return False
    found = _reading(text)
    return found is not None and _addresses(found) == _addresses(wanted)


def _addresses_ascii(found: list[Group]) -> bool:
    return all(box.ascii for group in found for box in group.members)


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
    return _phrase(words).split(" ") if words else []


def _phrase(words: list[str]) -> str:
    text = " ".join(words)
    if all(map(_ATOM.fullmatch, words)):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def mailbox_text(box: Mailbox) -> str:
    """A mailbox as a person writes it, which an `EmailMessage` takes for a header."""
    name = _phrase(box.display.split())
    return f"{name} <{box.address}>" if name else box.address
