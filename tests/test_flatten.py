"""The short way to the bytes gives what the standard library gives, or is not taken."""

from __future__ import annotations

import copy
import email
import itertools
import re
import time
from collections.abc import Callable
from email import policy
from email.header import Header
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import formatdate, parsedate_to_datetime
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, assume, event, example, given, settings
from hypothesis import strategies as st

from smtpsend._model.address import mailbox as address
from smtpsend._model.address.mailbox import mailbox, plain_mailboxes
from smtpsend._model.message import compose as compose_module
from smtpsend._model.message import envelope as model
from smtpsend._model.message.compose import compose
from smtpsend._model.message.content import crlf, ended, fields, from_usual_bytes
from smtpsend._model.message.envelope import Envelope, envelope
from smtpsend._model.message.folding.encoded_words import reads_otherwise
from smtpsend._model.message.headers import ADDRESS_HEADERS, mailbox_text
from smtpsend._model.message.identification import date_now
from smtpsend._model.message.serialize_fast import serialize_fast
from smtpsend.errors import ConfigError


A, B = "a@example.org", "b@example.org"
DATE, ID = "Tue, 24 Nov 2026 10:00:00 +0000", "<1.2.3@example.org>"
MANY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class still:
    """Nothing is random, and no time passes, so that two ways can be compared."""

    def __init__(self) -> None:
        count = itertools.count(10**17)
        slowly = model._of_unusual_object

        def anew(*arguments: Any) -> Envelope:
            nonlocal count
            count = itertools.count(10**17)
            return slowly(*arguments)

        self.patches = [
            mock.patch("random.randrange", lambda *_: next(count)),  # noqa: PT008
            mock.patch.object(model, "_of_unusual_object", anew),
            *(
                mock.patch(f"smtpsend._model.message.{module}.{name}", value)
                for module in ("serialize_fast", "envelope", "compose")
                for name, value in (
                    ("date_now", lambda: DATE),
                    ("new_id", lambda domain: f"<1.2.3@{domain}>"),
                )
            ),
        ]

    def __enter__(self) -> None:
        for patch in self.patches:
            patch.start()

    def __exit__(self, *_: object) -> None:
        for patch in self.patches:
            patch.stop()


Outcome = tuple[Envelope | str, bytes | None]


def outcome(way: Callable[[], Envelope]) -> Outcome:
    """The envelope and its content in ASCII, or the error."""
    with still():
        try:
            found = way()
        except ConfigError as error:
            return f"{error.message} {error.hint}", None
        again = found.seven_bit() if found.seven_bit else None
    if again and b"boundary*" not in again:
        again = re.sub(rb"01\d{17}", b"-", again)
    return found, again and (b"boundary*" in again or again)


def agreed(
    message: Message, sender: str | None = None, to: list[str] | None = None
) -> Outcome:
    """What comes of a message, which is the same by the short way and by the long one."""
    before = [(part, part.raw_items(), part._payload) for part in message.walk()]  # type: ignore[attr-defined]
    before = [(part, list(items), payload) for part, items, payload in before]
    fast = outcome(lambda: envelope(message, sender, to))
    with mock.patch.object(model, "serialize_fast", return_value=None):
        slow = outcome(lambda: envelope(message, sender, to))
    if isinstance(fast[0], Envelope) and isinstance(slow[0], Envelope):
        assert fast[0].content == slow[0].content
    assert fast == slow
    after = [(part, list(part.raw_items()), part._payload) for part in message.walk()]  # type: ignore[attr-defined]
    assert before == after
    return fast


# ------------------------------------------------------------- messages of all kinds

