"""One header on the wire, without folding the ones that fold to themselves.

Most headers are short lines of printable ASCII. The standard library takes a header
apart to find that there is nothing to fold; here that is seen from the text, where it is
certain that the result is the same byte for byte. All others it folds as before.
"""

from __future__ import annotations

import re
import sys
from email import headerregistry as registry
from email.headerregistry import BaseHeader
from email.message import Message
from email.policy import Compat32, EmailPolicy, Policy
from functools import lru_cache
from typing import Any, NamedTuple

from smtpsend._model.message.content import fields


__all__ = ["Wire", "address_line", "boundary_line", "form", "line", "plain", "wire"]

# The classes whose `str` is that of the tree they fold. An address header's is not: it
# lacks the comments, and has other quotes.
_SAME = frozenset(
    (kind, BaseHeader)
    for kind in (
        registry.UnstructuredHeader,
        registry.UniqueUnstructuredHeader,
        registry.DateHeader,
        registry.UniqueDateHeader,
        registry.MIMEVersionHeader,
        registry.ContentTypeHeader,
        registry.ContentDispositionHeader,
        registry.ContentTransferEncodingHeader,
        registry.MessageIDHeader,
    )
)
_ADDRESSES = frozenset(
    (kind, BaseHeader)
    for kind in (
        registry.AddressHeader,
        registry.UniqueAddressHeader,
        registry.SingleAddressHeader,
        registry.UniqueSingleAddressHeader,
    )
)
# A boundary has the length that the generator gives to its own.
_PROBE = "=" * 15 + "0" * len(str(sys.maxsize - 1)) + "=="
_FORM = re.compile(
    r"""([A-Za-z0-9!#$&^_+-]++/[A-Za-z0-9!#$&^_.+-]++)
        (?:;\ [A-Za-z0-9-]++=(?:"[A-Za-z0-9 ./_+:=-]++"|[A-Za-z0-9._+-]++))*+""",
    re.VERBOSE,
)
_LONGEST_FORM = 256


class Wire(NamedTuple):
    """A policy as it writes for the wire, and what it is known to leave alone.

    Attributes:
        policy: the policy, with CRLF.
        width: the longest line of a header object, 0 where that is not known.
        source: the same for a header that is a str.
        utf8: it writes headers as UTF-8 (RFC 6532).
    """

    policy: Policy[Any]
    width: int
    source: int
    utf8: bool


# Policies do not change, and most messages have one of the few there are.
@lru_cache(maxsize=16)
def wire(policy: Policy[Any]) -> Wire:
    """How `policy` writes for the wire."""
    own = policy.clone(linesep="\r\n")
    longest = own.max_line_length or sys.maxsize
    if type(own) is Compat32:
        return Wire(own, longest, longest, utf8=False)
    if type(own) is EmailPolicy:
        # With "all", a str is parsed, and folded as the object that this gives.
        source = 0 if own.refold_source == "all" else longest
        return Wire(own, longest, source, own.utf8)
    return Wire(own, 0, 0, getattr(own, "utf8", False))


def plain(text: str) -> bool:
    """Whether `text` is one line of printable ASCII that no fold changes if it fits.

    White space at an end may get lost, and what looks like an encoded word (RFC 2047)
    may be decoded, or encoded anew.
    """
    return (
        text.isascii()
        and text.isprintable()
        and text != ""
        and text[0] != " "
        and text[-1] != " "
        and "=?" not in text
    )


def line(to: Wire, name: str, value: Any) -> bytes | None:
    """The lines of a header as `to` writes it, None where they are not one header."""
    if type(value) is str:
        longest = to.source
    elif _keeps(value, name, _SAME) and not value.defects:
        # With a defect, what is folded may be another text, or none at all.
        longest = to.width
    else:
        longest = 0
    if longest and len(name) + 2 + len(value) <= longest and plain(value):
        return f"{name}: {value}\r\n".encode("ascii")
    folded = to.policy.fold_binary(name, value)
    return folded if _whole(name, folded) else None


def address_line(to: Wire, name: str, value: BaseHeader, written: str) -> bytes | None:
    """The same for a header object of addresses, None where the text does not tell.

    Args:
        to: the policy that writes it.
        name: its name.
        value: the object.
        written: as it is folded with no limit to the length of a line: what fits into
            one line of ASCII is the same with every policy.
    """
    text = written.removesuffix("\r\n")
    fits = len(text) <= to.width and text.isascii() and text.isprintable()
    if fits and "=?" not in text and _keeps(value, name, _ADDRESSES):
        return written.encode("ascii")
    return None


def _keeps(value: Any, name: str, kinds: frozenset[tuple[type, type]]) -> bool:
    """Whether `value` is an object as the registry makes them, for this very name."""
    kind = type(value)
    return kind.__bases__ in kinds and value.name == name and kind.fold is BaseHeader.fold


def _whole(name: str, folded: bytes) -> bool:
    """Whether a folded header is one field of that name, with CRLF line ends."""
    found = next(fields(folded), None)
    pairs = folded.count(b"\r\n")
    return (
        found is not None
        and found.name == name.encode("ascii")
        and found.end == len(folded)
        and folded.endswith(b"\r\n")
        and folded.count(b"\r") == pairs == folded.count(b"\n")
    )


def form(text: str) -> str | None:
    """The type in the text of a Content-Type in lower case; None if it is not simple."""
    return _form(text) if len(text) <= _LONGEST_FORM else None


@lru_cache(maxsize=256)
def _form(text: str) -> str | None:
    match = _FORM.fullmatch(text)
    return match[1].lower() if match else None


@lru_cache(maxsize=64)
def boundary_line(
    policy: Policy[Any], name: str, text: str
) -> tuple[bytes, bytes] | None:
    """What stands before and behind a new boundary in a Content-Type of simple form.

    The standard library says: it is asked once for each type, with a boundary of the
    length that all have.
    """
    message: Message = Message(policy=policy)
    message.set_raw(name, text)
    message.set_boundary(_PROBE)
    folded = b"".join(policy.fold_binary(*item) for item in message.raw_items())
    before, found, after = folded.partition(_PROBE.encode())
    return (before, after) if found and _whole(name, folded) else None
