"""Any message to an envelope: what goes on the wire, and that it agrees with it."""

from __future__ import annotations

import copy
import email
import pickle
import re
import threading
import time
from collections.abc import Callable
from email import policy
from email.header import Header, decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage, Message
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smtpsend._model.address.mailbox import groups, mailboxes
from smtpsend._model.message.envelope import Envelope, dot_stuff, envelope
from smtpsend._model.message.headers import names_addresses
from smtpsend._model.message.serialize import own_copy
from smtpsend.errors import ConfigError


A, B = "a@example.org", "b@example.org"


def plain(text: str = "hi\n", **headers: object) -> EmailMessage:
    """An `EmailMessage` that lacks nothing; `headers` replace or add, None removes."""
    message = EmailMessage()
    given_headers: dict[str, object] = {
        "From": A,
        "To": B,
        "Date": "Tue, 24 Nov 2026 10:00:00 +0000",
        "Message-ID": "<1@example.org>",
    }
    given_headers.update({name.replace("_", "-"): headers[name] for name in headers})
    for name, value in given_headers.items():
        if value is not None:
            message[name] = value
    message.set_content(text)
    return message


def compat(text: str = "hi\n", **headers: object) -> MIMEText:
    """The same with the old API: headers are kept as they are given."""
    message = MIMEText(text)
    message["From"] = A
    for name, value in headers.items():
        del message[name.replace("_", "-")]
        message[name.replace("_", "-")] = value  # type: ignore[assignment]
    return message


def head(content: bytes) -> bytes:
    return content.partition(b"\r\n\r\n")[0] + b"\r\n"


def wire_addresses(found: Envelope, name: str) -> list[str]:
    """The addresses of one header, read from the bytes for the wire."""
    match = re.search(rf"(?ims)^{name}:(.*?)\r\n(?![ \t])".encode(), head(found.content))
    assert match is not None
    return [box.address for box in mailboxes(match[1].decode())]


# ---------------------------------------------------------------- the envelope


def test_envelope_of_a_whole_message() -> None:
    """A complete message is on the wire, byte for byte, what policy.SMTP makes of it."""
    message = plain("Grüße\n.\n..dots\n", Cc="c@x.y", Subject="Übung und " * 5 + "ü")
    message.add_attachment(b"\0\1\r\n\n\r", maintype="application", subtype="x")
    message.set_boundary("the-boundary")
    found = envelope(message, None, None)
    assert found == Envelope(
        sender=A,
        recipients=(B, "c@x.y"),
        content=message.as_bytes(policy=policy.SMTP),
        message_id="<1@example.org>",
        eight_bit=True,
        utf8=False,
    )


