"""One send: what goes over the wire, who gets the message, what the receipt says."""

from __future__ import annotations

import dataclasses
import email.policy
from email import message_from_bytes
from typing import Any

import pytest
from scripted import OFFERS, Script, ScriptedServer, hang, reply, say, split
from sending import (
    MESSAGE,
    QUICK,
    RECIPIENT,
    SENDER,
    WAYS,
    Send,
    envelope,
    patiently,
    send_in_loop,
    send_sync,
    server_for,
)

from smtpsend import compose
from smtpsend._client import known_servers
from smtpsend.errors import ConnectError, Phase, RecipientsRefused, Rejected


BOTH = [RECIPIENT, "eve@example.net"]
EIGHT_BIT = MESSAGE.replace(b"Hello.", "Grüße.".encode())


def without(*names: str) -> Script:
    """A server that offers all but these."""
    return Script(offers=[o for o in OFFERS if o.split()[0] not in names])


def mail_line(scripted: ScriptedServer) -> str:
    """The MAIL command."""
    lines = [line for c in scripted.connections for _, line in c.commands]
    return next(line.decode() for line in lines if line.startswith(b"MAIL"))


# message, options of send, what the server does not offer, the parameters of MAIL
PARAMETERS: dict[str, tuple[bytes, dict[str, Any], tuple[str, ...], str]] = {
    "ASCII": (MESSAGE, {}, (), f" SIZE={len(MESSAGE)}"),
    "no SIZE": (MESSAGE, {}, ("SIZE",), ""),
    "8-bit": (EIGHT_BIT, {}, (), f" SIZE={len(EIGHT_BIT)} BODY=8BITMIME"),
    "SMTPUTF8": (
        MESSAGE,
        {"recipients": ["jürgen@example.net"]},
        (),
        f" SIZE={len(MESSAGE)} SMTPUTF8",
    ),
    "none needed": (MESSAGE, {}, ("8BITMIME", "SMTPUTF8", "SIZE"), ""),
    "null sender": (MESSAGE, {"sender": ""}, ("SIZE",), ""),
}


@pytest.mark.parametrize("case", PARAMETERS)
@pytest.mark.parametrize("send", WAYS)
def test_parameters(case: str, send: Send) -> None:
    """MAIL has the parameters that the message needs and the server offers."""
    message, options, missing, wanted = PARAMETERS[case]
    with ScriptedServer(without(*missing)) as scripted:
        send(message, server_for(scripted, "implicit"), **envelope(**options))
    sender = options.get("sender", SENDER)
    assert mail_line(scripted) == f"MAIL FROM:<{sender}>{wanted}"
    assert [m.content for m in scripted.accepted] == [message]
    scripted.assert_clean()


RULED_OUT = {
    "SIZE": (
        Script(offers=("SIZE 100", "AUTH PLAIN")),
        MESSAGE + b"x" * 78 + b"\r\n",
        {},
    ),
    "8BITMIME": (without("8BITMIME"), EIGHT_BIT, {}),
    "SMTPUTF8": (without("SMTPUTF8"), MESSAGE, {"recipients": ["jürgen@example.net"]}),
    "SMTPUTF8 for the sender": (without("SMTPUTF8"), MESSAGE, {"sender": "ü@a.example"}),
}


@pytest.mark.parametrize("case", RULED_OUT)
@pytest.mark.parametrize("send", WAYS)
def test_ruled_out(case: str, send: Send) -> None:
    """What EHLO rules out is Rejected without MAIL, for good, and without a reply."""
    script, message, options = RULED_OUT[case]
    with ScriptedServer(script) as scripted:
        with pytest.raises(Rejected) as caught:
            send(message, server_for(scripted), **envelope(**options))
    error = caught.value
    assert (type(error), error.reply, error.temporary) == (Rejected, None, False)
    assert error.hint
    assert "MAIL" not in scripted.connections[0].verbs
    assert len(scripted.connections) == 1


@pytest.mark.parametrize("size", ["", "0", "x", "-5", "99999999999999999999999", "1e3"])
def test_odd_sizes(size: str) -> None:
    """A SIZE without a limit, or that is no number, rules nothing out."""
    ehlo = say(f"250-x\r\n250-AUTH PLAIN\r\n250 SIZE {size}\r\n".encode())
    script = Script({"ehlo": ehlo}, offers=("SIZE", "AUTH PLAIN"))
    with ScriptedServer(script) as scripted:
        send_in_loop(MESSAGE, server_for(scripted, "implicit"), **envelope())
    assert len(scripted.accepted) == 1


@pytest.mark.parametrize("send", WAYS)
def test_seven_bit(send: Send) -> None:
    """An EmailMessage is encoded anew, on the wire only, where 8BITMIME is missing."""
    message = compose(sender=SENDER, to=RECIPIENT, subject="é", text="Grüße\n")
    before = bytes(message)
    with ScriptedServer(without("8BITMIME", "SMTPUTF8")) as scripted:
        send(message, server_for(scripted, "implicit"))
    [stored] = scripted.accepted
    assert stored.content.isascii()
    parsed = message_from_bytes(stored.content, policy=email.policy.default)
    assert parsed.get_content() == "Grüße\n"
    assert "BODY" not in mail_line(scripted)
    assert bytes(message) == before


