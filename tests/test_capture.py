"""`smtpsend.testing.capture`: what a program's tests see in place of the network."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sending import MESSAGE, MESSAGE_ID, RECIPIENT, SENDER, WAYS, Send, envelope

from smtpsend import AsyncClient, Client, Policy, Server, compose, send, send_async
from smtpsend._client import transport
from smtpsend.errors import (
    Attempt,
    AuthError,
    CertificateError,
    ConfigError,
    ConnectError,
    ConnectionLost,
    DeliveryUnknown,
    Event,
    Phase,
    RecipientsRefused,
    Rejected,
    Reply,
    SendError,
    TLSError,
)
from smtpsend.testing import Outbox, capture
from smtpsend.testing import outbox as current


URL = "smtp://ann:secret@mail.example.org"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test of this module looks a name up."""

    async def resolve(*_: object) -> object:
        raise AssertionError("the network was reached")

    monkeypatch.setattr("smtpsend._wire.target.resolve", resolve)


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with capture() as box:
        yield box


def note(n: int = 1, **options: Any) -> Any:
    """A message that `compose` made."""
    to = {"to": RECIPIENT, **options}
    return compose(sender=SENDER, subject=f"note {n}", text="Hello.", **to)


def by_send() -> None:
    send(note(), URL)


def by_send_async() -> None:
    asyncio.run(send_async(note(), URL))


def by_client() -> None:
    with Client(URL) as client:
        client.send(note())


def by_send_many() -> None:
    with Client(URL) as client:
        outcomes = list(client.send_many([note(), (note(), SENDER, [RECIPIENT])]))
    assert all(outcome.receipt for outcome in outcomes)


def by_async_client() -> None:
    async def main() -> None:
        async with AsyncClient(URL) as client:
            await client.check()
            await client.send(note())
            async for outcome in client.send_many([note()]):
                assert outcome.receipt

    asyncio.run(main())


def inside_a_loop() -> None:
    async def main() -> None:
        send(note(), URL)

    asyncio.run(main())


def in_a_thread() -> None:
    thread = threading.Thread(target=by_send)
    thread.start()
    thread.join()


def in_many_threads() -> None:
    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(by_client) for _ in range(40)]:
            future.result()


@pytest.mark.parametrize(
    ("way", "count"),
    [
        (by_send, 1),
        (by_send_async, 1),
        (by_client, 1),
        (by_send_many, 2),
        (by_async_client, 2),
        (inside_a_loop, 1),
        (in_a_thread, 1),
        (in_many_threads, 40),
    ],
)
def test_every_way_lands_in_the_outbox(
    outbox: Outbox, way: Callable[[], None], count: int
) -> None:
    """Each way to send, from any thread, fills the outbox and reaches no network."""
    way()
    assert len(outbox) == count
    assert {sent.recipients for sent in outbox} == {(RECIPIENT,)}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_captured(outbox: Outbox, way: Send) -> None:
    """A captured message holds envelope, bytes, parsed message, server and receipt."""
    message = note(bcc="eve@example.net", attachments=[("note.txt", b"1", "text/plain")])
    receipt = way(message, URL)
    (sent,) = outbox
    assert (sent.sender, sent.recipients) == (SENDER, (RECIPIENT, "eve@example.net"))
    assert b"\nBcc" not in sent.content
    assert sent.content.replace(b"\r\n", b"").count(b"\n") == 0
    assert sent.message["Subject"] == "note 1"
    assert sent.message.get_body().get_content() == "Hello.\n"
    assert [a.get_filename() for a in sent.message.iter_attachments()] == ["note.txt"]
    assert sent.server.host == "mail.example.org"
    assert sent.receipt is receipt
    assert sent.message_id == receipt.message_id == message["Message-ID"]


@pytest.mark.parametrize("way", WAYS)
def test_bytes_are_captured_as_they_go_out(outbox: Outbox, way: Send) -> None:
    """The content of given bytes is what a server would store."""
    way(MESSAGE, URL, **envelope())
    assert outbox[0].content == MESSAGE
    assert outbox[0].message_id == MESSAGE_ID


def test_the_receipt_looks_real(outbox: Outbox) -> None:
    """A receipt has what one of a real server has."""
    receipt = send(note(), Server("mail.example.org", policy=Policy()))
    assert receipt.accepted == (RECIPIENT,)
    assert (receipt.refused, receipt.attempts) == ({}, ())
    assert str(receipt.method) == "587 STARTTLS"
    assert (receipt.tls, receipt.reply.code) == ("TLSv1.3", 250)
    assert pickle.loads(pickle.dumps(receipt)) == receipt
    receipt.raise_for_refused()


