"""Write a message object as bytes for the wire, without changing the object."""

from __future__ import annotations

import base64
import codecs
import copy
import quopri
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.generator import BytesGenerator
from email.message import Message
from email.policy import EmailPolicy, Policy
from io import BytesIO
from typing import IO, Any, cast

from smtpsend._model.message.content import crlf, ended, fields
from smtpsend._model.message.folding.field import field, is_built, wire_policy
from smtpsend._model.message.headers import NEVER_SENT
from smtpsend._model.message.once import SIGNATURES, join_repeated
from smtpsend._model.shortage import raise_if_short
from smtpsend._patterns import pattern
from smtpsend.errors import ConfigError, Phase, SendError


__all__ = ["own_copy", "serialize", "seven_bit", "signs_itself", "typed", "wire_copy"]

# No message has a header of this name; to delete it gives a copy its own header list.
_NO_HEADER = "\0"


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
            hint="give text that was decoded by the charset that it is in"
            if surrogate
            else "see whether message.as_bytes() works, and what it raises",
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


def wire_copy(message: Message) -> Message:
    """Copy a message without Bcc, and with each header once that may occur once.

    Raises:
        ConfigError: such a header occurs with different values.
    """
    clone = own_copy(message)
    for name in {name.lower() for name in message.keys()}:  # noqa: SIM118 - iteration is by index
        del clone[name]
    for name, value in message.raw_items():
        if name.lower() not in NEVER_SENT:
            clone.set_raw(name, value)
    join_repeated(clone)
    return clone


def serialize(message: Message, *, seven: bool = False) -> tuple[bytes, bytes]:
    """Write a message object as bytes.

    Args:
        message: a `wire_copy`, with Date and Message-ID.
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
    return content, _head(content, message.keys())


def _head(content: bytes, names: list[str]) -> bytes:
    """The header block of `content`, which has the headers `names` and no other."""
    end = 0 if content.startswith(b"\r\n") else content.find(b"\r\n\r\n") + 2
    found = list(fields(content[:end]))
    written = [field.name.decode("ascii") for field in found]
    if written[len(names) :] == ["Content-Transfer-Encoding"]:
        names = [*names, written[-1]]
    if written != names or (found[-1].end if found else 0) != end:
        raise _several_headers()
    return content[:end]


def _several_headers() -> ConfigError:
    return ConfigError(
        "a header of the message would become more than one header",
        hint="look for line breaks in its headers, encoded ones too",
    )


def seven_bit(message: Message) -> Callable[[], bytes | None]:
    """Make a function that writes the content in ASCII; it returns None if it cannot."""

    def encoded() -> bytes | None:
        if signs_itself(message) or any(map(_is_signed, message.walk())):
            return None
        try:
            with typed():
                clone = own_copy(message)
                encode_unlabelled(clone)
            content, _ = serialize(clone, seven=True)
        except ConfigError:
            return None
        return content if content.isascii() else None

    return encoded


def encode_unlabelled(message: Message) -> None:
    """Encode the bodies that the generator cannot encode, because of their charset.

    A transfer encoding keeps the bytes (RFC 2045 section 6), so no charset is needed.

    Args:
        message: the message, which is changed.
    """
    for part in message.walk():
        text = vars(part)["_payload"]
        if type(text) is not str or text.isascii() or _charset_known(part):
            continue
        data = text.encode("ascii", "surrogateescape")
        as_text = part.get_content_maintype() == "text"
        if as_text:
            data = quopri.encodestring(data.replace(b"\r\n", b"\n"))
        else:
            data = base64.encodebytes(data)
        del part["Content-Transfer-Encoding"]
        encoding = "quoted-printable" if as_text else "base64"
        part.set_raw("Content-Transfer-Encoding", encoding)
        part.set_payload(data.decode("ascii"))


def _charset_known(part: Message) -> bool:
    charset = part.get_param("charset")
    if not isinstance(charset, str) or part.get_content_maintype() != "text":
        return False
    try:
        return bool(codecs.lookup(charset).encode)
    except LookupError:
        return False


def signs_itself(message: Message) -> bool:
    """Whether a header signs others and the body (RFC 6376, RFC 8617)."""
    return any(name.lower() in SIGNATURES for name, _ in message.raw_items())


def _is_signed(part: Message) -> bool:
    return part.get_content_type() == "multipart/signed"


_LARGE = 65536
_PIECE = 1 << 18
# A message with a NUL is refused, so a NUL in the output can mark a place.
_MARK = pattern(rb"\0([0-9]+)\0")


class Writer(BytesGenerator):
    """A generator that writes CRLF, and collects large bodies instead of writing them.

    It folds headers itself. What a signature covers, it writes as the standard library
    does, so that the signature stays valid (RFC 1847 section 2.1).

    Attributes:
        large: the bodies of `_LARGE` characters or more; a mark is written for each.
        signed: whether a signature covers what is written.
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
        self.signed = False

    def clone(self, fp: Any) -> Writer:
        """Make a writer for nested parts, with the same list."""
        # The base class sets another policy for the parts of multipart/signed.
        clone = Writer(fp, policy=cast("Policy", self.policy))
        clone.large = self.large
        clone.signed = self.signed
        return clone

    def _handle_multipart_signed(self, msg: Message) -> None:
        before, self.signed = self.signed, True
        try:
            super()._handle_multipart_signed(msg)  # type: ignore[misc]
        finally:
            self.signed = before

    def _write_headers(self, msg: Message) -> None:
        to = wire_policy(cast("Policy[Any]", self.policy))
        built, signed = is_built(msg), self.signed or signs_itself(msg)
        for name, value in msg.raw_items():
            folded = field(to, name, value, built=built, signed=signed)
            if folded is None:
                raise _several_headers()
            self._fp.write(folded)  # type: ignore[attr-defined]
        self._fp.write(b"\r\n")  # type: ignore[attr-defined]

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