@pytest.mark.parametrize(
    ("codes", "temporary"),
    [((550, 550), False), ((450, 452), True), ((450, 550), False), ((551, 451), False)],
)
@pytest.mark.parametrize("send", WAYS)
def test_all_refused(codes: tuple[int, int], temporary: bool, send: Send) -> None:
    """Nobody accepted: each has its reply; temporary only if each may pass."""
    on = {f"rcpt:{n}": reply(code, "", "no") for n, code in enumerate(codes, 1)}
    with ScriptedServer(on) as scripted:
        server = server_for(scripted)
        with pytest.raises(RecipientsRefused) as caught:
            send(MESSAGE, server, **envelope(recipients=BOTH))
    error = caught.value
    assert [error.refused[r].code for r in BOTH] == list(codes)
    assert (error.temporary, error.phase, error.accepted) == (temporary, Phase.RCPT, ())
    assert "DATA" not in scripted.connections[0].verbs
    assert len(scripted.connections) == 1


@pytest.mark.parametrize("code", [450, 550])
@pytest.mark.parametrize("send", WAYS)
def test_partial_refusal(code: int, send: Send) -> None:
    """The rest get the message; with require_all nobody does, and it says who would."""
    script = Script({"rcpt:2": reply(code, "", "no")})
    with ScriptedServer(script) as scripted:
        server = server_for(scripted)
        receipt = send(MESSAGE, server, **envelope(recipients=BOTH))
        assert receipt.accepted == (RECIPIENT,)
        assert {r: x.code for r, x in receipt.refused.items()} == {BOTH[1]: code}
        with pytest.raises(RecipientsRefused) as caught:
            send(MESSAGE, server, **envelope(recipients=BOTH, require_all=True))
    assert list(caught.value.refused) == [BOTH[1]]
    assert (caught.value.temporary, caught.value.accepted) == (code == 450, ())
    assert [m.recipients for m in scripted.accepted] == [(RECIPIENT,)]


@pytest.mark.parametrize("moment", ["mail", "rcpt", "final"])
@pytest.mark.parametrize(
    "text", [b"251 x\r\n", b"299\r\n", b"250-2.0.0 a\r\n250 2.0.0 b\r\n"]
)
@pytest.mark.parametrize("send", WAYS)
def test_other_successes(moment: str, text: bytes, send: Send) -> None:
    """Any 2yz, of any number of lines, is a success."""
    with ScriptedServer({moment: say(text)}) as scripted:
        receipt = send(MESSAGE, server_for(scripted, "implicit"), **envelope())
    assert receipt.accepted == (RECIPIENT,)
    if moment == "final":
        assert receipt.reply.code == int(text[:3])


SLOW = {
    "greeting": b"220-one\r\n220 two\r\n",
    "auth": b"235-2.7.0 in\r\n235 2.7.0 you are\r\n",
    "mail": b"250-2.1.0 ok\r\n250-2.1.0\r\n250 2.1.0 ok\r\n",
    "rcpt": b"250 2.1.5 ok\r\n",
    "data": b"354-go\r\n354 on\r\n",
    "final": b"250-2.0.0 taken\r\n250 2.0.0 as 1\r\n",
}


@pytest.mark.parametrize("send", WAYS)
def test_replies_byte_by_byte(send: Send) -> None:
    """Replies of several lines that come byte by byte are the same replies."""
    script = Script({moment: split(text) for moment, text in SLOW.items()})
    with ScriptedServer(script) as scripted:
        receipt = send(MESSAGE, server_for(scripted, "starttls"), **envelope())
    assert (receipt.reply.code, receipt.reply.enhanced) == (250, "2.0.0")
    assert receipt.reply.text == "taken\nas 1"
    assert (receipt.tls, receipt.address) == ("TLSv1.3", "127.0.0.1")
    scripted.assert_clean()


@pytest.mark.parametrize("send", WAYS)
@patiently
def test_memory(send: Send) -> None:
    """The method that worked is tried first, until it fails; remember=0 forgets it."""
    with ScriptedServer(
        starttls="silent", implicit=[{}, {}, {"greeting": hang()}]
    ) as scripted:
        server = server_for(scripted, **QUICK)
        first, second, third = server.policy.methods
        assert send(MESSAGE, server, **envelope()).method == second
        silent = len(scripted.on("starttls"))
        again = send(MESSAGE, server, **envelope())
        assert (again.method, again.attempts) == (second, ())
        assert len(scripted.on("starttls")) == silent
        assert send(MESSAGE, server, **envelope()).method == third
        key = known_servers.key_of(server)
        assert known_servers._worked[key][0] == third
        off = dataclasses.replace(
            server, policy=dataclasses.replace(server.policy, remember=0)
        )
        assert send(MESSAGE, off, **envelope()).attempts[0].method == first


def test_memory_of_a_refusal() -> None:
    """What the server says of a message says nothing against the method."""
    script = [Script(), Script({"mail": reply(550, "5.7.1", "no")}), Script()]
    with ScriptedServer(starttls="refused", implicit=script) as scripted:  # type: ignore[arg-type]
        server = server_for(scripted)
        send_sync(MESSAGE, server, **envelope())
        with pytest.raises(Rejected) as caught:
            send_sync(MESSAGE, server, **envelope())
        assert len(caught.value.attempts) == 1
        assert send_sync(MESSAGE, server, **envelope()).attempts == ()


def test_forgotten() -> None:
    """A remembered method that fails is forgotten at once, though nothing else works."""
    lost = Script({"greeting": reply(421, "", "bye")})
    with ScriptedServer(
        starttls="refused", implicit=[Script(), lost], starttls2=None
    ) as scripted:
        server = server_for(scripted)
        first, second = server.policy.methods
        assert send_sync(MESSAGE, server, **envelope()).method == second
        for order in ([second, first], [first, second]):
            with pytest.raises(ConnectError) as caught:
                send_sync(MESSAGE, server, **envelope())
            assert [a.method for a in caught.value.attempts] == order