@pytest.mark.parametrize(
    ("message", "server", "options"),
    [
        (MESSAGE, URL, {}),
        (note(to=()), URL, {}),
        (note(), URL, {"recipients": ["bob@example.net\r\nRCPT TO:<x@example.net>"]}),
        (note(), URL, {"timeout": -1}),
        (note(), "http://mail.example.org", {}),
        (
            note(),
            Server("mail.example.org", ssl_context=ssl._create_unverified_context()),
            {},
        ),
        (b"Subject: a\rb\r\n\r\n", URL, envelope()),
    ],
    ids=["envelope", "nobody", "injection", "timeout", "url", "context", "bare CR"],
)
@pytest.mark.parametrize("way", WAYS)
def test_bad_input_is_refused_as_in_real_life(
    outbox: Outbox, way: Send, message: object, server: Server | str, options: Any
) -> None:
    """What the library refuses before any network is refused here, too."""
    with pytest.raises(ConfigError):
        way(message, server, **options)
    assert not len(outbox)


FAILURES = [
    (ConfigError, None, Phase.CONFIG, None, False, None),
    (ConnectError, None, Phase.CONNECT, Event.UNREACHABLE, True, None),
    (ConnectError, 421, Phase.GREETING, Event.NO_GREETING, True, 421),
    (ConnectError, 554, Phase.GREETING, Event.NO_GREETING, False, 554),
    (CertificateError, None, Phase.TLS, Event.CERTIFICATE, False, None),
    (TLSError, None, Phase.STARTTLS, Event.NO_STARTTLS, False, None),
    (TLSError, 454, Phase.STARTTLS, Event.NO_STARTTLS, True, 454),
    (AuthError, None, Phase.AUTH, Event.AUTH_REFUSED, False, 535),
    (AuthError, 454, Phase.AUTH, Event.AUTH_REFUSED, True, 454),
    (Rejected, None, Phase.FINAL, Event.REFUSED, False, 554),
    (Rejected, 451, Phase.FINAL, Event.REFUSED, True, 451),
    (RecipientsRefused, None, Phase.RCPT, Event.REFUSED, False, 550),
    (RecipientsRefused, 450, Phase.RCPT, Event.REFUSED, True, 450),
    (ConnectionLost, None, Phase.DATA, Event.LOST, True, None),
    (DeliveryUnknown, None, Phase.FINAL, Event.UNKNOWN, False, None),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("kind", "code", "phase", "event", "temporary", "reply"), FAILURES
)
def test_fail_next_fills_the_facts_in(
    outbox: Outbox,
    way: Send,
    kind: type[SendError],
    code: int | None,
    phase: Phase,
    event: Event | None,
    temporary: bool,
    reply: int | None,
) -> None:
    """Each class fails as in its commonest case, once, and the next send succeeds."""
    outbox.fail_next(kind, code=code)
    message = note()
    with pytest.raises(kind) as caught:
        way(message, URL)
    error = caught.value
    assert type(error) is kind
    assert (error.phase, error.event, error.temporary) == (phase, event, temporary)
    assert (error.reply and error.reply.code) == reply
    assert error.message_id == message["Message-ID"]
    assert error.hint or kind is ConfigError
    assert bool(error.attempts) is isinstance(error, ConnectError)
    if isinstance(error, RecipientsRefused):
        assert set(error.refused) == {RECIPIENT}
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert [failed.error for failed in outbox.failed] == [error]
    assert not outbox.messages
    way(message, URL)
    assert len(outbox) == 1


def test_a_connect_error_tells_of_each_method(outbox: Outbox) -> None:
    """The attempts are those of the policy, and hooks hear of them."""
    heard: list[Attempt] = []
    outbox.fail_next(ConnectError, timed_out=True)
    with Client(URL, on_attempt=heard.append) as client:
        with pytest.raises(ConnectError) as caught:
            client.send(note())
    assert caught.value.timed_out
    assert [a.method for a in caught.value.attempts] == list(Policy().methods)
    assert tuple(heard) == caught.value.attempts


@pytest.mark.parametrize(
    ("given", "phase", "temporary"),
    [
        (ConnectionLost("gone"), Phase.DATA, True),
        (ConnectionLost("gone", phase=Phase.MAIL), Phase.MAIL, True),
        (ConnectError("no", event=Event.UNRESOLVED), Phase.CONFIG, False),
        (Rejected("no", reply=Reply(451, "4.7.1", "greylisted")), Phase.FINAL, True),
        (Rejected("no"), Phase.FINAL, False),
        (DeliveryUnknown("lost"), Phase.FINAL, False),
    ],
)
def test_an_error_made_by_hand_is_completed(
    outbox: Outbox, given: SendError, phase: Phase, temporary: bool
) -> None:
    """An instance is raised as a copy, with what its maker left out."""
    before = copy.copy(given)
    outbox.fail_next(given, times=2)
    raised = []
    for _ in range(2):
        with pytest.raises(type(given)) as caught:
            send(note(), URL)
        raised.append(caught.value)
        assert caught.value.message == given.message
        assert (caught.value.phase, caught.value.temporary) == (phase, temporary)
    assert given not in raised
    assert raised[0] is not raised[1]
    assert vars(given) == vars(before)


