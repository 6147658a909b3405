"""The headers that compose() makes for threads and for mailing lists, and invitations."""

from __future__ import annotations

import email
from email import policy
from email.message import EmailMessage, Message
from typing import Any

import pytest

from smtpsend._model.message.compose import compose
from smtpsend._model.message.envelope import envelope
from smtpsend.errors import ConfigError


A, B = "ann@example.org", "bob@example.net"


def read_back(**arguments: Any) -> EmailMessage:
    """What a server gets, parsed."""
    content = envelope(compose(sender=A, to=B, **arguments), None, None).content
    return email.message_from_bytes(content, policy=policy.default)  # type: ignore[return-value]


def thread(**arguments: Any) -> tuple[list[str], list[str]]:
    """The ids in In-Reply-To and in References."""
    found = read_back(**arguments)
    assert len(found.get_all("In-Reply-To", [])) <= 1
    assert len(found.get_all("References", [])) <= 1
    return str(found.get("In-Reply-To", "")).split(), str(
        found.get("References", "")
    ).split()


def parsed(text: str) -> list[Message]:
    """A message with these headers, by both parsers of the standard library."""
    data = text.encode() + b"\n\n"
    return [
        email.message_from_bytes(data),
        email.message_from_bytes(data, policy=policy.default),
    ]


def test_no_answer() -> None:
    """Without the arguments no such header is made."""
    assert thread() == ([], [])
    assert thread(in_reply_to=None, references=()) == ([], [])
    assert thread(references=None, in_reply_to=None) == ([], [])


@pytest.mark.parametrize("text", ["<1@x.example>", "1@x.example", " <1@x.example>\r\n"])
def test_answer_to_an_id(text: str) -> None:
    """An id, with its brackets or without, is in both headers."""
    assert thread(in_reply_to=text) == (["<1@x.example>"], ["<1@x.example>"])
    assert thread(in_reply_to=[text]) == (["<1@x.example>"], ["<1@x.example>"])


def test_answer_to_our_own_message() -> None:
    """An answer to a composed message continues its thread."""
    first = compose(sender=B, to=A)
    second = compose(sender=A, to=B, in_reply_to=first)
    one, two = first["Message-ID"], second["Message-ID"]
    assert thread(in_reply_to=second) == ([two], [one, two])


@pytest.mark.parametrize(
    ("headers", "references"),
    [
        ("Message-ID: <3@x>", ["<3@x>"]),
        ("Message-ID: <3@x>\nReferences: <1@x>\n <2@x>", ["<1@x>", "<2@x>", "<3@x>"]),
        ("Message-ID: <3@x>\nIn-Reply-To: <2@x>", ["<2@x>", "<3@x>"]),
        ("Message-ID: <3@x>\nIn-Reply-To: <1@x> <2@x>", ["<3@x>"]),
        (
            "Message-ID: <3@x>\nReferences: <1@x>\nIn-Reply-To: <2@x>",
            ["<1@x>", "<3@x>"],
        ),
        # An id twice, an id of itself, no blank between, other words, broken ids.
        (
            "Message-ID: <3@x>\nReferences: <1@x><2@x> <1@x> <3@x>",
            ["<1@x>", "<2@x>", "<3@x>"],
        ),
        (
            'Message-ID: <3@x>\nReferences: "Bob" <2@x>; <b x@y> <ü@x> <',
            ["<2@x>", "<3@x>"],
        ),
        ("Message-ID:\n <3@x>", ["<3@x>"]),
        ("message-id: (mine) <3@x> (yes)", ["<3@x>"]),
        ("Message-ID: 3@x", ["<3@x>"]),
        # Exchange writes brackets in it, at which parsers of the standard library fail.
        ("Message-ID: <[3]@x>\nReferences: <[2@x]>", ["<[2@x]>", "<[3]@x>"]),
    ],
)
def test_answer_to_a_message(headers: str, references: list[str]) -> None:
    """The ids of the thread are read from any message, however malformed its headers."""
    for message in parsed(headers):
        found = thread(in_reply_to=message)
        assert found == (references[-1:], references)


def test_references() -> None:
    """Given ids take the place of those of the message; each stands once."""
    [message, _] = parsed("Message-ID: <3@x>\nReferences: <1@x>")
    last = ["<3@x>"]
    assert thread(in_reply_to=message, references="<7@x> <8@x>") == (
        last,
        ["<7@x>", "<8@x>", "<3@x>"],
    )
    assert thread(in_reply_to="<3@x>", references=["<3@x>", "2@x"]) == (
        last,
        ["<2@x>", "<3@x>"],
    )
    assert thread(in_reply_to="<4@x>", references=message) == (
        ["<4@x>"],
        ["<1@x>", "<3@x>", "<4@x>"],
    )
    assert thread(references=message) == ([], ["<1@x>", "<3@x>"])


