"""A Celery task that sends a message, and never sends it again if it may have arrived.

(Extra ``celery``.) ::

    from smtpsend.contrib.celery import mail_task
    from smtpsend.prepared import prepare

    # in a module of tasks
    send_mail = mail_task(smtpsend.Server.from_env, name="shop.send_mail")

    # anywhere in the program
    send_mail.delay(prepare(message).to_dict())

`prepare` sets Message-ID and Date, so that all tries send the same message; `to_dict`
makes values that JSON can represent. The task tries again exactly when the error is
`temporary`, with a growing delay. Any other error fails the task, above all
`DeliveryUnknown`: only a person can find out what became of the message
(``link_error``, or the task's result).

**Do not put** ``autoretry_for=(OSError,)`` **or** ``(SMTPException,)`` **around a send:
every** `SendError` **is both, and a message that may have been delivered would be sent
again.**

If a worker is killed in the middle of a send, it is unknown, too, whether the message was
delivered. So the task is acknowledged when it begins (``acks_late=False``, whatever the
app's setting), and it is not run again after its worker process was lost: it fails with
Celery's ``WorkerLostError``.

The broker delivers a task a second time if a worker holds it unacknowledged for longer
than ``visibility_timeout`` (Redis: 1 hour, SQS: 30 minutes) or ``consumer_timeout``
(RabbitMQ: 30 minutes), because the task waits for the time of a retry or for a free
process. So a retry waits 15 minutes at most. Set ``worker_prefetch_multiplier = 1``, and
keep your own ``countdown`` and ``eta`` well below these times.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

from celery import shared_task

from smtpsend import Client, Receipt, SendError, Server
from smtpsend._model.tracebacks import hides_arguments
from smtpsend.errors import ConfigError
from smtpsend.prepared import Prepared


__all__ = ["mail_task"]

log: logging.Logger = logging.getLogger("smtpsend.contrib.celery")

_LONGEST_WAIT = 900.0


@hides_arguments
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
    """Make a task that sends one message.

    The argument of the task is the dict from ``prepare(message).to_dict()``. Its result
    is a dict with ``message_id``, ``accepted`` (a list of recipients), and ``refused``
    (the server's reply, as a str, for each refused recipient).

    Args:
        server: the server, or a function that returns it. The function is called in the
            worker for its first message, so that only the workers need the password.
        name: the name of the task, which must be unique.
        require_all: send to nobody unless the server accepts every recipient.
        timeout: seconds for one try, in place of ``policy.deadline``.
        max_retries: the largest number of retries; the default lasts about 5 hours.
        first_delay: seconds until the first retry, at most; each later delay is twice as
            long. Half of a delay is random.
        longest_delay: the longest delay in seconds; from 0 to 900, see the module.
        options: more options of `celery.shared_task`, such as ``queue``.

    Returns:
        The task.

    Raises:
        ConfigError: an option could make the task send a message twice.
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
            # Random, so that messages that failed at once are not retried at once.
            wait *= random.uniform(0.5, 1)  # noqa: S311  # no secret
            raise task.retry(exc=error, countdown=wait) from None
        return _result(receipt)

    options |= {"acks_late": False, "reject_on_worker_lost": False}
    return shared_task(bind=True, name=name, max_retries=max_retries, **options)(send)


class _Lazy:
    """The client of a worker process, made for its first message."""

    def __init__(self, server: Server | str | Callable[[], Server]) -> None:
        self._server = server
        self._client: Client | None = None
        self._lock = threading.Lock()

    def get(self) -> Client:
        with self._lock:
            if self._client is None:
                # In no local variable: a URL holds a password, and errors keep frames.
                self._client = Client(
                    self._server() if callable(self._server) else self._server
                )
            return self._client


def _result(receipt: Receipt) -> dict[str, Any]:
    refused = {address: str(r) for address, r in receipt.refused.items()}
    for address, reply in refused.items():
        log.warning("refused: %s in %s: %s", address, receipt.message_id, reply)
    return {
        "message_id": receipt.message_id,
        "accepted": list(receipt.accepted),
        "refused": refused,
    }
