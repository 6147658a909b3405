"""DSN and REQUIRETLS on the wire: the parameters, and servers that lack an extension."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from leaks import InLoop, numbered, one_port
from scripted import Connection, Script, ScriptedServer, close, reply
from sending import MESSAGE, RECIPIENT, SENDER, WAYS, Send, server_for

from smtpsend import (
    AsyncClient,
    Client,
    Delivery,
    Method,
    Outcome,
    Policy,
    Rejected,
    SendError,
    Server,
    compose,
    prepare,
    send,
)
from smtpsend.errors import Event, Phase, RecipientsRefused


SHORT = ("8BITMIME", "SMTPUTF8", "AUTH PLAIN", "DSN", "REQUIRETLS")
MODES: dict[str, tuple[str, ...]] = {
    "plain": (),
    "PIPELINING": ("PIPELINING",),
    "CHUNKING": ("PIPELINING", "CHUNKING"),
}
modes = pytest.mark.parametrize("mode", MODES)
both = pytest.mark.parametrize("face", [Client, InLoop], ids=["sync", "async"])

ASKED = Delivery(
    notify=("failure", "delay"), ret="headers", envid="order 17", require_tls=True
)
FULL = Delivery(notify=("success",), ret="full")
MAIL = f"MAIL FROM:<{SENDER}>"
ASKED_MAIL = f"{MAIL} RET=HDRS ENVID=order+2017 REQUIRETLS"
ASKED_RCPT = "NOTIFY=FAILURE,DELAY ORCPT=rfc822;"


def offering(mode: str, **on: Any) -> Script:
    """A server with both extensions."""
    return Script(on, offers=(*SHORT, *MODES[mode]))


def envelopes(*connections: Connection) -> list[str]:
    """The MAIL and RCPT commands."""
    lines = [line.decode() for record in connections for _, line in record.commands]
    return [line for line in lines if line.startswith(("MAIL", "RCPT"))]


def to(*addresses: str, asked: str = ASKED_RCPT) -> list[str]:
    """The RCPT commands that ask for it, for some addresses."""
    return [f"RCPT TO:<{one}> {asked}{one}" for one in addresses]


@pytest.fixture(params=MODES)
def scripted(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    """A server with both extensions, in each way of sending groups."""
    with one_port(offering(request.param)) as server:
        yield server
    server.assert_clean(auths=None)


# On the wire.


@pytest.mark.parametrize("send", WAYS)
def test_the_parameters(scripted: ScriptedServer, send: Send) -> None:
    """Each parameter stands on its command, and a send without it has none."""
    options = {"sender": SENDER, "recipients": [RECIPIENT, "c+d@example.net"]}
    send(numbered(1), server_for(scripted), delivery=ASKED, **options)
    send(numbered(2), server_for(scripted), **options)
    one, two = scripted.connections
    assert envelopes(one) == [
        ASKED_MAIL,
        f"RCPT TO:<{RECIPIENT}> {ASKED_RCPT}{RECIPIENT}",
        f"RCPT TO:<c+d@example.net> {ASKED_RCPT}c+2Bd@example.net",
    ]
    plain = f"RCPT TO:<{RECIPIENT}>"
    assert envelopes(two) == [MAIL, plain, "RCPT TO:<c+d@example.net>"]


ALONE = {
    "notify": (Delivery(notify=("never",)), MAIL, " NOTIFY=NEVER ORCPT=rfc822;"),
    "ret": (Delivery(ret="full"), f"{MAIL} RET=FULL", " ORCPT=rfc822;"),
    "envid": (Delivery(envid="a+b=c"), f"{MAIL} ENVID=a+2Bb+3Dc", " ORCPT=rfc822;"),
    "require_tls": (Delivery(require_tls=True), f"{MAIL} REQUIRETLS", None),
}


@pytest.mark.parametrize("name", ALONE)
def test_each_alone(name: str) -> None:
    """Each part goes out without the others, and needs the one extension only."""
    delivery, mail, rcpt = ALONE[name]
    offers = ("AUTH PLAIN", "REQUIRETLS" if delivery.require_tls else "DSN")
    with one_port(Script(offers=offers)) as server:
        send(
            MESSAGE,
            server_for(server),
            sender=SENDER,
            recipients=RECIPIENT,
            delivery=delivery,
        )
    more = "" if rcpt is None else f"{rcpt}{RECIPIENT}"
    assert envelopes(*server.connections) == [mail, f"RCPT TO:<{RECIPIENT}>{more}"]
    server.assert_clean()


def test_an_address_outside_ascii(scripted: ScriptedServer) -> None:
    """ORCPT has the type utf-8 for it, in its form that is ASCII (RFC 6533)."""
    recipients = ["jörg+x@example.net", '"a b"@example.net', "ann@bücher.example"]
    send(
        MESSAGE,
        server_for(scripted),
        sender=SENDER,
        recipients=recipients,
        delivery=FULL,
    )
    assert envelopes(*scripted.connections) == [
        f"{MAIL} SMTPUTF8 RET=FULL",
        r"RCPT TO:<jörg+x@example.net> NOTIFY=SUCCESS "
        r"ORCPT=utf-8;j\x{F6}rg\x{2B}x@example.net",
        'RCPT TO:<"a b"@example.net> NOTIFY=SUCCESS ORCPT=rfc822;"a+20b"@example.net',
        "RCPT TO:<ann@xn--bcher-kva.example> NOTIFY=SUCCESS "
        "ORCPT=rfc822;ann@xn--bcher-kva.example",
    ]


@both
def test_a_client(scripted: ScriptedServer, face: Any) -> None:
    """Over one connection, each message has its own parameters."""
    deliveries = [ASKED, None, FULL]
    with face(server_for(scripted)) as client:
        for n, delivery in enumerate(deliveries):
            client.send(
                numbered(n), sender=SENDER, recipients=RECIPIENT, delivery=delivery
            )
    assert envelopes(*scripted.connections) == [
        ASKED_MAIL,
        *to(RECIPIENT),
        MAIL,
        f"RCPT TO:<{RECIPIENT}>",
        f"{MAIL} RET=FULL",
        *to(RECIPIENT, asked="NOTIFY=SUCCESS ORCPT=rfc822;"),
    ]


def items(count: int) -> Iterator[tuple[Any, ...]]:
    """Messages, every second one with parameters of its own."""
    for n in range(count):
        own = Delivery(notify=("failure",), envid=f"n{n}") if n % 2 else None
        yield numbered(n), SENDER, [f"b{n}@b.example", f"c{n}@b.example"], own


def wanted(n: int, *, batch: Delivery | None = None) -> list[str]:
    """The commands of a message of `items`."""
    names = [f"b{n}@b.example", f"c{n}@b.example"]
    if n % 2:
        asked = "NOTIFY=FAILURE ORCPT=rfc822;"
        return [f"{MAIL} ENVID=n{n}", *to(*names, asked=asked)]
    if batch is not None:
        return [ASKED_MAIL, *to(*names)]
    return [MAIL, *(f"RCPT TO:<{name}>" for name in names)]


@pytest.mark.parametrize("batch", [None, ASKED], ids=["none", "batch"])
@both
def test_a_batch(scripted: ScriptedServer, face: Any, batch: Delivery | None) -> None:
    """In windows and chains, each message has its own parameters, or the batch's."""
    with face(server_for(scripted), max_connections=1) as client:
        outcomes = list(client.send_many(items(40), delivery=batch))
    assert all(outcome.receipt for outcome in outcomes)
    assert [m.content for m in scripted.accepted] == [numbered(n) for n in range(40)]
    assert envelopes(*scripted.connections) == [
        line for n in range(40) for line in wanted(n, batch=batch)
    ]


