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
from email.header import Header
from email.message import EmailMessage, Message
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import parsedate_to_datetime

import pytest
from made_messages import A, B, compat, plain

from smtpsend._model.message.envelope import Envelope, envelope
from smtpsend._model.message.serialize import own_copy
from smtpsend.errors import ConfigError


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

# ------------------------------------------------------------------ 8-bit and 7-bit

# ------------------------------------------------------------------ header injection


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