PIECES = [
    *(
        "word",
        "Wörter",
        "日本語",
        "x" * 30,
        "y" * 90,
        "a.b",
        "=?utf-8?q?a=40b?=",
        "=?",
        "?=",
    ),
    *("(note)", '"', "\\", ";", ",", ":", "<", ">", "@", "a@b.example", "<a@b.example>"),
    *(
        " ",
        "  ",
        "\t",
        "=",
        "charset=utf-8",
        "boundary=x",
        "%41",
        "'",
        "é",
        "\udce4",
        "/",
    ),
    *(
        "Jörg <j@bücher.de>",
        "ö@x.y",
        "Some Name <n@b.example>",
        '"Name, N" <n@b.example>',
    ),
    *("\r\n ", "\n\t", "\r", "\n", "\0", "\x0b", "\x85", "\u2028", "\x7f", ""),
]
texts = st.one_of(
    st.lists(st.sampled_from(PIECES[:-9]), max_size=8).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    st.lists(st.sampled_from(["word", "x.y", "Name", "1"]), max_size=20).map(" ".join),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=90),
)
boxes = st.sampled_from(
    [
        *(
            A,
            B,
            f"<{A}>",
            f"Some Name <{A}>",
            f'"Name, S." <{A}>',
            f"John Q. Public <{A}>",
        ),
        *(
            f"Jörg <{A}>",
            "x@bücher.de",
            "ö@x.y",
            f"{A} (note)",
            f'"a  b" <{A}>',
            '"a b"@x.y',
        ),
        *(
            f"=?utf-8?q?J=C3=B6rg?= <{A}>",
            f"x{'x' * 50}@y{'y' * 50}.example",
            "x@[192.0.2.1]",
        ),
        *(
            f'"q\\"q" <{A}>',
            f"Group: {A}, {B};",
            "empty:;",
            f" {A}",
            f"A  B <{A}>",
            f"A<{A}>",
        ),
    ]
)
good_boxes = st.sampled_from(
    [
        *(A, B, f"Some Name <{A}>", f'"Name, S." <{A}>', f"Jörg <{A}>", f'"a b" <{A}>'),
        *(
            f'"q\\"q" <{A}>',
            f"x@{'y' * 50}.example",
            '"a b"@x.y',
            f'"{"Long " * 20}" <{A}>',
        ),
        *(f"=?utf-8?q?J=C3=B6rg?= <{A}>", f'"=?utf-8?q?a?= b" <{A}>', "x@[192.0.2.1]"),
    ]
)
lists = st.lists(boxes, min_size=1, max_size=4).map(", ".join)
ids = st.sampled_from(
    [ID, "<a@b>", "a@b", "<a b@c>", "<a@[1.2.3.4]>", f"<{'x' * 90}@y>", "<a@b> ", "<ü@b>"]
)
dates = st.sampled_from(
    [DATE, "today", "Tue, 24 Nov 2026 10:00:00 -0000 (x)", "", "1 Nov 26"]
)
types = st.sampled_from(
    [
        *(
            'text/plain; charset="utf-8"',
            "text/plain",
            "TEXT/Html",
            "text",
            "image/png",
            "x/y",
        ),
        *(
            'application/pdf; name="a b.pdf"',
            "text/plain; charset=latin-1; format=flowed",
        ),
        *(
            "multipart/mixed",
            "multipart/related; type=text/html",
            "message/rfc822",
            "text/x;",
        ),
        *(
            'multipart/x; boundary="b"',
            "multipart/signed",
            "a-text/x",
            "multipart-signed/x",
        ),
        *(
            'multipart/mixed;\r\n boundary="===b"',
            "text/=?utf-8?q?plain?=",
            "multipart/mixed ",
        ),
        *(
            f"multipart/{'x' * 50}",
            "multipart/mixed; charset=ü",
            "multipart/mixed; boundary=",
        ),
    ]
)
headers = st.one_of(
    st.tuples(
        st.sampled_from(["Subject", "X-Any", "Comments", "subject", "Received"]), texts
    ),
    st.tuples(st.sampled_from(["To", "Cc", "Bcc", "Reply-To", "cC", "Resent-To"]), lists),
    st.tuples(st.sampled_from(["From", "Sender", "Resent-From"]), boxes),
    st.tuples(st.sampled_from(["Message-ID", "References", "In-Reply-To"]), ids),
    st.tuples(st.sampled_from(["Date", "Resent-Date"]), dates),
    st.tuples(st.just("Content-Type"), types),
    st.tuples(
        st.sampled_from(["Content-Type", "Content-Disposition", "To", "From", "Date"]),
        texts,
    ),
    st.tuples(
        st.sampled_from(["MIME-Version", "Content-Transfer-Encoding", "X" * 76]),
        st.sampled_from(["1.0", "7bit", "8bit", "base64", "1.0 (x)", "", " "]),
    ),
)
policies = st.sampled_from(
    [
        *(policy.default,) * 4,
        *(policy.compat32,) * 2,
        policy.SMTP,
        policy.SMTPUTF8,
        policy.HTTP,
        policy.strict,
        policy.default.clone(max_line_length=0),
        policy.default.clone(max_line_length=40),
        policy.default.clone(max_line_length=998, refold_source="none"),
        policy.default.clone(refold_source="all"),
        policy.default.clone(cte_type="7bit"),
        policy.compat32.clone(max_line_length=None),
        policy.compat32.clone(max_line_length=30, cte_type="7bit"),
        type("Other", (policy.EmailPolicy,), {})(),
    ]
)
bodies = st.one_of(
    st.sampled_from(
        ["", "hi\n", "hi", "a\r\nb\rc\n", "Grüße\n", "x" * 200, "\0", ".\n..\n"]
    ),
    st.text(max_size=60),
)


