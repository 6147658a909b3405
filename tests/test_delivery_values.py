"""`Delivery`: what it accepts, its encodings, and who carries it."""

from __future__ import annotations

import json
import pickle
import re
from copy import deepcopy
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpsend import (
    Client,
    ConfigError,
    Delivery,
    Method,
    Policy,
    Prepared,
    Rejected,
    Server,
    compose,
    prepare,
    send,
)
from smtpsend._model.delivery import original_recipient, utf8_xtext, xtext
from smtpsend._model.message.envelope import envelope
from smtpsend._protocol.extensions import Extensions
from smtpsend._protocol.negotiation import negotiate, recipient_parameters
from smtpsend.testing import capture


A, B, C = "ann@example.org", "bob@example.net", "carol@example.net"
ASKED = Delivery(notify=("failure", "delay"), ret="headers", envid="order 17+4=21")
OTHER = Delivery(notify=("never",))
TLS = Delivery(require_tls=True)
ALL = Extensions(keywords={"DSN": "", "REQUIRETLS": "", "SMTPUTF8": "", "SIZE": ""})


def message(**options: Any) -> Any:
    """A message with the usual headers."""
    return compose(sender=A, to=B, text="Hello.", **options)


# What it accepts.

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "asks for nothing"),
    "no event": ({"notify": ()}, "asks for nothing"),
    "False": ({"require_tls": False}, "asks for nothing"),
    "never beside another": ({"notify": ("never", "failure")}, "never"),
    "never last": ({"notify": ["delay", "never"]}, "never"),
    "an unknown event": ({"notify": ("failed",)}, "not an event"),
    "upper case": ({"notify": ("FAILURE",)}, "not an event"),
    "a text": ({"notify": "failure"}, "a tuple of names"),
    "a text of two": ({"notify": "failure,delay"}, "a tuple of names"),
    "None in notify": ({"notify": (None,)}, "not an event"),
    "a number": ({"notify": 1}, "a tuple of names"),
    "what has no hash": ({"notify": ([],)}, "not an event"),
    "ret": ({"ret": "hdrs"}, "ret must be"),
    "ret as bool": ({"ret": True}, "ret must be"),
    "ret without hash": ({"ret": []}, "ret must be"),
    "an empty envid": ({"envid": ""}, "not empty"),
    "an envid that is no text": ({"envid": 17}, "must be a str"),
    "an envid as bytes": ({"envid": b"17"}, "must be a str"),
    "an envid outside ASCII": ({"envid": "ü"}, "printable ASCII"),
    "an envid of two lines": ({"envid": "a\r\nRCPT TO:<x@y.z>"}, "printable ASCII"),
    "a tab": ({"envid": "a\tb"}, "printable ASCII"),
    "DEL": ({"envid": "a\x7f"}, "printable ASCII"),
    "a long envid": ({"envid": 101 * "x"}, "too long"),
    "a long envid as xtext": ({"envid": 34 * "+"}, "too long"),
    "require_tls": ({"require_tls": 1}, "True or False"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name: str) -> None:
    """An impossible value is a `ConfigError` that names it."""
    options, text = BAD[name]
    with pytest.raises(ConfigError, match=text):
        Delivery(**options)


def test_what_is_accepted() -> None:
    """Events may be in any iterable, and each counts once; the longest envid fits."""
    events: Any = iter(["delay", "failure", "delay"])
    assert Delivery(notify=events).notify == ("delay", "failure")
    assert Delivery(envid=100 * "x").envid == 100 * "x"
    assert Delivery(envid=33 * "=" + "x").asks_for_dsn
    assert not TLS.asks_for_dsn
    assert Delivery(notify=["never"]) == OTHER  # type: ignore[arg-type]
    assert len({ASKED, deepcopy(ASKED), OTHER}) == 2


class Words(StrEnum):
    """The names as a program may keep them."""

    DELAY = "delay"
    FULL = "full"
    ENVID = "order-17"


def test_names_of_an_enum() -> None:
    """Members of an enum count as the words that they are, on the wire and as data."""
    found = Delivery(notify=(Words.DELAY,), ret=Words.FULL, envid=Words.ENVID)  # type: ignore[arg-type]
    assert found == Delivery(notify=("delay",), ret="full", envid="order-17")
    made = envelope(message(), None, None, found)
    assert negotiate(made, ALL).mail.endswith(b" RET=FULL ENVID=order-17\r\n")
    assert recipient_parameters(found, B) == f" NOTIFY=DELAY ORCPT=rfc822;{B}"
    assert json.loads(json.dumps(prepare(message(), delivery=found).to_dict()))


