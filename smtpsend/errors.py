"""The errors: every failure that leaves the library is one of these classes.

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
    └── DeliveryUnknown       the end of the message left, and no valid reply came

Catch the library's errors before ``OSError`` or ``smtplib.SMTPException``. They are
both, so that code written for smtplib keeps working; but code that retries on any
``OSError`` would send again a message that may already have been delivered.
"""

from __future__ import annotations

import smtplib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from smtpsend._events import HINTS, Event
from smtpsend._plain import number_from, plain, restore, text_from, texts_from
from smtpsend._values import dataclass


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
    """The step that a send has reached, in the order in which the steps happen."""

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
    """A reply of the server (RFC 5321 section 4.2; RFC 2034 for `enhanced`).

    Attributes:
        code: the three-digit reply code, such as 550.
        enhanced: the enhanced status code, such as ``"5.1.1"``, where the server
            gave one whose class agrees with `code`; otherwise None.
        text: the text of the reply, its lines joined by a newline; control characters,
            and any secret that the server repeated, are removed.
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
        address: the IP address that got furthest, or None if none was reached; with a
            proxy, ``"host:port via address:port"``, with the address of the proxy.
        phase: the step at which it ended.
        error: what went wrong, in words; None if it was abandoned.
        started: seconds from the start of the call to the start of this attempt.
        elapsed: seconds that it ran.
        event: the event that ended it, which is a row of the policy table.
        server: the host of the server.
    """

    method: Method
    address: str | None
    phase: Phase
    error: str | None
    started: float
    elapsed: float
    event: Event = Event.ABANDONED
    server: str | None = None

    def __str__(self) -> str:
        return f"{self.method}: {self.error or 'abandoned, another was ready first'}"

    def __setstate__(self, state: Sequence[Any]) -> None:
        restore(self, state)


def named(attempts: Sequence[Attempt], server: str | None) -> str:
    """The attempts in words, with their servers unless all of them are `server`."""
    hosts = {a.server for a in attempts} | {server}
    several = len(hosts - {None}) > 1
    texts = [f"{a.server} {a}" if several and a.server else str(a) for a in attempts]
    return "; ".join(texts)


class SendError(smtplib.SMTPException):
    """The base of all errors of the library; never raised itself.

    Attributes:
        temporary: True if sending the same message again later is safe and may work.
        timed_out: True if a time limit caused the failure: that of a step, or the
            deadline.
        phase: the step at which the send failed.
        reply: the reply that caused the failure, or None if no reply did.
        attempts: every method that failed or was abandoned.
        message_id: the Message-ID of the message. None if there is no message, or if it
            was given as bytes or str without one, since nothing is added to those.
        hint: what to do about the failure, in one or two sentences.
        accepted: recipients that already have the message, in a call that needed
            several transactions of which a later one failed; otherwise empty.
        event: the event that caused the failure, which is a row of the policy table;
            or None.
        server: the host of the server that caused the failure, or None.
    """

    # Whether `temporary` can be True for this class.
    _can_be_temporary = True
    # An error that was pickled by an earlier version has no such attribute.
    server: str | None = None

    def __init__(
        self,
        message: str = "",
        *facts: Mapping[str, Any],
        phase: Phase = Phase.CONFIG,
        event: Event | None = None,
        reply: Reply | None = None,
        temporary: bool = False,
        timed_out: bool = False,
        hint: str = "",
        message_id: str | None = None,
    ) -> None:
        # One positional argument: OSError reads two as errno and strerror.
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
        # An error that a job queue makes again of its `args`: see contrib/celery.py.
        for data in facts:
            self._set_facts(data)

    @property
    def message(self) -> str:
        """The text of the error, without the reply, the attempts and the hint."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        parts = [self.message or type(self).__name__]
        if self.reply is not None:
            parts.append(f": {self.reply}")
        if self.hint:
            parts.append(f" ({self.hint})")
        failed = [a for a in self.attempts if a.error]
        if len(failed) > 1:
            parts.append("; tried: " + named(failed, self.server))
        return "".join(parts)

    def __repr__(self) -> str:
        # Without further `args`, by which a job queue keeps the facts of an error.
        return f"{type(self).__name__}({self.message!r})"

    def to_dict(self) -> dict[str, Any]:
        """Convert to a dict for JSON, or any other serialiser of simple values.

        Returns:
            The name of the class as ``type``, and all attributes; `phase` and `event` are
            their values, a `Reply` and an `Attempt` a dict of their fields.
        """
        names = ["phase", "event", "temporary", "timed_out", "reply", "hint"]
        names += ["message_id", "accepted", "attempts", "server"]
        names += ["refused"] if isinstance(self, RecipientsRefused) else []
        facts = {name: plain(getattr(self, name)) for name in names}
        return {"type": type(self).__name__, "message": self.message, **facts}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Convert back the dict that `to_dict` returned.

        Args:
            data: the dict.

        Returns:
            An error of the class that ``type`` names.

        Raises:
            ConfigError: `data` is not the dict of an error of this class.
        """
        try:
            kind = globals()[data["type"]]
            if issubclass(kind, cls):
                error: Self = kind(text_from(data["message"]))
                error._set_facts(data)
                return error
        except (KeyError, TypeError, ValueError, AttributeError):
            pass
        raise ConfigError(
            f"not an error as a dict of {cls.__name__}.to_dict()",
            hint="give what to_dict() of such an error returned",
        )

    def _set_facts(self, data: Mapping[str, Any]) -> None:
        """Set every attribute as `data` has it; anything but an error raises."""
        flags: tuple[bool, bool] = data["temporary"], data["timed_out"]
        if not all(type(flag) is bool for flag in flags):
            raise TypeError
        self.temporary, self.timed_out = flags
        self.temporary = self.temporary and self._can_be_temporary
        self.phase, event = Phase(data["phase"]), data["event"]
        self.event = None if event is None else Event(event)
        self.reply = None if data["reply"] is None else reply_from(data["reply"])
        self.hint = text_from(data["hint"])
        identity = data["message_id"]
        self.message_id = None if identity is None else text_from(identity)
        self.accepted = texts_from(data["accepted"])
        self.attempts = tuple([attempt_from(one) for one in data["attempts"]])
        if (server := data.get("server")) is not None:
            self.server = text_from(server)
        if isinstance(self, RecipientsRefused):
            self.refused = replies_from(data["refused"])

    def said(self) -> str:
        """The text of the error with the server's reply, as in `Attempt.error`."""
        return f"{self.message}: {self.reply}" if self.reply is not None else self.message


