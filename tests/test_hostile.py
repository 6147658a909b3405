"""Messages that attack, and servers that do: exact or typed (ids: test_advisories.py)."""

from __future__ import annotations

import itertools
import re
import time
import tracemalloc
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from typing import Any

import pytest
from scripted import (
    OFFERS,
    Action,
    Script,
    ScriptedServer,
    endless_line,
    endless_multiline,
    say,
    stop_reading,
)
from sending import (
    MESSAGE,
    RECIPIENT,
    SENDER,
    WAYS,
    Send,
    envelope,
    patiently,
    server_for,
    stretched,
)

from smtpsend import Receipt, SendError, compose, send
from smtpsend.errors import (
    ConfigError,
    ConnectError,
    ConnectionLost,
    DeliveryUnknown,
    Phase,
    Rejected,
)


pytestmark = pytest.mark.usefixtures("no_leaks")

EXTRAS = [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")]


def only(script: Any) -> ScriptedServer:
    """A server with one port, for STARTTLS."""
    return ScriptedServer(starttls=script, implicit=None, starttls2=None)


def normalised(text: bytes) -> bytes:
    """The same lines, each ended by CRLF."""
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", text)
    return lines if not lines or lines.endswith(b"\r\n") else lines + b"\r\n"


def arrives(message: object, script: Script, **options: Any) -> bytes:
    """The content of the one message that the server got, over one clean connection."""
    with only(script) as scripted:
        receipt = send(message, server_for(scripted), **options)  # type: ignore[arg-type]
    (record,) = scripted.connections
    (taken,) = record.messages
    assert taken.state == "accepted"
    assert (taken.sender, taken.recipients) == (SENDER, receipt.accepted)
    assert record.verbs[:5] == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL"]
    assert record.verbs.count("MAIL") == record.verbs.count("RCPT") == 1
    scripted.assert_clean()
    return taken.content


ENDS = ["\n", "\r", "\r\n", "\r\r\n", "\n\r"]
EVIL = "MAIL FROM:<evil@e.example>\r\nRCPT TO:<evil@e.example>\r\nDATA\r\nevil\r\n.\r\n"
HEAD = f"From: {SENDER}\r\nTo: {RECIPIENT}\r\nMessage-ID: <1@example.org>\r\n\r\n"


def as_kind(kind: str, text: str, number: int = 1) -> Any:
    """A message of this kind with this text."""
    head = HEAD.replace("<1@", f"<{number}@")
    if kind in ("bytes", "str"):
        return (head + text).encode() if kind == "bytes" else head + text
    message: Message = EmailMessage() if kind == "EmailMessage" else Message()
    for line in head.splitlines()[:3]:
        name, _, value = line.partition(": ")
        message[name] = value
    if isinstance(message, EmailMessage):
        message.set_content(text)
    else:
        message.set_payload(text)
    return message


@pytest.mark.parametrize("extra", EXTRAS, ids=",".join)
@pytest.mark.parametrize("kind", ["bytes", "str", "EmailMessage", "Message"])
def test_smuggling(kind: str, extra: tuple[str, ...]) -> None:
    """CVE-2023-51764, -51765, -51766, -51747, -52354, RUSTSEC-2026-0561: one message."""
    texts = [
        f"hello{before}.{after}{EVIL}{before}..{after}."
        for before, after in itertools.product(ENDS, ENDS)
    ]
    with only(Script(offers=(*OFFERS, *extra))) as scripted:
        for n, text in enumerate(texts):
            send(as_kind(kind, text, n), server_for(scripted), **envelope())
    assert len(scripted.connections) == len(texts)
    for record, text in zip(scripted.connections, texts, strict=True):
        (content,) = (message.content for message in record.messages)
        assert content.partition(b"\r\n\r\n")[2] == normalised(text.encode()), ascii(text)
        assert record.verbs.count("MAIL") == record.verbs.count("RCPT") == 1
    scripted.assert_clean(auths=len(texts))


CONTENTS = {
    "empty": b"",
    "CVE-2021-38189": b"Subject: x\r\n\r\n\r\n\r\n.\r\nQUIT\r\n",
    "a dot": b".",
    "a dot on its line": b".\r\n",
    "two dots": b"..\r\n",
    "dots only": b".\r\n.\n.\r.\r\n" * 50,
    "a bare LF": b"\n",
    "no last line end": b"Subject: x\r\n\r\nhello",
    "ends in a dot": b"Subject: x\r\n\r\nhello\r\n.",
    "lines over 998": b"Subject: x\r\n\r\n" + (b"." + b"x" * 5000 + b"\r\n") * 20,
    "a line of 1 MB": b"Subject: x\r\n\r\n" + b"x" * 1_000_000,
    "dots at the seams": b"\r\n" + b"x" * 65533 + b"\r\n." * 65536,
    "every byte": b"\r\n" + bytes(set(range(256)) - {0, 10, 13}) * 9,
    "U+2028 and U+0085": "\r\n\u2028.\u2028\x85.\x85\x0b.\x0c.\x1c\r\n".encode(),
}


@pytest.mark.parametrize("extra", EXTRAS, ids=",".join)
@pytest.mark.parametrize("case", CONTENTS)
def test_contents(case: str, extra: tuple[str, ...]) -> None:
    """What the server stores is what was given, with line ends made CRLF."""
    content = CONTENTS[case]
    script = Script(offers=(*OFFERS, *extra))
    assert arrives(content, script, **envelope()) == normalised(content)


@pytest.mark.parametrize("extra", [(), ("CHUNKING",)], ids=",".join)
def test_what_cannot_be_sent(extra: tuple[str, ...]) -> None:
    """RFC 6152: without 8BITMIME 8-bit bytes are Rejected before MAIL; NUL never goes."""
    script = Script(offers=("AUTH PLAIN", *extra))
    with only(script) as scripted:
        with pytest.raises(ConfigError):
            send(MESSAGE + b"\0", server_for(scripted), **envelope())
        assert not scripted.connections
        with pytest.raises(Rejected) as caught:
            send(MESSAGE + b"\xe4\r\n", server_for(scripted), **envelope())
    assert (caught.value.reply, caught.value.temporary) == (None, False)
    assert "MAIL" not in scripted.connections[0].verbs


VALUES = {
    "CVE-2024-6923": "x\nEvil: 1",
    "CVE-2026-1299": "x\r\nEvil: 1",
    "CVE-2026-1299-body": "x\r\n\r\nEvil: 1",
    "CVE-2026-45067": "x\rEvil: 1",
    "CVE-2024-6923-encoded": "=?utf-8?q?x=0D=0AEvil:_1?=",
    "CVE-2024-6923-base64": "=?utf-8?b?eA0KRXZpbDogMQ==?=",
    "GHSA-268h-hp4c-crq3": "<https://a.example> (all\r\nEvil: 1)",
    "bpo-46462": "x\u2028Evil: 1 " + "é" * 80,
    **{f"bpo-46462-{c!a}": f"x{c}Evil: 1 " + "y" * 80 for c in "\v\f\x1c\x1d\x1e\x85"},
    "RFC5321-NUL": "x\0Evil: 1",
}


@pytest.mark.parametrize("kind", ["EmailMessage", "Message", "compose"])
@pytest.mark.parametrize("name", ["Subject", "List-Help", "Reply-To", "X-Evil\r\nX"])
@pytest.mark.parametrize("case", VALUES)
def test_header_injection(case: str, name: str, kind: str) -> None:
    """No header becomes two, and none becomes text: refused, or exactly these headers."""
    value = VALUES[case]
    with only({}) as scripted:
        try:
            if kind == "compose":
                addresses = {"sender": SENDER, "to": RECIPIENT, "text": "hello"}
                message: Any = compose(**addresses, headers={name: value})  # type: ignore[arg-type]
            else:
                message = as_kind(kind, "hello")
                message[name] = value
            names = [n for n, _ in message.raw_items()]
            send(message, server_for(scripted))
        except ValueError:  # of ours or of the standard library
            assert not scripted.connections
            return
    content = scripted.accepted[0].content
    found = message_from_bytes(content, policy=policy.compat32)
    assert found.keys()[: len(names)] == names
    assert not [n for n in found if n.lower() == "evil"]
    assert content.endswith(b"\r\n\r\nhello\r\n") or found.get_payload() == "hello\r\n"
    scripted.assert_clean()


def test_folded_addresses() -> None:
    """CVE-2025-1795: the recipients in a long folded header are the ones given."""
    to = [f'"Zoë Müller, {n}" <b{n}@b.example>' for n in range(40)]
    with only({}) as scripted:
        send(compose(sender=SENDER, to=to, text="x"), server_for(scripted))
    (taken,) = scripted.accepted
    assert taken.recipients == tuple(f"b{n}@b.example" for n in range(40))
    parsed = message_from_bytes(taken.content, policy=policy.SMTP)
    assert [a.addr_spec for a in parsed["To"].addresses] == list(taken.recipients)
    scripted.assert_clean()


@pytest.mark.parametrize("kind", ["bytes", "str", "EmailMessage", "Message"])
def test_bcc_never_leaves(kind: str) -> None:
    """P6: who is in Bcc gets the message, and stands nowhere in it."""
    message = as_kind(kind, "hello")
    if kind in ("bytes", "str"):
        bcc = "bCC : Hidden\r\n <h@h.example>\r\nResent-Bcc: h@h.example\r\n"
        message = bcc.encode() + message if kind == "bytes" else bcc + message
    else:
        message["bCc"] = "Hidden <h@h.example>"
    content = arrives(message, Script(), sender=SENDER, recipients=["h@h.example"])
    assert b"bcc" not in content.lower()
    assert b"h@h.example" not in content


LARGE = MESSAGE + (b"y" * 78 + b"\r\n") * 250_000


def sip(talk: Any) -> None:
    """Read on, so slowly that 20 MB take a minute."""
    while talk.wire.recv():
        talk.pause(0.2)


READERS = {
    "stopped, reply_timeout": (stop_reading(), {"reply_timeout": 0.7, "deadline": 30}),
    "stopped, deadline": (stop_reading(), {"reply_timeout": 30, "deadline": 0.7}),
    "slow": (Action("sip", sip), {"reply_timeout": 30, "deadline": 1}),
}


@pytest.mark.parametrize("case", READERS)
@pytest.mark.parametrize("send", WAYS)
@patiently
def test_slow_readers(send: Send, case: str) -> None:
    """A server that does not take 20 MB ends the call by the deadline, if not before."""
    action, times = READERS[case]
    with only(Script({"content:1000": action}, offers=("AUTH PLAIN",))) as scripted:
        start = time.monotonic()
        with pytest.raises(ConnectionLost) as caught:
            send(LARGE, server_for(scripted, stagger=5, **times), **envelope())
        assert time.monotonic() - start < stretched(5) + 5
    error = caught.value
    assert (error.phase, error.timed_out, error.temporary) == (Phase.CONTENT, True, True)
    assert not scripted.accepted
    scripted.assert_clean(auths=2)


@pytest.mark.parametrize("deadline", [0.05, 0.15, 0.35, 0.55, 0.75, 0.95, 2])
@pytest.mark.parametrize("send", WAYS)
def test_slow_steps(send: Send, deadline: float) -> None:
    """Each step takes 0.1 s: where the deadline runs out, the class says how far."""
    late = Action("late", lambda talk: (talk.pause(0.1), talk.do_normal()))
    with only(dict.fromkeys(("greeting", "command", "final"), late)) as scripted:
        server = server_for(scripted, reply_timeout=9, final_timeout=9, deadline=deadline)
        start = time.monotonic()
        try:
            found: Receipt | SendError = send(MESSAGE, server, **envelope())
        except SendError as error:
            found = error
        assert time.monotonic() - start < deadline + 4
    if isinstance(found, Receipt):
        assert len(scripted.accepted) == 1
    else:
        unknown = type(found) is DeliveryUnknown
        assert unknown or not scripted.accepted
        assert (found.timed_out, found.temporary) == (True, not unknown)
    scripted.assert_clean()


@pytest.mark.parametrize("moment", ["greeting", "ehlo2", "auth", "mail", "final"])
@pytest.mark.parametrize("action", [endless_line(), endless_multiline()], ids=str)
def test_endless(action: Action, moment: str) -> None:
    """CVE-2020-8794, aiosmtplib 5.1.2: a reply without end costs no memory."""
    with only(Script({moment: action})) as scripted:
        server = server_for(scripted, reply_timeout=10, final_timeout=10, deadline=20)
        tracemalloc.start()
        try:
            with pytest.raises(SendError) as caught:
                send(MESSAGE, server, **envelope())
            assert tracemalloc.get_traced_memory()[1] < 12_000_000
        finally:
            tracemalloc.stop()
    assert not caught.value.timed_out
    scripted.assert_clean(auths=2)


EHLOS = {
    "SIZE 0": (b"250-SIZE 0\r\n", True),
    "SIZE banana": (b"250-SIZE banana\r\n", True),
    "SIZE -1": (b"250-SIZE -1\r\n", True),
    "SIZE 2^64": (b"250-SIZE 18446744073709551616000\r\n", True),
    "5,000 lines": (b"250-X\r\n" * 5000, True),
    "5,000 longer lines": (b"250-12345678 X\r\n" * 5000, False),
}


@pytest.mark.parametrize("case", EHLOS)
def test_odd_ehlo(case: str) -> None:
    """The EHLO inside TLS counts, up to 64 kB; a SIZE that is no limit is none."""
    lines, taken = EHLOS[case]
    odd = say(b"250-x.example\r\n" + lines + b"250 AUTH PLAIN\r\n")
    script = Script({"ehlo2": odd}, offers_in_clear=("SIZE 1", "STARTTLS"))
    if taken:
        assert arrives(MESSAGE, script, **envelope()) == MESSAGE
        return
    with only(script) as scripted:
        with pytest.raises(ConnectError) as caught:
            send(MESSAGE, server_for(scripted), **envelope())
    assert caught.value.phase is Phase.EHLO
    scripted.assert_clean(auths=0)
