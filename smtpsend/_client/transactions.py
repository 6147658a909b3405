"""Deliver one message to all recipients, in as many transactions as the server needs."""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from smtpsend._model.diagnosis.hints import identify
from smtpsend._protocol.failures import recipients_refused
from smtpsend._protocol.negotiation import Negotiated, negotiate, unsupported
from smtpsend._protocol.transaction import EndNote, Transaction
from smtpsend._values import dataclass, field
from smtpsend._wire import exchange
from smtpsend.errors import DeliveryUnknown, Phase, RecipientsRefused, Reply, SendError


if TYPE_CHECKING:
    from smtpsend._model.message.envelope import Envelope
    from smtpsend._protocol.ordering import Verb
    from smtpsend._wire.connection import Session


@dataclass(slots=True, eq=False, repr=False)
class Transactions:
    """The state of each recipient of a message, over all transactions and connections.

    Attributes:
        reply: the reply to the end of the message, in the last transaction that the
            server accepted; None before there is one.
        transaction: the transaction that is in progress, or was the last one.
        end_note: who has to know before the end of the message is written.
        unknown: the error of a cancelled transaction whose delivery is unknown.
    """

    envelope: Envelope
    require_all: bool
    accepted: list[str] = field(default_factory=list)
    refused: dict[str, Reply] = field(default_factory=dict)
    reply: Reply | None = None
    transaction: Transaction | None = None
    end_note: EndNote | None = None
    unknown: DeliveryUnknown | None = None
    _remaining: deque[str] = field(default_factory=deque)
    _max_recipients: int = sys.maxsize  # in one transaction
    # The 5yz replies to recipients in a transaction that failed.
    _refused_for_good: dict[str, Reply] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._remaining.extend(self.envelope.recipients)

    async def run(self, session: Session, *, last: bool) -> Reply | None:
        """Run transactions over `session` until no recipient is left.

        If the connection breaks, the recipients of that transaction stay for the next
        session.

        Args:
            last: whether the connection is closed after the message.

        Returns:
            The reply to the end of the message in the last transaction; None if
            recipients are left that need a fresh connection, since QUIT has been sent or
            the server accepts no more messages on this connection.

        Raises:
            SendError: a transaction failed, or the server refused every recipient.
        """
        secure = session.tls is not None
        message = negotiate(self.envelope, session.extensions, secure=secure)
        self._check_limit(session)
        while self._remaining:
            if session.at_message_limit or session.channel.quit_sent:
                return None
            await self._one_transaction(session, message, last=last)
        if self.reply is None:
            raise recipients_refused(self.refused, 0)
        return self.reply

    def _check_limit(self, session: Session) -> None:
        limit, count = session.extensions.recipient_limit, len(self.envelope.recipients)
        if limit and self.require_all and count > limit:
            raise unsupported(
                f"the server accepts at most {limit} recipients in one transaction, and "
                f"require_all=True needs all {count} in one",
                "send to fewer recipients, or without require_all",
            )
        if limit:
            self._max_recipients = min(limit, self._max_recipients)

    async def _one_transaction(
        self, session: Session, message: Negotiated, *, last: bool
    ) -> None:
        count = min(self._max_recipients, len(self._remaining))
        part = [self._remaining.popleft() for _ in range(count)]
        last = last and not self._remaining
        content = message.content
        transaction = self.transaction = Transaction(
            mail=message.mail,
            recipients=part,
            content=content,
            require_all=self.require_all,
            # Only where QUIT follows it. A kept connection may be dead without our
            # knowledge, and whether the message arrived would be unknown then.
            by_bdat=last
            and not self.require_all
            and session.may_pipeline_content(content),
            delivery=self.envelope.delivery,
            end_note=self.end_note,
            deadline=session.deadline,
        )
        try:
            await _exchange(session, transaction, last=last)
        except RecipientsRefused as error:
            if self.require_all:
                raise
            self.refused |= error.refused
        except BaseException:
            self._remaining.extendleft(reversed(part))
            self._refused_for_good = _refused_for_good(transaction)
            raise
        else:
            self.reply = transaction.reply
            self.accepted += transaction.accepted
            self.refused |= transaction.refused
        if deferred := transaction.deferred:
            self._remaining.extendleft(reversed(deferred))
            # The server accepted or refused this many before it refused one as too many.
            self._max_recipients = max(1, len(part) - len(deferred))
            if session.channel.quit_sent:
                # QUIT was pipelined although recipients are left. If the content is not
                # pipelined after RCPT, the client knows of them before it sends QUIT.
                session.target.quirks.no_content_in_group = True

    @classmethod
    def of(cls, submission: Any) -> Transactions:
        """Build the state of a submission before its first transaction with a server.

        If other servers failed to send it, their state goes on.
        """
        return submission.transactions or cls(
            submission.envelope, submission.require_all, end_note=submission.end_note
        )

    @classmethod
    def after_batch(cls, transaction: Transaction) -> Transactions:
        """Build the state of a message after its transaction in a batch.

        If the server accepted the message, the deferred recipients remain.
        """
        submission = transaction.submission
        transactions = cls(
            submission.envelope, submission.require_all, end_note=submission.end_note
        )
        if transaction.reply is not None and transaction.error is None:
            transactions.accepted, transactions.refused = (
                transaction.accepted,
                transaction.refused,
            )
            transactions.reply = transaction.reply
            transactions._remaining = deque(transaction.deferred)
            transactions._max_recipients = max(
                1, len(transaction.recipients) - len(transaction.deferred)
            )
        else:
            transactions._refused_for_good = _refused_for_good(transaction)
        return transactions

    def for_next_server(self, error: SendError) -> Transactions:
        """Build the state with which the next server begins, after `error` at this one.

        No recipient that this server accepted the message for remains, and none that it
        refused with 5yz. Where it refused all of them with 4yz, all of them remain.
        """
        after = Transactions(self.envelope, self.require_all, end_note=self.end_note)
        after.accepted, after.reply = self.accepted, self.reply
        if not isinstance(error, RecipientsRefused):
            after.refused = self.refused | self._refused_for_good
        settled = {*after.accepted, *after.refused}
        recipients = self.envelope.recipients
        after._remaining = deque([r for r in recipients if r not in settled])
        return after

    @property
    def begun(self) -> bool:
        """Whether a server has accepted or refused the message for some recipients."""
        return bool(self.accepted or self.refused)

    def complete_error(self, error: SendError) -> SendError:
        """Add the Message-ID and the accepted recipients to `error`, and return it."""
        identify(error, self.envelope.message_id)
        if self.accepted:
            # Sending the same message again would repeat it to the accepted recipients.
            error.accepted, error.temporary = tuple(self.accepted), False
        return error


def _refused_for_good(transaction: Transaction) -> dict[str, Reply]:
    """Return the 5yz replies that are about recipients of a transaction that failed.

    RCPT may be pipelined after a MAIL that is refused. It is refused then for its place,
    mostly by 503 (RFC 5321 section 4.1.4), which says nothing about the recipient.
    """
    if transaction.mail_refused is not None:
        return {}
    replies = transaction.refused.items()
    return {to: reply for to, reply in replies if 500 <= reply.code != 503}


async def _exchange(session: Session, transaction: Transaction, *, last: bool) -> None:
    """Send one transaction, and raise its error if it has one."""
    waiting = [transaction]

    def more(_: Verb | None) -> Transaction | None:
        return waiting.pop() if waiting else None

    pipeline = session.pipeline(more, last=last)
    await exchange.run(session, pipeline, lambda _: None)
    if transaction.error is not None:
        raise transaction.error
    if transaction.reply is None:
        assert pipeline.broken is not None  # noqa: S101  # it has no outcome otherwise
        raise pipeline.broken.error(Phase.MAIL)
