"""`compose` makes the messages that the standard library's own methods make."""

from __future__ import annotations

import copy
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from typing import Any
from unittest import mock

from hypothesis import assume, example, given
from hypothesis import strategies as st
from random_messages import (
    DATE,
    ID,
    MANY,
    PIECES,
    A,
    B,
    agreed,
    bodies,
    dates,
    good_boxes,
    ids,
    policies,
    still,
)

from smtpsend._model.address.mailbox import mailbox
from smtpsend._model.message import compose as compose_module
from smtpsend._model.message.compose import compose
from smtpsend._model.message.folding.encoded_words import reads_otherwise
from smtpsend._model.message.headers import mailbox_text
from smtpsend.errors import ConfigError


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