@pytest.mark.parametrize("line", [10, 70, 80, 200, 2000])
def test_parsed_headers_are_left_as_they_are(line: int) -> None:
    """Parsed messages keep their headers, unless a line is longer than it may be."""
    source = (
        b"From: A B <a@example.org>\r\nTo: b@example.org,\r\n\tc@x.y\r\nDate: today\r\n"
        b"Message-ID: <x@y>\r\nX-Long: " + b"word " * (line // 5) + b"\r\n\r\nbody\r\n"
    )
    message = email.message_from_bytes(source, policy=policy.default)
    found = envelope(message, None, None)
    if line < 998:
        assert found.content == source
    assert max(map(len, found.content.split(b"\r\n"))) <= 998
    assert found.content.replace(b"\r\n ", b" ").split() == source.split()
    assert found.message_id == "<x@y>"
    assert found.recipients == (B, "c@x.y")


def test_repr_hides_the_content() -> None:
    """The repr of an envelope holds neither the text nor the function to make it anew."""
    shown = repr(envelope(plain("secret ü"), None, None))
    assert "secret" not in shown
    assert "seven_bit" not in shown


def test_recipients_are_to_cc_and_bcc_once() -> None:
    """To, Cc and Bcc give the recipients, each once, in order."""
    message = plain(
        To=f"{B}, c@x.y, b@EXAMPLE.org", Cc="d@x.y, c@x.y", Bcc="e@x.y, B@example.org"
    )
    found = envelope(message, None, None)
    assert found.recipients == (B, "c@x.y", "d@x.y", "e@x.y", "B@example.org")


def test_groups_give_recipients() -> None:
    """The members of a group are recipients; an empty group gives none."""
    assert envelope(plain(To="g: x@y, z@y;"), None, None).recipients == ("x@y", "z@y")
    with pytest.raises(ConfigError, match="no recipient"):
        envelope(plain(To="undisclosed-recipients:;"), None, None)


def test_sender_header_goes_before_from() -> None:
    """Sender is the sender, else From; two mailboxes in From need a Sender."""
    assert envelope(plain(Sender="s@x.y"), None, None).sender == "s@x.y"
    with pytest.raises(ConfigError, match="no From"):
        envelope(plain(Sender="s@x.y", From=None), None, None)
    assert envelope(plain(From=f"{A}, {B}", Sender="s@x.y"), None, None).sender == "s@x.y"
    with pytest.raises(ConfigError, match="Sender"):
        envelope(plain(From=f"{A}, {B}"), None, None)


@pytest.mark.parametrize("value", [None, "", "g:;", "g: a@b;", "nobody", "a@b <c@d>"])
def test_from_without_an_author(value: str | None) -> None:
    """A From that is missing, empty, a group or malformed is an error."""
    with pytest.raises(ConfigError):
        envelope(plain(From=value), None, [B])


@pytest.mark.parametrize("value", [None, "", "nobody", f"{A}, {B}"])
def test_given_addresses_need_no_headers(value: str | None) -> None:
    """With sender and recipients given, the headers are not read for the envelope."""
    found = envelope(plain(From=value, To="nobody at all"), "s@x.y", ["r@x.y"])
    assert (found.sender, found.recipients) == ("s@x.y", ("r@x.y",))


def test_given_addresses() -> None:
    """Given addresses are parsed, each once; a lone str is one; "" is the null sender."""
    found = envelope(plain(), "", "Name <r@bücher.de>")
    assert (found.sender, found.recipients) == ("", ("r@xn--bcher-kva.de",))
    found = envelope(plain(), "Me <m@x.y>", [B, "c@x.y", B, "c@X.Y", '"q q"@x.y'])
    assert (found.sender, found.recipients) == ("m@x.y", (B, "c@x.y", '"q q"@x.y'))


@pytest.mark.parametrize(
    ("sender", "recipients"),
    [
        ("a@b>\r\nRCPT TO:<e@x", [B]),
        ("a", [B]),
        ("<>", [B]),
        (None, []),
        (None, ["a@b, c@d"]),
        (None, "a@b, c@d"),
        (None, [B, ""]),
        (None, [None]),
        (None, 5),
        (None, b"a@b"),
        (5, [B]),
    ],
)
def test_given_addresses_refused(sender: object, recipients: object) -> None:
    """A given address that is not one mailbox is an error, for each kind of message."""
    for message in (plain(), b"x", "x"):
        with pytest.raises(ConfigError):
            envelope(message, sender, recipients)  # type: ignore[arg-type]


@pytest.mark.parametrize("message", [None, 5, [], {}, object(), bytearray(b"x"), [b"x"]])
def test_other_types(message: object) -> None:
    """Anything that is no message is an error."""
    with pytest.raises(ConfigError, match="a message must be"):
        envelope(message, A, [B])


def test_a_nul_byte() -> None:
    """A NUL in a message of either kind is an error that says what to do about it."""
    for message in (plain("a\0b\n"), compat("a\0b\n", To=B), b"Subject: x\r\n\r\na\0b"):
        with pytest.raises(ConfigError, match="NUL") as caught:
            envelope(message, A, [B])
        assert "remove it" in caught.value.hint


def test_resent() -> None:
    """A Resent- block decides, as in smtplib, and Resent-Bcc stays here."""
    message = plain(
        Resent_From="r@x.y",
        Resent_Date="Tue, 24 Nov 2026 11:00:00 +0000",
        Resent_To="t@x.y",
        Resent_Cc="c@x.y",
        Resent_Bcc="secret@x.y",
    )
    found = envelope(message, None, None)
    assert (found.sender, found.recipients) == ("r@x.y", ("t@x.y", "c@x.y", "secret@x.y"))
    assert b"secret" not in found.content
    message["Resent-Sender"] = "s@x.y"
    assert envelope(message, None, None).sender == "s@x.y"


def test_several_resent_blocks() -> None:
    """Two Resent- blocks are refused, unless the addresses are given."""
    message = compat(To=B)
    for _ in range(2):
        message["Resent-Date"] = "x"
        message["Resent-From"] = "r@x.y"
        message["Resent-To"] = "t@x.y"
    with pytest.raises(ConfigError, match="Resent"):
        envelope(message, None, None)
    with pytest.raises(ConfigError, match="Resent"):
        envelope(message, A, None)
    assert envelope(message, A, [B]).recipients == (B,)


# ------------------------------------------------- the caller's object, headers added


@pytest.mark.parametrize("make", [plain, compat])
def test_caller_keeps_his_object(make: Callable[..., Message]) -> None:
    """Sending changes nothing in the message given: no header, boundary or Bcc of it."""
    inner = MIMEMultipart(_subparts=[make("eins")])
    message = MIMEMultipart(_subparts=[inner, make("zwei")])
    message["From"], message["To"], message["bCC"] = A, B, "secret@x.y"
    before = [(part, part.raw_items(), part.get_payload()) for part in message.walk()]
    before = [(part, list(items), payload) for part, items, payload in before]
    found = envelope(message, None, None)
    assert [(p, list(p.raw_items()), p.get_payload()) for p in message.walk()] == before
    assert b"secret" not in found.content
    assert found.recipients == (B, "secret@x.y")
    parsed = email.message_from_bytes(found.content)
    assert [p.get_content_type() for p in parsed.walk()].count("text/plain") == 2


def test_date_and_message_id_are_added() -> None:
    """Date and Message-ID are added on the wire, once, with the domain of the author."""
    message = plain(From="x@bücher.de", Date=None, Message_ID=None)
    found = envelope(message, "s@other.example", None)
    parsed = email.message_from_bytes(found.content, policy=policy.default)
    assert parsed.get_all("Message-ID") == [found.message_id]
    assert found.message_id is not None
    assert re.fullmatch(r"<[^@<>\s]+@xn--bcher-kva\.de>", found.message_id)
    [date] = parsed.get_all("Date")
    assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < 60
    assert "Date" not in message
    assert "Message-ID" not in message
    assert envelope(message, None, None).message_id != found.message_id


@pytest.mark.parametrize(
    ("sender", "domain"),
    [("s@x.y", "x.y"), ("s@[192.0.2.1]", "[192.0.2.1]"), ("", "localhost")],
)
def test_message_id_without_from(sender: str, domain: str) -> None:
    """Without an author the Message-ID has the sender's domain, or localhost."""
    found = envelope(plain(From=None, Message_ID=None), sender, [B])
    assert str(found.message_id).endswith(f"@{domain}>")
    assert f"\r\nMessage-ID: {found.message_id}\r\n".encode() in found.content


@pytest.mark.parametrize(
    ("value", "shown"),
    [("<a@b>", "<a@b>"), ("<" + "x" * 400 + "@b>", None), ("", None), ("<a b@c>", None)],
)
def test_message_id_is_bounded_and_printable(value: str, shown: str | None) -> None:
    """A Message-ID that is too long or holds a space is sent, but never shown."""
    assert envelope(compat(Message_ID=value), None, [B]).message_id == shown
    assert envelope(f"Message-ID: {value}\r\n\r\n", A, [B]).message_id == shown


def test_copies_own_their_headers() -> None:
    """A header set in the copy of a part is not set in the part."""
    message = MIMEMultipart(_subparts=[MIMEText("x")])
    for part in own_copy(message).walk():
        part["X-New"] = "x"
        part.replace_header("MIME-Version", "2.0")
    assert all("X-New" not in part for part in message.walk())
    assert all(part["MIME-Version"] == "1.0" for part in message.walk())


def test_same_message_from_many_threads() -> None:
    """One message with no boundaries yet may be sent by many threads at once."""
    message = MIMEMultipart(_subparts=[MIMEMultipart(_subparts=[MIMEText("x")] * 3)] * 3)
    message["From"], message["To"] = A, B
    whole: list[int] = []

    def send() -> None:
        for _ in range(10):
            parsed = email.message_from_bytes(envelope(message, None, None).content)
            whole.append(sum(not part.is_multipart() for part in parsed.walk()))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert whole == [9] * 60


# ------------------------------------------------------------------- addresses


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


# ------------------------------------------------------------------ 8-bit and 7-bit


@pytest.mark.parametrize("make", [plain, compat])
def test_seven_bit(make: Callable[..., Message]) -> None:
    """For a server without 8BITMIME the same text comes in ASCII."""
    inner = EmailMessage()
    inner.set_content("Grüße\n.\n", cte="8bit")
    message = MIMEMultipart(_subparts=[inner, make("x\n")])
    message["From"], message["To"], message["Bcc"] = A, B, "secret@x.y"
    found = envelope(message, None, None)
    assert found.eight_bit
    assert not found.utf8
    assert found.seven_bit is not None
    again = found.seven_bit()
    assert again is not None
    assert again.isascii()
    assert b"secret" not in again
    first, second = (email.message_from_bytes(c) for c in (found.content, again))
    assert first["Message-ID"] == second["Message-ID"] == found.message_id
    for left, right in zip(first.walk(), second.walk(), strict=True):
        if not left.is_multipart():
            texts = [
                p.get_payload(decode=True).replace(b"\r\n", b"\n") for p in (left, right)
            ]
            assert texts[0] == texts[1]


def test_seven_bit_adds_the_encoding_header() -> None:
    """A text without a Content-Transfer-Encoding gets one when it is made ASCII."""
    source = (
        f"From: {A}\r\nTo: {B}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\xfc\r\n"
    )
    found = envelope(email.message_from_bytes(source.encode()), None, None)
    assert found.seven_bit is not None
    parsed = email.message_from_bytes(found.seven_bit() or b"")
    assert parsed["Content-Transfer-Encoding"] == "base64"
    assert parsed.get_payload(decode=True) == b"\xc3\xbc\r\n"


def test_seven_bit_impossible() -> None:
    """What is signed has no ASCII form: neither a part, nor a whole message by DKIM."""
    source = f"From: {A}\r\nTo: {B}\r\n".encode()
    part = source + (
        b"Content-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\n\xc3\xbc\r\n--x--\r\n"
    )
    whole = b"DKIM-Signature: v=1\r\n" + source + b"\r\n\xc3\xbc\r\n"
    for content in (part, whole):
        found = envelope(email.message_from_bytes(content), None, None)
        assert found.eight_bit
        assert found.seven_bit is not None
        assert found.seven_bit() is None


@pytest.mark.parametrize("kind", ["", "text/plain", "text/plain; charset=x", "image/x"])
def test_seven_bit_without_a_charset(kind: str) -> None:
    """Where no charset is known, the bytes are encoded as they are."""
    head = f"From: {A}\r\nTo: {B}\r\n" + (f"Content-Type: {kind}\r\n" if kind else "")
    source = f"{head}\r\ncaf\xe9\r\n".encode("latin-1")
    for rules in (policy.default, policy.compat32):
        found = envelope(email.message_from_bytes(source, policy=rules), None, None)
        assert found.seven_bit is not None
        again = found.seven_bit()
        assert again is not None
        assert again.isascii()
        body = email.message_from_bytes(again).get_payload(decode=True)
        assert body.replace(b"\r\n", b"\n") == b"caf\xe9\n"  # type: ignore[union-attr]


def test_seven_bit_is_for_eight_bit_objects_only() -> None:
    """ASCII content needs no such function, and bytes would have to change."""
    assert envelope(plain(), None, None).seven_bit is None
    found = envelope("Grüße".encode(), A, [B])
    assert found.eight_bit
    assert found.seven_bit is None


# ------------------------------------------------------------------ header injection

EVIL = [
    "x\nBcc: evil@x.y",
    "x\r\nBcc: evil@x.y",
    "x\rBcc: evil@x.y",
    "x\r\n\r\nbody",
    "x\n",
    "x\r",
    "x\n \n\nbody",
    "x\n ",
    "x\n\t\r\n y",
    "x\0",
    *[f"x{c}Bcc: evil@x.y" for c in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"],
]


@pytest.mark.parametrize("value", EVIL)
@pytest.mark.parametrize("name", ["Subject", "X-Other", "To", "Message-ID"])
def test_injection_by_value(value: str, name: str) -> None:
    """No value of a header makes a second header, ends the headers, or holds a NUL."""
    headers: list[object] = [value]
    if "\0" not in value:
        headers.append(Header(value, "utf-8"))
    for header in headers:
        with pytest.raises(ConfigError):
            envelope(compat(**{name: header}), A, [B])


@pytest.mark.parametrize("value", EVIL)
def test_injection_in_a_part(value: str) -> None:
    """The headers of parts are held to the same."""
    part = MIMEText("x")
    part["X-Note"] = value
    message = MIMEMultipart(_subparts=[part])
    with pytest.raises(ConfigError):
        envelope(message, A, [B])


@pytest.mark.parametrize(
    "name",
    [
        *("", "X Y", "X:Y", "Bcc ", "X\nBcc", "X\r\n", "X\n", "Ü", "X\0", "\u2028"),
        *(" X", "X\t"),
    ],
)
def test_injection_by_name(name: str) -> None:
    """A header's name is printable ASCII without a colon or a space."""
    message = compat()
    # From Python 3.14 on `message[name] = "x"` refuses all of them but "X\n".
    message.set_raw(name, "x")
    with pytest.raises(ConfigError, match="header name"):
        envelope(message, A, [B])


@pytest.mark.parametrize(
    "encoded", ["a=0D=0ABcc:_evil", "a=0ABcc:_evil", "a=0D=0A=0D=0Abody"]
)
@pytest.mark.parametrize("long", [0, 100])
def test_injection_by_encoded_word(encoded: str, long: int) -> None:
    """Encoded words are not decoded to line breaks (CVE-2024-6923), refolded or not."""
    value = f"=?utf-8?q?{encoded}?= " + "word " * long
    source = f"From: {A}\nTo: {B}\nSubject: {value.strip()}\n\nhi\n"
    sources: list[Message] = [
        email.message_from_string(source, policy=policy.default),
        email.message_from_string(source),
    ]
    outer = EmailMessage()
    outer.make_mixed()
    outer.attach(email.message_from_string(source, policy=policy.default))
    for message in [*sources, outer]:
        try:
            content = envelope(message, A, [B]).content
        except ConfigError:
            continue
        for part in email.message_from_bytes(content).walk():
            assert "Bcc" not in part
            assert "body" not in str(part.get_payload())


def test_folded_values_pass() -> None:
    """A value that is already folded, with text on each line, is sent as it is."""
    for fold in ("\n ", "\r\n ", "\n\t", "\n  "):
        found = envelope(compat(Subject=f"one{fold}two"), A, [B])
        assert email.message_from_bytes(found.content)["Subject"].split() == [
            "one",
            "two",
        ]


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.text(alphabet="aB: ü\r\n\t\0\x0b\x0c\x1c\x85\u2028=?@<>,", max_size=30),
    st.sampled_from(["Subject", "X-A", "To", "Reply-To"]),
    st.booleans(),
)
@example("\n Bcc: x@y", "Subject", True)
def test_injection_property(value: str, name: str, as_object: bool) -> None:
    """Whatever the value, it is refused or the headers are exactly the ones given."""
    message: Message = EmailMessage() if as_object else Message()
    message["From"] = A
    try:
        message[name] = value
        message["X-End"] = "end"
    except (ValueError, IndexError):  # IndexError: the standard library's own, in To
        return
    try:
        found = envelope(message, A, [B])
    except ConfigError:
        return
    lines = head(found.content).split(b"\r\n")[:-1]
    names = [
        line.partition(b":")[0].decode()
        for line in lines
        if line[:1] not in (b" ", b"\t")
    ]
    assert names == ["From", name, "X-End", "Date", "Message-ID"]
    assert b"\r" not in found.content.replace(b"\r\n", b"")
    assert b"\n" not in found.content.replace(b"\r\n", b"")


class Strange(EmailMessage):
    """A message whose headers cannot be folded."""

    error: type[Exception] = ValueError

    def get_content_maintype(self) -> str:
        raise self.error("secret detail")


@pytest.mark.parametrize(
    "error",
    [ValueError, KeyError, AttributeError, TypeError, RuntimeError, RecursionError],
)
def test_errors_of_the_generator_are_typed(error: type[Exception]) -> None:
    """Whatever the standard library raises over a message is a ConfigError without it."""
    message = Strange()
    message["From"], message["To"] = A, B
    message.error = error  # type: ignore[misc]
    with pytest.raises(ConfigError, match=error.__name__) as caught:
        envelope(message, None, None)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_messages_that_cannot_be_written() -> None:
    """Lone surrogates, numbers as headers and bodies of a wrong kind are typed errors."""
    surrogate = compat(Subject="x\ud800")
    number = compat(Subject=5)
    body = compat()
    body.set_payload(5)  # type: ignore[arg-type]
    charset = MIMEText("x")
    charset.set_payload("ü\ud800")
    deep = MIMEText("x")
    for _ in range(2000):
        deep = MIMEMultipart(_subparts=[deep])  # type: ignore[assignment]
    nul = compat()
    nul.set_payload("a\0b")
    for message in (surrogate, number, body, charset, deep, nul):
        with pytest.raises(ConfigError):
            envelope(message, A, [B])


# ---------------------------------------------------------------------- bytes and str


def test_bytes_go_out_as_given() -> None:
    """Bytes with CRLF line ends and without Bcc are not changed and nothing is added."""
    content = (
        b"Subject: x\r\nX:y\r\n folded\r\n\r\n.\r\n..\r\n\xff" + b"z" * 2000 + b"\r\n"
    )
    found = envelope(content, "a@b", ["c@d"])
    assert found == Envelope("a@b", ("c@d",), content, None, True, False)
    assert envelope("Message-ID: <x@y>\n\nhi", "", "c@d") == Envelope(
        "", ("c@d",), b"Message-ID: <x@y>\r\n\r\nhi\r\n", "<x@y>", False, False
    )


@pytest.mark.parametrize("message", [b"x", "x"])
def test_bytes_need_addresses(message: bytes | str) -> None:
    """Bytes and str need both sender and recipients."""
    for sender, recipients in ((None, None), (A, None), (None, [B])):
        with pytest.raises(ConfigError, match="sender= and recipients="):
            envelope(message, sender, recipients)


@pytest.mark.parametrize("text", ["ü", "Subject: ü\n\n", "\ud800", "\u2028"])
def test_str_must_be_ascii(text: str) -> None:
    """A str that is not ASCII is refused, as in smtplib."""
    with pytest.raises(ConfigError, match="ASCII"):
        envelope(text, A, [B])


def test_raw_utf8_in_bytes() -> None:
    """Bytes with UTF-8 in the header need SMTPUTF8, in the body only 8BITMIME."""
    assert envelope("Subject: ü\r\n\r\n".encode(), A, [B]).utf8
    found = envelope("Subject: x\r\n\r\nü\r\n".encode(), A, [B])
    assert (found.eight_bit, found.utf8) == (True, False)


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b""),
        (b".", b".\r\n"),
        (b"hello", b"hello\r\n"),
        (b"\n", b"\r\n"),
        (b"a\rb\nc\r\nd\r\re", b"a\r\nb\r\nc\r\nd\r\n\r\ne\r\n"),
        (b"Subject: x\n\na\n.\r\n.\rb", b"Subject: x\r\n\r\na\r\n.\r\n.\r\nb\r\n"),
        (b"Subject: x\r\n\r\na\r", b"Subject: x\r\n\r\na\r\n"),
        (b"Subject: x", b"Subject: x\r\n"),
        (
            b"From me Mon\nSubject: x\nBcc: e\n\nhi\n",
            b"Subject: x\r\n\r\nhi\r\n",
        ),
    ],
)
def test_line_ends(content: bytes, wire: bytes) -> None:
    """Every line end becomes CRLF, the last line gets one, and empty stays empty."""
    assert envelope(content, A, [B]).content == wire


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: x\rBcc: e@x\r\n\r\n",
        b"Subject: x\r\r\n\r\n",
        b"Subject: x\r\n y\rz\r\n\r\n",
        b"Subject: x\r",
        b"a\0b",
        b"Subject: x\0\r\n\r\n",
        b"Subject: x\r\n\r\n\0",
        b"Subject: x\r\nbroken line\r\nBcc: e@x\r\n\r\nhi",
        b"Subject: x\nbroken\rBcc: e@x\n\nhi",
        b"broken\r\nBCC : e@x\r\n\r\nhi",
    ],
)
def test_bytes_refused(content: bytes) -> None:
    """A bare CR in a header, a NUL, and a Bcc behind a broken header are refused."""
    with pytest.raises(ConfigError):
        envelope(content, A, [B])


