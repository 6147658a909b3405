"""What compose() attaches: open files, uploads, bytes of each kind, and messages."""

from __future__ import annotations

import email
import email.header
import gc
import io
import mmap
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from email import policy
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any

import pytest

from smtpsend._model.message.compose import compose
from smtpsend._model.message.envelope import envelope
from smtpsend.errors import ConfigError


A, B = "ann@example.org", "bob@example.net"
DATA = b"bare\rcr\nlf\r\n\xff\0." * 50


def attached(*sources: Any) -> list[EmailMessage]:
    """The attachments of a message with `sources`, as a server gets them."""
    content = envelope(compose(sender=A, attachments=sources), None, [B]).content
    parsed = email.message_from_bytes(content, policy=policy.default)
    return list(parsed.iter_attachments())  # type: ignore[attr-defined]


def one(source: Any) -> tuple[str | None, str, bytes]:
    """The file name, the type and the bytes of one attachment."""
    [part] = attached(source)
    assert part.get_content_disposition() == "attachment"
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    return part.get_filename(), part.get_content_type(), data


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO])
def test_each_kind_of_bytes(kind: Callable[[bytes], object]) -> None:
    """Bytes of each kind are attached unchanged, with a type given or guessed."""
    assert one(("a.pdf", kind(DATA))) == ("a.pdf", "application/pdf", DATA)
    assert one(("a", kind(DATA), "image/png")) == ("a", "image/png", DATA)


def test_memoryview_of_another_form() -> None:
    """A memoryview with steps or of numbers is attached as its bytes."""
    assert one(("a", memoryview(DATA)[::2]))[2] == DATA[::2]
    numbers = memoryview(b"\1\0\0\0\2\0\0\0").cast("i")
    assert one(("a", numbers))[2] == b"\1\0\0\0\2\0\0\0"


def test_released_memoryview() -> None:
    """A memoryview that was released is refused."""
    view = memoryview(DATA)
    view.release()
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        compose(sender=A, attachments=[("a", view)])
    assert caught.value.__suppress_context__


def test_bytes_are_read_at_once() -> None:
    """A buffer that changes after compose() does not change the message."""
    buffer = bytearray(b"before")
    message = compose(sender=A, attachments=[("a.txt", buffer)])
    buffer[:] = b"after!"
    [part] = message.iter_attachments()
    assert part.get_payload(decode=True) == b"before"


@pytest.mark.parametrize("buffering", [0, -1, 7])
def test_open_file(tmp_path: Path, buffering: int) -> None:
    """An open file, buffered or not, is attached under its own name and stays open."""
    path = tmp_path / "Übung 1.png"
    path.write_bytes(DATA)
    with path.open("rb", buffering=buffering) as file:
        assert one(file) == ("Übung 1.png", "image/png", DATA)
        file.seek(0)
        assert one(("b.pdf", file))[:2] == ("b.pdf", "application/pdf")
        assert not file.closed


