"""Random messages, and what becomes of each by two ways."""

from __future__ import annotations

import copy
import email
import itertools
import re
from collections.abc import Callable
from email import policy
from email.header import Header
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from smtpsend._model.message import envelope as model
from smtpsend._model.message.envelope import Envelope, envelope
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
