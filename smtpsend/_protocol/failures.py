"""The faults that end a connection, and the typed error of a fault or a negative reply.

Tables and functions without I/O: they name the error of a connection that is lost at each
step, and the error of a negative reply to each command of a transaction. The errors of
negative replies before MAIL are raised where those commands are sent: in handshake.py,
connection.py (EHLO) and login.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from smtpsend._model.diagnosis.refusals import is_about_size
from smtpsend.errors import (
    ConnectError,
    ConnectionLost,
    DeliveryUnknown,
    Event,
    Phase,
    RecipientsRefused,
    Rejected,
    Reply,
    SendError,
    TLSError,
)


class Lost(Exception):
    """The connection ended."""


class Alert(Lost):
    """The server ended TLS by an alert (RFC 8446 section 6).

    Args:
        name: the alert in the words of the RFC.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"the server ended TLS (alert: {name})")
        self.name = name


class TimedOut(Exception):
    """One of our own timers ran out."""


class Garbage(Exception):
    """The server sent something that is no SMTP reply, or that fits no command.

    The text of the exception says why, and holds no secret.
    """


class ExtraReply(Garbage):
    """A reply came before its command was written, so that it belongs to no command."""


class WrongSignature(Exception):
    """The server did not prove that it knows the password (SCRAM, RFC 5802)."""


FAULTS = (Lost, TimedOut, Garbage)
"""Everything that can end a connection."""

# The error and the row of the policy table for a connection that ends at each step.
_LOST_AT: dict[Phase, tuple[type[SendError], Event]] = {
    Phase.CONNECT: (ConnectError, Event.UNREACHABLE),
    Phase.GREETING: (ConnectError, Event.NO_GREETING),
    Phase.EHLO: (ConnectError, Event.EHLO_REFUSED),
    Phase.STARTTLS: (TLSError, Event.NO_STARTTLS),
    Phase.TLS: (TLSError, Event.HANDSHAKE),
    Phase.AUTH: (ConnectionLost, Event.AUTH_LOST),
    Phase.MAIL: (ConnectionLost, Event.LOST),
    Phase.RCPT: (ConnectionLost, Event.LOST),
    Phase.DATA: (ConnectionLost, Event.LOST),
    Phase.CONTENT: (ConnectionLost, Event.LOST),
    Phase.FINAL: (DeliveryUnknown, Event.UNKNOWN),
}

_LOST_TEXTS: dict[Phase, str] = {
    Phase.CONNECT: "no connection",
    Phase.GREETING: "no greeting",
    Phase.EHLO: "no reply to EHLO",
    Phase.STARTTLS: "no reply to STARTTLS",
    Phase.TLS: "the TLS handshake failed",
    Phase.AUTH: "no reply to the login",
    Phase.MAIL: "the connection was lost at MAIL",
    Phase.RCPT: "the connection was lost at RCPT",
    Phase.DATA: "the connection was lost at DATA",
    Phase.CONTENT: "the connection was lost in the middle of the message",
    Phase.FINAL: "no reply to the end of the message: it may have been delivered",
}

_REFUSED_TEXTS = {
    Phase.MAIL: "the server refused the sender",
    Phase.DATA: "the server refused to accept the message (DATA)",
    Phase.CONTENT: "the server refused the message in the middle",
    Phase.FINAL: "the server did not accept the message",
}
_COMMANDS = {Phase.MAIL: "MAIL", Phase.RCPT: "RCPT", Phase.DATA: "DATA"}

# RFC 5321 section 4.5.3.1.8: a server accepts at least this many recipients.
_LEAST_RECIPIENT_LIMIT = 100


def temporary(reply: Reply) -> bool:
    """Whether a refusal is transient: any 4yz (RFC 5321 section 4.2.1)."""
    return 400 <= reply.code < 500


def positive(reply: Reply) -> bool:
    """Whether a reply is a success: any 2yz (RFC 5321 section 4.2.1)."""
    return 200 <= reply.code < 300