@pytest.mark.parametrize("bad", [SendError, OSError, OSError("x"), TimeoutError, str])
def test_fail_next_takes_what_a_send_can_raise(outbox: Outbox, bad: Any) -> None:
    """A test cannot plan an error that no send ever raises."""
    with pytest.raises(TypeError):
        outbox.fail_next(bad)


def test_failures_come_in_turn(outbox: Outbox) -> None:
    """Planned failures are used up one by one; `clear` forgets messages only."""
    outbox.fail_next(ConnectionLost)
    outbox.fail_next(DeliveryUnknown)
    outbox.clear()
    with Client(URL) as client:
        kinds = [type(o.error) for o in client.send_many([note()] * 4)]
    # They run side by side: which message fails is not fixed, how many do is.
    assert sorted(k.__name__ for k in kinds) == [
        "ConnectionLost",
        "DeliveryUnknown",
        "NoneType",
        "NoneType",
    ]
    outbox.clear()
    assert (len(outbox), outbox.failed) == (0, [])
    assert outbox


@pytest.mark.parametrize(
    ("kind", "fails"),
    [
        (kind, issubclass(kind, ConnectError | AuthError | ConfigError))
        for kind in {row[0]: None for row in FAILURES}
    ],
)
def test_a_check_fails_before_the_message_only(
    outbox: Outbox, kind: type[SendError], fails: bool
) -> None:
    """A check takes a failure that can hit it, and leaves others for the next send."""
    outbox.fail_next(kind)
    with Client(URL) as client:
        if fails:
            with pytest.raises(kind):
                client.check()
            client.send(note())
        else:
            client.check()
            with pytest.raises(kind):
                client.send(note())
    assert not fails or len(outbox) == 1


@pytest.mark.parametrize("way", WAYS)
def test_refused_recipients(outbox: Outbox, way: Send) -> None:
    """The others get the message, but nobody under require_all."""
    outbox.refuse("Bob@Example.NET")  # a local part is case-sensitive, a domain not
    outbox.refuse("bob@EXAMPLE.net", 450, "greylisted")
    message = note(to=["bob@example.net", "carol@example.net"])
    receipt = way(message, URL)
    assert receipt.accepted == outbox[0].recipients == ("carol@example.net",)
    assert receipt.refused == {"bob@example.net": Reply(450, "4.2.0", "greylisted")}
    with pytest.raises(RecipientsRefused) as some:
        way(message, URL, require_all=True)
    assert set(some.value.refused) == {"bob@example.net"}
    with pytest.raises(RecipientsRefused) as only:
        way(note(), URL)
    assert only.value.temporary
    assert outbox.to("carol@Example.Net") == outbox.messages
    assert outbox.to("bob@example.net") == []


def test_captures_nest(outbox: Outbox) -> None:
    """An inner capture hides the outer one, and both end as they began."""
    send(note(1), URL)
    with capture() as inner:
        assert current() is inner
        send(note(2), URL)
    assert current() is outbox
    send(note(3), URL)
    assert [m.message["Subject"] for m in outbox] == ["note 1", "note 3"]
    assert [m.message["Subject"] for m in inner] == ["note 2"]


def test_nothing_is_left_behind() -> None:
    """After the last block, in whatever order they end, the network is back."""
    first, second = capture(), capture()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert transport.replacement is not None
    with pytest.raises(KeyError):
        with capture():
            raise KeyError
    second.__exit__(None, None, None)
    assert transport.replacement is None
    with pytest.raises(RuntimeError):
        current()
    with pytest.raises(ConnectError, match="AssertionError in resolve"):
        asyncio.run(send_async(note(), URL))


def test_threads_have_outboxes_of_their_own() -> None:
    """Captures of threads and tasks that run side by side do not mix."""
    barrier = threading.Barrier(4)

    def work(n: int) -> list[str]:
        with capture() as box:
            barrier.wait(10)
            send(note(n), URL)
            asyncio.run(send_async(note(n), URL))
            barrier.wait(10)
            return [m.message["Subject"] for m in box]

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(work, range(4)))
    assert found == [[f"note {n}"] * 2 for n in range(4)]


