"""The address headers of a message: the wire names those of the envelope alone."""

from __future__ import annotations

import email
import re
from collections.abc import Callable
from email import policy
from email.header import Header, decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage, Message

import pytest
from made_messages import A, B, compat, head, plain, wire_addresses

from smtpsend._model.address.mailbox import groups, mailboxes
from smtpsend._model.message.envelope import Envelope, envelope
from smtpsend._model.message.headers import names_addresses
from smtpsend.errors import ConfigError


def _encoded_name(match: re.Match[str]) -> str:
    return " " + Header(match[1], "utf-8", maxlinelen=10_000).encode() + " <"


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("Jörg <x@y.z>", ["x@y.z"]),
        ("x@bücher.de", ["x@xn--bcher-kva.de"]),
        ("Jörg <x@bücher.de>, b@y.z", ["x@xn--bcher-kva.de", "b@y.z"]),
        ('"Müller, Jörg" <x@y.z>', ["x@y.z"]),
        ("John Q. Public <x@bücher.de>", ["x@xn--bcher-kva.de"]),
        ("=?utf-8?q?Doe=2C_J?= <x@y.z>, b@y.z", ["x@y.z", "b@y.z"]),
        ("=?utf-8?q?J=C3=B6rg?= <x@y.z>", ["x@y.z"]),
        ('"x@a x"@y.z', ['"x@a x"@y.z']),
        ('g: a@y.z, "Ü, x" <c@y.z>;, (note) e@y.z', ["a@y.z", "c@y.z", "e@y.z"]),
        (", ".join(f'"Müller, Jörg {"x" * i}" <u{i}@y.z>' for i in range(40)), None),
        (", ".join(f'"{"Ü" * i}, {"," * i}" <u{i}@y.z>' for i in range(40)), None),
        (", ".join(f"Jörg {'lang ' * i} <u{i}@bücher.de>" for i in range(30)), None),
    ],
)
@pytest.mark.parametrize("kind", ["object", "str", "Header", "parsed"])
def test_wire_says_what_the_envelope_says(
    text: str, addresses: list[str] | None, kind: str
) -> None:
    """The header on the wire is ASCII, short-lined, and names the recipients exactly."""
    message: Message
    if kind == "object":
        message = plain(To=text)
    elif kind == "parsed":
        encoded = re.sub('"?([^"<,;]*[^\0-\x7f][^"<;]*[^"<; ])"? <', _encoded_name, text)
        source = f"From: {A}\nTo: {encoded}\nDate: x\n\nhi\n".encode()
        message = email.message_from_bytes(source, policy=policy.default)
    else:
        message = compat(To=text if kind == "str" else Header(text, "utf-8"))
    found = envelope(message, None, None)
    expected = (
        [box.address for box in mailboxes(text)] if addresses is None else addresses
    )
    assert list(found.recipients) == expected
    assert wire_addresses(found, "To") == expected
    assert found.content.isascii()
    assert not found.utf8
    assert max(map(len, head(found.content).split(b"\r\n"))) <= 998
    shown = email.message_from_bytes(found.content, policy=policy.default)["To"]
    assert [a.addr_spec for a in shown.addresses] == expected


def test_display_names_survive_being_written_anew() -> None:
    """A header that is written anew keeps the names that people see."""
    names = ["Jörg Müller", "Ü, Ä", 'say "hi"', "x" * 80 + " é", "John Q. Public"]
    quoted = [name.replace('"', '\\"') for name in names]
    message = compat(To=", ".join(f'"{name}" <x@bücher.de>' for name in quoted))
    parsed = email.message_from_bytes(envelope(message, None, None).content)
    # Not by the header registry: it leaves a space between two encoded words.
    shown = str(make_header(decode_header(parsed["To"].replace("\r\n", ""))))
    for name in [*names[:2], quoted[2], *names[3:]]:
        assert name in shown


