"""Each row of the policy table over real sockets: what goes wrong, and what follows."""

from __future__ import annotations

import pytest
from scripted import (
    OFFERS,
    Script,
    ScriptedServer,
    close,
    garbage,
    hang,
    inject,
    reply,
    rst,
    say,
    stop_reading,
)
from sending import MESSAGE, QUICK, WAYS, Send, envelope, patiently, server_for

from smtpsend import SendError
from smtpsend._wire import handshake
from smtpsend._wire.connection import Session
from smtpsend.errors import (
    AuthError,
    CertificateError,
    ConnectError,
    ConnectionLost,
    DeliveryUnknown,
    Event,
    Phase,
    RecipientsRefused,
    Rejected,
    TLSError,
)


pytestmark = pytest.mark.parametrize("send", WAYS)

WITHOUT_AUTH = tuple(o for o in OFFERS if not o.startswith("AUTH"))
DISAGREE = say(b"250-one\r\n550 two\r\n")


def bad(moment: str, action: object) -> Script:
    """A script with one fault."""
    return Script({moment: action})  # type: ignore[dict-item]


# What happens on the first method, the row, and how far it came. The second is good.
NEXT = {
    "refused": ("refused", Event.UNREACHABLE, Phase.CONNECT),
    "black hole": ("blackhole", Event.ABANDONED, Phase.CONNECT),
    "silent": ("silent", Event.ABANDONED, Phase.GREETING),
    "closed": (bad("greeting", close()), Event.NO_GREETING, Phase.GREETING),
    "reset": (bad("ehlo", rst()), Event.EHLO_REFUSED, Phase.EHLO),
    "garbage": (bad("greeting", garbage()), Event.NO_GREETING, Phase.GREETING),
    "greeting 421": (
        bad("greeting", reply(421, "", "busy") + close()),
        Event.NO_GREETING,
        Phase.GREETING,
    ),
    "greeting 554": (
        bad("greeting", reply(554, "", "no") + close()),
        Event.NO_GREETING,
        Phase.GREETING,
    ),
    "greeting of two minds": (
        bad("greeting", say(b"220-one\r\n554 two\r\n")),
        Event.NO_GREETING,
        Phase.GREETING,
    ),
    "EHLO 502": (
        bad("ehlo", reply(502, "5.5.1", "no")),
        Event.EHLO_REFUSED,
        Phase.EHLO,
    ),
    "EHLO lost": (bad("ehlo", close()), Event.EHLO_REFUSED, Phase.EHLO),
    "two greetings": (
        bad("greeting", say(b"220 one\r\n220 two\r\n")),
        Event.EHLO_REFUSED,
        Phase.EHLO,
    ),
    "no STARTTLS": (
        Script(offers_in_clear=("SIZE", "AUTH PLAIN")),
        Event.NO_STARTTLS,
        Phase.STARTTLS,
    ),
    "STARTTLS 454": (
        bad("starttls", reply(454, "4.7.0", "not now")),
        Event.NO_STARTTLS,
        Phase.STARTTLS,
    ),
    "STARTTLS lost": (bad("starttls", close()), Event.NO_STARTTLS, Phase.STARTTLS),
    "handshake garbage": (bad("tls", garbage()), Event.HANDSHAKE, Phase.TLS),
    "handshake lost": (bad("tls", close()), Event.HANDSHAKE, Phase.TLS),
    "TLS 1.1 only": (Script(certificate="old_tls"), Event.HANDSHAKE, Phase.TLS),
    "EHLO after TLS lost": (bad("ehlo2", rst()), Event.EHLO_REFUSED, Phase.EHLO),
    "no AUTH": (Script(offers=WITHOUT_AUTH), Event.NO_MECHANISM, Phase.AUTH),
    "no mechanism": (
        Script(offers=(*WITHOUT_AUTH, "AUTH GSSAPI NTLM")),
        Event.NO_MECHANISM,
        Phase.AUTH,
    ),
    "AUTH lost": (bad("auth", close()), Event.AUTH_LOST, Phase.AUTH),
    "AUTH hangs": (bad("auth", hang()), Event.AUTH_LOST, Phase.AUTH),
    "AUTH 421": (
        bad("auth", reply(421, "4.3.2", "bye") + close()),
        Event.AUTH_LOST,
        Phase.AUTH,
    ),
    "AUTH garbage": (bad("auth", garbage()), Event.AUTH_LOST, Phase.AUTH),
    "AUTH asks for more": (
        bad("auth", say(b"334 \r\n")),
        Event.AUTH_LOST,
        Phase.AUTH,
    ),
    "MAIL 421": (
        bad("mail", reply(421, "4.3.2", "bye") + close()),
        Event.LOST,
        Phase.MAIL,
    ),
    "MAIL lost": (bad("mail", rst()), Event.LOST, Phase.MAIL),
    "MAIL hangs": (bad("mail", hang()), Event.LOST, Phase.MAIL),
    "MAIL of two minds": (bad("mail", DISAGREE), Event.LOST, Phase.MAIL),
    "an extra reply": (
        # In one segment: behind it, the stray could come after MAIL has gone out.
        bad("auth", say(b"235 2.7.0 ok\r\n250 stray\r\n")),
        Event.LOST,
        Phase.MAIL,
    ),
    "RCPT 421": (
        bad("rcpt", reply(421, "4.3.2", "bye") + close()),
        Event.LOST,
        Phase.RCPT,
    ),
    "RCPT lost": (bad("rcpt", close()), Event.LOST, Phase.RCPT),
    "RCPT garbage": (bad("rcpt", garbage()), Event.LOST, Phase.RCPT),
    "DATA 421": (
        bad("data", reply(421, "4.3.2", "bye") + close()),
        Event.LOST,
        Phase.DATA,
    ),
    "DATA lost": (bad("data", rst()), Event.LOST, Phase.DATA),
    "DATA hangs": (bad("data", hang()), Event.LOST, Phase.DATA),
}

