"""Notifications (DSN) of real servers: which offer them, and what arrives."""

from __future__ import annotations

import email
import email.policy
import json
from email.message import EmailMessage
from typing import Any

import pytest
from sending import WAYS, Send
from servers import RealServer
from test_real_send import message_for, server_on

from smtpsend import Client, Delivery, Rejected, diagnose, prepare
from smtpsend.errors import Phase


# A recipient that Postfix accepts, and the relay behind it refuses: "returned".
ALL: dict[str, Any] = {"notify": ("success", "failure", "delay")}


def notifications(real: RealServer, envid: str, count: int = 1) -> list[EmailMessage]:
    """The notifications about an envelope, once there are so many."""

    # Its header holds no id, so that each delivery is read.
    wanted = f"Original-Envelope-Id: {envid}".encode()
    seen: list[EmailMessage] = []
    for _ in range(100):
        contents = [one.content for one in real.messages(0, 0) if one.sender == ""]
        seen = [
            email.message_from_bytes(content, policy=email.policy.default)
            for content in contents
            if wanted in content.splitlines()
        ]
        if len(seen) >= count:
            break
        real.messages(len(real.messages(0, 0)) + 1, timeout=0.1)
    return seen


def facts(notification: EmailMessage) -> tuple[dict[str, str], dict[str, str]]:
    """The fields about the message, and about its first recipient (RFC 3464)."""
    assert notification.get_content_type() == "multipart/report"
    assert notification.get_param("report-type") == "delivery-status"
    parts = list(notification.iter_parts())
    assert parts[1].get_content_type() == "message/delivery-status"
    message, recipient = list(parts[1].iter_parts())[:2]
    return dict(message), dict(recipient)


@pytest.mark.parametrize("send", WAYS)
def test_a_success(postfix: RealServer, send: Send) -> None:
    """A notification of success comes, with the envelope's id and the address of RCPT."""
    envid = f"{send.__name__} + 1=1"
    delivery = Delivery(notify=("success",), envid=envid)
    message = message_for(postfix, "bob+x")
    receipt = send(message, server_on(postfix), delivery=delivery)
    (one,) = notifications(postfix, envid)
    about_message, about_recipient = facts(one)
    assert one["To"] == postfix.user
    assert about_message["Original-Envelope-Id"] == envid
    assert about_recipient["Original-Recipient"] == f"rfc822;{postfix.address('bob+x')}"
    # The relay offers no DSN, so that Postfix cannot say "delivered".
    assert about_recipient["Action"] == "relayed"
    assert receipt.message_id in one.as_string()


RETURNED = {"headers": "text/rfc822-headers", "full": "message/rfc822"}


@pytest.mark.parametrize("ret", RETURNED)
def test_a_failure(postfix: RealServer, ret: Any) -> None:
    """A notification of a failure returns the headers or all, as it was asked for."""
    message = message_for(postfix, "returned", text="The body of it.")
    delivery = Delivery(notify=("failure",), ret=ret, envid=f"ret-{ret}")
    with Client(server_on(postfix)) as client:
        receipt = client.send(prepare(message, delivery=delivery))
    assert receipt.accepted == (postfix.address("returned"),)
    (one,) = notifications(postfix, f"ret-{ret}")
    _, about_recipient = facts(one)
    assert about_recipient["Action"] == "failed"
    assert about_recipient["Status"] == "5.1.1"
    returned = list(one.iter_parts())[2]
    assert returned.get_content_type() == RETURNED[ret]
    assert ("The body of it." in returned.as_string()) is (ret == "full")


def test_none(postfix: RealServer) -> None:
    """No notification comes of what none was asked for, not even of a failure."""
    with Client(server_on(postfix), max_connections=1) as client:
        for envid, notify, to in (
            ("never", ("never",), "returned"),
            ("delay", ("delay",), "returned"),
            ("no failure", ("failure",), "bob"),
            ("last", ("failure",), "returned"),
        ):
            delivery: Any = Delivery(notify=notify, envid=envid)
            client.send(message_for(postfix, to), delivery=delivery)
    assert len(notifications(postfix, "last")) == 1
    for envid in ("never", "delay", "no failure"):
        assert notifications(postfix, envid, 0) == []


def test_a_batch(postfix: RealServer) -> None:
    """In windows, each message has the notification that it asked for, about itself."""
    items = [
        (message_for(postfix, f"b{n}"), None, None, Delivery(envid=f"batch-{n}", **ALL))
        for n in range(20)
    ]
    with Client(server_on(postfix)) as client:
        assert all(outcome.receipt for outcome in client.send_many(items))
    for n in range(20):
        (one,) = notifications(postfix, f"batch-{n}")
        _, about_recipient = facts(one)
        assert about_recipient["Original-Recipient"].endswith(postfix.address(f"b{n}"))


def test_an_address_outside_ascii(postfix: RealServer) -> None:
    """Postfix reads the utf-8 form of ORCPT, and names the address in it."""
    delivery = Delivery(envid="utf-8", **ALL)
    message = message_for(postfix, "jörg")
    with Client(server_on(postfix)) as client:
        client.send(message, delivery=delivery)
    (one,) = notifications(postfix, "utf-8")
    text = one.as_bytes().decode("utf-8", "replace")
    assert f"Original-Recipient: utf-8;{postfix.address('jörg')}" in text


def test_what_smtp_server_reads(smtp_server: RealServer) -> None:
    """Another parser reads the same of the parameters as was given."""
    delivery = Delivery(ret="headers", envid="a + b=c", **ALL)
    message = message_for(smtp_server, "bob+x")
    with Client(server_on(smtp_server)) as client:
        receipt = client.send(message, delivery=delivery)
    assert receipt.message_id is not None
    (one,) = smtp_server.delivered(receipt.message_id)
    envelope, recipient = json.loads(one.path.with_suffix(".json").read_text())["dsn"]
    assert envelope == {"ret": "HDRS", "envid": "a + b=c"}
    assert recipient["notify"] == ["SUCCESS", "FAILURE", "DELAY"]
    assert recipient["orcpt"].endswith(smtp_server.address("bob+x"))


def test_servers_that_do_not_offer_it(real_server: RealServer) -> None:
    """DSN and REQUIRETLS (Postfix 3.11 has it) are refused where they are not offered."""
    real, asked = real_server, Delivery(notify=("failure",))
    (report,) = diagnose(server_on(real)).methods
    with Client(server_on(real)) as client:
        for delivery, offered in (
            (asked, "DSN" in real.capabilities),
            (Delivery(require_tls=True), "REQUIRETLS" in report.extensions),
        ):
            message = message_for(real, "bob")
            if offered:
                assert client.send(message, delivery=delivery).accepted
                continue
            with pytest.raises(Rejected, match="does not offer") as caught:
                client.send(message, delivery=delivery)
            assert (caught.value.phase, caught.value.reply) == (Phase.MAIL, None)
            assert caught.value.message_id is not None
            assert real.delivered(caught.value.message_id, 0) == []
        assert client.send(message_for(real, "bob")).accepted