def test_raw_headers_of_a_parsed_message_are_written_anew_for_an_idn() -> None:
    """A raw UTF-8 domain in a parsed message becomes A-labels, in both places."""
    source = f"From: {A}\r\nTo: Jörg <x@bücher.de>\r\nDate: x\r\n\r\nhi\r\n".encode()
    for message in (
        email.message_from_bytes(source, policy=policy.default),
        email.message_from_bytes(source),
    ):
        found = envelope(message, None, None)
        assert found.recipients == ("x@xn--bcher-kva.de",)
        assert b"\r\nTo: =?utf-8?q?J=C3=B6rg?= <x@xn--bcher-kva.de>\r\n" in found.content
        assert not found.utf8


@pytest.mark.parametrize(
    "text",
    [
        "u@good(x)evil",
        "u@(x)good",
        "a@b <c@d>",
        "=?utf-8?q?a=40evil?=@good",
        '"=?utf-8?q?a=40evil?="@good',
        "=?utf-8?q?evil=40x=2C?= <x@y>, =?utf-8?q?u?=@good",
        "x@a .b",
        "x @a",
        "x@ a",
        "<@r:x@y>",
        "a@b@c",
        "a@b, foo",
        "a@b,,c@d",
        "Doe, John <x@y>",
        "Jörg, Müller <x@y>",
        "a b@c",
        "a@b;c@d",
        "<a@b",
        "a@b>",
        "a@b_c.d",
        "a@b.",
        '"a"."b"@c',
        "a..b@c",
    ],
)
@pytest.mark.parametrize("kind", ["object", "str", "Header", "parsed"])
def test_malformed_addresses_are_refused(text: str, kind: str) -> None:
    """A malformed recipient in a header is refused; no part of it gets mail."""
    message: Message
    if kind == "object":
        message = plain(To=text)
    elif kind == "parsed":
        message = email.message_from_string(
            f"From: {A}\nTo: {text}\n\n", policy=policy.default
        )
    else:
        message = compat(To=text if kind == "str" else Header(text, "utf-8"))
    with pytest.raises(ConfigError, match="To"):
        envelope(message, None, None)


def test_separator_is_never_encoded() -> None:
    """The comma between two folded recipients stays a comma (CVE-2025-1795)."""
    long = "x" * 60 + "@example.org"
    message = plain(To=f'{long}, "Hübsch Kaktus" <h@example.org>, ü <u@example.org>')
    found = envelope(message, None, None)
    assert wire_addresses(found, "To") == [long, "h@example.org", "u@example.org"]
    assert list(found.recipients) == wire_addresses(found, "To")


@pytest.mark.parametrize(
    ("value", "same"),
    [
        (b" Name <a@b>,\r\n\tc@d", True),
        (b"g: a@b, c@d;", True),
        (b"a@b", False),
        (b"a@b, c@e", False),
        (b"c@d, a@b", False),
        (b"a@b, c@d, e@f", False),
        (b"a@b c@d", False),
        ("a@b, c@ü".encode(), False),
        (b"", False),
    ],
)
def test_what_a_header_on_the_wire_says(value: bytes, same: bool) -> None:
    """A header on the wire is kept only if it names the same addresses in order."""
    assert names_addresses(value, groups("a@b, c@d")) is same


class NewPolicy(policy.EmailPolicy):
    """What newer Pythons do: an address that is not ASCII cannot be folded."""

    def fold_binary(self, name: str, value: str) -> bytes:
        if re.search("@[^ ]*[^\0-\x7f]|[^\0-\x7f][^ ]*@", value):
            raise ValueError
        return super().fold_binary(name, value)


@pytest.mark.parametrize("text", ["x@bücher.de", "jörg@x.y", "Jörg <x@bücher.de>"])
def test_addresses_that_newer_pythons_do_not_fold(text: str) -> None:
    """An address that is not ASCII is never given to the standard library to fold."""
    message = EmailMessage(policy=NewPolicy())
    message["From"], message["To"] = A, text
    found = envelope(message, None, None)
    assert wire_addresses(found, "To") == [box.address for box in mailboxes(text)]


def test_encoded_word_with_an_address_in_it() -> None:
    """An encoded word that decodes to an address and a comma never adds a recipient."""
    for make in (plain, compat):
        found = envelope(make(To="=?utf-8?q?evil=40x=2C?= <x@y>"), None, None)
        assert found.recipients == ("x@y",)
        assert wire_addresses(found, "To") == ["x@y"]


