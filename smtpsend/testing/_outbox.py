"""An outbox in place of the network: what a program sends, for its tests to look at."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

from smtpsend._client.hooks import Hooks
from smtpsend._client.submission import Submission
from smtpsend._model.address.mailbox import mailbox
from smtpsend._model.receipt import Receipt
from smtpsend._model.server.server import Server
from smtpsend._protocol.failures import recipients_refused
from smtpsend.errors import Reply, SendError
from smtpsend.testing._failures import Failure, reply_of


@dataclass(frozen=True, slots=True)
class Captured:
    """One message that a program sent, or tried to.

    Attributes:
        sender: the envelope sender.
        recipients: who was accepted, or, if the send failed, for whom it was meant.
        content: the message as a server would store it: CRLF line ends, Date and
            Message-ID added where they were missing, no Bcc.
        server: where it was sent to.
        receipt: what the program was given, or None.
        error: what was raised in its place, or None.
    """

    sender: str
    recipients: tuple[str, ...]
    content: bytes = field(repr=False)
    server: Server = field(repr=False)
    receipt: Receipt | None = field(default=None, repr=False)
    error: SendError | None = None

    @property
    def message(self) -> EmailMessage:
        """The content, parsed anew, with the line ends of Python."""
        content = self.content.replace(b"\r\n", b"\n")
        return message_from_bytes(content, policy=policy.default)

    @property
    def message_id(self) -> str | None:
        """The Message-ID."""
        known = self.receipt or self.error
        return known.message_id if known is not None else None


class Outbox:
    """What was sent while a `capture` lasted. It may be used from any thread.

    ``len(outbox)``, ``outbox[0]`` and ``for sent in outbox`` are those of `messages`.

    Attributes:
        messages: what was accepted, in order, each a `Captured`.
        failed: what was not, whether or not it may be delivered all the same.
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
        return True  # an empty one is still an outbox

    def __getitem__(self, index: int) -> Captured:
        return self.messages[index]

    def __iter__(self) -> Iterator[Captured]:
        return iter(list(self.messages))

    def __repr__(self) -> str:
        return f"<Outbox: {len(self.messages)} sent, {len(self.failed)} failed>"

    def to(self, address: str) -> list[Captured]:
        """The messages that were accepted for an address.

        Args:
            address: the address, with or without a name; its domain in any case.

        Raises:
            ConfigError: it is no address.
        """
        wanted = _key(address)
        return [m for m in self if any(_key(r) == wanted for r in m.recipients)]

    def clear(self) -> None:
        """Forget the messages; what is planned stays planned."""
        with self._lock:
            self.messages.clear()
            self.failed.clear()

    def fail_next(
        self,
        error: SendError | type[SendError],
        *,
        times: int = 1,
        code: int | None = None,
        timed_out: bool = False,
    ) -> None:
        """Let the next send fail; several calls are taken in turn, one for each send.

        A class gets the facts of its commonest case: phase, event, reply, `temporary`,
        hint, and attempts. An error that you made yourself is raised as a copy; what it
        leaves out is filled in as for its class, unless its `event` is set.

        A check fails with it, too, if the failure is one before a message is sent, and
        else leaves it for the next send.

        Args:
            error: a class below `SendError`, or an error.
            times: for how many sends in a row.
            code: the server's reply code, for a class that has a reply; 4yz is temporary.
            timed_out: whether a timer decided.

        Raises:
            TypeError: it is no error that a send can raise.
        """
        failure = Failure(error, code, timed_out)
        with self._lock:
            self._plan += [failure] * times

    def refuse(self, address: str, code: int = 550, text: str | None = None) -> None:
        """Refuse a recipient from now on, as a server that does not know it.

        Args:
            address: the recipient.
            code: the reply code; 4yz is temporary.
            text: the server's words.
        """
        reply = reply_of(code, text)
        with self._lock:
            self._refused[_key(address)] = reply

    def _next(self, *, checking: bool) -> Failure | None:
        """The failure that is planned for this send or check."""
        if self._plan and (self._plan[0].before_login or not checking):
            return self._plan.pop(0)
        return None

    def _check(self, server: Server, hooks: Hooks) -> None:
        """What a check comes to."""
        with self._lock:
            failure = self._next(checking=True)
        if failure is not None:
            raise _told(failure.make(server.policy, ()), hooks)

    def _send(self, server: Server, submission: Submission, hooks: Hooks) -> Receipt:
        """What a send comes to."""
        with self._lock:
            error, refused = self._fate(server, submission)
            if error is None:
                return self._accept(server, submission, refused)
            envelope = submission.envelope
            error.message_id = envelope.message_id
            self.failed.append(
                Captured(
                    envelope.sender,
                    envelope.recipients,
                    envelope.content,
                    server,
                    error=error,
                )
            )
        raise _told(error, hooks)

    def _fate(
        self, server: Server, submission: Submission
    ) -> tuple[SendError | None, dict[str, Reply]]:
        to = submission.envelope.recipients
        if (failure := self._next(checking=False)) is not None:
            return failure.make(server.policy, to), {}
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
        )
        self.messages.append(
            Captured(envelope.sender, accepted, envelope.content, server, receipt)
        )
        return receipt


def _told(error: SendError, hooks: Hooks) -> SendError:
    for attempt in error.attempts:
        hooks.attempt(attempt)
    return error


def _key(address: str) -> tuple[str, str]:
    box = mailbox(address)
    return box.local, box.domain.lower()
