"""The log: one line for each send, a warning for a fallback and an unknown delivery.

These functions suppress the exceptions of log handlers: an accepted message stays
accepted, whatever a handler does.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

from smtpsend._events import NO_MESSAGE_ID
from smtpsend._model.shortage import HINT, shortage
from smtpsend._protocol.failures import lost
from smtpsend._protocol.transaction import Stage, Transaction
from smtpsend._wire.callers.code import contained
from smtpsend.errors import (
    ConnectError,
    DeliveryUnknown,
    Event,
    Phase,
    SendError,
    named,
)


if TYPE_CHECKING:
    from smtpsend._model.message.envelope import Envelope
    from smtpsend._model.receipt import Receipt

log = logging.getLogger("smtpsend")


def success(receipt: Receipt, host: str) -> None:
    """Log that the server accepted a message."""
    with contained():
        if not (receipt.attempts or log.isEnabledFor(logging.INFO)):
            return
        _fallback(receipt, host)
        refused = f", {len(receipt.refused)} refused" if receipt.refused else ""
        log.info(
            "accepted %s for %d recipient(s)%s by %s:%s in %.3f s: %s",
            _named(receipt.message_id),
            len(receipt.accepted),
            refused,
            host,
            receipt.method,
            receipt.elapsed,
            receipt.reply,
        )


def _fallback(receipt: Receipt, host: str) -> None:
    if receipt.attempts:
        log.warning(
            "%s: fell back to %s (%s)",
            host,
            receipt.method,
            named(receipt.attempts, host),
        )


def failure(error: SendError, host: str, envelope: Envelope) -> None:
    """Log that a message was not sent, or that its delivery is unknown."""
    with contained():
        unknown = isinstance(error, DeliveryUnknown)
        log.log(
            logging.WARNING if unknown else logging.INFO,
            "%s %s for %d recipient(s) by %s: %s: %s",
            "unknown whether delivered:" if unknown else "not sent:",
            _named(error.message_id),
            len(envelope.recipients),
            host,
            type(error).__name__,
            error,
        )


def cancelled(
    transaction: Transaction | None, message_id: str | None
) -> DeliveryUnknown | None:
    """Log the state of a message whose send was cancelled.

    Args:
        transaction: the transaction in progress; None if none was begun.

    Returns:
        The error to report if the end of the message had been sent and the server did
        not refuse it; otherwise None.
    """
    if transaction is None or transaction.stage < Stage.ENDED:
        return None
    if transaction.reply is None and transaction.error is None:
        return log_unknown(message_id)
    if transaction.error is not None:
        unknown = isinstance(transaction.error, DeliveryUnknown)
        return log_unknown(message_id) if unknown else None
    _warn("delivered nevertheless: %s was cancelled after the reply", _named(message_id))
    return DeliveryUnknown(
        "cancelled after the server accepted the message",
        phase=Phase.FINAL,
        event=Event.UNKNOWN,
        reply=transaction.reply,
        message_id=message_id,
        hint="the message was delivered: do not send it again",
    )


def log_unknown(message_id: str | None) -> DeliveryUnknown:
    """Log that a send was cancelled after the end of its message, before the reply."""
    _warn(
        "unknown whether delivered: %s (cancelled before the server replied to the end "
        "of the message)",
        _named(message_id),
    )
    return DeliveryUnknown(
        "cancelled before the server replied to the end of the message",
        phase=Phase.FINAL,
        event=Event.UNKNOWN,
        message_id=message_id,
        hint="" if message_id is not None else NO_MESSAGE_ID,
    )


def _named(message_id: str | None) -> str:
    # Nothing is added to a message that was given as bytes or str.
    return message_id or "a message without Message-ID"


def stopped(*, partly_sent: bool) -> ConnectError:
    """Build the error of a message that a stopped `send_many` did not send to all.

    Args:
        partly_sent: whether the server accepted the message for some recipients.
    """
    return ConnectError(
        "send_many was stopped before this message was sent",
        phase=Phase.CONNECT,
        temporary=True,
        hint="" if partly_sent else "nothing was delivered: it is safe to send again",
    )


def _warn(text: str, *facts: object) -> None:
    with contained():
        log.warning(text, *facts)


def unexpected(error: BaseException, phase: Phase) -> SendError:
    """Log and build a typed error for a defect of this library or of one it uses.

    A shortage of this machine can show anywhere, and is no defect.
    """
    if (why := shortage(error)) is not None:
        typed = lost(phase, why)
        if not isinstance(typed, DeliveryUnknown):
            typed.hint = HINT
        return typed
    frames = traceback.extract_tb(error.__traceback__)
    place = (
        f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "an unknown place"
    )
    # The text of `error` is left out, since it may hold a secret.
    typed = lost(phase, f"internal error: {type(error).__name__} in {place}")
    report = "please report this as a defect of smtpsend"
    # That the message may have been delivered is more important than the defect.
    unknown = isinstance(typed, DeliveryUnknown)
    typed.hint = f"{typed.hint}; {report}" if unknown else report
    with contained():
        log.error("%s", typed)
    return typed


def left_alone(host: str, seconds: float) -> None:
    """Log that a server failed, so that the others are tried before it."""
    _warn("%s failed: the other servers are tried first for %g s", host, seconds)


def works_again(host: str) -> None:
    """Log that a server works that had failed."""
    with contained():
        log.info("%s works again", host)
