"""What a reply means in a transaction: a refusal, a limit, a server without BDAT."""

from __future__ import annotations

from collections.abc import Mapping

from smtpsend._wire.progress import temporary
from smtpsend.errors import (
    ConnectionLost,
    Event,
    Phase,
    RecipientsRefused,
    Rejected,
    Reply,
    SendError,
)


_TEXTS = {
    Phase.MAIL: "the server refused the sender or the message",
    Phase.DATA: "the server refused to take the message (DATA)",
    Phase.CONTENT: "the server refused the message in the middle",
    Phase.FINAL: "the server did not take the message",
}
_STEPS = {Phase.MAIL: "MAIL", Phase.RCPT: "RCPT", Phase.DATA: "DATA"}

# RFC 5321 section 4.5.3.1.8: a server takes at least as many recipients.
_LEAST_LIMIT = 100


def refusal(phase: Phase, reply: Reply) -> Rejected:
    """The error that `reply` is, where only a 2yz or the 354 would have been none."""
    event = Event.REFUSED
    if reply.code < 400:
        event, step = Event.WRONG_CLASS, _STEPS.get(phase, "the message")
        text = f"the server answered {step} with a reply that has no place there"
    else:
        text = _TEXTS[phase]
        if reply.code == 421:
            event = Event.CLOSING_AT_END
    return Rejected(
        text,
        phase=phase,
        event=event,
        reply=reply,
        temporary=temporary(reply),
    )


def recipients_refused(refused: Mapping[str, Reply], accepted: int) -> RecipientsRefused:
    """The error where nobody is to get the message."""
    if accepted:
        text = (
            f"{len(refused)} of {len(refused) + accepted} recipients were refused, and "
            "require_all=True sends to all or nobody"
        )
    elif len(refused) == 1:
        text = f"the server refused the recipient {next(iter(refused))}"
    else:
        text = f"the server refused all {len(refused)} recipients"
    return RecipientsRefused(
        text,
        refused=dict(refused),
        event=Event.REFUSED,
        reply=next(iter(refused.values())),
        temporary=all(map(temporary, refused.values())),
    )


def too_many(reply: Reply, accepted: int) -> bool:
    """Whether a refused recipient is one too many for a transaction with `accepted`.

    RFC 5321 section 4.5.3.1.10 has 452 for it; the same code says that a mailbox or a
    disk is full, which 4.5.3 in RFC 3463 tells apart. Some servers say 451.
    """
    if reply.code == 452 and reply.enhanced in (None, "4.5.3"):
        return accepted > 0
    return reply.code in (451, 452) and accepted >= _LEAST_LIMIT


def no_bdat(reply: Reply) -> bool:
    """Whether the server does not know BDAT, for all that its EHLO says."""
    return reply.code in (500, 502)


def without_bdat(reply: Reply) -> SendError:
    """The error after which the message goes out by DATA, on a fresh connection."""
    return ConnectionLost(
        "the server offers CHUNKING, but does not know BDAT",
        phase=Phase.DATA,
        event=Event.NO_BDAT,
        reply=reply,
        temporary=True,
    )
