"""What a person sees of an outbox: files of messages, and a message in a browser."""

from __future__ import annotations

import base64
import email
import os
import re
import stat
import webbrowser
from collections.abc import Iterator
from email import policy
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from smtpsend import ConnectError, Server, compose, send
from smtpsend.testing import Captured, Outbox, capture


A, B = "ann@example.org", "bob@example.net"
PNG = b"\x89PNG\r\n\x1a\n\0"


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    """An outbox for what the test sends."""
    with capture() as box:
        yield box


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The addresses that a browser was asked to open."""
    found: list[str] = []
    monkeypatch.setattr(webbrowser, "open", found.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return found


def mail(subject: str = "Hello", **arguments: Any) -> None:
    """Send a composed message."""
    send(compose(sender=A, to=B, subject=subject, **arguments), "mail.example.org")


def test_files(outbox: Outbox, tmp_path: Path) -> None:
    """Each message becomes a file with exactly its bytes, the failed ones apart."""
    mail("Grüße: 50 % / ../x", text="Hällo")
    mail("")
    outbox.fail_next(ConnectError)
    with pytest.raises(ConnectError):
        mail("third")
    folder = tmp_path / "new" / "folder"
    paths = outbox.save(folder)
    assert [path.name for path in paths] == [
        "001-Grüße-50-x.eml",
        "002.eml",
        "failed-001-third.eml",
    ]
    assert sorted(folder.iterdir()) == sorted(paths)
    assert [path.read_bytes() for path in paths] == [
        one.content for one in (*outbox.messages, *outbox.failed)
    ]
    parsed = email.message_from_bytes(paths[0].read_bytes(), policy=policy.default)
    assert parsed["Subject"] == "Grüße: 50 % / ../x"


def test_files_again(outbox: Outbox, tmp_path: Path) -> None:
    """Saving twice replaces the files, and the outbox keeps its messages."""
    mail()
    assert outbox.save(str(tmp_path)) == outbox.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == len(outbox) == 1


def test_files_of_nothing(outbox: Outbox, tmp_path: Path) -> None:
    """An empty outbox makes the folder and no file."""
    assert outbox.save(tmp_path / "x") == []
    assert list((tmp_path / "x").iterdir()) == []


@pytest.mark.parametrize("subject", ["x" * 900, "\u202e" * 50, "..", "/", "a\tb", "CON"])
def test_names_of_files(outbox: Outbox, tmp_path: Path, subject: str) -> None:
    """No subject leads to another folder, or to a name that cannot be used."""
    mail(subject)
    [path] = outbox.save(tmp_path)
    assert path.parent == tmp_path
    assert re.fullmatch(r"001(-\w[\w-]*)?\.eml", path.name)
    assert len(path.name.encode()) < 255


def test_no_folder(outbox: Outbox, tmp_path: Path) -> None:
    """A file in the place of the folder is an OSError."""
    mail()
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(OSError, match="x"):
        outbox.save(tmp_path / "x")


class Page(HTMLParser):
    """What a browser finds in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        """All texts."""
        return "".join(self.words)


def shown(outbox: Outbox, opened: list[str]) -> Page:
    """Open the last message, and read the page."""
    path = outbox[-1].open()
    assert opened[-1:] == [path.as_uri()]
    return Page(path.read_text("utf-8"))


def data_of(url: str | None) -> bytes:
    """The bytes of a data: URL."""
    assert url is not None
    return base64.b64decode(url.partition(",")[2])


