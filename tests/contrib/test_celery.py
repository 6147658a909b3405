"""The Celery task: what it carries, and when it tries again (no worker needed)."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from sending import MESSAGE, RECIPIENT, SENDER

from smtpsend import Delivery, DeliveryUnknown, Receipt, SendError, Server, compose
from smtpsend.contrib import celery as module
from smtpsend.contrib.celery import mail_task
from smtpsend.errors import (
    AuthError,
    CertificateError,
    ConfigError,
    ConnectError,
    ConnectionLost,
    RecipientsRefused,
    Rejected,
    TLSError,
)
from smtpsend.prepared import prepare
from smtpsend.testing import Outbox, capture


URL = "smtp://ann:secret@mail.example.org"


@pytest.fixture(scope="module")
def app() -> Iterator[Celery]:
    """An app whose settings would send twice, if the task did not know better."""
    made = Celery("tests", broker="memory://", backend="cache+memory://")
    made.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)
    made.set_current()
    yield made
    made.close()


@pytest.fixture(scope="module")
def task(app: Celery) -> Any:
    return app.tasks[mail_task(URL, name="tests.send", max_retries=2).name]


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with capture() as box:
        yield box


def an_example() -> dict[str, Any]:
    """A prepared message, as it comes out of a broker that speaks JSON."""
    message = compose(sender=SENDER, to=RECIPIENT, subject="Grüße", text="ü")
    return json.loads(json.dumps(prepare(message).to_dict()))


def test_it_sends(outbox: Outbox, task: Any) -> None:
    """The result of a task says who has the message, in plain values."""
    outbox.refuse("carol@example.net", text="unknown")
    given = prepare(MESSAGE, sender=SENDER, recipients=[RECIPIENT, "carol@example.net"])
    result = task.apply(args=[given.to_dict()]).get()
    receipt = Receipt.from_dict(json.loads(json.dumps(result)))
    assert receipt.message_id == given.message_id
    assert receipt.accepted == (RECIPIENT,)
    assert str(receipt.refused["carol@example.net"]) == "550 5.1.1 unknown"
    assert (receipt.reply.code, receipt.method.port) == (250, 587)
    assert outbox[0].content == MESSAGE


def test_it_asks_for_notifications(outbox: Outbox, task: Any) -> None:
    """What a prepared message asks for goes through the broker as plain data."""
    asked = Delivery(notify=("failure", "delay"), envid="17", require_tls=True)
    given = prepare(MESSAGE, sender=SENDER, recipients=RECIPIENT, delivery=asked)
    outbox.fail_next(ConnectionLost)
    task.apply(args=[json.loads(json.dumps(given.to_dict()))]).get()
    assert [one.delivery for one in (*outbox.failed, *outbox)] == [asked, asked]


def test_several_servers(outbox: Outbox, app: Celery) -> None:
    """Where the first server fails, the same try sends by the second."""
    name = mail_task([URL, "backup.example.org"], name="tests.several").name
    outbox.fail_next(ConnectError)
    result = app.tasks[name].apply(args=[an_example()]).get()
    assert result["server"] == "backup.example.org"
    assert Receipt.from_dict(result).server == "backup.example.org"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ConnectError, None),
        (ConnectError, 421),
        (TLSError, 454),
        (AuthError, 454),
        (Rejected, 451),
        (RecipientsRefused, 450),
        (ConnectionLost, None),
    ],
)
def test_what_is_temporary_is_tried_again(
    outbox: Outbox, task: Any, kind: type[SendError], code: int | None
) -> None:
    """Two failures cost two retries, and each try sends the same bytes."""
    outbox.fail_next(kind, code=code, times=2)
    message = an_example()
    assert task.apply(args=[message]).get()["message_id"] == message["message_id"]
    assert len(outbox.failed) == 2
    assert {m.content for m in outbox.failed} == {outbox[0].content}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (DeliveryUnknown, None),
        (ConnectError, 554),
        (CertificateError, None),
        (TLSError, None),
        (Rejected, None),
        (RecipientsRefused, None),
    ],
)
def test_all_else_fails_the_task(
    outbox: Outbox, task: Any, kind: type[SendError], code: int | None
) -> None:
    """What is unknown or will not pass is tried once, and the task fails with it."""
    outbox.fail_next(kind, code=code)
    done = task.apply(args=[an_example()])
    assert done.state == "FAILURE"
    assert type(done.result) is kind
    assert pickle.loads(pickle.dumps(done.result)).hint == done.result.hint
    assert (len(outbox), len(outbox.failed)) == (0, 1)


def test_the_last_retry_fails_with_its_error(outbox: Outbox, task: Any) -> None:
    """When no retry is left, the task fails with the error of the last try."""
    outbox.fail_next(ConnectionLost, times=9)
    done = task.apply(args=[an_example()])
    assert type(done.result) is ConnectionLost
    assert len(outbox.failed) == 3


@pytest.mark.parametrize(
    "bad", [{}, None, "text", {"sender": 1}, {**an_example(), "content": "?"}]
)
def test_what_is_no_message_fails_the_task(outbox: Outbox, task: Any, bad: Any) -> None:
    """A queue that others write to cannot make it do anything else."""
    assert type(task.apply(args=[bad]).result) is ConfigError
    assert not outbox.messages


@pytest.mark.parametrize(
    ("retries", "least", "most"),
    [(0, 15, 30), (1, 30, 60), (4, 240, 480), (5, 450, 900), (20, 450, 900)],
)
def test_delays_grow(
    outbox: Outbox, app: Celery, retries: int, least: float, most: float
) -> None:
    """Retries wait twice as long each time, up to what no broker delivers anew."""
    task = app.tasks[mail_task(URL, name=f"tests.delays-{retries}").name]
    waits: list[float] = []

    def retry(*, exc: SendError, countdown: float) -> Exception:
        waits.append(countdown)
        return exc

    task.retry = retry
    for _ in range(20):
        outbox.fail_next(ConnectionLost)
        task.apply(args=[an_example()], retries=retries)
    assert all(least <= wait <= most for wait in waits)
    assert len(set(waits)) > 1


def test_it_is_acknowledged_before_it_runs(task: Any) -> None:
    """The app's own settings do not bring a begun task back."""
    assert (task.acks_late, task.reject_on_worker_lost) == (False, False)


