"""Write a message object as bytes for the wire, without changing the object."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.generator import BytesGenerator
from email.message import Message
from email.policy import EmailPolicy, Policy
from io import BytesIO
from typing import IO, Any, cast

from smtpsend._model.address.mailbox import Group
from smtpsend._model.message.content import crlf, ended, fields
from smtpsend._model.message.headers import (
    NEVER_SENT,
    address_list,
    foldable,
    names_addresses,
)
from smtpsend._model.shortage import raise_if_short
from smtpsend.errors import ConfigError, Phase, SendError


__all__ = ["own_copy", "serialize", "seven_bit", "typed", "wire_copy"]

# No message has a header of this name; to delete it gives a copy its own header list.
_NO_HEADER = "\0"
_PLACEHOLDER = "-"


@contextmanager
def typed() -> Iterator[None]:
    """Raise a ConfigError for any exception of the standard library over a message."""
    try:
        yield
    except (SendError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - every failure ends in a SendError
        raise_if_short(error, "the message cannot be built or written", Phase.CONFIG)
        surrogate = (
            isinstance(error, UnicodeEncodeError)
            and "\ud800" <= (error.object[error.start]) <= "\udfff"
        )
        what = "a lone surrogate, which is no text" if surrogate else type(error).__name__
        raise ConfigError(
            f"the message cannot be built or written: {what}",
            hint="see whether message.as_bytes() works, and what it raises",
        ) from None


def own_copy(message: Message) -> Message:
    """Copy a message with its header lists and its list of parts; share the bodies.

    The generator sets boundaries in the object that it writes. A shared part would change
    while the caller uses it, or while another thread sends it.
    """
    clone = copy.copy(message)
    del clone[_NO_HEADER]
    if message.is_multipart():
        clone.set_payload(
            [own_copy(cast("Message", part)) for part in message.get_payload()]
        )
    return clone


def wire_copy(message: Message, wanted: list[list[Group] | None]) -> Message:
    """Copy a message without Bcc, with placeholders for headers that cannot be folded.

    Newer Python versions refuse to fold a non-ASCII address, and older ones encode it
    wrongly. `serialize` replaces a placeholder with the header from `address_list`.
    """
    clone = own_copy(message)
    for name in {name.lower() for name in message.keys()}:  # noqa: SIM118 - iteration is by index
        del clone[name]
    sent = [item for item in message.raw_items() if item[0].lower() not in NEVER_SENT]
    for (name, value), want in zip(sent, wanted, strict=True):
        anew = want is not None and not foldable(value, want)
        clone.set_raw(name, _PLACEHOLDER if anew else value)
    return clone


def serialize(
    message: Message, wanted: list[list[Group] | None], *, seven: bool = False
) -> tuple[bytes, bytes]:
    """Write a message object as bytes.

    Args:
        message: a `wire_copy`, with Date and Message-ID.
        wanted: for each header the addresses that it must name, or None.
        seven: whether to encode all non-ASCII text again, for a server without 8BITMIME.

    Returns:
        The content to send, and its header block.

    Raises:
        ConfigError: the message cannot be written, or a header would become several.
    """
    policy = message.policy.clone(linesep="\r\n")
    if seven:
        policy = policy.clone(cte_type="7bit")
    if isinstance(policy, EmailPolicy):
        policy = policy.clone(utf8=policy.utf8 and not seven)
    with typed():
        content = to_bytes(message, policy)
    content = ended(content)
    if b"\0" in content:
        raise ConfigError(
            "the message holds a NUL byte",
            hint="remove it: a message with NUL is not allowed (RFC 5322 section 4)",
        )
    return _with_addresses(content, message.keys(), wanted)


def _with_addresses(
    content: bytes, names: list[str], wanted: list[list[Group] | None]
) -> tuple[bytes, bytes]:
    """Replace each address header that does not name the addresses wanted."""
    end = 0 if content.startswith(b"\r\n") else content.find(b"\r\n\r\n") + 2
    found = list(fields(content[:end]))
    written = [field.name.decode("ascii") for field in found]
    if written[len(names) :] == ["Content-Transfer-Encoding"]:
        names = [*names, written[-1]]
    if written != names or (found[-1].end if found else 0) != end:
        raise ConfigError(
            "a header of the message would become more than one header",
            hint="look for line breaks in its headers, encoded ones too",
        )
    head = b"".join(
        content[field.start : field.end]
        if want is None or names_addresses(field.value, want)
        else address_list(field.name.decode("ascii"), want)
        for field, want in zip(found, [*wanted, *[None] * len(found)], strict=False)
    )
    if head == content[:end]:
        return content, head
    return head + content[end:], head


def seven_bit(
    message: Message, wanted: list[list[Group] | None]
) -> Callable[[], bytes | None]:
    """Make a function that writes the content in ASCII; it returns None if it cannot."""

    def encoded() -> bytes | None:
        try:
            content, _ = serialize(message, wanted, seven=True)
        except ConfigError:
            return None
        signed = "multipart/signed" in map(Message.get_content_type, message.walk())
        return content if content.isascii() and not signed else None

    return encoded


_LARGE = 65536
_PIECE = 1 << 18
# A message with a NUL is refused, so a NUL in the output can mark a place.
_MARK = re.compile(rb"\0([0-9]+)\0")


class Writer(BytesGenerator):
    """A generator that writes CRLF, and collects large bodies instead of writing them.

    Attributes:
        large: the bodies of `_LARGE` characters or more; a mark is written for each.
    """

    def __init__(
        self,
        outfp: IO[bytes],
        mangle_from_: bool = False,  # noqa: FBT001, FBT002
        maxheaderlen: int | None = None,
        *,
        policy: Policy,
    ) -> None:
        super().__init__(outfp, mangle_from_, maxheaderlen, policy=policy)
        self.large: list[str] = []
        self._own_policy = policy

    def clone(self, fp: Any) -> Writer:
        """Make a writer for nested parts, with the same list."""
        clone = Writer(fp, policy=self._own_policy)
        clone.large = self.large
        return clone

    def _write_lines(self, lines: str) -> None:
        if lines and len(lines) >= _LARGE and "\r" not in lines and "\0" not in lines:
            self.write(f"\0{len(self.large)}\0")
            self.large.append(lines)
        elif lines:
            self.write(_with_crlf(lines))


def _with_crlf(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.replace("\n", "\r\n")


def to_bytes(message: Message, policy: Policy[Any]) -> bytes:
    """Write `message` with CRLF line ends; a NUL in the result is one of the message."""
    buffer = BytesIO()
    writer = Writer(buffer, policy=policy)
    writer.flatten(message)
    # Large bodies get their CRLF below: `crlf` would count in them, which costs more.
    frame = ended(crlf(buffer.getvalue()))
    if frame.count(b"\0") != 2 * len(writer.large):
        # The message holds a NUL. The caller refuses the result.
        return b"\0"
    if not writer.large:
        return frame
    out, at = BytesIO(), 0
    for mark in _MARK.finditer(frame):
        out.write(frame[at : mark.start()])
        text = writer.large[int(mark[1])]
        for start in range(0, len(text), _PIECE):
            piece = text[start : start + _PIECE].replace("\n", "\r\n")
            out.write(piece.encode("ascii", "surrogateescape"))
        at = mark.end()
    out.write(frame[at:])
    return out.getvalue()
