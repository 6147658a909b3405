"""A mail transaction (RFC 5321 section 3.3): its stage, its replies and its outcome.

`fate` is the table that says what becomes of a transaction if its connection breaks, by
the stage that it had reached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from smtpsend._protocol.failures import (
    closing,
    lost,
    no_bdat,
    positive,
    recipients_refused,
    refusal,
    too_many_recipients,
    without_bdat,
)
from smtpsend._values import NamedTuple, dataclass, field
from smtpsend.errors import (
    ConnectionLost,
    DeliveryUnknown,
    Event,
    Phase,
    Reply,
    SendError,
)


if TYPE_CHECKING:
    from smtpsend._model.delivery import Delivery


class Stage(IntEnum):
    """How far a transaction has come; a stage is never left for an earlier one."""

    QUEUED = 0
    STARTED = 1  # MAIL was written
    ENDED = 2  # the end of the content was written, so that the server may accept it
    REPLIED = 3  # the reply to the end was read; no synchronisation point confirms it yet
    SETTLED = 4


class EndNote(NamedTuple):
    """Who has to know of a message before the last octet of its content is written.

    Attributes:
        number: the number of the message.
        note: called with the numbers of the messages whose ends are written next. If it
            raises `Lost`, they are not written, and the connection is given up.
    """

    number: int
    note: Callable[[list[int]], None]


@dataclass(slots=True, kw_only=True, eq=False)
class Transaction:
    """One message on its way to one server.

    Attributes:
        mail: the MAIL command.
        recipients: the addresses, in the order of their RCPT commands.
        content: the content, before dot-stuffing.
        require_all: the message is for all recipients or for none.
        by_bdat: the content is sent by BDAT, pipelined after the recipients.
        delivery: what the caller asked for, as parameters of RCPT; None for nothing.
        end_note: who has to know before the end is written; None for nobody.
        deadline: when the message must have its outcome; only the caller reads it.
        submission: what the caller submitted; only the caller reads it.
        stage: how far it has come.
        accepted: the recipients with a positive reply.
        refused: the negative reply to each refused recipient.
        deferred: the recipients beyond the server's limit, for another transaction.
        mail_refused: the error of a refused MAIL; None if it was not refused.
        closing: the error of a 421 that came in place of the reply to MAIL or RCPT after
            the content was sent; None if none came.
        reply: the reply to the end of the content; None if there is none.
        error: why the server did not accept the message, or why this is unknown. None
            beside a `reply` means that it was accepted for `accepted`.
    """

    mail: bytes
    recipients: Sequence[str]
    content: bytes
    require_all: bool = False
    by_bdat: bool = False
    delivery: Delivery | None = None
    end_note: EndNote | None = None
    deadline: Any = None
    submission: Any = None
    stage: Stage = Stage.QUEUED
    accepted: list[str] = field(default_factory=list)
    refused: dict[str, Reply] = field(default_factory=dict)
    deferred: list[str] = field(default_factory=list)
    mail_refused: SendError | None = None
    closing: SendError | None = None
    reply: Reply | None = None
    error: SendError | None = None

    @property
    def unsent(self) -> bool:
        """Whether it goes out on another connection, because it is not to blame."""
        return self.reply is None and self.error is None

    @property
    def lost(self) -> bool:
        """Whether the server cannot have accepted it, so that it may be sent again."""
        return isinstance(self.error, ConnectionLost)

    def mail_reply(self, reply: Reply) -> None:
        """Record the reply to MAIL."""
        if reply.code == 421:
            self.mail_refused = self.closing = closing(Phase.MAIL, reply)
        elif not positive(reply):
            self.mail_refused = refusal(Phase.MAIL, reply)

    def recipient_reply(self, address: str, reply: Reply) -> None:
        """Record the reply to a RCPT."""
        if positive(reply):
            self.accepted.append(address)
        elif too_many_recipients(reply, len(self.accepted)) and not self.require_all:
            self.deferred.append(address)
        else:
            self.refused[address] = reply
            if reply.code == 421:
                self.closing = closing(Phase.RCPT, reply)

    def end_reply(self, reply: Reply, *, by_bdat: bool) -> None:
        """Record the reply to the end of the content, which is no 3yz."""
        self.reply, self.stage = reply, Stage.REPLIED
        self.error = self.refusal()
        if positive(reply):
            return
        if self.closing is not None:
            # The server ended the session at a recipient, and refused the content for
            # that reason.
            self.error = self.closing
        elif self.error is None:
            not_known = by_bdat and no_bdat(reply)
            self.error = without_bdat(reply) if not_known else refusal(Phase.FINAL, reply)

    def refusal(self) -> SendError | None:
        """The error if no recipient is to get the message; every RCPT has its reply."""
        if self.mail_refused is not None:
            return self.mail_refused
        if self.accepted and not (self.refused and self.require_all):
            return None
        return recipients_refused(self.refused, len(self.accepted))

    def certain_refusal(self) -> SendError | None:
        """The same where the connection broke; None unless the replies so far decide."""
        replies = len(self.accepted) + len(self.refused) + len(self.deferred)
        if self.mail_refused is None and replies < len(self.recipients):
            return None
        if self.mail_refused is not None and self.accepted:
            return None  # one of the two replies belongs to another command
        return self.refusal()

    def settle(self, error: SendError | None) -> None:
        """Record the outcome."""
        self.error, self.stage = error, Stage.SETTLED


@dataclass(slots=True, eq=False, repr=False)
class Break:
    """Why nothing more can be sent or read on a connection.

    Attributes:
        why: the cause, for the text of an error.
        phase: the phase of the command whose reply was awaited or that was to be written.
        blamed: the transaction of this command; None for a command of no transaction.
        timed_out: the cause is a time limit of ours.
        closing: the error of a 421 that was the last reply; None if it was another.
        not_bdat: the error of a server that does not know BDAT, as its replies so far
            show; None if they do not.
        contradiction: a reply was read that cannot be true beside an earlier one, so that
            a refusal may belong to another command.
        in_doubt: a reply was out of place, and one since the last synchronisation point
            was negative.
        wrong_class: the error of a reply whose class does not exist for its command.
        negative_after_end: the last reply was negative, and the one before it was the
            reply to the end of a message.
    """

    why: str
    phase: Phase
    blamed: Transaction | None = None
    timed_out: bool = False
    closing: SendError | None = None
    not_bdat: SendError | None = None
    contradiction: bool = False
    in_doubt: bool = False
    wrong_class: SendError | None = None
    negative_after_end: bool = False

    def error(self, phase: Phase) -> SendError:
        """The error of a transaction that is lost at `phase`."""
        return lost(phase, self.why, timed_out=self.timed_out)


def fate(transaction: Transaction, broken: Break) -> SendError | None:
    """Return the error of a transaction after its connection broke.

    None for a transaction without a reply means that it goes out on another connection;
    None for one with a reply means that the server accepted it.

    ========  ==========================================================================
    Stage     Outcome: the first that applies
    ========  ==========================================================================
    QUEUED    It goes out on another connection, unless it is to blame for the break.
    STARTED   A refusal, unless a later reply contradicts it; a reply of a class that does
              not exist for its command. A 421, or any other loss: `ConnectionLost`.
    ENDED     `ConnectionLost` if the last reply was a 421; a refusal, unless a later
              reply contradicts it. Unknown if a reply was out of place and one was
              negative. `ConnectionLost` if the server does not know BDAT. Else unknown.
    REPLIED   Unknown if a reply was out of place and one was negative, or if the last
              reply read is negative and follows its own, which is positive. Else its
              reply stands.
    SETTLED   Its outcome stands.
    ========  ==========================================================================
    """
    refusal = None if broken.contradiction else transaction.certain_refusal()
    match transaction.stage:
        case Stage.QUEUED | Stage.STARTED:
            if transaction is not broken.blamed:
                return None
            return (
                refusal
                or broken.wrong_class
                or broken.closing
                or broken.error(broken.phase)
            )
        case Stage.ENDED:
            if (error := broken.closing or refusal) is not None:
                return error
            if broken.in_doubt:
                return unpaired()
            return broken.not_bdat or broken.error(Phase.FINAL)
        case Stage.REPLIED:
            if broken.in_doubt or (
                broken.negative_after_end and transaction.error is None
            ):
                return unpaired()
    return transaction.error


def unpaired() -> DeliveryUnknown:
    """The error of a message whose replies cannot be paired with its commands."""
    return DeliveryUnknown(
        "the server's replies cannot be told apart: the message may have been delivered",
        phase=Phase.FINAL,
        event=Event.UNKNOWN,
    )


def not_bdat(transactions: Sequence[Transaction]) -> SendError | None:
    """The error of a server that does not know BDAT, if its first reply shows that."""
    error = transactions[0].error if transactions else None
    return error if error is not None and error.event is Event.NO_BDAT else None