def put(message: Message, header: tuple[str, str], how: int) -> None:
    """Set a header, in one of the ways there are."""
    name, value = header
    try:
        if how == 0:
            message.set_raw(name, value)
        elif how == 1:
            message[name] = Header(value, "utf-8")
        else:
            message[name] = value
    except Exception:
        return  # the standard library does not take it


@st.composite
def leaves(draw: Any) -> Message:
    """A part without parts."""
    how = draw(st.integers(0, 4))
    if how == 0:
        try:
            return MIMEText(draw(bodies))
        except Exception:
            return MIMEText("")
    part = EmailMessage(draw(policies)) if how > 1 else Message(draw(policies))
    if how > 2 and isinstance(part, EmailMessage):
        cte = draw(
            st.sampled_from([None, None, "7bit", "8bit", "quoted-printable", "base64"])
        )
        try:
            part.set_content(
                draw(bodies), subtype=draw(st.sampled_from(["plain", "html"])), cte=cte
            )
        except Exception:
            part.set_payload("")
    else:
        part.set_payload(draw(st.one_of(bodies, st.none(), st.just("\udce4\n"))))
    return part


@st.composite
def trees(draw: Any, depth: int = 2) -> Message:
    """Parts in parts."""
    how = draw(st.integers(0, 5))
    if how < 3 or depth == 0:
        return draw(leaves())
    if how == 3:
        part = draw(leaves())
        try:
            part.add_alternative(draw(bodies), subtype="html")
            part.add_attachment(
                b"\0\1", maintype="application", subtype="x", filename="x y.z"
            )
        except Exception:
            return draw(leaves())
        return part
    subparts = draw(st.lists(trees(depth=depth - 1), max_size=3))
    boundary = draw(st.sampled_from([None, None, "b", "ü", "a b ", "", "x" * 80]))
    subtype = draw(st.sampled_from(["mixed", "alternative", "signed", "digest"]))
    part = MIMEMultipart(subtype, boundary, subparts, policy=draw(policies))
    for name in ("preamble", "epilogue"):
        if draw(st.integers(0, 3)) == 0:
            setattr(part, name, draw(bodies))
    return part


@st.composite
def messages(draw: Any) -> Message:
    """A message that may hold anything, with what is usual in it mostly."""
    message = draw(trees())
    if draw(st.booleans()):
        message.policy = draw(policies)
    usual = [
        ("From", A),
        ("To", B),
        ("Date", DATE),
        ("Message-ID", ID),
        ("Subject", "Hi ho"),
    ]
    for header in usual:
        if draw(st.integers(0, 4)):
            put(message, header, draw(st.integers(0, 9)))
    for part in message.walk():
        for header in draw(st.lists(headers, max_size=3)):
            put(part, header, draw(st.integers(0, 6)))
    if draw(st.integers(0, 4)) == 0:
        try:
            with still():
                source = copy.deepcopy(message).as_bytes()
            return email.message_from_bytes(source, policy=message.policy)
        except Exception:
            return message
    return message