def test_answer_to_several_messages() -> None:
    """For several parents no References is made up (RFC 5322 section 3.6.4)."""
    both = ["<1@x>", "<2@x>"]
    assert thread(in_reply_to=both) == (both, [])
    assert thread(in_reply_to="<1@x> <2@x>") == (both, [])
    assert thread(in_reply_to=both, references="<0@x>") == (both, ["<0@x>", *both])


def test_long_thread() -> None:
    """Of a long thread the first id and the last ones are kept."""
    ids = [f"<{number}@x.example>" for number in range(1000)]
    [message, _] = parsed(f"Message-ID: <last@x>\nReferences: {' '.join(ids)}")
    _, found = thread(in_reply_to=message)
    assert found == [ids[0], *ids[-98:], "<last@x>"]


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "hello", "Re: hello", "<a b@c>", "<1@x> and <2@x>", "<1@x", "ü@x"),
        *("<1@x>\r\nBcc: e@x.example", "<1@x>\0", "<>", "<1@x>,"),
        *(5, b"<1@x>", [None], ["<1@x>", 5], {"<1@x>": 1}, ["<1@x>", ""]),
    ],
)
def test_no_ids(value: Any) -> None:
    """What is no id is refused, and nothing of it becomes a header."""
    for name in ("in_reply_to", "references"):
        with pytest.raises(ConfigError, match=name):
            compose(sender=A, **{name: value})


def test_answer_to_a_message_without_id() -> None:
    """A message without Message-ID cannot be answered by this argument."""
    for headers in ("Subject: x", "Message-ID:", "Message-ID: none"):
        for message in parsed(headers):
            with pytest.raises(ConfigError, match="has no Message-ID"):
                compose(sender=A, in_reply_to=message)


URL, MAIL = "https://example.org/u?t=a,b;c(d)%20", "mailto:leave@example.org?subject=x"
POST = ["List-Unsubscribe=One-Click"]


@pytest.mark.parametrize(
    ("value", "header", "post"),
    [
        ((), None, None),
        (URL, f"<{URL}>", POST),
        ([URL], f"<{URL}>", POST),
        ((URL, MAIL), f"<{URL}>, <{MAIL}>", POST),
        ((MAIL, URL), f"<{MAIL}>, <{URL}>", POST),
        (MAIL, f"<{MAIL}>", None),
        ("HTTPS://example.org/", "<HTTPS://example.org/>", POST),
        ("https://[::1]:8443/u", "<https://[::1]:8443/u>", POST),
        ("mailto:a@x.example,b%40x.example", "<mailto:a@x.example,b%40x.example>", None),
    ],
)
def test_unsubscribe(value: Any, header: str | None, post: list[str] | None) -> None:
    """An https: URL has both headers, so that one click does it; mailto: has one."""
    found = read_back(unsubscribe=value)
    read = found.get("List-Unsubscribe")
    assert (read and read.strip()) == header  # it may be folded at its start
    assert found.get_all("List-Unsubscribe-Post") == post


@pytest.mark.parametrize(
    "value",
    [
        *("", "example.org", "http://example.org/u", "ftp://example.org/", "https:///u"),
        *("https://", "https:example", "https://[::1/u", "mailto:", "mailto:?subject=x"),
        *(
            "mailto:nobody",
            "mailto:a@x.example%0d%0aBcc",
            "javascript:x",
            "<" + URL + ">",
        ),
        *(URL + " ", f"{URL}, {MAIL}", "https://example.org/ü", "https://x.example/{id}"),
        *("https://x.example/\r\nBcc: e@x.example", "https://x.example/>,<https://y"),
        *(5, b"https://x.example/", [None], [URL, URL + "x"], {URL: 1}, True),
    ],
)
def test_not_to_unsubscribe_by(value: Any) -> None:
    """What no mail program could use is refused, with a hint."""
    with pytest.raises(ConfigError, match=r"unsubscribe") as caught:
        compose(sender=A, unsubscribe=value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"in_reply_to": "<1@x>"}, "in-reply-to"),
        ({"in_reply_to": "<1@x>"}, "REFERENCES"),
        ({"references": "<1@x>"}, "References"),
        ({"unsubscribe": URL}, "List-Unsubscribe"),
        ({"unsubscribe": URL}, "list-unsubscribe-post"),
    ],
)
def test_header_and_argument(arguments: dict[str, Any], name: str) -> None:
    """A header that an argument sets cannot be set by headers= too; alone it can."""
    headers = {name: "<2@x>"}
    with pytest.raises(ConfigError, match="cannot be set"):
        compose(sender=A, headers=headers, **arguments)
    assert read_back(headers=headers)[name] == "<2@x>"


