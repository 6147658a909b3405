"""What the log says: one line a send, a warning for what somebody should look at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from scripted import Script, ScriptedServer, close, hang, reply, say
from sending import (
    MESSAGE,
    MESSAGE_ID,
    RECIPIENT,
    WAYS,
    Send,
    envelope,
    send_sync,
    server_for,
)

from smtpsend import AsyncClient, Client, Outcome, SendError, send_async
from smtpsend.errors import ConfigError, DeliveryUnknown


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the logger "smtpsend" says at INFO and above."""
    caplog.set_level(logging.INFO, "smtpsend")
    return caplog


def lines(log: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and text of what was logged by the library, or of it by asyncio."""
    names = ("smtpsend", "asyncio")
    return [
        (r.levelname, r.getMessage())
        for r in log.records
        if r.name.startswith(names) and r.levelno >= logging.INFO
    ]


@pytest.mark.parametrize("send", WAYS)
def test_success(send: Send, log: pytest.LogCaptureFixture) -> None:
    """A success is one INFO line: which message, where, how, the server's answer."""
    with ScriptedServer(implicit=None, starttls2=None) as scripted:
        send(MESSAGE, server_for(scripted), **envelope())
    [(level, text)] = lines(log)
    assert level == "INFO"
    for part in (MESSAGE_ID, scripted.host, "STARTTLS", "250 2.0.0", "1 recipient"):
        assert part in text
    assert all(record.name == "smtpsend" for record in log.records)


@pytest.mark.parametrize("send", WAYS)
def test_fallback(send: Send, log: pytest.LogCaptureFixture) -> None:
    """A fallback is a WARNING more, which says what failed and what was used."""
    with ScriptedServer(starttls="refused", starttls2=None) as scripted:
        send(MESSAGE, server_for(scripted), **envelope())
    assert [level for level, _ in lines(log)] == ["WARNING", "INFO"]
    warning = lines(log)[0][1]
    assert f"{scripted.port('starttls')} STARTTLS: no connection" in warning
    assert f"fell back to {scripted.port('implicit')} implicit TLS" in warning


def test_refused_recipient(log: pytest.LogCaptureFixture) -> None:
    """A partial refusal shows in the line of the success."""
    script = Script({"rcpt:2": reply(550, "5.1.1", "unknown")})
    with ScriptedServer(script) as scripted:
        recipients = [RECIPIENT, "eve@example.net"]
        send_sync(MESSAGE, server_for(scripted), **envelope(recipients=recipients))
    assert [level for level, _ in lines(log)] == ["INFO"]
    assert "1 refused" in lines(log)[0][1]


@pytest.mark.parametrize("send", WAYS)
@pytest.mark.parametrize(
    ("moment", "action", "level", "word"),
    [
        ("mail", reply(550, "5.7.1", "no"), "INFO", "not sent"),
        ("auth", reply(535, "5.7.8", "no"), "INFO", "AuthError"),
        ("final", reply(451, "4.3.0", "no"), "INFO", "Rejected"),
        ("final", close(), "WARNING", "unknown whether delivered"),
    ],
)
def test_failure(
    moment: str,
    action: object,
    level: str,
    word: str,
    send: Send,
    log: pytest.LogCaptureFixture,
) -> None:
    """A failure is one line with the Message-ID; a WARNING only where nobody knows."""
    with ScriptedServer({moment: action}) as scripted:  # type: ignore[dict-item]
        with pytest.raises(SendError):
            send(MESSAGE, server_for(scripted, "implicit"), **envelope())
    [(found, text)] = lines(log)
    assert found == level
    assert word in text
    assert MESSAGE_ID in text


def test_one_line_each(log: pytest.LogCaptureFixture) -> None:
    """Three messages over one connection are three lines."""
    with ScriptedServer(starttls=None, starttls2=None) as scripted:
        with Client(server_for(scripted)) as client:
            for _ in range(3):
                client.send(MESSAGE, **envelope())
    assert [level for level, _ in lines(log)] == ["INFO"] * 3


def test_nothing_sent_nothing_logged(log: pytest.LogCaptureFixture) -> None:
    """What is refused before any network is the caller's to log."""
    with pytest.raises(ConfigError):
        send_sync(MESSAGE, "host.invalid", **envelope(recipients=["no address"]))
    assert not [line for line in lines(log) if line[0] != "INFO"]


@pytest.mark.parametrize("moment", ["mail", "rcpt", "data", "final"])
def test_cancelled(moment: str, log: pytest.LogCaptureFixture) -> None:
    """A cancellation after the end of the message warns with its Message-ID, else not."""

    async def main(scripted: ScriptedServer) -> None:
        server = server_for(scripted, reply_timeout=30, final_timeout=30, deadline=30)
        sending = asyncio.create_task(send_async(MESSAGE, server, **envelope()))
        verb = "DATA" if moment == "final" else moment.upper()

        def reached() -> bool:
            [connection] = scripted.connections
            ended = any(m.state == "unknown" for m in connection.messages)
            return verb in connection.verbs and (moment != "final" or ended)

        await asyncio.to_thread(
            scripted.wait_for, lambda: scripted.connections and reached()
        )
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    with ScriptedServer({moment: hang()}, starttls=None, starttls2=None) as scripted:
        asyncio.run(main(scripted))
    assert not scripted.accepted
    if moment == "final":
        [(level, text)] = lines(log)
        assert level == "WARNING"
        assert MESSAGE_ID in text
        assert "unknown whether delivered" in text
    else:
        assert not lines(log)


@pytest.mark.parametrize("cancelled", [False, True])
def test_no_message_id(cancelled: bool, log: pytest.LogCaptureFixture) -> None:
    """Of a message without a Message-ID, line and hint say so; no hint looks for it."""
    bare = b"From: ann@example.org\r\n\r\nHello.\r\n"
    outcomes: list[Outcome] = []

    async def main(scripted: ScriptedServer) -> None:
        server = server_for(scripted, reply_timeout=30, final_timeout=30, deadline=30)
        async with AsyncClient(server, on_outcome=outcomes.append) as client:
            sending = asyncio.create_task(client.send(bare, **envelope()))
            if cancelled:

                def ended() -> bool:
                    messages = [m for c in scripted.connections for m in c.messages]
                    return any(m.state == "unknown" for m in messages)

                await asyncio.to_thread(scripted.wait_for, ended)
                sending.cancel()
            with pytest.raises((asyncio.CancelledError, DeliveryUnknown)):
                await sending

    action = hang() if cancelled else close()
    with ScriptedServer({"final": action}, starttls=None, starttls2=None) as scripted:
        asyncio.run(main(scripted))
    [(level, text)] = lines(log)
    assert level == "WARNING"
    assert "a message without Message-ID" in text
    [outcome] = outcomes
    assert outcome.error is not None
    assert "has no Message-ID" in outcome.error.hint
    assert "look for its" not in outcome.error.hint


class Raising(logging.Handler):
    """A handler that fails on everything."""

    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("the disk is full")


@pytest.fixture
def raising() -> Iterator[None]:
    """The library's logger with a handler that raises."""
    logger, handler = logging.getLogger("smtpsend"), Raising()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.usefixtures("raising")
@pytest.mark.parametrize("send", WAYS)
def test_a_handler_that_raises(send: Send) -> None:
    """A success stays a success, and a failure its own error, whatever a handler does."""
    with ScriptedServer(starttls="refused") as scripted:
        receipt = send(MESSAGE, server_for(scripted), **envelope())
        assert receipt.attempts
    assert len(scripted.accepted) == 1
    with ScriptedServer({"final": close()}) as scripted, pytest.raises(DeliveryUnknown):
        send(MESSAGE, server_for(scripted), **envelope())


@pytest.mark.parametrize("send", WAYS)
def test_one_line_is_one_line(send: Send, log: pytest.LogCaptureFixture) -> None:
    """Nothing that the server or the message says begins a line of its own."""
    evil = say("250-2.0.0 a\x1b[2J\r\n250-\u2028fake\x85line\r\n250 b\r\n".encode())
    message = MESSAGE.replace(MESSAGE_ID.encode(), b"<1\x1b[2J\x0b\x0c@example.org>")
    with ScriptedServer({"final": evil}, starttls="refused") as scripted:
        send(message, server_for(scripted), **envelope())
    for _, text in lines(log):
        assert len(text.splitlines()) == 1
        assert "\x1b" not in text
