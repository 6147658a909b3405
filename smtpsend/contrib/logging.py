"""A logging handler that mails records, and never makes the program wait.

::

    handler = MailHandler(
        "smtp://ann%40example.org:secret@mail.example.org",
        sender="shop@example.org",
        recipients=["admin@example.org"],
    )
    logging.getLogger().addHandler(handler)

A record is formatted at once, and goes out later, from a thread of the handler's own.
Those that come within `delay` seconds share a message. No more than `rate` messages leave
in `per` seconds; records wait meanwhile, and of those that are too many the number is
mailed. At the end of the program (or at `MailHandler.close`) what is left goes out in one
last message, for which `flush_timeout` seconds are waited.

Records of this library, and whatever is logged while the handler sends, are ignored: a
mail about a mail that fails would never end. What goes wrong is reported as by any
handler: on stderr, unless ``logging.raiseExceptions`` is False.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar
from email.message import EmailMessage
from typing import Any, NamedTuple

from smtpsend import SendError, Server, compose, send
from smtpsend._client.background import portal
from smtpsend._model.message.envelope import envelope
from smtpsend._model.policy.policy import check_seconds
from smtpsend._model.server.server import server_of
from smtpsend.errors import ConfigError


__all__ = ["MailHandler"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LONGEST_RECORD = 20_000
_LONGEST_SUBJECT = 100
_PAUSE = 60.0  # after a failure that may pass
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")

_mailing: ContextVar[bool] = ContextVar("smtpsend_mailing", default=False)


class _Entry(NamedTuple):
    at: float
    text: str
    record: logging.LogRecord


class MailHandler(logging.Handler):
    """Mails records in batches.

    Args:
        server: a `Server`, a host name, or a URL.
        sender: From.
        recipients: To.
        subject: what the subject begins with; the first record follows.
        level: the lowest level that is mailed.
        delay: how many seconds the first record of a message waits for more.
        batch: how many records a message holds at most.
        rate: how many messages may leave in `per` seconds.
        per: see `rate`.
        capacity: how many records wait at most; what comes then is only counted.
        flush_timeout: how many seconds `flush` and `close` wait at most.

    Attributes:
        dropped: how many records were not mailed, and will not be.

    Raises:
        ConfigError: one of these cannot be used.
    """

    def __init__(
        self,
        server: Server | str,
        *,
        sender: str,
        recipients: Sequence[str],
        subject: str = "",
        level: int | str = logging.ERROR,
        delay: float = 10.0,
        batch: int = 100,
        rate: int = 20,
        per: float = 3600.0,
        capacity: int = 5000,
        flush_timeout: float = 5.0,
    ) -> None:
        super().__init__(level)
        for name, count in (("batch", batch), ("rate", rate), ("capacity", capacity)):
            if type(count) is not int or count < 1:
                raise ConfigError(f"{name} must be a whole number, at least 1")
        for name, seconds in (("per", per), ("flush_timeout", flush_timeout)):
            check_seconds(name, seconds)
        check_seconds("delay", delay, zero=True)
        self.setFormatter(logging.Formatter(_FORMAT))
        self.dropped: int = 0
        self._server, self._flush_timeout = server_of(server), flush_timeout
        self._sender, self._recipients = sender, recipients
        self._subject = subject or f"[{socket.gethostname()}]"
        self._delay, self._batch, self._capacity = delay, batch, capacity
        self._sent: deque[float] = deque(maxlen=rate)
        self._per = per
        self._begin()
        envelope(
            self._message(self._subject, "", 0), None, None
        )  # raises what a send would
        _handlers.add(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._entries: deque[_Entry] = deque()
        self._uncounted = 0  # dropped, and not yet told of
        self._thread: threading.Thread | None = None
        self._sending = self._hurry = self._closed = False
        self._not_before = 0.0

    def filter(self, record: logging.LogRecord) -> Any:
        """Leave out what is about the handler itself.

        Here and not in `emit`, which would wait for a lock: `logging.shutdown` holds it
        while the last message is sent.
        """
        own = record.name.partition(".")[0] == "smtpsend"
        loop = record.name == "asyncio" and portal.inside()
        return False if own or loop or _mailing.get() else super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; never waits, and never raises."""
        try:
            text = _clean(self.format(record))
            if len(text) > _LONGEST_RECORD:
                text = f"{text[:_LONGEST_RECORD]}... ({len(text):,} characters)"
            with self._changed:
                if self._closed:
                    return
                if len(self._entries) >= self._capacity:
                    self._drop(1)
                else:
                    self._entries.append(_Entry(time.monotonic(), text, record))
                self._wake()
        except Exception:  # noqa: BLE001  # as each handler
            self.handleError(record)

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._uncounted += count

    def _wake(self) -> None:
        """Let the thread look; starts it if there is none."""
        self._changed.notify_all()
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._run, name="smtpsend-log", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending: `close` sends
                return
            self._thread = thread

    def flush(self) -> None:
        """Let what waits for more records go out now, if the rate allows it.

        Returns when it is gone, or after `flush_timeout` seconds.
        """
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(self._idle, self._flush_timeout)
            self._hurry = False

    def _idle(self) -> bool:
        """Whether nothing is being sent, and nothing is due."""
        alive = self._thread is not None and self._thread.is_alive()
        return not alive or (not self._sending and self._wait() != 0)

    def close(self) -> None:
        """Send what is left in one message, whatever the rate, and stop."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread.is_alive():
            if thread is not threading.current_thread():
                thread.join(self._flush_timeout)
        elif self._entries:
            self._mail(*self._take())
        super().close()

    def _run(self) -> None:
        """The thread: wait until something is due, and mail it."""
        while True:
            with self._changed:
                while (wait := self._wait()) != 0:
                    if self._closed:
                        return
                    self._changed.wait(wait)
                taken, missing = self._take()
                self._sending = True
            try:
                self._mail(taken, missing)
            finally:
                with self._changed:
                    self._sending = False
                    self._changed.notify_all()

    def _wait(self) -> float | None:
        """Seconds until the next message is due; None if nothing waits."""
        if not self._entries:
            return None
        if self._closed:
            return 0
        now, due = time.monotonic(), self._not_before
        if not self._hurry and len(self._entries) < self._batch:
            due = max(due, self._entries[0].at + self._delay)
        if len(self._sent) == self._sent.maxlen:
            due = max(due, self._sent[0] + self._per)
        return max(0, due - now)

    def _take(self) -> tuple[list[_Entry], int]:
        """The records of the next message, and how many were dropped before."""
        count = min(self._batch, len(self._entries))
        taken = [self._entries.popleft() for _ in range(count)]
        if self._closed:
            self._drop(len(self._entries))
            self._entries.clear()
        missing, self._uncounted = self._uncounted, 0
        self._sent.append(time.monotonic())
        return taken, missing

    def _mail(self, taken: list[_Entry], missing: int) -> None:
        token = _mailing.set(True)
        try:
            first = taken[0].record
            words = " ".join(_clean(first.getMessage()).split())
            head = f"{self._subject} {first.levelname}: {words}"[:_LONGEST_SUBJECT]
            more = f" (and {len(taken) - 1} more)" if len(taken) > 1 else ""
            body = "\n\n".join(entry.text for entry in taken)
            message = self._message(head + more, body, missing)
            limit = self._flush_timeout if self._closed else None
            send(message, self._server, timeout=limit)
        except Exception as error:  # noqa: BLE001  # nobody else would see it
            self._failed(error, taken, missing)
        finally:
            _mailing.reset(token)

    def _failed(self, error: Exception, taken: list[_Entry], missing: int) -> None:
        self.handleError(taken[-1].record)
        with self._changed:
            self._uncounted += missing
            if isinstance(error, SendError) and error.temporary and not self._closed:
                self._not_before = time.monotonic() + _PAUSE
                self._entries.extendleft(reversed(taken))
            else:
                self._drop(len(taken))

    def _message(self, subject: str, body: str, missing: int) -> EmailMessage:
        if missing:
            body += f"\n\n({missing:,} more records were dropped)"
        return compose(
            sender=self._sender,
            to=self._recipients,
            subject=subject,
            text=body + "\n",
            headers={"Auto-Submitted": "auto-generated"},  # RFC 3834
        )


def _clean(text: str) -> str:
    """What a message can carry: no control characters but tab and line end."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


_handlers: weakref.WeakSet[MailHandler] = weakref.WeakSet()


def _after_fork() -> None:
    # What the parent has not sent yet is the parent's; so is its thread.
    for handler in list(_handlers):
        closed = handler._closed
        handler._begin()
        handler._closed = closed


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
