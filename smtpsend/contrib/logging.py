"""A logging handler that mails records without making the program wait.

::

    handler = MailHandler(
        "smtp://ann@example.org:secret@mail.example.org",
        sender="shop@example.org",
        recipients=["admin@example.org"],
    )
    logging.getLogger().addHandler(handler)

A record is formatted at once, and mailed later, by a thread of the handler. Records that
are logged within `delay` seconds share a message. At most `rate` messages are sent in
`per` seconds; further records wait, up to `capacity` of them. Records beyond that are
dropped, and the next message names their number. At the end of the program (or at
`MailHandler.close`) the waiting records go out in one last message; the program waits
`flush_timeout` seconds for it.

Records of this library, and records that are logged while the handler sends, are ignored:
otherwise each failed message would cause the next one. If records could not be mailed,
their number and the error are written to stderr, unless ``logging.raiseExceptions`` is
False.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar
from email.message import EmailMessage
from typing import Any

from smtpsend import SendError, Server, compose, send
from smtpsend._client.background import portal
from smtpsend._model.address.argument import AddressLike
from smtpsend._model.message.envelope import envelope
from smtpsend._model.policy.policy import check_seconds
from smtpsend._model.server.several import servers_of
from smtpsend._model.tracebacks import hides_arguments
from smtpsend._patterns import pattern
from smtpsend._values import NamedTuple
from smtpsend.errors import ConfigError


__all__ = ["MailHandler"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LONGEST_RECORD = 20_000
_LONGEST_SUBJECT = 100
_PAUSE = 60.0  # after a failure that may pass
_CONTROL = pattern(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")

_mailing: ContextVar[bool] = ContextVar("smtpsend_mailing", default=False)


class _Entry(NamedTuple):
    at: float
    text: str
    record: logging.LogRecord


class MailHandler(logging.Handler):
    """A logging handler that mails records in batches.

    Args:
        server: a `Server`, a host name, or a URL, or a sequence of these, as for `send`.
        sender: the address in From, as for `compose`.
        recipients: the addresses in To, as for `compose`.
        subject: the beginning of the subject, by default the host name in brackets; the
            first record of the message follows it.
        level: the lowest level that is mailed.
        delay: how many seconds the first record of a message waits for more records.
        batch: the largest number of records in a message.
        rate: the largest number of messages in `per` seconds.
        per: the seconds for `rate`.
        capacity: the largest number of waiting records; further ones are dropped.
        flush_timeout: the longest time in seconds that `flush` and `close` wait.

    Attributes:
        dropped: how many records were dropped, and will not be mailed.

    Raises:
        ConfigError: an argument cannot be used.
    """

    @hides_arguments
    def __init__(
        self,
        server: Server | str | Sequence[Server | str],
        *,
        sender: AddressLike,
        recipients: AddressLike | Sequence[AddressLike],
        subject: str = "",
        level: int | str = logging.ERROR,
        delay: float = 10.0,
        batch: int = 100,
        rate: int = 20,
        per: float = 3600.0,
        capacity: int = 5000,
        flush_timeout: float = 5.0,
    ) -> None:
        for name, count in (("batch", batch), ("rate", rate), ("capacity", capacity)):
            if type(count) is not int or count < 1:
                raise ConfigError(f"{name} must be a whole number, at least 1")
        for name, seconds in (("per", per), ("flush_timeout", flush_timeout)):
            check_seconds(name, seconds)
        check_seconds("delay", delay, zero=True)
        self.dropped: int = 0
        self._servers, self._flush_timeout = servers_of(server), flush_timeout
        self._sender, self._recipients = sender, recipients
        self._subject = subject or f"[{socket.gethostname()}]"
        self._delay, self._batch, self._capacity = delay, batch, capacity
        self._sent: deque[float] = deque(maxlen=rate)
        self._per = per
        self._reset()
        envelope(
            self._message(self._subject, "", 0), None, None
        )  # raises the ConfigError that a send would raise
        # The checks come first, because `logging.shutdown` closes each handler whose
        # `__init__` was called.
        super().__init__(level)
        self.setFormatter(logging.Formatter(_FORMAT))
        _handlers.add(self)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._entries: deque[_Entry] = deque()
        self._unreported = 0  # dropped, and not yet reported in a message
        self._thread: threading.Thread | None = None
        self._sending = self._flushing = self._closed = False
        self._not_before = 0.0
        self._flushed_in_vain = False
        self._in_flight: list[_Entry] = []  # the records of the message that is sent now

    def filter(self, record: logging.LogRecord) -> Any:
        """Ignore records that the handler itself causes.

        This is done here and not in `emit`, which waits for the handler's lock:
        `logging.shutdown` holds this lock while the last message is sent.
        """
        own = record.name.partition(".")[0] == "smtpsend"
        loop = record.name == "asyncio" and portal.inside()
        return False if own or loop or _mailing.get() else super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, without waiting for a send, and without raising an error."""
        if sys.is_finalizing():
            # The thread no longer runs and may hold the lock, so nothing can be sent.
            self.dropped += 1
            return
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
        except Exception:  # noqa: BLE001  # as in every handler
            self.handleError(record)

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._unreported += count

    def _wake(self) -> None:
        """Notify the thread, or start it if there is none."""
        self._changed.notify_all()
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._run, name="smtpsend-log", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending; `close` sends the records
                return
            self._thread = thread

    def flush(self) -> None:
        """Mail the waiting records now, without `delay`, if the rate allows it.

        It returns when they have been sent, or after `flush_timeout` seconds.
        """
        if sys.is_finalizing():
            return
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            idle = self._changed.wait_for(self._idle, self._flush_timeout)
            self._flushing, self._flushed_in_vain = False, not idle

    def _idle(self) -> bool:
        """Return whether no message is being sent, and none is due."""
        alive = self._thread is not None and self._thread.is_alive()
        return not alive or (not self._sending and self._wait() != 0)

    def close(self) -> None:
        """Mail waiting records in one last message, whatever the rate, and stop."""
        if sys.is_finalizing():
            super().close()
            return
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread.is_alive():
            if thread is not threading.current_thread():
                # `logging.shutdown` has called `flush`, which may have waited already.
                thread.join(0 if self._flushed_in_vain else self._flush_timeout)
                self._abandon()
        elif self._entries:
            self._mail(*self._next_entries())
        super().close()

    def _abandon(self) -> None:
        """Count the records that the thread has not sent before `close` stops waiting."""
        with self._changed:
            left = len(self._entries) + len(self._in_flight)
            self._entries.clear()
            self._in_flight = []
            self._drop(left)
        if left:
            _report(left, f"no reply of the server within {self._flush_timeout:g} s")

    def _run(self) -> None:
        """Wait until a message is due, and send it, until `close`; runs in the thread."""
        while True:
            with self._changed:
                while (wait := self._wait()) != 0:
                    if self._closed:
                        return
                    self._changed.wait(wait)
                entries, missing = self._next_entries()
                self._sending = True
            try:
                self._mail(entries, missing)
            finally:
                with self._changed:
                    self._sending = self._flushed_in_vain = False
                    self._changed.notify_all()

    def _wait(self) -> float | None:
        """Return the seconds until the next message is due; None if no record waits."""
        if not self._entries:
            return None
        if self._closed:
            return 0
        now, due = time.monotonic(), self._not_before
        if not self._flushing and len(self._entries) < self._batch:
            due = max(due, self._entries[0].at + self._delay)
        if len(self._sent) == self._sent.maxlen:
            due = max(due, self._sent[0] + self._per)
        return max(0, due - now)

    def _next_entries(self) -> tuple[list[_Entry], int]:
        """Remove the records of the next message from the queue.

        Returns:
            The records, and how many were dropped since the message before.
        """
        count = min(self._batch, len(self._entries))
        entries = [self._entries.popleft() for _ in range(count)]
        self._in_flight = entries
        if self._closed and self._entries:
            self._drop(len(self._entries))
            _report(len(self._entries), "one message is sent at the end")
            self._entries.clear()
        missing, self._unreported = self._unreported, 0
        self._sent.append(time.monotonic())
        return entries, missing

    def _mail(self, entries: list[_Entry], missing: int) -> None:
        token = _mailing.set(True)
        try:
            first = entries[0].record
            words = " ".join(_clean(first.getMessage()).split())
            head = f"{self._subject} {first.levelname}: {words}"[:_LONGEST_SUBJECT]
            more = f" (and {len(entries) - 1} more)" if len(entries) > 1 else ""
            body = "\n\n".join(entry.text for entry in entries)
            message = self._message(head + more, body, missing)
            limit = self._flush_timeout if self._closed else None
            send(message, self._servers, timeout=limit)
            with self._changed:
                self._in_flight = []
        except Exception as error:  # noqa: BLE001  # no caller would see it
            self._failed(error, entries, missing)
        finally:
            _mailing.reset(token)

    def _failed(self, error: Exception, entries: list[_Entry], missing: int) -> None:
        with self._changed:
            abandoned = not self._in_flight  # and reported by `close`
            self._in_flight = []
            self._unreported += missing
            again = isinstance(error, SendError) and error.temporary and not self._closed
            if again:
                self._not_before = time.monotonic() + _PAUSE
                self._entries.extendleft(reversed(entries))
            elif not abandoned:
                self._drop(len(entries))
        if not abandoned:
            _report(len(entries), f"{type(error).__name__}: {error}", again=again)

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


def _report(count: int, why: str, *, again: bool = False) -> None:
    """Write to stderr how many records were not mailed, like `Handler.handleError`."""
    if logging.raiseExceptions and sys.stderr is not None:
        yet = " yet" if again else ""
        with contextlib.suppress(OSError, ValueError):  # it may be closed
            sys.stderr.write(
                f"MailHandler: {count} log records were not mailed{yet}: {why}\n"
            )


def _clean(text: str) -> str:
    """Replace all control characters but tab and line end, as a message requires."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


_handlers: weakref.WeakSet[MailHandler] = weakref.WeakSet()


def _after_fork() -> None:
    # The waiting records and the thread belong to the parent process.
    for handler in list(_handlers):
        closed = handler._closed
        handler._reset()
        handler._closed = closed


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