def lost(phase: Phase, why: str, *, timed_out: bool = False) -> SendError:
    """The error of a connection that ended, timed out or sent garbage at `phase`."""
    kind, event = _LOST_AT[phase]
    return kind(
        f"{_LOST_TEXTS[phase]} ({why})",
        phase=phase,
        event=event,
        temporary=kind is not DeliveryUnknown,
        timed_out=timed_out,
    )


def closing(phase: Phase, reply: Reply) -> SendError:
    """The error of a 421 before the end of the message (RFC 5321 section 3.8)."""
    error = lost(phase, "the server ended the session")
    error.reply = reply
    return error


def early(phase: Phase, reply: Reply) -> SendError:
    """The error of a reply that came before the command, or the content, was written."""
    if reply.code == 421:
        return closing(phase, reply)
    if positive(reply):
        return DeliveryUnknown(
            "the server accepted the message before its end went out",
            phase=phase,
            event=Event.ACCEPTED_EARLY,
            reply=reply,
        )
    return refusal(phase, reply)


def refusal(phase: Phase, reply: Reply) -> Rejected:
    """The error of a reply at `phase` that is neither a 2yz nor the 354 to DATA."""
    event = Event.REFUSED
    if reply.code < 400:
        event, command = Event.WRONG_CLASS, _COMMANDS.get(phase, "the message")
        text = f"the server replied to {command} with a code that has no place there"
    else:
        text = _refused_at_mail(reply) if phase is Phase.MAIL else _REFUSED_TEXTS[phase]
        if reply.code == 421:
            event = Event.CLOSING_AT_END
    return Rejected(
        text,
        phase=phase,
        event=event,
        reply=reply,
        temporary=temporary(reply),
    )


def _refused_at_mail(reply: Reply) -> str:
    """What a refusal of MAIL refuses, as far as its codes tell (RFC 3463)."""
    if reply.code == 530:
        return "the server does not accept mail before a login"
    if is_about_size(reply):
        return "the server refused the message because of its size"
    if reply.enhanced is not None and reply.enhanced[1:3] in (".3", ".4"):
        # The state of the server, or of the network.
        return "the server does not accept mail now"
    return _REFUSED_TEXTS[Phase.MAIL]


def recipients_refused(refused: Mapping[str, Reply], accepted: int) -> RecipientsRefused:
    """The error of a transaction that ends because recipients were refused.

    Args:
        refused: the reply to each refused recipient.
        accepted: how many recipients the server accepted.
    """
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


def too_many_recipients(reply: Reply, accepted: int) -> bool:
    """Whether a RCPT was refused because the transaction has too many recipients.

    RFC 5321 section 4.5.3.1.10 assigns 452 to this case. The same code also means that a
    mailbox or a disk is full; the enhanced status code 4.5.3 (RFC 3463) tells the two
    apart. Some servers reply 451. A 552, which RFC 821 assigned, counts as transient too,
    if its enhanced status code shows the cause.

    Args:
        reply: the reply to RCPT.
        accepted: how many recipients the transaction had before.
    """
    if reply.code == 452 and reply.enhanced in (None, "4.5.3"):
        return accepted > 0
    if reply.code == 552 and reply.enhanced == "5.5.3":
        return accepted > 0
    return reply.code in (451, 452) and accepted >= _LEAST_RECIPIENT_LIMIT


def no_bdat(reply: Reply) -> bool:
    """Whether the server does not know BDAT although its EHLO offers CHUNKING."""
    return reply.code in (500, 502)


def without_bdat(reply: Reply) -> SendError:
    """The error of `no_bdat`; the message then goes out by DATA on a fresh connection."""
    return ConnectionLost(
        "the server offers CHUNKING, but does not know BDAT",
        phase=Phase.DATA,
        event=Event.NO_BDAT,
        reply=reply,
        temporary=True,
    )