class ConfigError(SendError, ValueError):
    """A URL, policy, address, message or credential that cannot be used.

    Raised before anything is sent or looked up; never temporary.
    """

    _can_be_temporary = False


class ConnectError(SendError):
    """No method gave a verified session. Nothing of the message was sent.

    Temporary, except for an unknown host name or a 5yz greeting everywhere.
    """


class CertificateError(ConnectError):
    """We refused the peer's certificate. Nothing was sent; never temporary."""

    _can_be_temporary = False


class TLSError(ConnectError):
    """STARTTLS was not offered or refused, or the TLS handshake failed.

    Temporary only for a 4yz reply, a cut connection or a time-out, here or on another
    method; never where the server wants another certificate of the client.
    """


class AuthError(SendError):
    """The login was refused, no mechanism is shared, or the token provider failed.

    Temporary for a 4yz reply, and where the token provider timed out or raised an
    `OSError`. Never where no login that fits is offered, whatever became of the other
    methods.
    """


class Rejected(SendError):
    """The server refused the sender or the message, or does not support it.

    `reply` is None where the extensions in its EHLO reply already ruled the message
    out (SIZE, 8BITMIME, SMTPUTF8, DSN, REQUIRETLS). Temporary for a 4yz reply.
    """


class RecipientsRefused(Rejected):
    """No recipient was accepted, and the message was not sent.

    Temporary if every refusal is 4yz.

    Attributes:
        refused: the reply for each refused recipient.
    """

    refused: dict[str, Reply]

    def __init__(
        self,
        message: str = "",
        *facts: Mapping[str, Any],
        refused: dict[str, Reply] | None = None,
        phase: Phase = Phase.RCPT,
        **options: object,
    ) -> None:
        self.refused = refused or {}
        super().__init__(message, *facts, phase=phase, **options)  # type: ignore[arg-type]  # the base's own keywords


class ConnectionLost(SendError):
    """The session ended before the end of the message was sent.

    Temporary: the server cannot have accepted the message.
    """


class DeliveryUnknown(SendError):
    """The end of the message may have reached the server, and no valid reply came.

    The server may have accepted the message or not (RFC 5321 section 4.5.3.2.6,
    RFC 1047), so the library never sends it again; `temporary` is always False.
    """

    _can_be_temporary = False


def reply_from(data: Mapping[str, Any]) -> Reply:
    """The reply of a dict of its fields."""
    code, enhanced = data["code"], data["enhanced"]
    if type(code) is not int:
        raise TypeError("not a reply code")
    enhanced = None if enhanced is None else text_from(enhanced)
    return Reply(code, enhanced, text_from(data["text"]))


def replies_from(data: Mapping[str, Any]) -> dict[str, Reply]:
    """The reply for each recipient."""
    return {text_from(name): reply_from(reply) for name, reply in data.items()}


def attempt_from(data: Mapping[str, Any]) -> Attempt:
    """The attempt of a dict of its fields."""
    from smtpsend._model.policy.policy import Method  # it imports this module

    address, error, server = data["address"], data["error"], data.get("server")
    return Attempt(
        method=Method(**data["method"]),
        address=None if address is None else text_from(address),
        phase=Phase(data["phase"]),
        error=None if error is None else text_from(error),
        started=number_from(data["started"]),
        elapsed=number_from(data["elapsed"]),
        event=Event(data["event"]),
        server=None if server is None else text_from(server),
    )