@pytest.mark.parametrize(
    "options",
    [
        {"acks_late": True},
        {"reject_on_worker_lost": True},
        {"autoretry_for": (OSError,)},
        {"longest_delay": 3600},
    ],
)
def test_options_that_would_send_twice(options: Any) -> None:
    """An option that repeats what may have been delivered is refused."""
    with pytest.raises(ConfigError):
        mail_task(URL, name="tests.bad", **options)


def test_the_server_is_asked_for_once_and_late(outbox: Outbox, app: Celery) -> None:
    """A function that names the server is called in the worker, at the first send."""
    calls: list[int] = []

    def server() -> Server:
        calls.append(1)
        return Server("mail.example.org")

    task = app.tasks[mail_task(server, name="tests.late").name]
    assert calls == []
    for _ in range(2):
        task.apply(args=[an_example()]).get()
    assert calls == [1]


class Clock:
    """The task's clock, which stands still until it is put forward."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


class Tries:
    """Runs a task and notes the waits; the clock goes on by each of them."""

    def __init__(self, task: Any, clock: Clock) -> None:
        self.waits: list[float] = []
        self._task, self._clock = task, clock
        task.retry = self._retry

    def _retry(self, *, exc: SendError, countdown: float) -> Exception:
        self.waits.append(countdown)
        return exc

    def run(self, retries: int = 0) -> Any:
        self._clock.now += 1000
        return self._task.apply(args=[an_example()], retries=retries)


def test_a_refused_login_is_retried_for_hours(
    outbox: Outbox, app: Celery, clock: Clock
) -> None:
    """A message waits for 12 long delays while a password is changed, and then fails."""
    task = app.tasks[mail_task(URL, name="tests.login").name]
    tries = Tries(task, clock)
    outbox.fail_next(AuthError, times=14)
    states = [tries.run(n).state for n in range(13)]
    assert states == ["FAILURE"] * 13
    assert len(tries.waits) == 12
    assert all(450 <= wait <= 900 for wait in tries.waits)
    outbox.fail_next(AuthError)
    done = tries.run(12)
    assert type(done.result) is AuthError
    assert done.result.message_id is not None


def test_no_retry_of_a_refused_login(outbox: Outbox, app: Celery, clock: Clock) -> None:
    """`auth_retries=0` fails the task with the first refused login."""
    task = app.tasks[mail_task(URL, name="tests.no-login", auth_retries=0).name]
    tries = Tries(task, clock)
    outbox.fail_next(AuthError)
    assert type(tries.run().result) is AuthError
    assert tries.waits == []


@pytest.mark.parametrize("bad", [-1, 1.5, True])
def test_auth_retries_that_cannot_be(bad: Any) -> None:
    """The number of retries is a whole number."""
    with pytest.raises(ConfigError):
        mail_task(URL, name="tests.bad", auth_retries=bad)


def test_a_queue_does_not_lock_the_account(
    outbox: Outbox, app: Celery, clock: Clock
) -> None:
    """A hundred messages cost one login a minute, and each keeps its own Message-ID."""
    task = app.tasks[mail_task(URL, name="tests.lock").name]
    tries = Tries(task, clock)
    outbox.fail_next(AuthError, times=2)
    tries.run()
    messages = [an_example() for _ in range(100)]
    done = [task.apply(args=[message]).result for message in messages]
    assert len(outbox.failed) == 1
    assert [e.message_id for e in done] == [m["message_id"] for m in messages]
    assert {type(e) for e in done} == {AuthError}
    assert len(tries.waits) == 101
    tries.run()
    assert len(outbox.failed) == 2
    tries.run()
    assert len(outbox) == 1


def test_a_new_password_is_seen(outbox: Outbox, app: Celery, clock: Clock) -> None:
    """After a refused login the server is asked for again, and once only."""
    passwords = iter(["old", "new", "newer"])
    made: list[Server] = []

    def server() -> Server:
        made.append(Server("mail.example.org", ("ann", next(passwords))))
        return made[-1]

    tries = Tries(app.tasks[mail_task(server, name="tests.new").name], clock)
    outbox.fail_next(AuthError)
    assert tries.run().state == "FAILURE"
    assert [tries.run().state for _ in range(3)] == ["SUCCESS"] * 3
    assert len(made) == 2


def test_a_worker_without_its_environment(
    outbox: Outbox, app: Celery, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is not configured costs no message; it is retried as a login is."""
    for name in ("SMTP_URL", "SMTP_HOST"):
        monkeypatch.delenv(name, raising=False)
    task = app.tasks[mail_task(Server.from_env, name="tests.no-env").name]
    tries = Tries(task, clock)
    done = tries.run()
    assert type(done.result) is ConfigError
    assert done.result.message_id is not None
    assert len(tries.waits) == 1
    monkeypatch.setenv("SMTP_URL", URL)
    assert tries.run().state == "SUCCESS"