# What happens on the first method, and the error that ends the send.
STOP = {
    "wrong host": (
        Script(certificate="wrong_host"),
        CertificateError,
        Event.CERTIFICATE,
        Phase.TLS,
    ),
    "AUTH 535": (
        bad("auth", reply(535, "5.7.8", "wrong")),
        AuthError,
        Event.AUTH_REFUSED,
        Phase.AUTH,
    ),
    "AUTH 454": (
        bad("auth", reply(454, "4.7.0", "later")),
        AuthError,
        Event.AUTH_REFUSED,
        Phase.AUTH,
    ),
    "sender": (
        bad("mail", reply(550, "5.7.1", "no")),
        Rejected,
        Event.REFUSED,
        Phase.MAIL,
    ),
    "recipient": (
        bad("rcpt", reply(550, "5.1.1", "unknown")),
        RecipientsRefused,
        Event.REFUSED,
        Phase.RCPT,
    ),
    "DATA 554": (
        bad("data", reply(554, "5.5.1", "no")),
        Rejected,
        Event.REFUSED,
        Phase.DATA,
    ),
    "message": (
        bad("final", reply(554, "5.6.0", "spam")),
        Rejected,
        Event.REFUSED,
        Phase.FINAL,
    ),
    "421 at the end": (
        bad("final", reply(421, "4.3.2", "bye") + close()),
        Rejected,
        Event.CLOSING_AT_END,
        Phase.FINAL,
    ),
    "MAIL 354": (
        bad("mail", say(b"354 go\r\n")),
        Rejected,
        Event.WRONG_CLASS,
        Phase.MAIL,
    ),
    "RCPT 334": (bad("rcpt", say(b"334 x\r\n")), Rejected, Event.WRONG_CLASS, Phase.RCPT),
    "DATA 250": (
        bad("data", say(b"250 ok\r\n")),
        Rejected,
        Event.WRONG_CLASS,
        Phase.DATA,
    ),
    "354 at the end": (
        bad("final", say(b"354 more\r\n")),
        DeliveryUnknown,
        Event.UNKNOWN,
        Phase.FINAL,
    ),
    "accepted early": (
        bad("data", say(b"354 go\r\n250 2.0.0 taken\r\n") + hang()),
        DeliveryUnknown,
        Event.ACCEPTED_EARLY,
        Phase.CONTENT,
    ),
    "lost at the end": (
        bad("final", close()),
        DeliveryUnknown,
        Event.UNKNOWN,
        Phase.FINAL,
    ),
    "reset at the end": (
        bad("final", rst()),
        DeliveryUnknown,
        Event.UNKNOWN,
        Phase.FINAL,
    ),
    "silence at the end": (
        bad("final", hang()),
        DeliveryUnknown,
        Event.UNKNOWN,
        Phase.FINAL,
    ),
    "garbage at the end": (
        bad("final", garbage()),
        DeliveryUnknown,
        Event.UNKNOWN,
        Phase.FINAL,
    ),
    "two minds at the end": (
        bad("final", DISAGREE),
        DeliveryUnknown,
        Event.UNKNOWN,
        Phase.FINAL,
    ),
}