@pytest.mark.parametrize(
    "bcc",
    [
        b"Bcc: e@x\r\n",
        b"bcc: e@x,\r\n\tf@x,\r\n  g@x\r\n",
        b"BCC:e@x\r\n",
        b"Bcc : e@x\n",
        b"Bcc\t:\n e@x\n",
        b"Resent-Bcc: e@x\r\n",
        b"rESENT-bCC \t : e@x\n \n e@x\n",
        b"Bcc: e@x\r\nBcc: f@x\r\n",
    ],
)
def test_bcc_never_leaves(bcc: bytes) -> None:
    """Bcc and Resent-Bcc are removed from bytes, in any spelling, with their folds."""
    rest = b"X-Bcc: kept\r\n\r\nBcc: in the text\r\n"
    for first in (b"", b"Subject: x\r\n"):
        assert envelope(first + bcc + rest, A, [B]).content == first + rest
    assert envelope(b"Subject: x\r\n" + bcc, A, [B]).content == b"Subject: x\r\n"


NAMES = st.sampled_from(
    ["Subject", "To", "X-A", "Bcc", "BCC", "Resent-Bcc", "bcc ", "X-Bcc"]
)
VALUES = st.text(alphabet="ab@,: .", max_size=10)


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(st.tuples(NAMES, VALUES, st.lists(VALUES, max_size=2)), max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.text(alphabet="ab.\r\n: Bc", max_size=30),
)
def test_bcc_property(
    given_fields: list[tuple[str, str, list[str]]], end: str, body: str
) -> None:
    """What is left is exactly the other fields, in order, and the whole text."""
    kept, source = "", ""
    for name, value, folds in given_fields:
        text = f"{name}: {value}{end}" + "".join(f" {fold}{end}" for fold in folds)
        source += text
        kept += "" if "bcc" in name.lower() and "X-" not in name else text
    text = kept + end + body
    expected = re.sub(r"\r\n|\r|\n", "\r\n", text)
    found = envelope(source + end + body, A, [B]).content.decode()
    assert found == expected + ("" if expected.endswith("\r\n") else "\r\n")


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(max_size=60).map(lambda b: b.replace(b"\0", b"")), st.booleans())
@example(b"\r\r\n\n\r.\r\n.\n", True)
def test_normalisation_property(body: bytes, header: bool) -> None:
    """No bare CR or LF is left, the text between line ends is as it was."""
    source = b"Subject: x\r\n\r\n" + body if header else b"\r\n" + body
    content = envelope(source, A, [B]).content
    assert re.search(rb"\r(?!\n)|(?<!\r)\n", content) is None
    lines = re.split(rb"\r\n|\r|\n", source)
    assert content.split(b"\r\n")[: len(lines)] == lines
    assert envelope(content, A, [B]).content == content


