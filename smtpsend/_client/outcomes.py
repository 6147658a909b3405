"""The end of a submission: build its receipt or error, log it, and call the hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpsend._client import log
from smtpsend._client.hooks import Hooks
from smtpsend._client.submission import Submission
from smtpsend._client.transactions import Transactions
from smtpsend._model.diagnosis.hints import explain
from smtpsend._model.receipt import Outcome, Receipt
from smtpsend.errors import Attempt, Phase, SendError


if TYPE_CHECKING:
    from smtpsend._model.server.server import Server
    from smtpsend._protocol.transaction import Transaction
    from smtpsend._wire.connection import Session


def receipt_of(
    session: Session,
    message_id: str | None,
    accepted: Transactions | Transaction,
    *,
    attempts: tuple[Attempt, ...],
    started: float,
    elapsed: float,
) -> Receipt:
    """Build the receipt for a message that the server accepted.

    Args:
        accepted: the transaction that the server accepted, or all of the message.
        attempts: the attempts that failed before for this message.
        started: seconds from the start of the call to the start of the session's method.
        elapsed: seconds since the start of the call.
    """
    assert accepted.reply is not None  # noqa: S101  # it was accepted
    track = session.track
    return Receipt(
        message_id=message_id,
        method=track.method,
        address=str(track.address),
        tls=session.tls,
        reply=accepted.reply,
        accepted=tuple(accepted.accepted),
        refused=dict(accepted.refused),
        attempts=attempts,
        elapsed=elapsed,
        started=started,
        server=track.server,
    )


def conclude(
    server: Server, submission: Submission, receipt: Receipt, hooks: Hooks
) -> Outcome:
    """Log and report that the server accepted a message."""
    log.success(receipt, server.host)
    outcome = Outcome(submission.index, submission.message, receipt, None)
    hooks.outcome(outcome)
    return outcome


def conclude_failure(
    server: Server,
    submission: Submission,
    transactions: Transactions,
    hooks: Hooks,
    error: BaseException,
) -> SendError:
    """Log and report that a message was not accepted, or may have been.

    Returns:
        `error`, or a typed error in its place.
    """
    if isinstance(error, SendError):
        typed = explain(transactions.complete_error(error), server)
        log.failure(typed, server.host, submission.envelope)
    else:
        typed = transactions.complete_error(log.unexpected(error, Phase.CONNECT))
    hooks.outcome(Outcome(submission.index, submission.message, None, typed))
    return typed


def conclude_cancelled(
    submission: Submission, transactions: Transactions, hooks: Hooks
) -> None:
    """Report a message whose send was cancelled, if its delivery is unknown."""
    if transactions.unknown is not None:
        unknown = transactions.complete_error(transactions.unknown)
        hooks.outcome(Outcome(submission.index, submission.message, None, unknown))