@MANY
@given(
    messages(), st.sampled_from([(None, None), (None, [B]), ("", [B]), ("s@x.y", None)])
)
def test_short_way_and_long_way(message: Message, given_: tuple[Any, Any]) -> None:
    """Any message gives the same by both ways: bytes, envelope, 7bit form or error."""
    with still():
        event(f"short: {serialize_fast(message, given_[0]) is not None}")
    agreed(message, *given_)


# What the standard library's folding does wrong, so that its bytes are not ours: encoded
# words (see test_folding.py), ASCII values by RFC 2231, a fold right after the name or
# before white space, which readers misread.
KNOWN = re.compile(
    rb"=\?|\A[^:]*:  |us-ascii''|\A[^:]*: *\r\n|\r\n(?: [ \t]|\t)|[ \t]\r\n\Z"
)


@MANY
@given(st.lists(headers, max_size=3), bodies, policies)
def test_the_standard_library_says_the_same(
    more: list[tuple[str, str]], body: str, own: policy.Policy[Any]
) -> None:
    """Where the standard library is right, its bytes are ours, header by header."""
    message = EmailMessage(own)
    for header in [("From", A), ("To", B), ("Date", DATE), ("Message-ID", ID)]:
        message[header[0]] = header[1]
    for header in more:
        # These are repaired, and repeated ones made one.
        if header[0].lower() not in ADDRESS_HEADERS and header[0] not in message:
            put(message, header, 3)
    try:
        message.set_content(body)
        expected = copy.deepcopy(message).as_bytes(policy=own.clone(linesep="\r\n"))
    except Exception:
        return
    found, _ = agreed(message, A, [B])
    if isinstance(found, Envelope):
        expected = ended(crlf(expected))
        ours, theirs = (list(fields(text)) for text in (found.content, expected))
        assert [f.name for f in ours] == [f.name for f in theirs]
        for one, other in zip(ours, theirs, strict=True):
            written = found.content[one.start : one.end]
            if not KNOWN.search(expected[other.start : other.end]):
                assert written == expected[other.start : other.end]
        rest, standard = ours[-1].end, theirs[-1].end
        assert found.content[rest:] == expected[standard:]


def small(**headers: str) -> EmailMessage:
    """As most messages are."""
    message = EmailMessage()
    message["From"] = f"Some Name <{A}>"
    message["To"] = f'"Other, N." <{B}>'
    message["Subject"] = "Something new"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content("Hello,\n\n.\nthis is it\n")
    return message


def parsed() -> Message:
    """As a program reads one from a file."""
    return email.message_from_bytes(small().as_bytes(), policy=policy.default)


def alternative() -> EmailMessage:
    """With HTML, and something that is not ASCII."""
    message = small(Subject_2="x")
    message.set_content("Grüße\n")
    message.add_alternative("<p>Hi</p>\n", subtype="html")
    return message


def old_style() -> Message:
    """As programs have made them for twenty years."""
    message = MIMEMultipart(_subparts=[MIMEText("a"), MIMEText("ü", "plain", "utf-8")])
    message["From"], message["To"], message["Subject"] = (
        A,
        Header("Ü <u@x.y>", "utf-8"),
        "Hi",
    )
    return message


FILE = ("x.pdf", b"\0\1" * 200)


@pytest.mark.parametrize(
    "make",
    [
        small,
        parsed,
        alternative,
        old_style,
        lambda: small(Bcc="c@x.y", Cc="Jörg <j@bücher.de>", X_Long="word " * 40),
        lambda: small(
            Reply_To="Ü <ü@x.y>", Date="today", List_Unsubscribe="<https://x.y>"
        ),
        lambda: compose(sender=A, to=B, subject="Hi", text="a"),
        lambda: compose(sender=A, to=B, subject="Grüße", text="a", html="<p>ü</p>"),
        lambda: compose(sender=A, to=B, html="x", inline={"a": FILE}, attachments=[FILE]),
    ],
)
def test_the_common_ones_take_the_short_way(make: Callable[[], Message]) -> None:
    """Messages as most are made do not need the generator; they are its equals."""
    message = make()
    assert serialize_fast(message, None) is not None
    found, _ = agreed(message)
    assert isinstance(found, Envelope)