def test_a_lone_file_is_one_attachment(tmp_path: Path) -> None:
    """A file or message in place of the sequence is one attachment, as a path is."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"line 1\nline 2\n")
    with path.open("rb") as file:
        message = compose(sender=A, attachments=file)  # type: ignore[arg-type]
    assert [part.get_filename() for part in message.iter_attachments()] == ["a.txt"]
    message = compose(sender=A, attachments=message)  # type: ignore[arg-type]
    [part] = message.iter_attachments()
    assert part.get_content_type() == "message/rfc822"


def test_file_from_its_position(tmp_path: Path) -> None:
    """A file is read from where it stands, as read() does."""
    buffer = io.BytesIO(b"headDATA")
    buffer.seek(4)
    assert one(("a", buffer))[2] == b"DATA"


@pytest.mark.parametrize("form", ["lone", "named", "inline"])
def test_file_at_its_end(form: str) -> None:
    """A buffer that was written and not rewound is refused, and not attached empty."""
    buffer = io.BytesIO()
    buffer.write(b"picture")
    buffer.name = "a.png"  # type: ignore[attr-defined]
    source: Any = ("a.png", buffer) if form == "named" else buffer
    given: Any = (
        {"inline": {"a": source}, "html": "x"}
        if form == "inline"
        else {"attachments": [source]}
    )
    with pytest.raises(ConfigError) as caught:
        compose(sender=A, **given)
    assert "seek(0)" in caught.value.hint
    buffer.seek(0)
    assert compose(sender=A, **given)


def test_empty_file() -> None:
    """A file without content is attached, since nothing of it is lost."""
    assert one(("a.txt", io.BytesIO()))[2] == b""


def test_other_files(tmp_path: Path) -> None:
    """Temporary files, members of archives and memory maps are read like open files."""
    with tempfile.SpooledTemporaryFile() as spooled, tempfile.TemporaryFile() as plain:
        for file in (spooled, plain):
            file.write(DATA)
            file.seek(0)
            assert one(("a.bin", file))[2] == DATA
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("folder/b.png", DATA)
        with archive.open("folder/b.png") as member:
            assert one(member) == ("b.png", "image/png", DATA)
    path = tmp_path / "c"
    path.write_bytes(DATA)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as area,
    ):
        assert one(("c", area))[2] == DATA


class Upload:
    """What a form of the web sent, as frameworks hand it over."""

    def __init__(self, data: object = DATA, **attributes: object) -> None:
        self._data = data
        vars(self).update(attributes)

    def read(self) -> object:
        """Return the data, as any library might."""
        if isinstance(self._data, Exception):
            raise self._data
        return self._data


@pytest.mark.parametrize(
    ("attributes", "name", "kind"),
    [
        # Django's UploadedFile; Flask's FileStorage, whose `name` is that of the field
        ({"name": "a.pdf", "content_type": "image/png"}, "a.pdf", "image/png"),
        ({"name": "field", "filename": "a.pdf"}, "a.pdf", "application/pdf"),
        ({"name": "uploads/2026/a.pdf"}, "a.pdf", "application/pdf"),
        ({"filename": "..\\..\\a.pdf"}, "a.pdf", "application/pdf"),
        ({"filename": "../../etc/a.pdf"}, "a.pdf", "application/pdf"),
        ({"name": b"a.pdf"}, "a.pdf", "application/pdf"),
        (
            {"name": "a.txt", "content_type": "text/html; charset=x"},
            "a.txt",
            "text/html",
        ),
        # Types that a client may send, and that cannot be used.
        ({"name": "a.pdf", "content_type": ""}, "a.pdf", "application/pdf"),
        ({"name": "a.pdf", "content_type": None}, "a.pdf", "application/pdf"),
        ({"name": "a.pdf", "content_type": "x"}, "a.pdf", "application/pdf"),
        (
            {"name": "a.pdf", "content_type": "message/rfc822"},
            "a.pdf",
            "application/pdf",
        ),
        (
            {"name": "a.pdf", "content_type": "text/html\r\nBcc: e@x.example"},
            "a.pdf",
            "application/pdf",
        ),
    ],
)
def test_uploads(attributes: dict[str, object], name: str, kind: str) -> None:
    """An upload has the name and the type that came with it, if they can be used."""
    assert one(Upload(**attributes)) == (name, kind, DATA)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (io.BytesIO(b"x"), "no file name"),
        (Upload(name=7), "no file name"),
        (Upload(name=""), "no file name"),
        (Upload(name="folder/"), "not a file name"),
        (Upload(filename="a\r\nBcc: e@x.example"), "not a file name"),
        (("a", io.StringIO("x")), "open as text"),
        (("a", Upload(None)), "not bytes"),
        (("a", Upload(5)), "not bytes"),
        (("a", Upload(OSError(5, "Input/output error"))), "Input/output error"),
        (("a", Upload(RuntimeError("x"))), "RuntimeError"),
        (("a", io.BytesIO(b"x"), "message/rfc822"), "not a type"),
        (("a", "text"), "not an attachment"),
        (("a", [1, 2]), "not an attachment"),
    ],
)
def test_files_that_cannot_be_attached(source: object, words: str) -> None:
    """What cannot be read or named is a ConfigError with a hint, and without a cause."""
    uses: list[dict[str, Any]] = [
        {"attachments": [source]},
        {"html": "x", "inline": {"a": source}},
    ]
    for arguments in uses:
        with pytest.raises(ConfigError, match=words) as caught:
            compose(sender=A, **arguments)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        assert caught.value.hint


def test_closed_file(tmp_path: Path) -> None:
    """A file that was closed before is refused."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        pass
    with pytest.raises(ConfigError, match=r"'a\.txt'"):
        compose(sender=A, attachments=[file])


def test_text_file(tmp_path: Path) -> None:
    """A file that is open as text is refused, and the hint gives the mode."""
    path = tmp_path / "a.txt"
    path.write_text("x", "utf-8")
    with path.open(encoding="utf-8") as file, pytest.raises(ConfigError) as caught:
        compose(sender=A, attachments=[file])  # type: ignore[list-item]
    assert "'rb'" in caught.value.hint


class Unawaited(Upload):
    """An upload of Starlette: its `read` is a coroutine function."""

    async def read(self) -> object:  # type: ignore[override]
        """Return the data."""
        return super().read()


class Wrapped(Upload):
    """A file of an async library: its `read` is a function that returns a coroutine."""

    def read(self) -> object:
        """Return a coroutine."""
        return Unawaited().read()


