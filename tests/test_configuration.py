"""Trust in one certificate, redirected mail, prepared messages, hooks."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

import pytest
from scripted import Script, ScriptedServer, hang, reply
from sending import MESSAGE, MESSAGE_ID, WAYS, Send, envelope, server_for

from smtpsend import AsyncClient, Client, Outcome, Server, compose, send
from smtpsend.errors import (
    Attempt,
    CertificateError,
    ConfigError,
    DeliveryUnknown,
    Event,
    RecipientsRefused,
)
from smtpsend.prepared import Prepared, prepare


def fingerprint_of(scripted: ScriptedServer, name: str) -> str:
    """The SHA-256 of the certificate that a port shows."""
    pem = ssl.get_server_certificate((scripted.host, scripted.port(name)))
    return "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def pinned(scripted: ScriptedServer, fingerprint: str) -> Server:
    """The server, trusted for one certificate only."""
    return replace(server_for(scripted, "implicit"), cafile=None, fingerprint=fingerprint)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["good", "self_signed", "expired", "wrong_host"])
def test_fingerprint(kind: str, way: Send) -> None:
    """Exactly the pinned certificate is trusted, whoever signed it."""
    with ScriptedServer(Script(certificate=kind)) as scripted:
        pin = fingerprint_of(scripted, "implicit")
        shown = "SHA256:" + ":".join(pin[7:][n : n + 2] for n in range(0, 64, 2)).upper()
        receipt = way(MESSAGE, pinned(scripted, shown), **envelope())
        assert receipt.tls == "TLSv1.3"
    assert [m.content for m in scripted.accepted] == [MESSAGE]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("port", ["starttls", "implicit"])
def test_another_certificate(port: str, way: Send) -> None:
    """Any other certificate is refused, a well signed one too, and nothing is sent."""
    with ScriptedServer() as scripted:
        server = replace(
            server_for(scripted, port), cafile=None, fingerprint="sha256:" + "0" * 64
        )
        with pytest.raises(CertificateError, match="pinned") as caught:
            way(MESSAGE, server, **envelope())
        assert fingerprint_of(scripted, "implicit") in str(caught.value)
    assert not any(c.received for c in scripted.on(port))
    scripted.assert_clean(auths=0)


@pytest.mark.parametrize("old", ["old_tls"])
def test_fingerprint_keeps_the_minimum_version(old: str) -> None:
    """A pinned certificate does not make old TLS good enough."""
    with ScriptedServer(Script(certificate=old)) as scripted:
        with pytest.raises(Exception, match="handshake"):
            send(MESSAGE, pinned(scripted, "sha256:" + "0" * 64), **envelope())
    scripted.assert_clean(auths=0)


@pytest.mark.parametrize(
    "options",
    [
        {"fingerprint": "0" * 64},
        {"fingerprint": "sha256:" + "0" * 63},
        {"fingerprint": "sha1:" + "0" * 40},
        {"fingerprint": b"sha256:"},
        {"fingerprint": "sha256:" + "0" * 64, "cafile": "ca.pem"},
        {
            "fingerprint": "sha256:" + "0" * 64,
            "ssl_context": ssl.create_default_context(),
        },
        {"redirect_to": "nobody"},
        {"redirect_to": "a@example.org, b@example.org"},
    ],
)
def test_refused_options(options: dict[str, Any]) -> None:
    """What cannot be meant is refused when the server is made."""
    with pytest.raises(ConfigError):
        Server("mail.example.org", **options)


def test_the_systems_store() -> None:
    """A context of the package truststore counts as one that verifies."""
    truststore = pytest.importorskip("truststore")
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with ScriptedServer() as scripted:
        server = replace(
            server_for(scripted, "implicit"), cafile=None, ssl_context=context
        )
        with pytest.raises(CertificateError):
            send(MESSAGE, server, **envelope())
        context.load_verify_locations(scripted.ca)
        assert send(MESSAGE, server, **envelope()).reply.code == 250


@pytest.mark.parametrize("way", WAYS)
def test_redirect(way: Send) -> None:
    """All mail goes to one address, the original recipients in a header."""
    message = compose(
        sender="ann@example.org",
        to=["bob@example.net", "carol@example.net"],
        bcc="dan@example.net",
        text="hello",
    )
    with ScriptedServer() as scripted:
        server = replace(server_for(scripted), redirect_to="Staging <test@example.org>")
        receipt = way(message, server)
        assert receipt.accepted == ("test@example.org",)
    (stored,) = scripted.accepted
    assert stored.recipients == ("test@example.org",)
    head = stored.content.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ")
    names = b"X-Original-Recipients: bob@example.net, carol@example.net, dan@example.net"
    assert head.startswith(names + b"\r\n")
    assert b"To: bob@example.net, carol@example.net\r\n" in head


def test_redirect_without_8bitmime() -> None:
    """A message that is encoded anew keeps the header."""
    message = EmailMessage()
    message["From"], message["To"] = "ann@example.org", "bob@example.net"
    message.set_content("Grüße", cte="8bit")
    with ScriptedServer(Script(offers=("AUTH PLAIN",))) as scripted:
        server = replace(server_for(scripted), redirect_to="test@example.org")
        send(message, server)
    (stored,) = scripted.accepted
    assert stored.content.startswith(b"X-Original-Recipients: bob@example.net\r\n")
    assert stored.content.isascii()


def test_prepared() -> None:
    """A prepared message survives JSON, and each try sends the same bytes."""
    message = EmailMessage()
    message["From"], message["To"] = "ann@example.org", "bob@example.net"
    message["Bcc"] = "carol@example.net"
    message.set_content("Grüße", cte="8bit")
    made = prepare(message)
    again = Prepared.from_dict(json.loads(json.dumps(made.to_dict())))
    assert again == made
    with ScriptedServer(Script({"final:1": reply(451, "4.3.0", "later")})) as scripted:
        server = server_for(scripted)
        with Client(server, max_connections=1) as client:
            first, second = client.send_many([again, again])
    assert (first.error is None) != (second.error is None)
    contents = {m.content for c in scripted.connections for m in c.messages}
    assert contents == {made.content}
    (stored,) = scripted.accepted
    assert stored.recipients == ("bob@example.net", "carol@example.net")
    assert stored.message_id == made.message_id is not None
    assert made.content.isascii()


def test_prepared_overrides() -> None:
    """Explicit sender and recipients go before those of a prepared message."""
    made = prepare(MESSAGE, **envelope())
    with ScriptedServer() as scripted:
        send(made, server_for(scripted), sender="", recipients=["eve@example.net"])
    assert [(m.sender, m.recipients) for m in scripted.accepted] == [
        ("", ("eve@example.net",))
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"content": "no base64!"},
        {"recipients": []},
        {"recipients": [1]},
        {"sender": None},
        {"sender": "a@b>\r\nRSET"},
        {"recipients": ["a@b> SIZE=1"]},
    ],
)
def test_prepared_from_bad_data(change: dict[str, object]) -> None:
    """What comes from a queue is checked like any other input."""
    data = prepare(MESSAGE, **envelope()).to_dict() | change
    with pytest.raises(ConfigError):
        send(Prepared.from_dict(data), "127.0.0.1")  # type: ignore[arg-type]


def test_hooks() -> None:
    """Each attempt and each outcome is told, and a hook that raises changes nothing."""
    attempts: list[Attempt] = []
    outcomes: list[Outcome] = []

    def on_outcome(outcome: Outcome) -> None:
        outcomes.append(outcome)
        raise RuntimeError("hook")

    with ScriptedServer(
        starttls="refused", implicit={"rcpt:2": reply(550, "5.1.1", "no")}
    ) as scripted:
        hooks = {"on_attempt": attempts.append, "on_outcome": on_outcome}
        with Client(server_for(scripted), max_connections=1, **hooks) as client:
            results = list(client.send_many([(MESSAGE, "a@x.org", ["b@x.org"])] * 2))
    assert [o.index for o in outcomes] == [0, 1]
    assert [o.receipt for o in outcomes] == [o.receipt for o in results]
    assert isinstance(outcomes[1].error, RecipientsRefused)
    assert outcomes[0].message == MESSAGE
    assert [a.event for a in attempts] == [Event.UNREACHABLE, Event.REFUSED]


def test_hook_of_a_cancelled_send() -> None:
    """A cancelled send that became unknown is told as such."""
    outcomes: list[Outcome] = []

    async def main(scripted: ScriptedServer) -> None:
        server = server_for(scripted, "implicit", final_timeout=5)
        async with AsyncClient(server, on_outcome=outcomes.append) as client:
            task = asyncio.create_task(client.send(MESSAGE, **envelope()))
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(
                None,
                scripted.wait_for,
                lambda: any(
                    m.state == "unknown" for c in scripted.connections for m in c.messages
                ),
            )
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with ScriptedServer(implicit={"final": hang()}) as scripted:
        asyncio.run(main(scripted))
    (outcome,) = outcomes
    assert isinstance(outcome.error, DeliveryUnknown)
    assert outcome.error.message_id == MESSAGE_ID


def test_hooks_are_functions() -> None:
    """A hook that cannot be called is refused."""
    with pytest.raises(ConfigError):
        Client("mail.example.org", on_attempt="print")  # type: ignore[arg-type]