def unstuff(data: bytes) -> bytes:
    """What a server makes of DATA (RFC 5321 section 4.5.2), line by line."""
    lines = data.split(b"\r\n")
    end = lines.index(b".")
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end])


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.text(alphabet=".a \xff", max_size=4).map(str.encode), max_size=12))
@example([b".", b"..", b"", b".a"])
def test_dot_stuffing(lines: list[bytes]) -> None:
    """After stuffing no line is a lone dot, and a server gets back what was given."""
    content = b"".join(line + b"\r\n" for line in lines)
    stuffed = dot_stuff(content)
    assert b"." not in stuffed.split(b"\r\n")
    assert unstuff(stuffed + b".\r\n") == content


@pytest.mark.parametrize(
    "dot", [b"\n.\n", b"\r.\r", b"\r\n.\n", b"\n.\r\n", b"\r.\n", b"\r\n.\r\n"]
)
def test_smuggling_sequences(dot: bytes) -> None:
    """No sequence around a dot ends the data early (CVE-2023-51764 and its kin)."""
    source = b"Subject: x\r\n\r\na" + dot + b"MAIL FROM:<e@x>\r\n"
    stuffed = dot_stuff(envelope(source, A, [B]).content)
    assert b"\r\n..\r\nMAIL FROM" in stuffed
    message = compat()
    message.set_payload("a" + dot.decode() + "MAIL FROM:<e@x>\n")
    assert b"\r\n..\r\nMAIL FROM" in dot_stuff(envelope(message, A, [B]).content)


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 150_000,
        b"Subject: x\n\n" + (b"x" * 70 + b"\n") * 150_000,
        b"Subject: x\n\n" + b"\r" * 10_000_000,
        b"x" * 10_000_000,
        b"\n.\n" * 3_000_000,
        b"X: y\r\n" + b" z\r\n" * 2_000_000,
        b"X: " + b"\r\n " * 2_000_000,
        b"X" * 10_000_000 + b" " * 100_000,
        b"bcc " * 2_000_000,
    ],
    ids=range(9),
)
def test_linear_time(content: bytes) -> None:
    """Ten megabytes of anything take a moment."""
    started = time.perf_counter()
    dot_stuff(envelope(content, A, [B]).content)
    assert time.perf_counter() - started < 30


