"""One header as bytes for the wire, without a parse where folding changes nothing.

Most headers are short lines of printable ASCII. The standard library parses a header
before it finds that there is nothing to fold. This module decides that from the text, if
the result is certainly the same byte for byte; it lets the standard library fold all
other headers.
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


__all__ = [
    "WirePolicy",
    "address_line",
    "boundary_line",
    "folds_to_itself",
    "line",
    "simple_type",
    "wire_policy",
]

# The classes whose `str` is the text of the parse tree that they fold. The `str` of an
# address header is another text: it lacks the comments, and quotes otherwise.
_PRINTED_AS_FOLDED = frozenset(
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
# This boundary has the length of those that the generator makes.
_PROBE = "=" * 15 + "0" * len(str(sys.maxsize - 1)) + "=="
_SIMPLE_TYPE = re.compile(
    r"""([A-Za-z0-9!#$&^_+-]++/[A-Za-z0-9!#$&^_.+-]++)
        (?:;\ [A-Za-z0-9-]++=(?:"[A-Za-z0-9 ./_+:=-]++"|[A-Za-z0-9._+-]++))*+""",
    re.VERBOSE,
)
_LONGEST_TYPE = 256


class WirePolicy(NamedTuple):
    """A policy with CRLF line ends, and which headers it certainly leaves unchanged.

    Attributes:
        policy: the policy, with CRLF line ends.
        width: the longest line, in characters, of a header object that the policy leaves
            unchanged; 0 if this is not known.
        source: the same for a header that is a str.
        utf8: whether the policy writes headers as UTF-8 (RFC 6532).
    """

    policy: Policy[Any]
    width: int
    source: int
    utf8: bool


# Policies are immutable, and most messages have one of a few policies.
@lru_cache(maxsize=16)
def wire_policy(policy: Policy[Any]) -> WirePolicy:
    """Make the `WirePolicy` of `policy`."""
    own = policy.clone(linesep="\r\n")
    longest = own.max_line_length or sys.maxsize
    if type(own) is Compat32:
        return WirePolicy(own, longest, longest, utf8=False)
    if type(own) is EmailPolicy:
        # With "all", a str is parsed, and the resulting header object is folded.
        source = 0 if own.refold_source == "all" else longest
        return WirePolicy(own, longest, source, own.utf8)
    return WirePolicy(own, 0, 0, getattr(own, "utf8", False))


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


def line(to: WirePolicy, name: str, value: Any) -> bytes | None:
    """Fold a header by the policy `to`; None if the result is not exactly one header."""
    if type(value) is str:
        longest = to.source
    elif _is_registry_object(value, name, _PRINTED_AS_FOLDED) and not value.defects:
        # After a parse with a defect, the folded text may differ, or be missing.
        longest = to.width
    else:
        longest = 0
    if longest and len(name) + 2 + len(value) <= longest and folds_to_itself(value):
        return f"{name}: {value}\r\n".encode("ascii")
    folded = to.policy.fold_binary(name, value)
    return folded if _whole(name, folded) else None


def address_line(
    to: WirePolicy, name: str, value: BaseHeader, written: str
) -> bytes | None:
    """Fold an address header object; None if `written` is not certainly the result.

    Args:
        to: the policy that folds it.
        name: the name of the header.
        value: the header object.
        written: the header folded without a limit to the length of a line. An ASCII
            header that fits into one line is folded to the same text by every policy.
    """
    text = written.removesuffix("\r\n")
    fits = len(text) <= to.width and text.isascii() and text.isprintable()
    if fits and "=?" not in text and _is_registry_object(value, name, _ADDRESSES):
        return written.encode("ascii")
    return None


def _is_registry_object(
    value: Any, name: str, kinds: frozenset[tuple[type, type]]
) -> bool:
    """Whether `value` is a header object that the registry made, with this name."""
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


def simple_type(text: str) -> str | None:
    """The type in a Content-Type, in lower case; None if the text has no simple form."""
    return _simple_type(text) if len(text) <= _LONGEST_TYPE else None


@lru_cache(maxsize=256)
def _simple_type(text: str) -> str | None:
    match = _SIMPLE_TYPE.fullmatch(text)
    return match[1].lower() if match else None


@lru_cache(maxsize=64)
def boundary_line(
    policy: Policy[Any], name: str, text: str
) -> tuple[bytes, bytes] | None:
    """The bytes before and after a new boundary in a Content-Type of simple form.

    The standard library folds the header once for each type, with a boundary of the
    length that all boundaries have; the result is cached.

    Returns:
        The two parts; None if the folded header is not exactly one header.
    """
    message: Message = Message(policy=policy)
    message.set_raw(name, text)
    message.set_boundary(_PROBE)
    folded = b"".join(policy.fold_binary(*item) for item in message.raw_items())
    before, found, after = folded.partition(_PROBE.encode())
    return (before, after) if found and _whole(name, folded) else None