@pytest.mark.parametrize("bad", ["failure", ("failure",), {"notify": ("failure",)}, True])
def test_what_is_no_delivery(bad: Any) -> None:
    """Anything but a `Delivery` is a `ConfigError`, wherever it is given."""
    with pytest.raises(ConfigError, match="must be a Delivery"):
        send(message(), "mail.example.org", delivery=bad)
    with pytest.raises(ConfigError, match="must be a Delivery"):
        prepare(message(), delivery=bad)
    with Client("mail.example.org") as client, capture() as outbox:
        one, two = client.send_many([(message(), A, B, bad), message()])
    assert isinstance(one.error, ConfigError)
    assert two.error is None
    assert len(outbox) == 1


def test_no_notification_for_the_null_sender() -> None:
    """A notification to the null sender cannot be sent, so none can be asked for."""
    with capture() as outbox:
        for delivery in (ASKED, Delivery(notify=("success",))):
            with pytest.raises(ConfigError, match="null sender"):
                send(message(), "mail.example.org", sender="", delivery=delivery)
        for delivery in (OTHER, TLS, Delivery(envid="17")):
            send(message(), "mail.example.org", sender="", delivery=delivery)
    assert len(outbox) == 3


def test_no_required_tls_in_plaintext() -> None:
    """A development sink without TLS cannot be asked for TLS."""
    sink = Server("localhost", policy=Policy(methods=(Method(1025, "plaintext"),)))
    with capture() as outbox:
        with pytest.raises(ConfigError, match="plaintext"):
            send(message(), sink, delivery=TLS)
        with pytest.raises(ConfigError, match="plaintext"):
            send(prepare(message(), delivery=TLS), sink)
        send(message(), sink, delivery=ASKED)
    assert len(outbox) == 1


# Its encodings.


def decoded(text: str) -> str:
    """Xtext as RFC 3461 section 4 defines it, decoded; it must be well-formed."""
    assert re.fullmatch(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*", text)
    return re.sub(r"\+(..)", lambda found: chr(int(found[1], 16)), text)


# The forms of HEXPOINT in RFC 6533 section 3, where no shorter one is allowed.
_HEXPOINT = (
    "[01][1-9]|10|20|2B|3D|7F|5C|[89A-F][0-9A-F]|[1-9A-F][0-9A-F]{2}"
    "|[1-9A-CE-F][0-9A-F]{3}|D[0-7][0-9A-F]{2}|[1-9A-F][0-9A-F]{4}|10[0-9A-F]{4}"
)


def decoded_utf8(text: str) -> str:
    """utf-8-addr-xtext (RFC 6533 section 3), decoded; it must be well-formed."""
    embedded = rf"\\x\{{({_HEXPOINT})\}}"
    assert re.fullmatch(rf"(?:[!-*,-<>-\[\]-~]|{embedded})+", text)
    return re.sub(embedded, lambda found: chr(int(found[1], 16)), text)


@given(st.text(st.characters(max_codepoint=127)))
def test_xtext(text: str) -> None:
    """A decoder made from the grammar of RFC 3461 reads any ASCII text back."""
    assert decoded(xtext(text)) == text


PRINTABLE = st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc", "Cn"))


@given(st.text(PRINTABLE, min_size=1))
def test_utf8_xtext(text: str) -> None:
    """A decoder made from the grammar of RFC 6533 reads any text back."""
    assert decoded_utf8(utf8_xtext(text)) == text


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1))
def test_any_envid(envid: str) -> None:
    """Any printable envid is written so that it is read back, or is too long."""
    if len(xtext(envid)) > 100:
        with pytest.raises(ConfigError, match="too long"):
            Delivery(envid=envid)
        return
    asked = Delivery(envid=envid)
    line = negotiate(envelope(message(), None, None, asked), ALL).mail.decode()
    found = re.fullmatch(rf"MAIL FROM:<{A}> SIZE=\d+ ENVID=([^ ]{{1,100}})\r\n", line)
    assert found is not None
    assert decoded(found[1]) == envid


LOCAL = st.text(st.sampled_from("aZ09!#$%&'*+/=?^_`{|}~-\\äπ中😀"), min_size=1)


