"""compose(): what comes out is what a mail client shows, and what `send` takes."""

from __future__ import annotations

import email
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpsend._model.address.mailbox import Mailbox
from smtpsend._model.message.compose import compose
from smtpsend._model.message.envelope import envelope
from smtpsend.errors import ConfigError


A, B = "a@example.org", "b@example.org"
PNG = b"\x89PNG\r\n\x1a\n\0"


def read_back(message: EmailMessage) -> EmailMessage:
    """What a server gets, parsed."""
    content = envelope(message, None, [B]).content
    return email.message_from_bytes(content, policy=policy.default)  # type: ignore[return-value]


def tree(message: EmailMessage) -> object:
    """The types of the parts, nested as the parts are."""
    kind = message.get_content_type()
    if not message.is_multipart():
        return kind
    return kind, [tree(part) for part in message.iter_parts()]  # type: ignore[arg-type]


def test_simple() -> None:
    """Plain text with the usual headers, each once, Date and Message-ID among them."""
    message = compose(sender=f"Me <{A}>", to=B, subject="Grüße", text="hällo\n")
    found = read_back(message)
    assert (found["From"], found["To"], found["Subject"]) == (f"Me <{A}>", B, "Grüße")
    assert found["Message-ID"].endswith("@example.org>")
    assert parsedate_to_datetime(found["Date"]).tzinfo is not None
    assert found["MIME-Version"] == "1.0"
    assert found.get_content() == "hällo\r\n"
    assert len(set(found.keys())) == len(found.keys())


def test_addresses() -> None:
    """All the kinds of addresses, and who then gets the message."""
    message = compose(
        sender=Mailbox("Müller, Jörg", "jm", "xn--bcher-kva.de"),
        to=["One <one@x.y>", Mailbox("", '"t w o"', "x.y")],
        cc=("three@bücher.de" for _ in range(1)),
        bcc='"Doe, Jane" <four@x.y>',
        reply_to=[A, B],
    )
    found = envelope(message, None, None)
    assert found.sender == "jm@xn--bcher-kva.de"
    assert found.recipients == (
        "one@x.y",
        '"t w o"@x.y',
        "three@xn--bcher-kva.de",
        "four@x.y",
    )
    parsed = email.message_from_bytes(found.content, policy=policy.default)
    assert parsed["From"].addresses[0].display_name == "Müller, Jörg"
    assert parsed["Cc"] == "three@xn--bcher-kva.de"
    assert [a.addr_spec for a in parsed["Reply-To"].addresses] == [A, B]
    assert "Bcc" not in parsed
    assert b"four@" not in found.content
    assert message["Bcc"] == '"Doe, Jane" <four@x.y>'


def test_no_recipient_header_at_all() -> None:
    """Without to, cc and bcc no such header is made, for recipients= of send."""
    message = compose(sender=A, text="x")
    assert not {"To", "Cc", "Bcc", "Reply-To"} & set(message.keys())


@pytest.mark.parametrize(
    "value",
    [
        "a@b, c@d",
        "nobody",
        "",
        f"{A}\nBcc: e@x",
        None,
        5,
        b"a@b",
        [A, None],
        {A: B},
        [[A]],
        Mailbox("x\nBcc: e@x", "a", "b"),
        Mailbox("", "a b", "c"),
        Mailbox("", "a", "b> x"),
        Mailbox("", "a", "b_c"),
        Mailbox("x\ud800", "a", "b"),
    ],
)
def test_bad_addresses(value: object) -> None:
    """An address that is not one mailbox is refused, in each place."""
    for name in ("to", "cc", "bcc", "reply_to"):
        with pytest.raises(ConfigError):
            envelope(compose(sender=A, **{name: value}), None, [B])  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        envelope(compose(sender=value), None, [B])  # type: ignore[arg-type]


FILE = ("x.bin", b"\0\1")
MIXED = "multipart/mixed"
RELATED = "multipart/related"
BOTH = ("multipart/alternative", ["text/plain", "text/html"])
LOGO = {"logo": ("l.png", PNG)}


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({}, "text/plain"),
        ({"text": "x"}, "text/plain"),
        ({"html": "x"}, "text/html"),
        ({"text": "x", "html": "y"}, BOTH),
        (
            {"text": "x", "attachments": [FILE]},
            (MIXED, ["text/plain", "application/octet-stream"]),
        ),
        ({"attachments": [FILE]}, (MIXED, ["text/plain", "application/octet-stream"])),
        ({"html": "x", "inline": LOGO}, (RELATED, ["text/html", "image/png"])),
        ({"text": "x", "html": "y", "inline": LOGO}, (RELATED, [BOTH, "image/png"])),
        (
            {
                "text": "x",
                "html": "y",
                "inline": LOGO,
                "attachments": [FILE, ("a.pdf", b"")],
            },
            (
                MIXED,
                [
                    (RELATED, [BOTH, "image/png"]),
                    "application/octet-stream",
                    "application/pdf",
                ],
            ),
        ),
    ],
)
def test_structure(arguments: dict[str, object], parts: object) -> None:
    """Layers nest as mail clients expect, and only those with something in them."""
    found = read_back(compose(sender=A, to=B, **arguments))  # type: ignore[arg-type]
    assert tree(found) == parts
    assert found.get_all("MIME-Version") == ["1.0"]
    body = found.get_body(("plain", "html"))
    assert body is not None
    assert body.get_content().strip() == (
        arguments.get("text") or arguments.get("html") or ""
    )