class Own(EmailMessage):
    """A subclass may have headers of its own."""


def strange(**attributes: object) -> EmailMessage:
    """A message with something set that nobody sets."""
    message = small()
    for name, value in attributes.items():
        setattr(message, name, value)
    return message


def other_name() -> EmailMessage:
    """A header object that is in the message under another name than its own."""
    message = small()
    message.set_raw("X-Subject", message["Subject"])
    return message


@pytest.mark.parametrize(
    "make",
    [
        lambda: MIMEMultipart("signed", _subparts=[MIMEText("a")]),
        lambda: strange(_payload=5),
        lambda: strange(_payload="ü"),
        lambda: strange(_payload="\0"),
        lambda: strange(_payload="\udce4", policy=policy.default.clone(cte_type="7bit")),
        lambda: Own(),
        lambda: small(Content_Description="x" * 300_000),
        other_name,
    ],
)
def test_the_others_take_the_long_way(make: Callable[[], Message]) -> None:
    """What is unusual or wrong is left to the standard library, and comes to the same."""
    agreed(make(), A, [B])


def test_subclasses_are_asked() -> None:
    """The short way does not go past what a subclass does with its headers."""

    class Hiding(EmailMessage):
        def raw_items(self) -> Any:
            return (item for item in super().raw_items() if item[0] != "X-Secret")

    message = Hiding()
    message["From"], message["To"], message["X-Secret"] = A, B, "secret"
    message.set_content("x")
    assert serialize_fast(message, None) is None
    assert b"secret" not in envelope(message, None, None).content


def test_each_time_another_boundary_and_id() -> None:
    """What is remembered of a type of multipart does not hold its boundary."""
    message = alternative()
    found = [envelope(message, None, None) for _ in range(2)]
    boundaries = {re.search(rb'boundary="(.*?)"', one.content)[1] for one in found}  # type: ignore[index]
    assert len(boundaries) == 2
    assert len({one.message_id for one in found}) == 2


def test_a_boundary_that_is_in_the_text() -> None:
    """Where a text holds the boundary drawn, another one is taken."""
    message = alternative()
    message.attach(MIMEText(f"--{'=' * 15}{7:019}=="))
    with mock.patch("random.randrange", return_value=7):
        assert serialize_fast(message, None) is None
        content = envelope(message, None, None).content
    parts = email.message_from_bytes(content).get_payload()
    assert len(parts) == 3


def test_the_seven_bit_form_is_that_of_the_moment() -> None:
    """What is changed in a message after it was given does not reach the server."""
    message = alternative()
    message["Bcc"] = "c@x.y"
    found = envelope(message, None, None)
    message["X-Later"] = "x"
    message.get_payload()[0].set_content("other")  # type: ignore[index,union-attr]
    assert found.seven_bit is not None
    again = found.seven_bit()
    assert again is not None
    assert again.isascii()
    assert b"Gr=C3=BC=C3=9Fe" in again or b"R3LDvMOfZQo" in again
    for gone in (b"X-Later", b"other", b"c@x.y"):
        assert gone not in again
    assert str(found.message_id).encode() in again
    assert found.seven_bit() is not None


def test_date_now() -> None:
    """The date is that of the standard library."""
    assert abs(parsedate_to_datetime(date_now()).timestamp() - time.time()) < 60
    assert date_now()[-5:] == formatdate(localtime=True)[-5:]


# ---------------------------------------------------------------- bytes, and addresses

