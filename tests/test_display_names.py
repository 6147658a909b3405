"""The display name of an address: nothing that a caller writes into it is lost."""

from __future__ import annotations

import email
from email import policy
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.utils import formataddr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsend import compose
from smtpsend._model.address.mailbox import groups, mailbox
from smtpsend._model.message.envelope import envelope


A = "a@example.org"

# What is written before or around the address, and the name that a reader is shown.
NAMES = [
    ("O'Neil (CEO) <{}>", "O'Neil (CEO)"),
    ("(Dr.) O'Neil <{}>", "(Dr.) O'Neil"),
    ("Ann (a (nested) one) B <{}>", "Ann (a (nested) one) B"),
    ("Ann (a \\) b) <{}>", "Ann (a ) b)"),
    ("Ann <{}> (work)", "Ann (work)"),
    ("Ann <(home) {}>", "Ann (home)"),
    ("Ann () <{}>", "Ann ()"),
    ("{} (Ann)", "Ann"),
    ("(Ann) {}", "Ann"),
    ("{} (Ann) (work)", "Ann (work)"),
    ("<{}> (Ann)", "Ann"),
    ('"" <{}> (Ann)', "Ann"),
    ('"Doe, John" <{}> (work)', "Doe, John (work)"),
    ('William "Bill" Gates <{}>', 'William "Bill" Gates'),
    ('A "B" C <{}>', 'A "B" C'),
    ('"A \\"B\\" C" <{}>', 'A "B" C'),
    ('"Doe, John" Jr. <{}>', '"Doe, John" Jr.'),
    ('"a\\\\b" <{}>', "a\\b"),
    ('"two  blanks" <{}>', "two  blanks"),
    ('" Ann " <{}>', "Ann"),
    ("two  blanks <{}>", "two blanks"),
    ("no\u00a0break <{}>", "no\u00a0break"),
    ("Jörg (Chef) <{}>", "Jörg (Chef)"),
    ("=?utf-8?q?J=C3=B6rg?= (CEO) <{}>", "Jörg (CEO)"),
    ("=?utf-8?q?J=C3=B6?= =?utf-8?q?rg?= (CEO) <{}>", "Jörg (CEO)"),
    ('=?utf-8?q?J=C3=B6rg?= "Bob" <{}>', 'Jörg "Bob"'),
    ("=?utf-8?q?J=C3=B6rg?= Q. Public <{}>", "Jörg Q. Public"),
    ("Ann (=?utf-8?b?SsO2cmc=?=) <{}>", "Ann (Jörg)"),
    ("=?utf-8?q?J=C3=B6rg?= <{}>", "Jörg"),
    ("Ann (=?no-such-charset?q?x?=) <{}>", "Ann (=?no-such-charset?q?x?=)"),
    ("Ann (=?utf-8?q?a=0D=0Ab?=) <{}>", "Ann (=?utf-8?q?a=0D=0Ab?=)"),
]
SHOWN_AS_WRITTEN = [row for row in NAMES if "=?" not in row[1]]


def names_in(message: Message, header: str) -> list[str]:
    """The names that the bytes on the wire show in a header."""
    content = envelope(message, A, [A]).content
    parsed = email.message_from_bytes(content, policy=policy.default)
    return [address.display_name for address in parsed[header].addresses]


@pytest.mark.parametrize(("form", "name"), NAMES)
def test_all_of_a_name_is_kept(form: str, name: str) -> None:
    """Comments and quotation marks within a name are part of it."""
    box = mailbox(form.format(A))
    shown = box.display if box.display != "=?utf-8?q?J=C3=B6rg?=" else "Jörg"
    assert (shown, box.address) == (name, A)


@pytest.mark.parametrize("header", ["From", "To", "Cc", "Reply-To"])
@pytest.mark.parametrize(("form", "name"), SHOWN_AS_WRITTEN)
def test_compose_shows_all_of_a_name(header: str, form: str, name: str) -> None:
    """Each argument of `compose` writes the whole name into its header."""
    given = {"From": "sender", "To": "to", "Cc": "cc", "Reply-To": "reply_to"}[header]
    message = compose(**{"sender": A, given: form.format(A)})  # type: ignore[arg-type]  # one of the arguments
    assert names_in(message, header) == [name]