def test_tasks_have_outboxes_of_their_own() -> None:
    """Captures of tasks that take turns do not mix, and a task that has none shares."""

    async def work(n: int, barrier: asyncio.Barrier) -> list[str]:
        with capture() as box:
            await barrier.wait()
            await asyncio.create_task(send_async(note(n), URL))
            await barrier.wait()
            return [m.message["Subject"] for m in box]

    async def main() -> list[list[str]]:
        barrier = asyncio.Barrier(3)
        return await asyncio.gather(*(work(n, barrier) for n in range(3)))

    assert asyncio.run(main()) == [["note 0"], ["note 1"], ["note 2"]]


@capture()
def decorated() -> int:
    """Sends one message, and counts."""
    send(note(), URL)
    return len(current())


@capture()
async def decorated_async() -> int:
    """The same in a loop."""
    await send_async(note(), URL)
    return len(current())


def test_the_decorator() -> None:
    """A decorated function, sync or async, has a fresh outbox at each call."""
    assert [decorated(), decorated()] == [1, 1]
    assert asyncio.run(decorated_async()) == 1
    assert decorated.__doc__ == "Sends one message, and counts."
    assert transport.replacement is None


def test_a_closed_client_is_closed(outbox: Outbox) -> None:
    """The client's own rules hold under a capture."""
    client = Client(URL)
    client.close()
    with pytest.raises(ConfigError, match="closed"):
        client.send(note())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_reaches_no_network_either(outbox: Outbox, tmp_path: Path) -> None:
    """A child inherits the capture; what it sends lands in its own copy."""
    send(note(), URL)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            send(note(), URL)
            code = 0 if len(outbox) == 2 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(outbox) == 1


def test_the_log_is_that_of_real_life(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    """What the library logs of a send is logged under a capture, too."""
    caplog.set_level("INFO", "smtpsend")
    send(note(), URL)
    outbox.fail_next(DeliveryUnknown)
    with pytest.raises(DeliveryUnknown):
        send(note(), URL)
    assert [r.levelname for r in caplog.records] == ["INFO", "WARNING"]


def test_what_a_test_reads(outbox: Outbox) -> None:
    """Subject, text and To of a message are there without parsing it by hand."""
    message = compose(
        sender=SENDER,
        to=["Bob <bob@example.net>", "carol@example.net"],
        bcc="dave@example.net",
        subject="Grüße",
        text="Schöne Grüße\n",
        html="<p>Schöne Grüße</p>",
    )
    send(message, URL)
    send(b"From: a@example.org\n\nbody\n", URL, sender=SENDER, recipients=[RECIPIENT])
    first, second = outbox
    assert (first.subject, first.text) == ("Grüße", "Schöne Grüße\n")
    assert first.html == "<p>Schöne Grüße</p>\n"
    assert first.to == ("bob@example.net", "carol@example.net")
    assert "dave@example.net" in first.recipients
    assert (second.subject, second.text, second.html, second.to) == ("", "body\n", "", ())


def test_an_outbox_shows_its_mails(outbox: Outbox) -> None:
    """A failed assertion shows subjects and recipients, those of the last mails."""
    assert repr(outbox) == "<Outbox: 0 sent, 0 failed>"
    for n in range(5):
        send(compose(sender=SENDER, to=[RECIPIENT], subject=f"note {n}", text=""), URL)
    outbox.fail_next(DeliveryUnknown)
    with pytest.raises(DeliveryUnknown):
        send(compose(sender=SENDER, to=[RECIPIENT], subject="late", text=""), URL)
    assert repr(outbox) == (
        "<Outbox: 5 sent, 1 failed; sent: ..., "
        + ", ".join(f"'note {n}' to {RECIPIENT}" for n in (2, 3, 4))
        + f"; failed: 'late' to {RECIPIENT} (DeliveryUnknown)>"
    )
    assert repr(outbox[0]) == f"<Captured: 'note 0' to {RECIPIENT}>"


def test_an_outbox_shows_any_content(outbox: Outbox) -> None:
    """A message that is hard to read is shown, too, and no line of it is long."""
    many = [f"p{n}@example.net" for n in range(50)]
    given = b"Subject: =?no-such?b?!!?= " + b"x" * 500 + b"\n\nbody"
    send(given, URL, sender=SENDER, recipients=many)
    assert len(repr(outbox)) < 250
    assert "p0@example.net, p1@example.net, p2@example.net and 47 more" in repr(outbox)


def test_fail_next_of_the_base_class(outbox: Outbox) -> None:
    """`SendError` itself is never raised: the error names the classes to choose from."""
    with pytest.raises(TypeError, match=r"SendError is the base class; .*ConnectError"):
        outbox.fail_next(SendError)
    with pytest.raises(TypeError, match="ValueError is no error of this library"):
        outbox.fail_next(ValueError)  # type: ignore[arg-type]