def test_page(outbox: Outbox, opened: list[str]) -> None:
    """The page has headers, text, HTML with its images, and attachments to store."""
    mail(
        "Grüße",
        text="Häl<lo>",
        html='<p><img src="cid:logo">Hällo <img src=cid:other></p>',
        inline={"logo": ("l.png", PNG)},
        attachments=[("a & b.pdf", b"pdf"), compose(sender=B, subject="inner")],
        cc="carol@example.com",
    )
    page = shown(outbox, opened)
    for words in ("Grüße", A, B, "carol@example.com", "Häl<lo>", f"{A} to {B}"):
        assert words in page.text
    [frame] = page.all("iframe")
    inner = Page(frame["srcdoc"] or "")
    assert inner.text.strip() == "Hällo"
    first, second = inner.all("img")
    assert (first["src"] or "").startswith("data:image/png;base64,")
    assert data_of(first["src"]) == PNG
    assert second["src"] == "cid:other"
    files = {link["download"]: data_of(link["href"]) for link in page.all("a")}
    assert (files["a & b.pdf"], files["l.png"]) == (b"pdf", PNG)
    assert b"Subject: inner" in files["inner.eml"]


def test_page_of_a_program_that_is_attacked(outbox: Outbox, opened: list[str]) -> None:
    """Nothing in a message becomes an element of the page, or a script that runs."""
    attack = "</pre></iframe>\"'><script>alert(1)</script>"
    mail(
        attack,
        text=attack,
        html=attack + '<form action="https://x.example"><input></form>',
        attachments=[(f'"{attack}', b"<script>", "text/html")],
    )
    page = shown(outbox, opened)
    assert {tag for tag, _ in page.tags} == {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "table", "tr"),
        *("th", "td", "pre", "iframe", "ul", "li", "a"),
    }
    [frame] = page.all("iframe")
    assert frame["sandbox"] == "allow-popups allow-popups-to-escape-sandbox"
    assert attack in unescape(frame["srcdoc"] or "")
    [link] = page.all("a")
    assert link["download"] == f'"{attack}'
    assert (link["href"] or "").startswith("data:application/octet-stream;")
    assert "script-src 'none'" in str(page.all("meta"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"Subject\r\n\r\nx",
        b"Subject: =?utf-8?q?=FF?=\r\nTo: <<>>\r\nMessage-ID: <[x]@y>\r\n\r\n\xff",
        b"Content-Type: text/plain; charset=nothing\r\n\r\n\xffh\xe4",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\nno parts",
        b"Content-Type: multipart/mixed\r\n\r\n--x\r\n\r\na\r\n--x--\r\n",
        b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nx",
        b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!",
        b"Content-Type: ;;\r\nContent-Disposition: ;;\r\nContent-ID: <\r\n\r\nx",
        b'Content-Type: image/"><script>\r\nContent-Disposition: inline\r\n\r\nx',
    ],
)
def test_page_of_any_content(content: bytes, opened: list[str]) -> None:
    """A message that is malformed in any way is shown as far as it can be read."""
    one = Captured("", (B,), content, Server("mail.example.org"))
    page = Page(one.open().read_text("utf-8"))
    assert f"<> to {B}" in page.text
    assert not page.all("script")


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_only_the_owner_sees_the_page(outbox: Outbox, opened: list[str]) -> None:
    """The folder of a page is for its owner, and each page has a folder of its own."""
    mail()
    paths = [outbox[0].open(), outbox[0].open()]
    assert paths[0].parent != paths[1].parent
    assert stat.S_IMODE(paths[0].parent.stat().st_mode) == 0o700


def test_invitation(outbox: Outbox, opened: list[str]) -> None:
    """A part that is no text is a file, by its type if it has no name."""
    mail(calendar="BEGIN:VCALENDAR\nMETHOD:REQUEST\nEND:VCALENDAR\n", text="x")
    [link] = shown(outbox, opened).all("a")
    assert link["download"] == "text.calendar"
    assert data_of(link["href"]).startswith(b"BEGIN:VCALENDAR")


def test_real_server(opened: list[str]) -> None:
    """A message that the local server stored is shown in the same way."""
    pytest.importorskip("aiosmtpd")
    from smtpsend.testing import local_server

    with local_server() as local:
        message = compose(sender=A, to=B, subject="Stored", text="x")
        send(message, local.server())
        path = local.messages[0].open()
    assert "Stored" in path.read_text("utf-8")
    assert opened == [path.as_uri()]