@pytest.mark.parametrize(
    "kind", [DeliveryUnknown, RecipientsRefused, Rejected, CertificateError, AuthError]
)
def test_a_failure_comes_back_whole(
    outbox: Outbox, app: Celery, kind: type[SendError]
) -> None:
    """What a result backend makes of the failure has all that the error knew."""
    name = f"tests.whole-{kind.__name__}"
    task = app.tasks[mail_task(URL, name=name, auth_retries=0).name]
    outbox.fail_next(kind)
    error = task.apply(args=[an_example()]).result
    backend = app.backend
    assert backend.serializer == "json"
    stored = backend.decode(backend.encode(backend.prepare_exception(error)))
    for again in (backend.exception_to_python(stored), pickle.loads(pickle.dumps(error))):
        assert type(again) is kind
        assert again.to_dict() == error.to_dict()
        assert str(again) == str(error)
        assert repr(again) == repr(error) == f"{kind.__name__}({error.message!r})"
        assert again.message_id is not None


def test_a_refused_message_ends_the_pause(
    outbox: Outbox, app: Celery, clock: Clock
) -> None:
    """A server that refuses a message has accepted the login; the next is not delayed."""
    task = app.tasks[mail_task(URL, name="tests.pause").name]
    tries = Tries(task, clock)
    outbox.fail_next(AuthError)
    outbox.fail_next(Rejected)
    assert type(tries.run().result) is AuthError
    assert type(tries.run().result) is Rejected
    assert task.apply(args=[an_example()]).state == "SUCCESS"


def test_what_is_stored_is_not_trusted() -> None:
    """Facts that a stranger put into the results are not those of an error."""
    with pytest.raises((TypeError, KeyError)):
        DeliveryUnknown("text", {"temporary": True})
    with pytest.raises((TypeError, KeyError)):
        DeliveryUnknown("text", "facts")  # type: ignore[arg-type]