@pytest.mark.parametrize("limit", ["452", "LIMITS"])
@modes
def test_further_transactions(mode: str, limit: str) -> None:
    """What a server with a limit on recipients gets later has the parameters, too."""
    people = [f"b{n}@b.example" for n in range(5)]
    on = {} if limit == "LIMITS" else {"rcpt:3": reply(452, "4.5.3", "Too many")}
    offers = (*SHORT, *MODES[mode], *(["LIMITS RCPTMAX=2"] if limit == "LIMITS" else []))
    with one_port(Script(on, offers=offers), Script(offers=offers)) as server:
        receipt = send(
            MESSAGE,
            server_for(server),
            sender=SENDER,
            recipients=people,
            delivery=ASKED,
        )
    assert sorted(receipt.accepted) == people
    commands = envelopes(*server.connections)
    assert {line for line in commands if line.startswith("RCPT")} == set(to(*people))
    mails = [line for line in commands if line.startswith("MAIL")]
    assert len(mails) > 1
    assert set(mails) == {ASKED_MAIL}
    assert [w for w in server.judge(auths=None) if not w.startswith("duplicate")] == []


@modes
def test_another_connection(mode: str) -> None:
    """A message that is sent again after a 421 has the parameters again."""
    lossy = offering(mode, mail=reply(421, "4.3.2", "bye") + close())
    with (
        one_port(lossy, offering(mode)) as server,
        Client(server_for(server), max_connections=1) as client,
    ):
        for outcome in client.send_many(items(6), delivery=ASKED):
            assert outcome.receipt
    _, *others = server.connections
    all_of_them = [line for n in range(6) for line in wanted(n, batch=ASKED)]
    assert sorted(envelopes(*others)) == sorted(all_of_them)
    server.assert_clean(auths=None)