@pytest.mark.parametrize("kind", [EmailMessage, Message])
@pytest.mark.parametrize(("form", "name"), SHOWN_AS_WRITTEN)
def test_a_header_that_is_written_anew_keeps_the_name(
    kind: type[Message], form: str, name: str
) -> None:
    """An IDN makes the library write the header itself, with all of the name."""
    if kind is EmailMessage and "?= =?" in form:
        pytest.skip("some Pythons read a blank between two encoded words of a name")
    message = kind()
    message["To"] = form.format("a@bücher.example")
    assert names_in(message, "To") == [name]


@pytest.mark.parametrize("kind", [EmailMessage, Message])
@pytest.mark.parametrize(
    ("form", "name"),
    [
        ('Jörg "Bob" Müller <{}>', 'Jörg "Bob" Müller'),
        ('Anna "Jörg" B <{}>', 'Anna "Jörg" B'),
        ('"Doe, Jörg" Jr. <{}>', '"Doe, Jörg" Jr.'),
        ('Jörg "two  blanks" Ü <{}>', 'Jörg "two  blanks" Ü'),
        ('Ünal "a \\"b\\" c" Ö <{}>', 'Ünal "a "b" c" Ö'),
        ('"Jörg" <{}>', "Jörg"),
        ('"Doe, Jörg" <{}>', "Doe, Jörg"),
        ("Jörg =?utf-8?q?=C3=9C?= Ö <{}>", "Jörg Ü Ö"),
        ('"\u00a0" <{}>', "\u00a0"),
    ],
)
def test_quotation_marks_in_an_encoded_name(
    kind: type[Message], form: str, name: str
) -> None:
    """Quotation marks around some words of a name are encoded with them."""
    message = kind()
    message["To"] = form.format(A)
    content = envelope(message, A, [A]).content
    parsed = email.message_from_bytes(content, policy=policy.compat32)
    shown = str(make_header(decode_header(parsed["To"])))
    assert shown.replace(f" <{A}>", "") == name


@pytest.mark.parametrize("domain", ["example.org", "bücher.example"])
@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("=?utf-8?q?Doe=2C?= John <{}>", "Doe, John"),
        ('=?utf-8?q?Doe=2C?= "J" Q <{}>', 'Doe, "J" Q'),
        ('"=?utf-8?q?Doe=2C?=" <{}>', "Doe,"),
        ("=?utf-8?q?Doe=2C?= =?utf-8?q?_J=C3=B6rg?= <{}>", "Doe, Jörg"),
        ("=?utf-8?q?Doe=2C?= Müller Ö <{}>", "Doe, Müller Ö"),
    ],
)
def test_encoded_names_with_a_comma_get_no_quotation_marks(
    domain: str, form: str, name: str
) -> None:
    """Quotes that the library needs for a comma are not shown as part of the name."""
    message = EmailMessage()
    message["To"] = form.format(f"a@{domain}")
    assert names_in(message, "To") == [name]


@pytest.mark.parametrize(
    ("text", "name", "members"),
    [
        ("Team (all) : a@x.y (Ann), b@x.y;", "Team (all)", ["Ann", ""]),
        ("Team: a@x.y, b@x.y (Bob); (all)", "Team (all)", ["", "Bob"]),
        ("Team: (nobody);", "Team (nobody)", []),
        ("Team: (first) a@x.y;", "Team", ["first"]),
    ],
)
def test_comments_of_groups(text: str, name: str, members: list[str]) -> None:
    """A comment belongs to the member that it stands beside, else to the group."""
    (group,) = groups(text)
    assert (group.name, [box.display for box in group.members]) == (name, members)


def test_each_comment_belongs_to_one_address() -> None:
    """In a list, a comment is added to no other address than the one that it follows."""
    found = groups("(1) a@x.y (2), B <b@x.y> (3), G: c@x.y (4); (5), d@x.y (6)")
    texts = [(g.name, [box.display for box in g.members]) for g in found]
    assert texts == [
        (None, ["1 (2)"]),
        (None, ["B (3)"]),
        ("G (5)", ["4"]),
        (None, ["6"]),
    ]


@given(st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" ")))
def test_formataddr(name: str) -> None:
    """What `email.utils.formataddr` makes of any name is that name."""
    box = mailbox(formataddr((name, A)))
    if name.isascii():
        assert box.display == name.strip(" ")