@pytest.mark.parametrize("case", NEXT)
@patiently
def test_next(case: str, send: Send) -> None:
    """The message goes out by the second method, and the first is in the attempts."""
    script, event, phase = NEXT[case]
    with ScriptedServer(starttls=script) as scripted:  # type: ignore[arg-type]
        server = server_for(scripted, "starttls", "implicit", **QUICK)
        receipt = send(MESSAGE, server, **envelope())
        first, second = server.policy.methods
        assert receipt.method == second
        assert [(a.method, a.event, a.phase) for a in receipt.attempts] == [
            (first, event, phase)
        ]
        assert (receipt.attempts[0].error is None) == (event is Event.ABANDONED)
    assert [m.content for m in scripted.accepted] == [MESSAGE]
    logins = 2 if phase in (Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.AUTH) else 1
    scripted.assert_clean(auths=logins)


@pytest.mark.parametrize("case", STOP)
@patiently
def test_stop(case: str, send: Send) -> None:
    """It ends there, with a typed error, and no other method is tried."""
    script, kind, event, phase = STOP[case]
    with ScriptedServer(starttls=script) as scripted:
        server = server_for(scripted, **{**QUICK, "stagger": 4})
        with pytest.raises(SendError) as caught:
            send(MESSAGE, server, **envelope())
        assert not scripted.on("implicit")
        assert not scripted.on("starttls2")
    error = caught.value
    assert (type(error), error.event, error.phase) == (kind, event, phase)
    assert [a.event for a in error.attempts] == [event]
    assert error.message_id == "<1@example.org>"
    # What is no refusal is not called one.
    assert ("has no place there" in error.message) == (event is Event.WRONG_CLASS)
    scripted.assert_clean()


FATAL = {
    "refused": ("refused", ConnectError, True, False),
    "black hole": ("blackhole", ConnectError, True, True),
    "silent": ("silent", ConnectError, True, True),
    "greeting 421": (bad("greeting", reply(421, "", "x")), ConnectError, True, False),
    "greeting 554": (bad("greeting", reply(554, "", "x")), ConnectError, False, False),
    "no STARTTLS": (Script(offers_in_clear=("SIZE",)), TLSError, False, False),
    "STARTTLS 454": (bad("starttls", reply(454, "", "x")), TLSError, True, False),
    "STARTTLS hangs": (bad("starttls", hang()), TLSError, True, True),
    "handshake hangs": (bad("tls", hang()), TLSError, True, True),
    "handshake lost": (bad("tls", close()), TLSError, True, False),
    "TLS 1.1 only": (Script(certificate="old_tls"), TLSError, False, False),
    "no AUTH": (Script(offers=WITHOUT_AUTH), AuthError, False, False),
    "AUTH hangs": (bad("auth", hang()), ConnectionLost, True, True),
    "MAIL lost": (bad("mail", close()), ConnectionLost, True, False),
    "RCPT hangs": (bad("rcpt", hang()), ConnectionLost, True, True),
}


@pytest.mark.parametrize("case", FATAL)
@patiently
def test_every_method_fails(case: str, send: Send) -> None:
    """Where nothing works, the error is typed and says whether to try again."""
    script, kind, temporary, timed_out = FATAL[case]
    with ScriptedServer(starttls=script, starttls2=script, implicit=None) as scripted:  # type: ignore[arg-type]
        with pytest.raises(SendError) as caught:
            send(MESSAGE, server_for(scripted, **QUICK), **envelope())
    error = caught.value
    assert type(error) is kind
    assert (error.temporary, error.timed_out) == (temporary, timed_out)
    assert len(error.attempts) == 2
    assert not scripted.accepted
    scripted.assert_clean(auths=None)