@modes
def test_prepared_and_redirected(mode: str) -> None:
    """A `Prepared` carries it; with `redirect_to`, ORCPT is the address of RCPT."""
    options = {"sender": SENDER, "recipients": RECIPIENT, "delivery": ASKED}
    one, two = (prepare(numbered(n), **options) for n in (1, 2))
    with one_port(offering(mode)) as server:
        where = server_for(server)
        send(one, where)
        send(two, replace(where, redirect_to="test@example.org"))
    first, second = server.connections
    assert envelopes(first) == [ASKED_MAIL, *to(RECIPIENT)]
    assert envelopes(second) == [ASKED_MAIL, *to("test@example.org")]
    server.assert_clean(auths=None)


@modes
def test_with_require_all(mode: str) -> None:
    """`require_all` sends to nobody where one is refused, with the parameters as well."""
    with one_port(offering(mode, **{"rcpt:2": reply(550, "5.1.1", "no")})) as server:
        with pytest.raises(RecipientsRefused):
            send(
                MESSAGE,
                server_for(server),
                sender=SENDER,
                recipients=[RECIPIENT, "c@c.example"],
                require_all=True,
                delivery=FULL,
            )
    assert server.accepted == []
    asked = "NOTIFY=SUCCESS ORCPT=rfc822;"
    wanted = [f"{MAIL} RET=FULL", *to(RECIPIENT, "c@c.example", asked=asked)]
    assert envelopes(*server.connections) == wanted


# Servers that lack an extension.

LACKING = {
    "DSN": (Delivery(notify=("failure",)), ("REQUIRETLS",), "does not offer DSN"),
    "DSN for ret": (Delivery(ret="full"), (), "does not offer DSN"),
    "DSN for envid": (Delivery(envid="17"), (), "does not offer DSN"),
    "REQUIRETLS": (Delivery(require_tls=True), ("DSN",), "does not offer REQUIRETLS"),
    "one of two": (ASKED, ("DSN",), "does not offer REQUIRETLS"),
    "names that begin alike": (ASKED, ("XDSN", "DSNX", "X REQUIRETLS"), "offer DSN"),
}


def check_refusal(error: SendError | None, text: str) -> None:
    """The error of a message that the reply to EHLO rules out."""
    assert isinstance(error, Rejected)
    assert not isinstance(error, RecipientsRefused)
    assert text in error.message
    assert "use a server with" in error.hint
    assert (error.reply, error.temporary, error.timed_out) == (None, False, False)
    assert (error.phase, error.event) == (Phase.MAIL, Event.REFUSED)
    assert len(error.attempts) == 1


@pytest.mark.parametrize("send", WAYS)
@pytest.mark.parametrize("name", LACKING)
def test_refused_before_mail(name: str, send: Send) -> None:
    """The message is refused after EHLO, and on one port only; nothing of it is sent."""
    delivery, offers, text = LACKING[name]
    with ScriptedServer(Script(offers=("AUTH PLAIN", *offers))) as server:
        with pytest.raises(Rejected) as caught:
            send(
                MESSAGE,
                server_for(server),
                sender=SENDER,
                recipients=RECIPIENT,
                delivery=delivery,
            )
    check_refusal(caught.value, text)
    assert "send it without" in caught.value.hint
    assert len(server.connections) == 1
    assert envelopes(*server.connections) == []
    server.assert_clean()


