"""The headers of a message object: no injected header, no changed address.

The standard library's parser repairs malformed addresses, and its folding has written
addresses that differ from the ones given (CVE-2023-27043, CVE-2025-1795). So this module
reads the addresses from the original text by our own parser. If the folded form of an
address header names other addresses, `address_list` writes the header instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
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
    "addresses_and_text",
    "addresses_of",
    "check_header",
    "check_headers",
    "check_once",
    "foldable",
    "mailbox_text",
    "names_addresses",
]

ADDRESS_HEADERS = frozenset(
    prefix + name
    for prefix in ("", "resent-")
    for name in ("from", "sender", "to", "cc", "bcc", "reply-to")
)
# The headers that a message has at most once (RFC 5322 section 3.6; RFC 2045 section 4).
# Several Bcc headers are allowed here, since none is sent.
_ONCE = frozenset(
    {"date", "from", "sender", "reply-to", "to", "cc", "subject", "message-id"}
    | {"in-reply-to", "references", "mime-version"}
    | {"content-type", "content-transfer-encoding"}
)
NEVER_SENT = frozenset({"bcc", "resent-bcc"})
_NAME = re.compile(r"[!-9;-~]+")
_FOLD = re.compile(r"\r?\n[ \t]++(?=[^ \t\r\n])")
# NUL, and the line breaks: all that str.splitlines recognises, since `email` folds by it.
_BREAK = re.compile("[\\0\\r\\n\\x0b\\x0c\\x1c-\\x1e\\x85\\u2028\\u2029]")
_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+")
_IDN = re.compile(r'@[^\s<>,;:()"@]*[^\x00-\x7f]')
# Only from the start of a word on: from each of its characters would take quadratic time.
_SPEC = re.compile(r'(?<![^\s<>(),;:"@])[^\s<>(),;:"@]++@[^\s<>(),;:"@]++')
_WIDTH = 76
_QUOTE = (
    "write addresses as user@host, and quote names that hold any of ()<>[]:;@, as "
    "email.utils.formataddr does"
)
_AS_WRITTEN = SMTPUTF8.clone(max_line_length=0)


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
    if bad := _BREAK.search(_FOLD.sub(" ", str(value))):
        raise ConfigError(
            f"the header {shown(name)} holds the control character {bad[0]!r}",
            hint="a header is one line; replace line breaks in what it is made from",
        )


def check_once(names: Sequence[str]) -> None:
    """Refuse a header that a message has twice, though it may have it once only.

    ``message["To"] = ...`` adds a header to an object of the older kind that has one, and
    large providers refuse a message with two.

    Args:
        names: the names of the headers of the message, in lower case.

    Raises:
        ConfigError: one of them may stand in a message only once (RFC 5322 section 3.6).
    """
    if len({*names}) == len(names):
        return
    for name in names:
        if name in _ONCE and names.count(name) > 1:
            title = name.title().replace("Id", "ID").replace("Mime", "MIME")
            raise ConfigError(
                f"the message has {names.count(name)} headers {title}, not one",
                hint=f"put all into one, or del message[{title!r}] before it is set "
                "again; a message from elsewhere can be given as bytes, which are sent "
                "as they are",
            )


def check_headers(message: Message) -> None:
    """Check each header of each part, as it was set and as it will be folded.

    Raises:
        ConfigError: a header is unsafe, or stands twice where it may stand once.
    """
    check_once([str(name).lower() for name, _ in message.raw_items()])
    policy = message.policy.clone(linesep="\r\n")
    for part in message.walk():
        for name, value in part.raw_items():
            check_header(name, value)
            if part is not message:  # `serialize` checks those of the message itself
                folded = policy.fold_binary(name, value)
                found = next(fields(folded), None)
                crlf_less = folded.replace(b"\r\n", b"")
                if found is None or found.end != len(folded) or b"\r" in crlf_less:
                    raise ConfigError(
                        f"the header {shown(name)} of a part would not stay one header",
                        hint="look for line breaks in it, encoded ones too",
                    )


def addresses_of(value: object) -> list[Group]:
    """Read the addresses of a header as its author wrote them.

    Args:
        value: the value from `Message.raw_items`: a header object, a `Header` or a str.

    Raises:
        ConfigError: an address is malformed.
    """
    if isinstance(value, BaseHeader):
        return addresses_and_text(value)[0]
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
            hint="write it in UTF-8, which a server with SMTPUTF8 (RFC 6531) accepts",
        )
    return found


def addresses_and_text(value: BaseHeader) -> tuple[list[Group], str | None]:
    """Read the addresses of a header object.

    The object does not keep its original text. A parse that repaired something, or that
    decoded an encoded word into an address, is found by the object's defects, or by a
    difference between its folded and its printed text. If only the folded text cannot be
    parsed (an encoded word in a name was decoded without the quotes that it then needs),
    the printed text is used, provided that the folded text holds the same addresses.

    Returns:
        The addresses; and the header folded without a limit to the length of a line, or
        None if this text cannot be parsed.

    Raises:
        ConfigError: an address was malformed.
    """
    defects = {type(defect) for defect in value.defects} - {NonASCIILocalPartDefect}
    if InvalidHeaderDefect in defects:
        raise _malformed(value)
    whole = _unlimited(value)
    folded = whole.partition(":")[2].removesuffix("\r\n").strip(" ")
    printed = _parsed(str(value))
    written = printed if folded == value else _parsed(folded)
    if printed is None or written is None:
        found = printed or written
        if (
            found is None
            or defects
            or not (written or _all_in_text(value, folded, found))
        ):
            raise _malformed(value)
        return found, whole if written else None
    if _addresses(printed) != _addresses(written):
        raise _malformed(value)
    # The printed text lacks the comments.
    return written, whole


def _unlimited(value: BaseHeader) -> str:
    """Fold a header object without a limit to the length of a line."""
    tree = getattr(value, "_parse_tree", None)
    if tree and type(value).fold is BaseHeader.fold:
        # Without a limit ASCII fits into one line, and a header that fits is folded to
        # the text of its parse tree. To use this text directly saves half of the time.
        text = str(tree)
        if text.isascii() and text.isprintable():
            return f"{value.name}: {text}\r\n"
    return value.fold(policy=_AS_WRITTEN)


def _malformed(value: BaseHeader) -> ConfigError:
    return ConfigError(f"malformed address: {shown(str(value))}", hint=_QUOTE)


def _parsed(text: str) -> list[Group] | None:
    try:
        return groups(text)
    except ConfigError:
        return None


def _all_in_text(printed: str, folded: str, found: list[Group]) -> bool:
    """Whether the folded text, too, holds each of the addresses found, unbroken."""
    specs = _SPEC.findall(printed)
    return len(specs) == len(_addresses(found)) and {*specs} <= {*_SPEC.findall(folded)}


def foldable(value: object, wanted: list[Group]) -> bool:
    """Whether the standard library can fold a header with these addresses."""
    if not _addresses_ascii(wanted):
        return False
    text = str(value)
    return text.isascii() or not _IDN.search(text)


def names_addresses(value: bytes, wanted: list[Group]) -> bool:
    """Whether a folded field names exactly the addresses wanted, with ASCII domains."""
    text = unfolded(value)
    if _IDN.search(text):
        return False
    found = _parsed(text)
    return found is not None and _addresses(found) == _addresses(wanted)


def _addresses_ascii(found: list[Group]) -> bool:
    return all(box.ascii for group in found for box in group.members)


def _addresses(found: list[Group]) -> list[str]:
    return [box.address for group in found for box in group.members]


def address_list(name: str, found: Iterable[Group]) -> bytes:
    """Write an address header, folded, with encoded words for non-ASCII names.

    Only a non-ASCII local part is written as UTF-8 (RFC 6532).
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
    if not display.isascii():
        return Header(display, "utf-8", maxlinelen=_WIDTH - 1).encode().split()
    # No token is empty, so that no folded line consists of white space only.
    return re.split("(?<! ) ", _phrase(display)) if display else []


def _phrase(display: str) -> str:
    if all(map(_ATOM.fullmatch, display.split(" "))):
        return display
    return '"' + re.sub(r'(["\\])', r"\\\1", display) + '"'


def mailbox_text(box: Mailbox) -> str:
    """Write a mailbox as text for a header of an `EmailMessage`."""
    name = box.display.strip(" \t")
    return f"{_phrase(name)} <{box.address}>" if name else box.address
