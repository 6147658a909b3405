"""A Celery task that sends mail, and never sends twice what may have arrived.

(Extra ``celery``.) ::

    from smtpsend.contrib.celery import mail_task
    from smtpsend.prepared import prepare

    # in a module of tasks
    send_mail = mail_task(smtpsend.Server.from_env, name="shop.send_mail")

    # anywhere in the program
    send_mail.delay(prepare(message).to_dict())

`prepare` fixes Message-ID and Date, so that all tries send the same message, as values
that JSON can carry. The task tries again exactly when the error is `temporary`, with a
growing delay. Everything else fails the task: above all `DeliveryUnknown`, which only a
person can decide (``link_error``, or the task's result).

**Do not put** ``autoretry_for=(OSError,)`` **or** ``(SMTPException,)`` **around a send:
every** `SendError` **is both, and what may have been delivered would be sent again.**

A worker that is killed in the middle of a send leaves the message unknown, too. So the
task is acknowledged when it begins (``acks_late=False``, whatever the app's setting), and
a lost worker process does not bring it back: it fails with Celery's ``WorkerLostError``.

The broker has its own reason to deliver a task twice: one that a worker holds for longer
than ``visibility_timeout`` (Redis: 1 hour, SQS: 30 minutes; RabbitMQ: 30 minutes of
``consumer_timeout``) and has not acknowledged, since it waits for a retry's time or for a
free process. So a retry waits 15 minutes at most; set ``worker_prefetch_multiplier = 1``,
and keep your own ``countdown`` and ``eta`` well below that time.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

from celery import shared_task

from smtpsend import Client, Receipt, SendError, Server
from smtpsend.errors import ConfigError
from smtpsend.prepared import Prepared


__all__ = ["mail_task"]

log: logging.Logger = logging.getLogger("smtpsend.contrib.celery")

_LONGEST_WAIT = 900.0


def mail_task(
    server: Server | str | Callable[[], Server],
    *,
    name: str,
    require_all: bool = False,
    timeout: float | None = None,
    max_retries: int = 24,
    first_delay: float = 30.0,
    longest_delay: float = 900.0,
    **options: Any,
) -> Any:
    """Make the task.

    It takes what ``prepare(message).to_dict()`` gives. Its result is a dict with
    ``message_id``, ``accepted`` (a list), and ``refused`` (the server's words for each).

    Args:
        server: where to send, or a function that says so, called in the worker when it is
            first needed, so that only the workers have the password.
        name: the name of the task, which no other task has.
        require_all: send to nobody unless the server accepts every recipient.
        timeout: seconds for one try, in place of ``policy.deadline``.
        max_retries: how often it is tried again at most; by default for about 5 hours.
        first_delay: seconds until the first retry, about; then twice as many each time.
        longest_delay: seconds between two tries at most; not above 900, see the module.
        options: more options of `celery.shared_task`, such as ``queue``.

    Raises:
        ConfigError: an option that would send a message twice.
    """
    if not 0 <= longest_delay <= _LONGEST_WAIT:
        raise ConfigError(f"longest_delay must be from 0 to {_LONGEST_WAIT:g} seconds")
    for bad in ("autoretry_for", "acks_late", "reject_on_worker_lost"):
        if options.get(bad):
            raise ConfigError(f"{bad} would send again what may have been delivered")
    client = _Lazy(server)

    def send(task: Any, message: Mapping[str, Any]) -> dict[str, Any]:
        try:
            prepared = Prepared.from_dict(message)
            receipt = client.get().send(
                prepared.content,
                sender=prepared.sender,
                recipients=prepared.recipients,
                require_all=require_all,
                timeout=timeout,
            )
        except SendError as error:
            if not error.temporary:
                raise
            wait = min(first_delay * 2**task.request.retries, longest_delay)
            # Spread, so that all that failed at once does not come back at once.
            wait *= random.uniform(0.5, 1)  # noqa: S311  # no secret
            raise task.retry(exc=error, countdown=wait) from None
        return _result(receipt)

    options |= {"acks_late": False, "reject_on_worker_lost": False}
    return shared_task(bind=True, name=name, max_retries=max_retries, **options)(send)


class _Lazy:
    """The client of a worker process, made when first needed."""

    def __init__(self, server: Server | str | Callable[[], Server]) -> None:
        self._server = server
        self._client: Client | None = None
        self._lock = threading.Lock()

    def get(self) -> Client:
        with self._lock:
            if self._client is None:
                server = self._server() if callable(self._server) else self._server
                self._client = Client(server)
            return self._client


def _result(receipt: Receipt) -> dict[str, Any]:
    refused = {address: str(reply) for address, reply in receipt.refused.items()}
    for address, words in refused.items():
        log.warning("refused: %s in %s: %s", address, receipt.message_id, words)
    return {
        "message_id": receipt.message_id,
        "accepted": list(receipt.accepted),
        "refused": refused,
    }
