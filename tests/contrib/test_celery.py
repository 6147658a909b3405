"""The Celery task: what it carries, and when it tries again (no worker needed)."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from sending import MESSAGE, RECIPIENT, SENDER

from smtpsend import DeliveryUnknown, SendError, Server, compose
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


def letter() -> dict[str, Any]:
    """A prepared message, as it comes out of a broker that speaks JSON."""
    message = compose(sender=SENDER, to=RECIPIENT, subject="Grüße", text="ü")
    return json.loads(json.dumps(prepare(message).to_dict()))


def test_it_sends(outbox: Outbox, task: Any) -> None:
    """The result of a task says who has the message, in plain values."""
    outbox.refuse("carol@example.net", text="unknown")
    given = prepare(MESSAGE, sender=SENDER, recipients=[RECIPIENT, "carol@example.net"])
    result = task.apply(args=[given.to_dict()]).get()
    assert result == {
        "message_id": given.message_id,
        "accepted": [RECIPIENT],
        "refused": {"carol@example.net": "550 5.1.1 unknown"},
    }
    assert json.loads(json.dumps(result)) == result
    assert outbox[0].content == MESSAGE


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
    message = letter()
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
        (AuthError, None),
        (Rejected, None),
        (RecipientsRefused, None),
    ],
)
def test_all_else_fails_the_task(
    outbox: Outbox, task: Any, kind: type[SendError], code: int | None
) -> None:
    """What is unknown or will not pass is tried once, and the task fails with it."""
    outbox.fail_next(kind, code=code)
    done = task.apply(args=[letter()])
    assert done.state == "FAILURE"
    assert type(done.result) is kind
    assert pickle.loads(pickle.dumps(done.result)).hint == done.result.hint
    assert (len(outbox), len(outbox.failed)) == (0, 1)


def test_the_last_retry_fails_with_its_error(outbox: Outbox, task: Any) -> None:
    """When no retry is left, the task fails with the error of the last try."""
    outbox.fail_next(ConnectionLost, times=9)
    done = task.apply(args=[letter()])
    assert type(done.result) is ConnectionLost
    assert len(outbox.failed) == 3


@pytest.mark.parametrize(
    "bad", [{}, None, "text", {"sender": 1}, {**letter(), "content": "?"}]
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
        task.apply(args=[letter()], retries=retries)
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
        task.apply(args=[letter()]).get()
    assert calls == [1]