@modes
@both
def test_the_others_go_out(mode: str, face: Any) -> None:
    """A message that is refused like this costs neither the connection nor the others."""
    offers = ("8BITMIME", "AUTH PLAIN", *MODES[mode])
    with one_port(Script(offers=offers)) as server:
        with face(server_for(server), max_connections=1) as client:
            with pytest.raises(Rejected):
                client.send(MESSAGE, sender=SENDER, recipients=RECIPIENT, delivery=ASKED)
            outcomes = list(client.send_many(items(20)))
    outcomes.sort(key=lambda outcome: outcome.index)
    for outcome in outcomes:
        if outcome.index % 2:
            check_refusal(outcome.error, "does not offer DSN")
        else:
            assert outcome.receipt
    assert [m.content for m in server.accepted] == [numbered(n) for n in range(0, 20, 2)]
    assert len(server.connections) == 1
    server.assert_clean()


def test_offered_in_clear_only() -> None:
    """What is offered before TLS alone does not count (RFC 8689)."""
    clear = ("AUTH PLAIN", "STARTTLS", "DSN", "REQUIRETLS")
    script = Script(offers=("AUTH PLAIN",), offers_in_clear=clear)
    with ScriptedServer(starttls=script) as server:
        for delivery in (FULL, Delivery(require_tls=True)):
            with pytest.raises(Rejected, match="does not offer"):
                send(
                    MESSAGE,
                    server_for(server),
                    sender=SENDER,
                    recipients=RECIPIENT,
                    delivery=delivery,
                )
    assert envelopes(*server.connections) == []


def test_a_sink_that_offers_it() -> None:
    """A sink without TLS gets notifications asked for, and is never asked for TLS."""
    script = Script(
        offers_in_clear=("DSN", "REQUIRETLS"), require_tls=False, require_auth=False
    )
    with ScriptedServer(starttls=script) as server:
        methods = (Method(server.port("starttls"), "plaintext"),)
        sink = Server(server.host, policy=Policy(methods=methods))
        message = compose(sender=SENDER, to=RECIPIENT, text="Hello.")
        send(message, sink, delivery=FULL)
    assert envelopes(*server.connections) == [
        f"{MAIL} RET=FULL",
        *to(RECIPIENT, asked="NOTIFY=SUCCESS ORCPT=rfc822;"),
    ]


def test_a_connection_without_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a sink is found out only on its connection, it gets no MAIL either."""
    # As where the sink is not the server that the message was first meant for.
    monkeypatch.setattr(Server, "plaintext", property(lambda _: False))
    script = Script(
        offers_in_clear=("REQUIRETLS",), require_tls=False, require_auth=False
    )
    with ScriptedServer(starttls=script) as server:
        methods = (Method(server.port("starttls"), "plaintext"),)
        sink = Server(server.host, policy=Policy(methods=methods))
        message = compose(sender=SENDER, to=RECIPIENT, text="Hello.")
        asked = Delivery(require_tls=True)
        with Client(sink) as client:
            outcomes = list(client.send_many([message, message], delivery=asked))
            errors = [outcome.error for outcome in outcomes]
            with pytest.raises(Rejected) as caught:
                client.send(message, delivery=asked)
    for error in (*errors, caught.value):
        check_refusal(error, "the connection to the server has none")
    assert envelopes(*server.connections) == []


@pytest.mark.parametrize("send", WAYS)
def test_a_server_that_refuses_a_parameter(send: Send) -> None:
    """A server that offers DSN may still refuse it: its reply is in the error."""
    no = reply(501, "5.5.4", "Unsupported DSN parameter")
    with one_port(offering("PIPELINING", mail=no)) as server:
        with pytest.raises(Rejected) as caught:
            send(
                MESSAGE,
                server_for(server),
                sender=SENDER,
                recipients=RECIPIENT,
                delivery=ASKED,
            )
    assert caught.value.reply is not None
    assert (caught.value.reply.code, caught.value.phase) == (501, Phase.MAIL)
    assert not caught.value.temporary


def test_an_async_iterable() -> None:
    """The tuples of four are read from an async iterable as well."""

    async def stream() -> Any:
        for item in items(4):
            yield item

    async def main(server: Server) -> list[Outcome]:
        async with AsyncClient(server, max_connections=1) as client:
            return [one async for one in client.send_many(stream(), delivery=ASKED)]

    with one_port(offering("CHUNKING")) as server:
        assert all(one.receipt for one in asyncio.run(main(server_for(server))))
    assert envelopes(*server.connections) == [
        line for n in range(4) for line in wanted(n, batch=ASKED)
    ]
    server.assert_clean()