def test_inline() -> None:
    """An inline image has its content id, and is shown in place and not as attachment."""
    found = read_back(compose(sender=A, html='<img src="cid:logo">', inline=LOGO))
    assert found.get_param("type") == "text/html"
    body, image = found.iter_parts()
    assert "MIME-Version" not in body
    assert image["Content-ID"] == "<logo>"
    assert image.get_content_disposition() == "inline"
    assert image.get_content() == PNG


@pytest.mark.parametrize(
    "content_id", ["", "a b", "<logo>", "a\r\nBcc: x", "ü", 5, "x" * 201]
)
def test_bad_content_id(content_id: object) -> None:
    """A content id that no HTML could name is refused."""
    with pytest.raises(ConfigError, match="content id"):
        compose(sender=A, html="x", inline={content_id: FILE})  # type: ignore[dict-item]


def test_inline_needs_html() -> None:
    """Inline images without HTML that shows them are refused."""
    with pytest.raises(ConfigError, match="html"):
        compose(sender=A, text="x", inline=LOGO)


def test_files(tmp_path: Path) -> None:
    """Files are attached under their own name, by str and by path, unchanged."""
    path = tmp_path / "Bericht für Übung.txt"
    data = b"bare\rcr\nlf\r\n\xff\0."
    path.write_bytes(data)
    found = read_back(compose(sender=A, attachments=[str(path), path]))
    for part in found.iter_attachments():
        assert part.get_filename() == "Bericht für Übung.txt"
        assert part.get_content_type() == "text/plain"
        assert part.get_content_disposition() == "attachment"
        assert part.get_payload(decode=True) == data
    assert len(list(found.iter_attachments())) == 2
    assert tree(read_back(compose(sender=A, attachments=path))) == tree(
        read_back(compose(sender=A, attachments=[str(path)]))
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "image/png"),
        ("a.html", "text/html"),
        ("a.pdf", "application/pdf"),
        ("a.tar.gz", "application/octet-stream"),
        ("a.eml", "application/octet-stream"),
        ("noext", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
        ("data:text/html,x", "application/octet-stream"),
        ("../../etc/passwd", "application/octet-stream"),
        ("日本語 " * 30 + ".png", "image/png"),
        ('quo"te\\s.png', "image/png"),
    ],
)
def test_guessed_types(name: str, kind: str) -> None:
    """The type follows from the name, and the name arrives as it was given."""
    found = read_back(compose(sender=A, attachments=[(name, PNG)]))
    [part] = found.iter_attachments()
    assert (part.get_content_type(), part.get_filename()) == (kind, name)
    assert part.get_content() == PNG if kind[:4] != "text" else True


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(max_size=300), st.sampled_from(["text/plain", "a/b", "image/svg+xml"]))
def test_bytes_arrive_unchanged(data: bytes, kind: str) -> None:
    """Whatever the bytes and the type, they arrive bit by bit."""
    found = read_back(compose(sender=A, attachments=[("x", data, kind)]))
    [part] = found.iter_attachments()
    assert part.get_content_type() == kind
    assert part.get_payload(decode=True) == data
    assert part["Content-Transfer-Encoding"] == "base64"


@pytest.mark.parametrize(
    "attachment",
    [
        "/nowhere/to/be/found.txt",
        "/",
        "nul\0l",
        5,
        None,
        b"x",
        ("x",),
        ("x", "text"),
        (b"x", b"y"),
        ("", b"y"),
        ("x\r\nBcc: e", b"y"),
        ("x\u2028y", b"y"),
        ("x", b"y", "text"),
        ("x", b"y", "text/plain; charset=x"),
        ("x", b"y", "text/plain\r\nBcc: e"),
        ("x", b"y", "message/rfc822"),
        ("x", b"y", "multipart/mixed"),
        ("x", b"y", None),
        ("x", b"y", "a/b", "c"),
        ("x\ud800", b"y"),
    ],
)
def test_bad_attachments(attachment: object) -> None:
    """An attachment that cannot be read or named is refused, without a cause attached."""
    uses: list[Callable[[], EmailMessage]] = [
        lambda: compose(sender=A, attachments=[attachment]),  # type: ignore[list-item]
        lambda: compose(sender=A, html="x", inline={"a": attachment}),  # type: ignore[dict-item]
    ]
    for use in uses:
        with pytest.raises(ConfigError) as caught:
            use()
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        assert "attachment" in str(caught.value)


@pytest.mark.parametrize("attachments", [5, None, b"x", {"a": b"b"}, ("x.txt", b"data")])
def test_attachments_of_another_type(attachments: object) -> None:
    """Attachments are a sequence of attachments; a lone tuple is not one."""
    with pytest.raises(ConfigError):
        compose(sender=A, attachments=attachments)  # type: ignore[arg-type]


