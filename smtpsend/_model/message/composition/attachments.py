"""What a caller attaches, read: paths, bytes, open files, uploads, message objects."""

from __future__ import annotations

import binascii
import contextlib
import inspect
import mimetypes
import os
import re
import struct
import unicodedata
from email.header import Header
from email.message import Message
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from smtpsend._model.address.domain import shown
from smtpsend._model.message.content import unfolded
from smtpsend._model.message.headers import NEVER_SENT
from smtpsend._model.message.parts import AttachedMessage, File
from smtpsend._model.message.serialize import own_copy
from smtpsend._model.shortage import raise_if_short
from smtpsend._patterns import pattern
from smtpsend.errors import ConfigError, Phase, SendError


__all__ = ["is_single", "read_attachment", "read_file"]

_TYPE = pattern(r"([A-Za-z0-9!#$&^_.+-]+)/([A-Za-z0-9!#$&^_.+-]+)")
_OCTET_STREAM = ("application", "octet-stream")
_RFC822 = "message/rfc822"
# Control characters, surrogates, and the separators of lines and paragraphs.
_NOT_IN_A_NAME = frozenset({"Cc", "Cs", "Zl", "Zp"})
_LONGEST_SUBJECT = 60  # characters of a subject that become the name of a file
_FORMS = (
    "give a path, an open binary file, a message object, (filename, bytes or file) "
    "or (filename, bytes or file, 'type/subtype')"
)


def is_single(value: object) -> bool:
    """Whether a value is one attachment, and not a sequence of attachments."""
    return isinstance(value, (str, os.PathLike, Message)) or hasattr(value, "read")


def read_attachment(source: object) -> File | AttachedMessage:
    """Read one attachment.

    Raises:
        ConfigError: it is no attachment, or it cannot be read.
        ConnectError: this machine has no file descriptor left to read it; temporary.
    """
    match source:
        case Message():
            return AttachedMessage(_subject_name(source), _enclosed(source))
        case (str(name), Message() as message) | (
            str(name),
            Message() as message,
            "message/rfc822",
        ):
            return AttachedMessage(_filename(name), _enclosed(message))
    return read_file(source)


def read_file(source: object) -> File:
    """Read one attachment that is a file, and not a message.

    Raises:
        ConfigError: it is no file, or it cannot be read.
        ConnectError: this machine has no file descriptor left to read it; temporary.
    """
    match source:
        case str() | os.PathLike():
            return _read_path(Path(source))
        case (str(name), data) if _is_data(data):
            return File(_filename(name), _encoded(data, name), _guessed_type(name))
        case (str(name), data, str(given)) if _is_data(data):
            kind = _parsed_type(given)
            return File(_filename(name), _encoded(data, name), kind)
    if hasattr(source, "read"):
        name = _own_name(source)
        kind = _own_type(source) or _guessed_type(name)
        return File(_filename(name), _encoded(source, name), kind)
    raise ConfigError(f"not an attachment: {shown(source)}", hint=_FORMS)


def _is_data(value: object) -> bool:
    return isinstance(value, (bytes, bytearray, memoryview)) or hasattr(value, "read")


def _read_path(path: Path) -> File:
    try:
        with path.open("rb") as file:
            return File(_filename(path.name), _base64(file), _guessed_type(path.name))
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise_if_short(
            error, f"cannot read the attachment {shown(str(path))}", Phase.CONFIG
        )
        reason = getattr(error, "strerror", None) or "not a path"
        raise ConfigError(
            f"cannot read the attachment {shown(str(path))}: {reason}",
            hint="check the path; a relative one starts at the current directory",
        ) from None