def test_large_content_is_not_walked() -> None:
    """Ten megabytes with CRLF line ends are done in milliseconds."""
    content = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 150_000
    best = min(_timed(content) for _ in range(5))
    assert best < 0.5


def _timed(content: bytes) -> float:
    started = time.perf_counter()
    envelope(content, A, [B])
    return time.perf_counter() - started


# -------------------------------------------------------------------- and all together


def test_old_mime_classes() -> None:
    """The MIME classes of old code go out as their own generator writes them."""
    message = MIMEMultipart()
    message["From"], message["To"], message["Subject"] = A, B, Header("Grüße", "utf-8")
    message["Date"], message["Message-ID"] = "x", "<1@x.y>"
    message.attach(MIMEText("Grüße", _charset="utf-8"))
    message.attach(MIMEImage(b"\x89PNG", _subtype="png"))
    found = envelope(message, None, None)
    expected = copy.deepcopy(message)
    expected.set_boundary(email.message_from_bytes(found.content).get_boundary() or "")
    assert found.content == expected.as_bytes(
        policy=policy.compat32.clone(linesep="\r\n")
    )


def test_envelope_without_function_pickles() -> None:
    """An envelope of plain content can be pickled and copied."""
    found = envelope(plain(), None, None)
    assert pickle.loads(pickle.dumps(found)) == found == copy.copy(found)


def test_from_lines_are_not_mangled() -> None:
    """A line that begins with "From " is not changed, whatever the policy says."""
    message = compat("From here\n")
    assert b"\r\nFrom here\r\n" in envelope(message, None, [B]).content