@pytest.mark.parametrize("make", [plain, compat])
@pytest.mark.parametrize("name", ["From", "To", "Reply-To"])
def test_non_ascii_local_part(make: Callable[..., Message], name: str) -> None:
    """A local part that is not ASCII stands as UTF-8 in its header and needs SMTPUTF8."""
    message = make(To=B)
    del message[name]
    message[name] = "Jörg <jörg@bücher.de>"
    found = envelope(message, None, None)
    assert found.utf8
    assert found.eight_bit
    assert wire_addresses(found, name) == ["jörg@xn--bcher-kva.de"]
    assert found.seven_bit is not None
    assert found.seven_bit() is None


def test_non_ascii_local_part_in_the_envelope_only() -> None:
    """Given explicitly, such an address needs SMTPUTF8, and the content does not."""
    found = envelope(plain(), None, ["jörg@x.y"])
    assert found.utf8
    assert not found.eight_bit


def test_address_objects() -> None:
    """Address objects of the standard library are read like any other text."""
    to = [Address("Müller, J", "x", "bücher.de"), Address("", "q q", "x.y")]
    found = envelope(plain(To=to), None, None)
    assert found.recipients == ("x@xn--bcher-kva.de", '"q q"@x.y')
    with pytest.raises(ConfigError):
        envelope(plain(To=Address("x", "u", "good(x)evil")), None, None)


def test_raw_utf8_headers_of_a_parsed_message() -> None:
    """Raw UTF-8 headers go out as they are, and can be made ASCII."""
    source = f"From: Jörg <{A}>\r\nTo: {B}\r\nSubject: Grüße\r\n\r\nhi\r\n".encode()
    for rules in (policy.default, policy.compat32):
        message = email.message_from_bytes(source, policy=rules)
        found = envelope(message, None, None)
        assert (found.sender, found.recipients) == (A, (B,))
        assert found.content.startswith(source[: -len("\r\nhi\r\n")])
        assert found.utf8
        assert found.eight_bit
        assert found.seven_bit
        again = found.seven_bit()
        assert again is not None
        assert again.isascii()
        assert wire_addresses(Envelope(A, (B,), again, None, False, False), "From") == [A]
        parsed = email.message_from_bytes(again, policy=policy.default)
        assert parsed["Subject"] == "Grüße"
        assert parsed["From"].addresses[0].display_name == "Jörg"


def test_raw_latin1_headers() -> None:
    """Headers in another charset are 8-bit, and nothing that SMTPUTF8 would help."""
    source = f"From: J\xf6rg <{A}>\r\nTo: {B}\r\nDate: x\r\n\r\nhi\r\n".encode("latin-1")
    found = envelope(email.message_from_bytes(source), None, None)
    assert (found.sender, found.eight_bit, found.utf8) == (A, True, False)
    assert found.content.startswith(source[:20])
    raw = envelope(source, A, [B])
    assert (raw.content, raw.eight_bit, raw.utf8) == (source, True, False)
    bad = f"From: j\xf6rg@x.y\r\nTo: {B}\r\n\r\nhi\r\n".encode("latin-1")
    for rules in (policy.default, policy.compat32):
        with pytest.raises(ConfigError, match="UTF-8"):
            envelope(email.message_from_bytes(bad, policy=rules), None, None)


def test_policy_with_utf8() -> None:
    """A message whose own policy writes UTF-8 headers does so, in parts too."""
    message = EmailMessage(policy=policy.SMTPUTF8)
    message["From"], message["To"], message["Subject"] = A, B, "Grüße"
    message.set_content("hi")
    found = envelope(message, None, None)
    assert "Subject: Grüße\r\n".encode() in found.content
    assert found.utf8
    assert found.seven_bit is not None
    assert b"Subject: =?utf-8?" in (found.seven_bit() or b"")
    del message["Subject"]
    assert not envelope(message, None, None).utf8
    message.add_attachment(
        b"x", maintype="a", subtype="b", filename="ü", params={"n": "ü"}
    )
    message.get_payload()[1]["X-Note"] = "ü"  # type: ignore[index,union-attr]
    assert envelope(message, None, None).utf8