@given(LOCAL.filter(lambda local: "\\" not in local), st.integers(0, 120))
def test_any_original_recipient(local: str, more: int) -> None:
    """ORCPT is the address of its RCPT, and is left out where it would be too long."""
    address = f"{local}{more * 'x+'}@example.org"
    written = original_recipient(address)
    kind, decode = ("rfc822", decoded) if address.isascii() else ("utf-8", decoded_utf8)
    if written is None:
        encode = xtext if address.isascii() else utf8_xtext
        assert len(kind) + 1 + len(encode(address)) > 500
    else:
        assert len(written) <= 500
        assert written.startswith(f"{kind};")
        assert decode(written.partition(";")[2]) == address


@pytest.mark.parametrize("length", [488, 489, 493, 494, 501, 700])
def test_the_longest_lines(length: int) -> None:
    """No parameter makes a command longer than the RFCs allow for it."""
    address = f"{(length - 12) * 'x'}@example.org"
    asked = Delivery(
        notify=("success", "failure", "delay"),
        ret="headers",
        envid=100 * "x",
        require_tls=True,
    )
    made = envelope(compose(sender=address, to=address), None, None, asked)
    # RFC 1870, RFC 6531, RFC 3461 and RFC 8689 say by how much a parameter lengthens it.
    base = len(f"MAIL FROM:<{address}>\r\n")
    assert len(negotiate(made, ALL).mail) <= base + 26 + len(" RET=FULL") + 107 + 11
    parameters = recipient_parameters(asked, address)
    assert parameters.startswith(" NOTIFY=SUCCESS,FAILURE,DELAY")
    assert ("ORCPT" in parameters) is (length + len("rfc822;") <= 500)
    if len(f"RCPT TO:<{address}>\r\n") <= 512:
        assert len(parameters) <= len(" NOTIFY=") + 28 + len(" ORCPT=") + 500
    else:
        assert "ORCPT" not in parameters


# Who carries it.


def test_a_prepared_message_carries_it() -> None:
    """It survives JSON, a pickle and a copy; what a send is given counts first."""
    prepared = prepare(message(), delivery=ASKED)
    for one in (
        Prepared.from_dict(json.loads(json.dumps(prepared.to_dict()))),
        pickle.loads(pickle.dumps(prepared)),
        deepcopy(prepared),
    ):
        assert one == prepared
        assert one.delivery == ASKED
    with capture() as outbox:
        send(prepared, "mail.example.org")
        send(prepared, "mail.example.org", delivery=OTHER)
        send(prepare(prepared), "mail.example.org")
    assert [sent.delivery for sent in outbox] == [ASKED, OTHER, ASKED]


def test_a_dict_of_an_older_version() -> None:
    """A dict without the item is read; one with another value in it is refused."""
    data = prepare(message()).to_dict()
    assert data.pop("delivery") is None
    assert Prepared.from_dict(data).delivery is None
    for bad in ({"notify": ["nothing"]}, {}, {"unknown": 1}, "failure", 1, [1]):
        with pytest.raises(ConfigError, match="not a prepared message"):
            Prepared.from_dict({**data, "delivery": bad})


def test_the_most_exact_one_counts_in_a_batch() -> None:
    """An item's own, then that of a `Prepared`, then that of the batch."""
    items = [
        message(),
        (message(), A, B),
        (message(), A, C, ASKED),
        (message(), A, C, None),
        prepare(message(), delivery=ASKED),
        (prepare(message(), delivery=ASKED), None, None, OTHER),
    ]
    with capture() as outbox, Client("mail.example.org") as client:
        for batch in (TLS, None):
            assert all(o.receipt for o in client.send_many(items, delivery=batch))
    wanted = [TLS, TLS, ASKED, TLS, ASKED, OTHER, None, None, ASKED, None, ASKED, OTHER]
    assert [sent.delivery for sent in outbox] == wanted


def test_one_item_in_place_of_a_batch() -> None:
    """A single tuple of four is named as the mistake that it is."""
    with Client("mail.example.org") as client:
        for last in (ASKED, None):
            with pytest.raises(ConfigError, match="a sequence or another iterable"):
                client.send_many((message(), A, [B], last))


def test_an_outbox_keeps_what_was_asked_for() -> None:
    """A captured message has it, whether it was accepted or failed."""
    with capture() as outbox:
        send(message(), "mail.example.org", delivery=ASKED)
        send(message(), "mail.example.org")
        outbox.fail_next(Rejected)
        with pytest.raises(Rejected):
            send(message(), "mail.example.org", delivery=TLS)
    assert [one.delivery for one in outbox] == [ASKED, None]
    assert [one.delivery for one in outbox.failed] == [TLS]