LINES = [
    *(b"From: a@x\r\n", b"Message-ID: <a@b>\r\n", b"message-id:<c@d>\r\n", b"X: y\r\n"),
    *(
        b"\r\n",
        b"text\r\n",
        b"Message-ID:\r\n <e@f>\r\n",
        b" more\r\n",
        b"\tMessage-ID: x\r\n",
    ),
    *(
        b"Message-ID : <g@h>\r\n",
        b"Bcc: x@y\r\n",
        b"X: bcc\r\n",
        b"From me\r\n",
        b">From :x\r\n",
    ),
    *(
        b"\n",
        b"\r",
        b"\0",
        b"X: \xc3\xbc\r\n",
        b"X:\xe4\r\n",
        b"X: y\n",
        b"no header",
        b"\r\n\r\n",
    ),
    *(b"X-Message-ID: <i@j>\r\n", b"Resent-Bcc: z@x\r\n", b" \r\n", b"From : x\r\n"),
]


@MANY
@given(
    st.one_of(
        st.lists(st.sampled_from([*LINES[:4], *LINES[7:8]]), min_size=1).map(b"".join),
        st.lists(st.sampled_from(LINES), max_size=6).map(b"".join),
    ),
    st.one_of(
        st.lists(st.sampled_from(LINES)).map(lambda rest: b"\r\n" + b"".join(rest)),
        st.binary(max_size=20),
        st.just(b"\r\na\r\nbcc: x\r\n."),
    ),
    st.booleans(),
)
def test_bytes_by_both_ways(head: bytes, rest: bytes, lines_end_with_lf: bool) -> None:
    """A message of bytes gives the same if one look at it is enough, and if it is not."""
    content = head + rest
    if lines_end_with_lf:
        content = content.replace(b"\r\n", b"\n")
    event(f"short: {from_usual_bytes(content) is not None}")
    fast = outcome(lambda: envelope(content, A, [B]))
    with mock.patch.object(model, "from_usual_bytes", return_value=None):
        assert fast == outcome(lambda: envelope(content, A, [B]))


def text_of(alphabet: str, size: int) -> st.SearchStrategy[str]:
    return st.text(st.sampled_from(alphabet), min_size=1, max_size=size)


plain_specs = st.builds("{}@{}".format, text_of("abZ0.!#+-~", 66), text_of("abZ0.-", 70))
plain_ones = st.one_of(
    plain_specs,
    plain_specs.map("<{}>".format),
    st.builds("{} <{}>".format, text_of("abZ0. '&-", 12), plain_specs),
    st.builds('"{}" <{}>'.format, text_of("abZ0. ,<>@()=?;:", 12), plain_specs),
)


@MANY
@given(
    st.one_of(
        st.lists(plain_ones, min_size=1, max_size=3).map(", ".join),
        st.lists(st.one_of(boxes, good_boxes, texts), max_size=4).map(", ".join),
    ),
    st.sampled_from(["", "", "", ",", " ", ", ", "x", "x" * 400, "@", '"']),
)
def test_addresses_by_both_ways(text: str, end: str) -> None:
    """The parser of the usual forms of an address agrees with the parser of all forms."""
    text += end
    event(f"short: {bool(plain_mailboxes(text))}")

    def read() -> list[object]:
        for kept in (address._groups, address._mailbox):
            kept.cache_clear()
        found: list[object] = []
        for way in (address.groups, address.mailbox):
            try:
                found.append(way(text))
            except ConfigError as error:
                found.append(str(error))
        return found

    fast = read()
    with mock.patch.object(address, "plain_mailboxes", return_value=[]):
        assert fast == read()
    assert fast == read()


# -------------------------------------------------------------------------- compose()


