"""The outbox that a test reads: the messages that a program sent during a capture."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from smtpsend._client.hooks import Hooks
from smtpsend._client.submission import Submission
from smtpsend._model.address.mailbox import mailbox
from smtpsend._model.delivery import Delivery
from smtpsend._model.diagnosis.hints import identify
from smtpsend._model.receipt import Receipt
from smtpsend._model.server.server import Server
from smtpsend._protocol.failures import recipients_refused
from smtpsend._values import dataclass
from smtpsend.errors import Reply, SendError
from smtpsend.testing._failures import Failure, reply_of
from smtpsend.testing._page import open_page


_SHOWN = 3  # messages, and recipients of each, that a `repr` shows
_LONGEST_SUBJECT = 60


@dataclass(frozen=True, slots=True, repr=False)
class Captured:
    """One message that a program sent, or tried to send.

    Attributes:
        sender: the envelope sender.
        recipients: the accepted envelope recipients; all of them if the send failed.
        content: the message as a server would store it: CRLF line ends, Date and
            Message-ID added where they were missing, no Bcc.
        server: the server that it was sent to.
        receipt: the receipt that the program got, or None.
        error: the error that the program got, or None.
        delivery: the notifications and the TLS that the program asked for, or None.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    server: Server
    receipt: Receipt | None = None
    error: SendError | None = None
    delivery: Delivery | None = None

    @property
    def message(self) -> EmailMessage:
        """The content, parsed, with LF line ends."""
        content = self.content.replace(b"\r\n", b"\n")
        return message_from_bytes(content, policy=policy.default)

    @property
    def message_id(self) -> str | None:
        """The Message-ID."""
        known = self.receipt or self.error
        return known.message_id if known is not None else None

    @property
    def subject(self) -> str:
        """The Subject, decoded; empty if there is none."""
        return str(self.message["Subject"] or "")

    @property
    def text(self) -> str:
        """The text of the message, with LF line ends; empty if there is none."""
        return self._body("plain")

    @property
    def html(self) -> str:
        """The HTML of the message, with LF line ends; empty if there is none."""
        return self._body("html")

    @property
    def to(self) -> tuple[str, ...]:
        """The addresses in To, without names; see `recipients` for Cc and Bcc."""
        headers = self.message.get_all("To", [])
        return tuple([box.addr_spec for one in headers for box in one.addresses])

    def open(self) -> Path:
        """Show the message in a web browser: text, HTML, inline images, attachments.

        Scripts do not run. Images that the HTML refers to by ``http:`` or ``https:`` are
        loaded by the browser.

        Returns:
            The page, in a temporary folder of its own; it is not deleted.
        """
        return open_page(self.content, self.sender, self.recipients)

    def _body(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        return "" if part is None else str(part.get_content())

    def _file_name(self) -> str:
        subject = ""
        with contextlib.suppress(Exception):  # the parser fails for some subjects
            subject = re.sub(r"\W+", "-", self.subject)[:40].strip("-")
        return f"-{subject}" if subject else ""

    def __repr__(self) -> str:
        return f"<Captured: {self._summary()}>"

    def _summary(self) -> str:
        to = ", ".join(self.recipients[:_SHOWN])
        if more := len(self.recipients) - _SHOWN:
            to += f" and {more} more" * (more > 0)
        failed = f" ({type(self.error).__name__})" if self.error is not None else ""
        return f"{_shortened(self.subject)!r} to {to}{failed}"


class Outbox:
    """The messages that were sent during a `capture`; usable from any thread.

    ``len(outbox)``, ``outbox[0]`` and ``for sent in outbox`` are those of `messages`.

    Attributes:
        messages: the accepted messages, in order, each a `Captured`.
        failed: the messages whose send raised an error, `DeliveryUnknown` included. Where
            several servers were given, also those that one of them did not accept.
    """

    def __init__(self) -> None:
        self.messages: list[Captured] = []
        self.failed: list[Captured] = []
        self._lock = threading.Lock()
        self._plan: list[Failure] = []
        self._refused: dict[tuple[str, str], Reply] = {}

    def __len__(self) -> int:
        return len(self.messages)

    def __bool__(self) -> bool:
        return True  # even if it is empty, so that `if outbox` tests for None

    def __getitem__(self, index: int) -> Captured:
        return self.messages[index]

    def __iter__(self) -> Iterator[Captured]:
        return iter(list(self.messages))

    def __repr__(self) -> str:
        text = f"<Outbox: {len(self.messages)} sent, {len(self.failed)} failed"
        for name, messages in (("sent", self.messages), ("failed", self.failed)):
            if messages:
                last = [one._summary() for one in messages[-_SHOWN:]]
                before = "..., " if len(messages) > _SHOWN else ""
                text += f"; {name}: {before}{', '.join(last)}"
        return text + ">"

    def to(self, address: str) -> list[Captured]:
        """The messages that were accepted for an address.

        Args:
            address: the address, with or without a name. The case of its domain does not
                matter.

        Raises:
            ConfigError: `address` is no address.
        """
        wanted = _key(address)
        return [m for m in self if any(_key(r) == wanted for r in m.recipients)]

    def clear(self) -> None:
        """Forget the messages; `fail_next` and `refuse` stay in effect."""
        with self._lock:
            self.messages.clear()
            self.failed.clear()

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write each message into a file of its own, which mail programs can open.

        Args:
            folder: the folder, which is made if it does not exist. A file of the same
                name is replaced.

        Returns:
            The files: ``001-Subject.eml`` and so on for `messages`, and
            ``failed-001-Subject.eml`` and so on for `failed`.

        Raises:
            OSError: a file cannot be written.
        """
        with self._lock:
            found = [("", list(self.messages)), ("failed-", list(self.failed))]
        Path(folder).mkdir(parents=True, exist_ok=True)
        files = []
        for prefix, messages in found:
            for number, one in enumerate(messages, 1):
                path = Path(folder, f"{prefix}{number:03}{one._file_name()}.eml")
                path.write_bytes(one.content)
                files.append(path)
        return files

    def fail_next(
        self,
        error: SendError | type[SendError],
        *,
        times: int = 1,
        code: int | None = None,
        timed_out: bool = False,
    ) -> None:
        """Let the next send fail; the failures of several calls are used in their order.

        For a class the error has the attributes of its commonest case: phase, event,
        reply, `temporary`, hint, and attempts. An error object is raised as a copy. If
        its `event` is None, the attributes that it leaves out are filled in as for its
        class.

        A check fails, too, if the error is one that happens before a message is sent.
        Otherwise the failure stays for the next send.

        Args:
            error: a class below `SendError`, or an error object.
            times: how many sends in a row fail.
            code: the code of the server's reply, for a class that has a reply; a 4yz
                reply is temporary. By default that of the commonest case.
            timed_out: the `timed_out` of the error.

        Raises:
            TypeError: `error` is no error that a send can raise.
            ValueError: `code` is not from 400 to 599.
        """
        failure = Failure(error, code, timed_out)
        with self._lock:
            self._plan += [failure] * times

    def refuse(self, address: str, code: int = 550, text: str | None = None) -> None:
        """Refuse a recipient from now on, like a server that does not know it.

        Args:
            address: the recipient.
            code: the reply code, from 400 to 599; a 4yz reply is temporary.
            text: the text of the reply.

        Raises:
            ConfigError: `address` is no address.
            ValueError: `code` is not from 400 to 599.
        """
        reply = reply_of(code, text)
        with self._lock:
            self._refused[_key(address)] = reply

    def _next(self, *, checking: bool) -> Failure | None:
        """Remove and return the failure that is planned for this send or check."""
        if self._plan and (self._plan[0].before_login or not checking):
            return self._plan.pop(0)
        return None

    def _check(self, server: Server, hooks: Hooks) -> None:
        """Do a check: raise the planned failure, if there is one."""
        with self._lock:
            failure = self._next(checking=True)
        if failure is not None:
            raise _reported(failure.make(server, ()), hooks)

    def _send(self, server: Server, submission: Submission, hooks: Hooks) -> Receipt:
        """Do a send: store the message, or raise the planned failure."""
        with self._lock:
            error, refused = self._outcome(server, submission)
            if error is None:
                return self._accept(server, submission, refused)
            envelope = submission.envelope
            identify(error, envelope.message_id)
            self.failed.append(
                Captured(
                    envelope.sender,
                    envelope.recipients,
                    envelope.content,
                    server,
                    error=error,
                    delivery=envelope.delivery,
                )
            )
        raise _reported(error, hooks)

    def _outcome(
        self, server: Server, submission: Submission
    ) -> tuple[SendError | None, dict[str, Reply]]:
        to = submission.envelope.recipients
        if (failure := self._next(checking=False)) is not None:
            return failure.make(server, to), {}
        refused = {r: self._refused[_key(r)] for r in to if _key(r) in self._refused}
        if refused and (submission.require_all or len(refused) == len(to)):
            return recipients_refused(refused, len(to) - len(refused)), {}
        return None, refused

    def _accept(
        self, server: Server, submission: Submission, refused: dict[str, Reply]
    ) -> Receipt:
        envelope = submission.envelope
        accepted = tuple(r for r in envelope.recipients if r not in refused)
        receipt = Receipt(
            message_id=envelope.message_id,
            method=server.policy.methods[0],
            address="192.0.2.1",  # RFC 5737: for documentation
            tls=None if server.plaintext else "TLSv1.3",
            reply=Reply(250, "2.0.0", f"captured as {len(self.messages) + 1}"),
            accepted=accepted,
            refused=refused,
            attempts=(),
            elapsed=0.001,
            server=server.host,
        )
        self.messages.append(
            Captured(
                envelope.sender,
                accepted,
                envelope.content,
                server,
                receipt,
                delivery=envelope.delivery,
            )
        )
        return receipt


def _reported(error: SendError, hooks: Hooks) -> SendError:
    for attempt in error.attempts:
        hooks.attempt(attempt)
    return error


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_SUBJECT else f"{text[:_LONGEST_SUBJECT]}..."


def _key(address: str) -> tuple[str, str]:
    box = mailbox(address)
    return box.local, box.domain.lower()