def test_injected_plaintext(send: Send) -> None:
    """Plaintext after the 220 to STARTTLS is never read as a reply."""
    evil = inject(extra=b"250-evil\r\n250 AUTH PLAIN\r\n")
    with ScriptedServer(starttls=bad("starttls", evil)) as scripted:
        receipt = send(MESSAGE, server_for(scripted, "starttls"), **envelope())
        assert receipt.reply.code == 250
    assert [m.content for m in scripted.accepted] == [MESSAGE]
    scripted.assert_clean()


def test_gone_before_the_handshake(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the connection after the 220 is seen before the handshake begins."""
    send_starttls = handshake._send_starttls

    async def late(session: Session) -> None:
        await send_starttls(session)
        await session.channel.wait_closed(20)

    monkeypatch.setattr(handshake, "_send_starttls", late)
    script = bad("starttls", say(b"220 go\r\n") + close())
    with ScriptedServer(starttls=script) as scripted:
        with pytest.raises(TLSError, match="the connection was closed") as caught:
            send(MESSAGE, server_for(scripted, "starttls"), **envelope())
    assert (caught.value.phase, caught.value.temporary) == (Phase.TLS, True)


def test_unknown_host(send: Send) -> None:
    """A name that does not exist stops everything, and is not temporary."""
    with pytest.raises(ConnectError) as caught:
        send(MESSAGE, "no-such-host.invalid", **envelope())
    error = caught.value
    assert (error.phase, error.event) == (Phase.RESOLVE, Event.UNRESOLVED)
    assert not error.timed_out


def test_certificate_next(send: Send) -> None:
    """on_certificate_error="next" delivers by the next method, verified all the same."""
    with ScriptedServer(starttls=Script(certificate="wrong_host")) as scripted:
        server = server_for(scripted, on_certificate_error="next")
        receipt = send(MESSAGE, server, **envelope())
        assert receipt.method == server.policy.methods[1]
        assert [a.event for a in receipt.attempts] == [Event.CERTIFICATE]
    assert not scripted.on("starttls")[0].received
    scripted.assert_clean()


@pytest.mark.parametrize(
    "kind", ["wrong_host", "expired", "self_signed", "unknown_ca", "cn_only"]
)
@pytest.mark.parametrize("port", ["starttls", "implicit"])
def test_certificates(kind: str, port: str, send: Send) -> None:
    """A certificate that does not verify is a CertificateError, and nothing is sent."""
    with ScriptedServer(Script(certificate=kind)) as scripted:
        with pytest.raises(CertificateError) as caught:
            send(MESSAGE, server_for(scripted, port), **envelope())
    assert not caught.value.temporary
    assert not scripted.on(port)[0].received
    scripted.assert_clean(auths=0)


LARGE = MESSAGE + b"x" * 70 + b"\r\n"
LARGE += (b"y" * 78 + b"\r\n") * 250_000

MIDDLE = {
    "reset": (rst(), ConnectionLost, Event.LOST, False),
    "deaf": (stop_reading(), ConnectionLost, Event.LOST, True),
    "refused": (reply(552, "5.3.4", "too big"), Rejected, Event.REFUSED, False),
    "refused and closed": (
        reply(552, "5.3.4", "too big") + close(),
        Rejected,
        Event.REFUSED,
        False,
    ),
    "421": (reply(421, "4.3.2", "bye"), ConnectionLost, Event.LOST, False),
    "taken": (reply(250, "2.0.0", "ok"), DeliveryUnknown, Event.ACCEPTED_EARLY, False),
    "354": (say(b"354 more\r\n"), Rejected, Event.WRONG_CLASS, False),
    "garbage": (garbage(), ConnectionLost, Event.LOST, False),
}


@pytest.mark.parametrize("case", MIDDLE)
@patiently
def test_in_the_middle_of_the_message(case: str, send: Send) -> None:
    """What happens before the end of the message has gone out is never unknown."""
    action, kind, event, timed_out = MIDDLE[case]
    script = Script({"content:1000": action}, offers=("8BITMIME", "AUTH PLAIN"))
    with ScriptedServer(starttls=script) as scripted:
        with pytest.raises(SendError) as caught:
            send(LARGE, server_for(scripted, "starttls", **QUICK), **envelope())
    error = caught.value
    assert (type(error), error.event, error.phase) == (kind, event, Phase.CONTENT)
    assert error.timed_out is timed_out
    assert not scripted.accepted
    scripted.assert_clean(auths=None)