def composed(arguments: dict[str, Any]) -> EmailMessage:  # noqa: C901 - as it reads
    """The same as `compose`, by the standard library alone."""
    message = EmailMessage()
    for name, key in [
        *(("From", "sender"), ("To", "to"), ("Cc", "cc"), ("Bcc", "bcc")),
        *(("Reply-To", "reply_to"), ("Subject", "subject")),
    ]:
        if arguments.get(key) or key == "subject":
            message[name] = arguments.get(key, "")
    for name, value in arguments.get("headers", {}).items():
        message[name] = value
    for name, value in (("Date", DATE), ("Message-ID", ID)):
        if name not in message:
            message[name] = value
    text, html = arguments.get("text"), arguments.get("html")
    body = EmailMessage() if "inline" in arguments else message
    if html is None or text is not None:
        body.set_content(text or "")
    if html is not None and text is None:
        body.set_content(html, subtype="html")
    elif html is not None:
        body.add_alternative(html, subtype="html")
    if "inline" in arguments:
        message.make_related()
        message.set_param("type", body.get_content_type())
        message["MIME-Version"] = body["MIME-Version"]
        del body["MIME-Version"]
        message.attach(body)
    for content_id, (name, data, kind) in arguments.get("inline", {}).items():
        message.add_related(
            data,
            *kind.split("/"),
            filename=name,
            disposition="inline",
            cid=f"<{content_id}>",
        )
    for name, data, kind in arguments.get("attachments", []):
        message.add_attachment(data, *kind.split("/"), filename=name)
    for part in message.walk():
        # The base64 of no bytes has a line end from Python 3.15 on, and none before.
        if part.get_payload() == "\n" and part["Content-Transfer-Encoding"] == "base64":
            part.set_payload("")
    return message


names = st.one_of(
    st.sampled_from(
        ["a.txt", "a b.pdf", "ü.txt", 'q"q', "x" * 80, "-", "a;b", "a'b%20", "a  b"]
    ),
    st.text(
        st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=20
    ),
)
kinds = st.sampled_from(
    ["text/plain", "application/pdf", "image/svg+xml", f"x/{'y' * 70}", "A/B"]
)
files = st.tuples(names, st.binary(max_size=80), kinds)
good_texts = st.one_of(
    st.lists(st.sampled_from(PIECES[:-10]), max_size=8).map("".join),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=90),
    st.sampled_from(["Subject", "a  b", " a", "a ", "=?utf-8?q?x?=", "=?", "?="]),
)
arguments = st.fixed_dictionaries(
    {"sender": good_boxes},
    optional={
        **dict.fromkeys(["to", "cc", "bcc", "reply_to"], good_boxes),
        "subject": good_texts,
        "text": bodies,
        "html": bodies,
        "attachments": st.lists(files, max_size=3),
        "inline": st.dictionaries(
            st.sampled_from(["a", "b@c", "x" * 80]), files, max_size=2
        ),
        "headers": st.dictionaries(
            st.sampled_from(
                ["Message-ID", "X-A", "x-a", "List-Unsubscribe", "References", "Date"]
            ),
            st.one_of(good_texts, ids, dates),
            max_size=3,
        ),
    },
)


EMPTY = ("a.txt", b"", "text/plain")


@MANY
@given(arguments, policies)
@example(
    {"sender": A, "html": "", "inline": {"a": EMPTY}, "attachments": [EMPTY]},
    policy.default,
)
def test_compose_and_the_standard_library(
    given_: dict[str, Any], own: policy.Policy[Any]
) -> None:
    """What compose() makes prints, folds and reads as what is made by hand."""
    # compose() keeps blanks at the ends of a subject, and what looks encoded in it.
    assume(not reads_otherwise(given_.get("subject", "")))
    given_ = {
        k: v for k, v in given_.items() if k != "inline" or (v and "html" in given_)
    }
    for key in ("sender", "to", "cc", "bcc", "reply_to"):
        if key in given_:
            given_[key] = mailbox_text(mailbox(given_[key]))
    with still(), mock.patch.object(compose_module, "new_id", return_value=ID):
        try:
            short = compose(**given_)
        except ConfigError:
            return
        long = composed(given_)
        assert short.items() == long.items()
    if getattr(own, "refold_source", "") == "none":
        return  # with it, a header that was not set by the caller has no line too long
    for policy_ in (policy.SMTP, own):
        with still():
            one = outcome_of(lambda: copy.deepcopy(short).as_bytes(policy=policy_))
        with still():
            other = outcome_of(lambda: copy.deepcopy(long).as_bytes(policy=policy_))
        assert one == other
    assert agreed(short, None, [B]) == agreed(long, None, [B])


def outcome_of(way: Callable[[], bytes]) -> bytes | str:
    """The bytes, or which error."""
    try:
        return way()
    except Exception as error:
        return type(error).__name__
