"""An address is a str, a pair of name and address, or an `Address`, at every entry."""

from __future__ import annotations

import email
from collections.abc import Callable
from email.header import decode_header, make_header
from email.headerregistry import Address, Group

import pytest
from hypothesis import given
from hypothesis import strategies as st

import smtpsend
from smtpsend import ConfigError, Server, compose
from smtpsend._model.address.argument import AddressLike
from smtpsend._model.address.mailbox import mailbox
from smtpsend.testing import capture
from tests.test_display_names import names_in


A, B = "a@example.org", "b@example.org"
FORMS: list[AddressLike] = [
    "Ann <a@example.org>",
    ("Ann", A),
    Address("Ann", "a", "example.org"),
    Address("Ann", addr_spec=A),
]
NAMES = [
    "Ann",
    "O'Neil (CEO)",
    "Müller, Jörg",
    'A "B" C',
    "a@b",
    "back\\slash",
    "two  blanks",
    "<x>;:,@[]",
    "Ann (unclosed",
]


@pytest.mark.parametrize("form", FORMS)
def test_one_address_of_each_form(form: AddressLike) -> None:
    """`compose` accepts each form for each argument, one and in a list."""
    for one in (form, [form]):
        message = compose(sender=form, to=one, cc=one, reply_to=one, text="x")
        for header in ("From", "To", "Cc", "Reply-To"):
            assert str(message[header]) == "Ann <a@example.org>"


@pytest.mark.parametrize("form", FORMS)
def test_envelopes(form: AddressLike) -> None:
    """`send`, `prepare`, `send_many` and `redirect_to` use the address alone."""
    message = compose(sender=B, to=B, text="x")
    prepared = smtpsend.prepare(message, sender=form, recipients=form)
    assert (prepared.sender, prepared.recipients) == (A, (A,))
    server = Server("mail.example.org")
    with capture() as outbox:
        smtpsend.send(message, server, sender=form, recipients=[form, B])
        with smtpsend.Client(server) as client:
            client.send(message, sender=form, recipients=form)
            list(client.send_many([(message, form, [form])]))
    assert [one.sender for one in outbox] == [A, A, A]
    assert [one.recipients for one in outbox] == [(A, B), (A,), (A,)]
    assert Server("mail.example.org", redirect_to=form).redirect_to == A


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_pair_is_text(name: str) -> None:
    """No character of a name in a pair or an `Address` is syntax, and none is lost."""
    for one in ((name, A), Address(name, addr_spec=A)):
        assert names_in(compose(sender=one, to=[one], text="x"), "To") == [name]


NAME = st.text(
    st.characters(exclude_categories=["C", "Z"], include_characters=" "), max_size=40
).filter(lambda name: "=?" not in name)


@given(NAME)
def test_any_name_of_a_pair_is_kept(name: str) -> None:
    """Whatever the name is, it stands in the header; only blanks around it do not."""
    content = smtpsend.prepare(compose(sender=(name, A)), recipients=A).content
    written = email.message_from_bytes(content)["From"].replace("\r\n", "")
    display = mailbox(written).display
    # The parser of the standard library is not used: it reads a blank between encoded
    # words.
    assert str(make_header(decode_header(display))) == name.strip()


@pytest.mark.parametrize("name", [None, "", " "])
def test_a_pair_without_a_name(name: str | None) -> None:
    """A pair may lack the name, as those of `email.utils.getaddresses` do."""
    assert str(compose(sender=(name, A), to=[(name, B)], text="x")["From"]) == A
    assert str(compose(sender=A, to=(name, B), text="x")["To"]) == B


def test_a_tuple_of_two() -> None:
    """A tuple is a pair if its first str has no @, else it is two addresses."""
    assert str(compose(sender=A, to=("Bob", B))["To"]) == f"Bob <{B}>"
    assert str(compose(sender=A, to=(A, B))["To"]) == f"{A}, {B}"
    assert str(compose(sender=A, to=[("a@b", B)])["To"]) == f'"a@b" <{B}>'
    prepared = smtpsend.prepare(b"x", sender=A, recipients=(A, B))
    assert prepared.recipients == (A, B)


def test_recipients_by_a_mapping() -> None:
    """The keys of a mapping such as `refused` are recipients."""
    prepared = smtpsend.prepare(b"x", sender=A, recipients={B: None})  # type: ignore[arg-type]  # no type promises it
    assert prepared.recipients == (B,)


REFUSED: list[tuple[object, str]] = [
    (("Ann\nBcc: x@y.z", A), "control character"),
    (("Ann\tB", A), "control character"),
    (("Ann\ud800", A), "control character"),
    (("Ann", "Bob <b@example.org>"), "must be user@host"),
    (("Ann", "a@"), "local part|malformed|domain"),
    (("Ann", "a@x.y, b@x.y"), "exactly one address"),
    (("Ann", ""), "exactly one address"),
    ((1, A), "must be a str"),
    (("Ann", None), "must be a str"),
    (("Ann", b"a@example.org"), "must be a str"),
    (("Ann", A, B), "must be a str"),
    (("Ann",), "must be a str"),
    (["Ann", A], "must be a str"),
    (Address("Ann"), "malformed|exactly one address"),
    (Group("Team", (Address("Ann", addr_spec=A),)), "not a Group"),
    (Group(None, (Address("Ann", addr_spec=A),)), "not a Group"),
    (1, "must be a str"),
    (None, "must be a str"),
]


@pytest.mark.parametrize(
    "use",
    [
        lambda value: compose(sender=value),
        lambda value: compose(sender=A, to=[value]),
        lambda value: smtpsend.prepare(b"x", sender=value or 0, recipients=A),
        lambda value: smtpsend.prepare(b"x", sender=A, recipients=[value]),
    ],
)
@pytest.mark.parametrize(("value", "text"), REFUSED)
def test_what_is_no_address(
    use: Callable[[object], object], value: object, text: str
) -> None:
    """Anything else is a ConfigError that says what is wrong with it."""
    with pytest.raises(ConfigError, match=text):
        use(value)


def test_a_group_is_refused_with_a_way() -> None:
    """The hint for a group names its members."""
    team = Group("Team", (Address("Ann", addr_spec=A),))
    with pytest.raises(ConfigError) as caught:
        compose(sender=A, to=team)  # type: ignore[arg-type]  # what is tested
    assert "addresses" in caught.value.hint
    assert str(compose(sender=A, to=team.addresses)["To"]) == f"Ann <{A}>"