EVENT = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//example.org//EN
METHOD:REQUEST
BEGIN:VEVENT
UID:17@example.org
DTSTAMP:20261127T090000Z
DTSTART:20261201T090000Z
SUMMARY:Meeting – überall
ORGANIZER:mailto:ann@example.org
ATTENDEE;RSVP=TRUE:mailto:bob@example.net
END:VEVENT
END:VCALENDAR
"""


def tree(message: Message) -> object:
    """The types of the parts, nested as the parts are."""
    kind = message.get_content_type()
    if not message.is_multipart():
        return kind
    return kind, [tree(part) for part in message.get_payload()]  # type: ignore[arg-type,union-attr]


def calendar_of(message: Message) -> tuple[str, str | None, str]:
    """The method, the charset and the text of the one calendar part."""
    [part] = [p for p in message.walk() if p.get_content_type() == "text/calendar"]
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    assert part.get_content_disposition() is None
    return str(part.get_param("method")), part.get_param("charset"), data.decode()  # type: ignore[return-value]


BOTH = ["text/plain", "text/html", "text/calendar"]
ALTERNATIVE = "multipart/alternative"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({}, (ALTERNATIVE, ["text/plain", "text/calendar"])),
        ({"text": "x"}, (ALTERNATIVE, ["text/plain", "text/calendar"])),
        ({"html": "x"}, (ALTERNATIVE, ["text/html", "text/calendar"])),
        ({"text": "x", "html": "y"}, (ALTERNATIVE, BOTH)),
        (
            {"text": "x", "attachments": [("a.bin", b"x")]},
            (
                "multipart/mixed",
                [
                    (ALTERNATIVE, ["text/plain", "text/calendar"]),
                    "application/octet-stream",
                ],
            ),
        ),
        (
            {"text": "x", "html": "y", "inline": {"a": ("a.png", b"x")}},
            ("multipart/related", [(ALTERNATIVE, BOTH), "image/png"]),
        ),
    ],
)
def test_calendar(arguments: dict[str, Any], parts: object) -> None:
    """An invitation is the last alternative, with its method and its text unchanged."""
    found = read_back(calendar=EVENT, **arguments)
    assert tree(found) == parts
    assert calendar_of(found) == ("REQUEST", "utf-8", EVENT.replace("\n", "\r\n"))
    assert found.get_all("MIME-Version") == ["1.0"]


@pytest.mark.parametrize(
    ("event", "method"),
    [
        (EVENT.replace("\n", "\r\n"), "REQUEST"),
        (EVENT.encode(), "REQUEST"),
        (bytearray(EVENT.replace("\n", "\r\n").encode()), "REQUEST"),
        ("\ufeff" + EVENT, "REQUEST"),
        (EVENT.strip(), "REQUEST"),
        (EVENT.replace("METHOD:REQUEST", "method:Cancel"), "CANCEL"),
        (EVENT.replace("METHOD:REQUEST", "METHOD;X-A=B:REPLY"), "REPLY"),
        (EVENT.replace("METHOD:REQUEST", "METHOD:\n REQUEST"), "REQUEST"),
        (EVENT.replace("METHOD:REQUEST", "METHOD:X-OWN-1"), "X-OWN-1"),
        (EVENT.replace("SUMMARY:", "SUMMARY:METHOD:CANCEL "), "REQUEST"),
        (EVENT.replace("SUMMARY:Meeting", "DESCRIPTION:a\n METHOD:CANCEL"), "REQUEST"),
        (EVENT.replace("Meeting", "x" * 2000), "REQUEST"),
        (EVENT + EVENT, "REQUEST"),
    ],
)
def test_calendar_texts(event: Any, method: str) -> None:
    """The method is read from the text, whatever its line ends, type and folding."""
    found, _, text = calendar_of(read_back(calendar=event))
    assert found == method
    given = event if isinstance(event, str) else event.decode()
    lines = given.removeprefix("\ufeff").splitlines()
    assert text.splitlines() == lines


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ("", "no iCalendar object"),
        ("hello", "no iCalendar object"),
        ("event.ics", "no iCalendar object"),
        (EVENT.replace("END:VCALENDAR", ""), "no iCalendar object"),
        (EVENT.replace("METHOD:REQUEST\n", ""), "no METHOD"),
        (EVENT.replace("METHOD:REQUEST", "METHOD:"), "one METHOD"),
        (EVENT.replace("REQUEST", "REQUEST; charset=x"), "one METHOD"),
        (EVENT.replace("REQUEST", "RÉQUEST"), "one METHOD"),
        (EVENT + EVENT.replace("REQUEST", "CANCEL"), "one METHOD"),
        (EVENT.replace("17", "17\0"), "NUL"),
        (EVENT.encode("latin-1", "replace").replace(b"Meeting", b"\xff"), "UTF-8"),
        (EVENT.replace("17", "17\ud800"), "surrogate"),
        (5, "must be a str"),
        ([EVENT], "must be a str"),
    ],
)
def test_no_calendars(event: Any, words: str) -> None:
    """What no calendar program could use is refused, with a hint."""
    with pytest.raises(ConfigError, match=words) as caught:
        compose(sender=A, calendar=event)
    assert caught.value.hint
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
