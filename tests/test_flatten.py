"""The short way to the bytes gives what the standard library gives, or is not taken."""

from __future__ import annotations

import copy
import email
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
from hypothesis import event, given
from hypothesis import strategies as st
from random_messages import (
    DATE,
    ID,
    MANY,
    A,
    B,
    agreed,
    bodies,
    boxes,
    good_boxes,
    headers,
    messages,
    outcome,
    policies,
    put,
    still,
    texts,
)

from smtpsend._model.address import mailbox as address
from smtpsend._model.address.plain import plain_mailboxes
from smtpsend._model.message import envelope as model
from smtpsend._model.message.compose import compose
from smtpsend._model.message.content import crlf, ended, fields, from_usual_bytes
from smtpsend._model.message.envelope import Envelope, envelope
from smtpsend._model.message.headers import ADDRESS_HEADERS
from smtpsend._model.message.identification import date_now
from smtpsend._model.message.serialize_fast import serialize_fast
from smtpsend.errors import ConfigError


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