def test_headers() -> None:
    """Further headers are set, Date and Message-ID in place of our own."""
    message = compose(
        sender=A,
        to=B,
        headers={
            "X-A": "ü",
            "List-Id": "<l.x.y>",
            "date": "today",
            "Message-ID": "<1@x>",
        },
    )
    found = envelope(message, None, None)
    assert found.message_id == "<1@x>"
    parsed = email.message_from_bytes(found.content, policy=policy.default)
    assert (parsed["X-A"], parsed["List-Id"]) == ("ü", "<l.x.y>")
    assert len(parsed.get_all("Date")) == len(parsed.get_all("Message-ID")) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, "x") for name in ("From", "sender", "TO", "cc", "Bcc", "Reply-To", "Subject")]
    + [
        (name, "x")
        for name in ("Resent-To", "resent-bcc", "MIME-Version", "Content-Type")
    ]
    + [(name, "x") for name in ("", "X Y", "X:", "Bcc ", "X\r\nBcc", "Ü")]
    + [
        ("X-A", value)
        for value in ("a\r\nBcc: e@x", "a\nb", "a\rb", "a\0", "a\u2028b", "a\x0bb")
    ]
    + [("X-A", 5), ("X-A", None), (5, "x")],
)
def test_bad_headers(name: object, value: object) -> None:
    """Headers that an argument sets, and headers that inject, are refused."""
    with pytest.raises(ConfigError):
        compose(sender=A, headers={name: value})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "text", ["a\r\nBcc: e@x", "a\n", "a\r", "a\0", "a\u2029", "a\x1c", 5, None]
)
def test_bad_subjects(text: object) -> None:
    """A subject is one line of text."""
    with pytest.raises(ConfigError):
        compose(sender=A, subject=text)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [5, b"x", "\ud800"])
def test_bad_texts(text: object) -> None:
    """Text and HTML are str that can be encoded."""
    for name in ("text", "html"):
        with pytest.raises(ConfigError):
            compose(sender=A, **{name: text})  # type: ignore[arg-type]


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80
    )
)
def test_texts_arrive(text: str) -> None:
    """Any text arrives as it was, line ends made the network's."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    for name in ("text", "html"):
        found = read_back(compose(sender=A, **{name: text}))  # type: ignore[arg-type]
        body = found.get_payload(decode=True)
        assert isinstance(body, bytes)
        assert body.decode().replace("\r\n", "\n").removesuffix("\n") == lines


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60))
def test_subjects_arrive(text: str) -> None:
    """Any subject of one line makes one header, and the rest of the message is whole."""
    content = envelope(
        compose(sender=A, to=B, subject=text, text="x"), None, None
    ).content
    parsed = email.message_from_bytes(content)
    assert parsed.keys()[:3] == ["From", "To", "Subject"]
    assert parsed.get_payload().strip() == "x"  # type: ignore[union-attr]


def test_message_needs_no_change_to_be_sent_twice() -> None:
    """A composed message gives the same bytes each time, Message-ID and Date included."""
    message = compose(sender=A, to=B, text="ü", html="ü", attachments=[FILE])
    message.set_boundary("x")
    assert message.get_payload()[0].set_boundary("y") is None  # type: ignore[index,union-attr]
    assert envelope(message, None, None).content == envelope(message, None, None).content


SEVERAL = [
    "a@x.example, b@y.example",
    "A <a@x.example>, b@y.example",
    "a@x.example; b@y.example",
    "A <a@x.example>; B <b@y.example>;",
    "a@x.example,b@y.example,",
    "a@x.example b@y.example",
    '"Doe, Jane" <a@x.example>, b@y.example',
]


@pytest.mark.parametrize("text", SEVERAL)
@pytest.mark.parametrize("name", ["to", "cc", "bcc", "reply_to"])
def test_several_addresses_in_one_str(text: str, name: str) -> None:
    """A str with several addresses is refused, and the hint says to give a list."""
    for value in (text, [text]):
        with pytest.raises(ConfigError, match="not exactly one address") as caught:
            compose(sender=A, **{name: value})  # type: ignore[arg-type]
        assert "give a list" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        envelope(b"Subject: x\n", A, [text])
    assert "give a list" in caught.value.hint


@pytest.mark.parametrize("text", SEVERAL)
def test_several_addresses_as_sender(text: str) -> None:
    """A sender with several addresses is refused, and no list of them is suggested."""
    with pytest.raises(ConfigError, match="sender must be one address") as caught:
        compose(sender=text)
    assert "list" not in caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["Doe, Jane <a@x.example>", "a@x.example <a@x.example>", "a@x.example, nobody"],
)
def test_no_list_is_suggested_for_one_address(text: str) -> None:
    """A name that needs quotes is not taken for a second address."""
    with pytest.raises(ConfigError) as caught:
        compose(sender=A, to=text)
    assert "quote names" in caught.value.hint