@pytest.mark.parametrize("kind", [Unawaited, Wrapped])
def test_read_that_must_be_awaited(kind: type[Upload]) -> None:
    """A coroutine `read` is refused, says how to do it, and leaves no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConfigError, match="must be awaited") as caught:
            compose(sender=A, attachments=[kind(filename="a.pdf")])
        gc.collect()
    assert "await upload.read()" in caught.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "Screenshot 2026-11-27 at 10.00.00\u202fAM.png",
        "a\u00a0b.txt",
        "\u200eright\u200f.txt",
        "ohne\u00adTrennung.txt",
        "👩‍👩‍👧.png",
        "\ue000private.txt",
    ],
)
def test_file_names(name: str, tmp_path: Path) -> None:
    """A name with any characters but control characters arrives as it was given."""
    assert one((name, b"x"))[0] == name
    path = tmp_path / name
    path.write_bytes(b"x")
    assert one(path)[0] == name
    with path.open("rb") as file:
        assert one(file)[0] == name


def enclosed(*sources: Any) -> list[tuple[str | None, EmailMessage]]:
    """The attached messages as a server gets them, each with its file name."""
    found = []
    for part in attached(*sources):
        assert part.get_content_type() == "message/rfc822"
        assert part["Content-Transfer-Encoding"] == "8bit"
        found.append((part.get_filename(), part.get_content()))
    return found


def original() -> EmailMessage:
    """A message to attach."""
    return compose(
        sender=B,
        to=A,
        bcc="secret@example.net",
        subject="Grüße: 50 %",
        text="Hällo\n",
        html="<p>Hällo</p>",
        attachments=[("a.bin", DATA)],
    )


def test_attached_message() -> None:
    """A message object is attached as message/rfc822, complete but for its Bcc."""
    message = original()
    before = [list(part.raw_items()) for part in message.walk()]
    [(name, inner)] = enclosed(message)
    assert name == "Grüße 50 %.eml"
    assert (inner["From"], inner["Subject"]) == (B, "Grüße: 50 %")
    assert inner["Message-ID"] == message["Message-ID"]
    assert "Bcc" not in inner
    body = inner.get_body(("plain",))
    assert body is not None
    assert body.get_content().strip() == "Hällo"
    [part] = inner.iter_attachments()
    assert part.get_payload(decode=True) == DATA
    assert [list(part.raw_items()) for part in message.walk()] == before


def test_attached_message_with_a_name() -> None:
    """A message can be given a file name, and its only type."""
    message = original()
    assert enclosed(("a.eml", message))[0][0] == "a.eml"
    assert enclosed(("ü.eml", message, "message/rfc822"))[0][0] == "ü.eml"
    with pytest.raises(ConfigError, match="not an attachment"):
        compose(sender=A, attachments=[("a", message, "text/plain")])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="not an attachment"):
        compose(sender=A, html="x", inline={"a": message})


def test_attached_messages_and_files() -> None:
    """Messages and files are attached side by side, also a message with a message."""
    outer = compose(sender=A, subject="outer", attachments=[original()])
    parts = attached(("a.bin", DATA), outer, original())
    assert [part.get_filename() for part in parts] == [
        "a.bin",
        "outer.eml",
        "Grüße 50 %.eml",
    ]
    [inner] = parts[1].get_content().iter_attachments()
    assert inner.get_content()["Subject"] == "Grüße: 50 %"


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("", "message.eml"),
        ("..", "message.eml"),
        ("../../etc/passwd", "etc passwd.eml"),
        ("x" * 200, "x" * 60 + ".eml"),
        ("a\u202eb", "a b.eml"),
    ],
)
def test_names_of_attached_messages(subject: str, name: str) -> None:
    """An attached message is named by its subject, without what no file name may hold."""
    assert enclosed(compose(sender=B, subject=subject))[0][0] == name


def old_message() -> Message:
    """A message in the style of Python 2."""
    outer = MIMEMultipart()
    outer["Subject"] = email.header.Header("Grüße", "latin-1")
    outer["From"] = B
    outer.attach(MIMEText("Hällo", "plain", "latin-1"))
    return outer


@pytest.mark.parametrize("parse", [email.message_from_bytes, None])
def test_attached_messages_of_compat32(parse: Callable[[bytes], Message] | None) -> None:
    """Messages of the older class, built or parsed, are attached as well."""
    message = old_message()
    if parse is not None:
        message = parse(message.as_bytes())
    [(_, inner)] = enclosed(message)
    assert inner["Subject"] == "Grüße"
    [part] = inner.iter_parts()
    assert part.get_payload(decode=True) == "Hällo".encode("latin-1")


def test_attached_message_for_a_server_without_8bitmime() -> None:
    """The content in ASCII has the attached message in ASCII, too."""
    made = envelope(compose(sender=A, attachments=[original()]), None, [B])
    assert made.eight_bit
    assert made.seven_bit is not None
    content = made.seven_bit()
    assert content is not None
    assert content.isascii()
    [part] = email.message_from_bytes(content, policy=policy.default).iter_attachments()  # type: ignore[attr-defined]
    body = part.get_content().get_body(("plain",))
    assert body.get_content().strip() == "Hällo"


def test_upload_of_django() -> None:
    """An upload of Django is attached with the name and type that came with it."""
    uploaded = pytest.importorskip("django.core.files.uploadedfile")
    upload = uploaded.SimpleUploadedFile("a.csv", DATA, "text/csv; charset=x")
    assert one(upload) == ("a.csv", "text/csv", DATA)
    with pytest.raises(ConfigError, match="to its end"):
        compose(sender=A, attachments=[upload])
