"""What can go wrong, in types: every failure that leaves the library is one of these.

::

    SendError                 (also smtplib.SMTPException, which is an OSError)
    ├── ConfigError           (also ValueError) refused before any network
    ├── ConnectError          no method gave a verified session
    │   ├── CertificateError  we refused the peer's certificate
    │   └── TLSError          STARTTLS missing or refused, or the handshake failed
    ├── AuthError             the server refused the login, or offers none we share
    ├── Rejected              the server refused the sender or the message
    │   └── RecipientsRefused the server accepted no recipient
    ├── ConnectionLost        the session was up; the end of the message never left
    └── DeliveryUnknown       the end of the message left and no answer came

Catch the library's errors before ``OSError`` or ``smtplib.SMTPException``: they are
both, so that code written for smtplib keeps working, but a retry on ``OSError``
alone would send again what may already have been delivered.
"""

from __future__ import annotations

import smtplib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from smtpsend._events import HINTS, Event


if TYPE_CHECKING:
    from smtpsend._model.policy.policy import Method

__all__ = [
    "Attempt",
    "AuthError",
    "CertificateError",
    "ConfigError",
    "ConnectError",
    "ConnectionLost",
    "DeliveryUnknown",
    "Event",
    "Phase",
    "RecipientsRefused",
    "Rejected",
    "Reply",
    "SendError",
    "TLSError",
]


class Phase(StrEnum):
    """How far a send had come, in the order in which the steps happen."""

    CONFIG = "config"
    RESOLVE = "resolve"
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    CONTENT = "content"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said (RFC 5321 section 4.2; RFC 2034 for `enhanced`).

    Attributes:
        code: the three-digit reply code, such as 550.
        enhanced: the enhanced status code, such as ``"5.1.1"``, where the server
            gave one whose class agrees with `code`; otherwise None.
        text: the rest, lines joined by a newline, cleaned of control characters
            and of anything secret that the server repeated.
    """

    code: int
    enhanced: str | None
    text: str

    def __str__(self) -> str:
        head = str(self.code) if self.enhanced is None else f"{self.code} {self.enhanced}"
        text = " ".join(self.text.split())
        if len(text) > _LONGEST_TEXT:
            text = text[:_LONGEST_TEXT] + "..."
        return f"{head} {text}".rstrip()


_LONGEST_TEXT = 400


@dataclass(frozen=True, slots=True)
class Attempt:
    """One method that failed, or was abandoned because another was ready first.

    Attributes:
        method: the method tried.
        address: the IP address that got furthest, or None if none was reached.
        phase: how far it came.
        error: what went wrong, in words; None if it was abandoned.
        started: seconds from the start of the call to the start of this attempt.
        elapsed: seconds that it ran.
        event: the row of the policy table that it fell under.
    """

    method: Method
    address: str | None
    phase: Phase
    error: str | None
    started: float
    elapsed: float
    event: Event = Event.ABANDONED

    def __str__(self) -> str:
        return f"{self.method}: {self.error or 'abandoned, another was ready first'}"


class SendError(smtplib.SMTPException):
    """The base of all errors of the library; never raised itself.

    Attributes:
        temporary: True if sending the same message again later is safe and may work.
        timed_out: True if one of our own timers decided, a step's or the deadline.
        phase: how far the send had come.
        reply: what the server said, or None if it said nothing that decided.
        attempts: everything that was tried, failures and what was abandoned.
        message_id: the Message-ID of the message, or None.
        hint: what to do about it, in one or two sentences.
        accepted: recipients that already have the message, in a call that needed
            several transactions of which a later one failed; otherwise empty.
        event: the row of the policy table that decided, or None.
    """

    # Whether sending again later may ever be right for this class.
    _can_be_temporary = True

    def __init__(
        self,
        message: str = "",
        *,
        phase: Phase = Phase.CONFIG,
        event: Event | None = None,
        reply: Reply | None = None,
        temporary: bool = False,
        timed_out: bool = False,
        hint: str = "",
        message_id: str | None = None,
    ) -> None:
        # One positional argument: two would be taken for errno and strerror.
        super().__init__(message)
        self.phase = phase
        self.event = event
        self.reply = reply
        self.temporary: bool = temporary and self._can_be_temporary
        self.timed_out = timed_out
        self.hint: str = hint or (HINTS.get(event, "") if event is not None else "")
        self.message_id = message_id
        self.attempts: tuple[Attempt, ...] = ()
        self.accepted: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """What went wrong, without the server's reply, the attempts and the hint."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        parts = [self.message or type(self).__name__]
        if self.reply is not None:
            parts.append(f": {self.reply}")
        if self.hint:
            parts.append(f" ({self.hint})")
        failed = [a for a in self.attempts if a.error]
        if len(failed) > 1:
            parts.append("; tried: " + "; ".join(map(str, failed)))
        return "".join(parts)

    def said(self) -> str:
        """What went wrong and what the server said, for an `Attempt`."""
        return f"{self.message}: {self.reply}" if self.reply is not None else self.message


class ConfigError(SendError, ValueError):
    """A URL, policy, address, message or credential that cannot be used.

    Raised before any network; never temporary.
    """

    _can_be_temporary = False


class ConnectError(SendError):
    """No method gave a verified session. Nothing of the message left.

    Temporary, except for an unknown host name or a 5yz greeting everywhere.
    """


class CertificateError(ConnectError):
    """We refused the peer's certificate. Nothing was sent; never temporary."""

    _can_be_temporary = False


class TLSError(ConnectError):
    """STARTTLS was not offered or refused, or the TLS handshake failed.

    Temporary only for a 4yz reply, a cut connection or a time-out.
    """


class AuthError(SendError):
    """The login was refused, no mechanism is shared, or the token provider failed.

    Temporary for a 4yz reply.
    """


class Rejected(SendError):
    """The server refused the sender or the message, or cannot carry it.

    `reply` is None where its EHLO already ruled the message out (SIZE, 8BITMIME,
    SMTPUTF8). Temporary for a 4yz reply.
    """


class RecipientsRefused(Rejected):
    """No recipient was accepted; nothing was sent.

    Attributes:
        refused: the reply for each refused recipient.

    Temporary if every refusal is 4yz.
    """

    refused: dict[str, Reply]

    def __init__(
        self,
        message: str = "",
        *,
        refused: dict[str, Reply] | None = None,
        phase: Phase = Phase.RCPT,
        **facts: object,
    ) -> None:
        super().__init__(message, phase=phase, **facts)  # type: ignore[arg-type]  # the base's own keywords
        self.refused = refused or {}


class ConnectionLost(SendError):
    """The session was up, and ended before the end of the message went out.

    Temporary: the server cannot have taken the message.
    """


class DeliveryUnknown(SendError):
    """The end of the message may have reached the server and no answer came.

    The server may have taken it or not (RFC 5321 section 4.5.3.2.6, RFC 1047), so
    nothing is sent again by itself; `temporary` is always False.
    """

    _can_be_temporary = False