def _encoded(data: Any, name: str) -> str:
    """Encode bytes, or what is left to read of a file."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        data = _content_of(data, name)
    try:
        return _base64(BytesIO(data if isinstance(data, bytes) else bytes(data)))
    except ValueError as error:  # a memoryview that was released
        raise ConfigError(
            f"the bytes of the attachment {shown(name)} cannot be read: {error}",
            hint="give bytes(...) of it, made while it is valid",
        ) from None


def _content_of(file: Any, name: str) -> bytes | bytearray | memoryview:
    """Read a file from its position to its end."""
    data = None
    try:
        if not inspect.iscoroutinefunction(file.read):
            data = file.read()
    except (SendError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - `read` may be the code of any library
        what = f"cannot read the attachment {shown(name)}"
        raise_if_short(error, what, Phase.CONFIG)
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError(
            f"{what}: {reason}", hint="give an open file, and close it only afterwards"
        ) from None
    if inspect.iscoroutinefunction(file.read) or inspect.isawaitable(data):
        if inspect.iscoroutine(data):
            data.close()  # else Python warns that it was never awaited
        raise ConfigError(
            f"the attachment {shown(name)} has a read() that must be awaited",
            hint="await it first, and give (filename, await upload.read()); for an "
            "UploadFile of Starlette or FastAPI (filename, upload.file) works, too",
        )
    if isinstance(data, str):
        raise ConfigError(
            f"the attachment {shown(name)} is open as text",
            hint="open the file in binary mode: open(path, 'rb')",
        )
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise ConfigError(
            f"read() of the attachment {shown(name)} returned {shown(data)}, not bytes",
            hint="give an open binary file, or (filename, bytes)",
        )
    if not data and _position(file) > 0:
        raise ConfigError(
            f"the attachment {shown(name)} was read or written to its end before",
            hint="call seek(0) on the file first, or give (filename, bytes)",
        )
    return data


def _position(file: Any) -> int:
    with contextlib.suppress(Exception):  # not every file has a position
        return int(file.tell())
    return 0


def _own_name(file: Any) -> str:
    """The name of an open file or of an upload, without folders."""
    filename = getattr(file, "filename", None)  # of uploads: Starlette, Flask, Quart
    if isinstance(filename, str) and filename:
        # A browser sent it, and some send a path of their own system.
        return re.split(r"[/\\]", filename)[-1]
    name = getattr(file, "name", None)  # of open files, and of Django's uploads
    if isinstance(name, (str, bytes, os.PathLike)) and name:
        return os.path.basename(os.fsdecode(name))  # noqa: PTH119 - it may be no path
    raise ConfigError(
        f"the attachment has no file name: {shown(file)}",
        hint="give (filename, file) or (filename, file, 'type/subtype')",
    )


def _own_type(file: Any) -> tuple[str, str] | None:
    """The type that came with an upload; None if there is none that can be used."""
    given = getattr(file, "content_type", None)
    if not isinstance(given, str):
        return None
    match = _TYPE.fullmatch(given.partition(";")[0].strip())
    return (match[1], match[2]) if match and not _is_composite(match[1]) else None


def _filename(name: str) -> str:
    if not name or any(unicodedata.category(char) in _NOT_IN_A_NAME for char in name):
        raise ConfigError(
            f"not a file name for an attachment: {shown(name)}",
            hint="a file name is one line of text, without control characters",
        )
    return name


def _guessed_type(name: str) -> tuple[str, str]:
    # With "./" a name such as "data:x" is not read as a URL.
    guessed, encoding = mimetypes.guess_type(f"./{name}")
    maintype, _, subtype = (guessed or "").partition("/")
    if encoding or not subtype or _is_composite(maintype):
        return _OCTET_STREAM
    return maintype, subtype


def _parsed_type(text: str) -> tuple[str, str]:
    match = _TYPE.fullmatch(text)
    if match is None or _is_composite(match[1]):
        raise ConfigError(
            f"not a type for an attachment: {shown(text)}",
            hint="write type/subtype, such as application/pdf; message/ and multipart/ "
            "cannot be attached as bytes (RFC 2046 section 5), but give a message object",
        )
    return match[1], match[2]


def _is_composite(maintype: str) -> bool:
    return maintype.lower() in ("message", "multipart")


def _enclosed(message: Message) -> Message:
    """Copy a message to attach, without Bcc, which no recipient may see."""
    copy = own_copy(message)
    for name in NEVER_SENT:
        del copy[name]
    for part in copy.walk():
        items = list(part.raw_items())
        if any(isinstance(value, Header) for _, value in items):
            # Only the policy of the message itself could fold such an object, but the
            # message that encloses it is written by a policy of its own.
            _set_headers(part, items)
    return copy


def _set_headers(part: Message, items: list[tuple[str, Any]]) -> None:
    for name in {name.lower() for name, _ in items}:
        del part[name]
    for name, value in items:
        part.set_raw(name, value.encode() if isinstance(value, Header) else value)


def _subject_name(message: Message) -> str:
    """A file name for an attached message, made from its subject."""
    subject = ""
    with contextlib.suppress(Exception):  # the parser fails for some subjects
        subject = unfolded(str(message["Subject"] or "").encode("utf-8", "surrogatepass"))
    kept = [
        char if char.isprintable() and char not in '/\\:*?"<>|' else " "
        for char in subject
    ]
    name = " ".join("".join(kept).split())[:_LONGEST_SUBJECT].strip(" .")
    return f"{name or 'message'}.eml"


# How many bytes one line of base64 holds, and how many lines are encoded at once.
_LINE, _LINES = 57, 1024


def _base64(file: BinaryIO) -> str:
    """Encode `file` in lines of base64, as `add_attachment` does."""
    pieces = []
    while data := file.read(_LINE * _LINES):
        text = binascii.b2a_base64(data, newline=False)
        whole, rest = divmod(len(text), 76)
        lines = struct.unpack("76s" * whole + f"{rest}s" * bool(rest), text)
        pieces.append(b"\n".join(lines).decode("ascii"))
    return "\n".join([*pieces, ""])
