"""A Celery task that sends a message, and never sends it again if it may have arrived.

(Extra ``celery``.) ::

    from smtpsend.contrib.celery import mail_task
    from smtpsend.prepared import prepare

    # in a module of tasks
    send_mail = mail_task(smtpsend.Server.from_env, name="shop.send_mail")

    # anywhere in the program
    send_mail.delay(prepare(message).to_dict())

`prepare` sets Message-ID and Date, so that all tries send the same message, and keeps
what its argument ``delivery`` asks for; `to_dict` makes values that JSON can represent.
The task tries again exactly when the error is `temporary`, with a growing delay, and some
times after an `AuthError`, so that a password can be changed while messages wait. Any
other error fails the task, above all `DeliveryUnknown`: only a person can find out what
became of the message.

The task's result is ``receipt.to_dict()``, which `Receipt.from_dict` reads. If the task
fails, its exception is the `SendError` with all attributes, even if the results are JSON,
as they are by default (in ``link_error``, or from ``get()`` of the result in a program
that imports smtpsend).

**Do not put** ``autoretry_for=(OSError,)`` **or** ``(SMTPException,)`` **around a send:
every** `SendError` **is both, and a message that may have been delivered would be sent
again.**

If a worker is killed during a send, it is also unknown whether the message was
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
import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

from celery import shared_task

from smtpsend import Client, Receipt, SendError, Server
from smtpsend._model.server.several import servers_of
from smtpsend._model.tracebacks import hides_arguments
from smtpsend.errors import AuthError, ConfigError, Phase
from smtpsend.prepared import Prepared


__all__ = ["mail_task", "storable"]

log: logging.Logger = logging.getLogger("smtpsend.contrib.celery")

_LONGEST_WAIT = 900.0
_LOGIN_PAUSE = 60.0  # after a refused login; few servers lock an account at this rate
_LOGGED_IN = {Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.CONTENT, Phase.FINAL}


@hides_arguments
def mail_task(
    server: Server | str | Sequence[Server | str] | Callable[[], Server],
    *,
    name: str,
    require_all: bool = False,
    timeout: float | None = None,
    max_retries: int = 24,
    first_delay: float = 30.0,
    longest_delay: float = 900.0,
    auth_retries: int = 12,
    **options: Any,
) -> Any:
    """Make a task that sends one message.

    The argument of the task is the dict from ``prepare(message).to_dict()``. Its result
    is the dict from ``receipt.to_dict()``; `storable` says what its failure is.

    After an `AuthError`, and where the function of `server` raises a `ConfigError`, the
    task waits for `longest_delay` and then asks `server` and logs in anew. A worker
    process whose login was refused does not log in for the next minute, however many
    messages wait, so that the account is not locked.

    Args:
        server: the server, or a sequence of several, as for `send`; or a function that
            returns it. The function is called in the
            worker for its first message, so that only the workers need the password, and
            again after an `AuthError`.
        name: the name of the task, which must be unique.
        require_all: send to nobody unless the server accepts every recipient.
        timeout: seconds for one try, in place of ``policy.deadline``.
        max_retries: the largest number of retries; the default lasts about 5 hours.
        first_delay: seconds until the first retry, at most; each later delay is twice as
            long. Half of a delay is random.
        longest_delay: the longest delay in seconds; from 0 to 900, see the module.
        auth_retries: the largest number of retries after which an `AuthError` that is not
            temporary is retried once more; the default lasts about 2 hours, and 0 fails
            the task at once.
        options: more options of `celery.shared_task`, such as ``queue``.

    Returns:
        The task.

    Raises:
        ConfigError: an option could make the task send a message twice.
    """
    if not 0 <= longest_delay <= _LONGEST_WAIT:
        raise ConfigError(f"longest_delay must be from 0 to {_LONGEST_WAIT:g} seconds")
    if type(auth_retries) is not int or auth_retries < 0:
        raise ConfigError("auth_retries must be a whole number, at least 0")
    for bad in ("autoretry_for", "acks_late", "reject_on_worker_lost"):
        if options.get(bad):
            raise ConfigError(f"{bad} would send again what may have been delivered")
    account = _Account(server)

    def send(task: Any, message: Mapping[str, Any]) -> dict[str, Any]:
        retries = task.request.retries
        error: SendError
        try:
            prepared = Prepared.from_dict(message)
            receipt = account.send(prepared, require_all=require_all, timeout=timeout)
        except _LoginFailed as failed:
            error, again, wait = failed.error, retries < auth_retries, longest_delay
        except SendError as failure:
            error, again = failure, failure.temporary
            wait = min(first_delay * 2**retries, longest_delay)
        else:
            return _result(receipt)
        if not again:
            raise storable(error)
        # Random, so that messages that failed at once are not retried at once.
        wait *= random.uniform(0.5, 1)  # noqa: S311  # no secret
        raise task.retry(exc=storable(error), countdown=wait)

    options |= {"acks_late": False, "reject_on_worker_lost": False}
    return shared_task(bind=True, name=name, max_retries=max_retries, **options)(send)


def storable(error: SendError) -> SendError:
    """Let an error keep its attributes in a result that is JSON.

    Celery stores the class and the `args` of an error, and recreates the error from them.
    So the attributes are put into the `args`.

    Args:
        error: the error, which is changed.

    Returns:
        The error, to be raised by a task of your own.
    """
    error.args = (error.message, error.to_dict())
    return error


class _LoginFailed(Exception):
    """The login or the server's settings failed, so no message can be sent now."""

    def __init__(self, error: SendError) -> None:
        super().__init__()
        self.error = error


class _Account:
    """Holds the client of a worker process, which is made for its first message."""

    def __init__(
        self, server: Server | str | Sequence[Server | str] | Callable[[], Server]
    ) -> None:
        self._given = server
        self._servers: tuple[Server, ...] = ()
        self._client: Client | None = None
        self._lock = threading.Lock()
        self._refused: AuthError | None = None
        self._refused_at = 0.0

    def send(self, prepared: Prepared, **options: Any) -> Receipt:
        """Send a message.

        Raises:
            _LoginFailed: the login or the server's settings failed, and not the message.
            SendError: the message failed.
        """
        try:
            client = self._current()
        except SendError as error:
            error.message_id = prepared.message_id
            raise _LoginFailed(error) from None
        try:
            receipt = client.send(
                prepared.content,
                sender=prepared.sender,
                recipients=prepared.recipients,
                delivery=prepared.delivery,
                **options,
            )
        except AuthError as error:
            if error.temporary:
                raise
            with self._lock:
                self._refused, self._refused_at = copy(error), time.monotonic()
            raise _LoginFailed(error) from None
        except SendError as error:
            if error.phase in _LOGGED_IN:
                self._refused = None
            raise
        self._refused = None
        return receipt

    def _current(self) -> Client:
        """Return the client; get its server once, and again after a refused login."""
        with self._lock:
            if self._refused is not None:
                if time.monotonic() < self._refused_at + _LOGIN_PAUSE:
                    raise copy(self._refused)
                self._refused_at = time.monotonic()  # only this thread logs in
            elif self._client is not None:
                return self._client
            servers = servers_of(self._given() if callable(self._given) else self._given)
            if self._client is None or servers != self._servers:
                # A send of another thread keeps the old client until it ends.
                self._servers, self._client = servers, Client(servers)
            return self._client


def _result(receipt: Receipt) -> dict[str, Any]:
    for address, reply in receipt.refused.items():
        identity = receipt.message_id or "a message without Message-ID"
        log.warning("refused: %s in %s: %s", address, identity, reply)
    return receipt.to_dict()
