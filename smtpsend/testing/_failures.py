"""Errors like those of a real server and network, for `Outbox.fail_next`."""

from __future__ import annotations

import copy

from smtpsend._model.server.server import Server
from smtpsend._protocol.failures import lost, recipients_refused, refusal
from smtpsend._values import dataclass
from smtpsend.errors import (
    Attempt,
    AuthError,
    CertificateError,
    ConfigError,
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


_ENHANCED = {
    450: "4.2.0",
    451: "4.3.0",
    452: "4.2.2",
    454: "4.7.0",
    535: "5.7.8",
    550: "5.1.1",
    552: "5.2.2",
    554: "5.7.1",
}

_KINDS = {
    ConfigError,
    ConnectError,
    CertificateError,
    TLSError,
    AuthError,
    Rejected,
    RecipientsRefused,
    ConnectionLost,
    DeliveryUnknown,
}


def reply_of(code: int, text: str | None = None) -> Reply:
    """Make a reply that refuses, with an enhanced status code that fits.

    Args:
        code: the reply code, from 400 to 599.
        text: the text of the reply; a short one by default.

    Raises:
        ValueError: the code is not from 400 to 599.
    """
    if not 400 <= code <= 599:
        raise ValueError(f"a refusal has a code from 400 to 599, not {code}")
    enhanced = _ENHANCED.get(code, f"{code // 100}.0.0")
    later = " for now" if code < 500 else ""
    return Reply(code, enhanced, text or f"refused{later} (by a test)")


@dataclass(frozen=True, slots=True)
class Failure:
    """A planned failure of a send.

    Attributes:
        error: the error, or its class.
        code: the code of the server's reply, for a class; None for the usual one.
        timed_out: whether a time limit caused the failure.
    """

    error: SendError | type[SendError]
    code: int | None = None
    timed_out: bool = False

    def __post_init__(self) -> None:
        kind = self.kind
        if kind not in _KINDS:
            names = ", ".join(sorted(one.__name__ for one in _KINDS))
            what = "the base class" if kind is SendError else "no error of this library"
            raise TypeError(f"{kind.__name__} is {what}; a send raises one of {names}")
        if self.code is not None:
            reply_of(self.code)

    @property
    def kind(self) -> type[SendError]:
        """The class of the error."""
        return self.error if isinstance(self.error, type) else type(self.error)

    @property
    def before_login(self) -> bool:
        """Whether a check, which sends no message, can fail with this error."""
        return issubclass(self.kind, ConfigError | ConnectError | AuthError)

    def make(self, server: Server, recipients: tuple[str, ...]) -> SendError:
        """Make the error for a send by `server` to `recipients`."""
        if isinstance(self.error, SendError) and self.error.event is not None:
            return copy.copy(self.error)
        error = _typical(self.kind, self.code, recipients)
        if isinstance(self.error, SendError):
            error = _completed(copy.copy(self.error), error)
        error.timed_out = error.timed_out or self.timed_out
        if isinstance(error, ConnectError) and not error.attempts:
            _add_attempts(error, server)
        return error


# The commonest case of each class: phase, event, text.
_CASES: dict[type[SendError], tuple[Phase, Event, str]] = {
    CertificateError: (
        Phase.TLS,
        Event.CERTIFICATE,
        "the certificate was refused: self-signed certificate (by a test)",
    ),
    TLSError: (Phase.STARTTLS, Event.NO_STARTTLS, "the server does not offer STARTTLS"),
    AuthError: (Phase.AUTH, Event.AUTH_REFUSED, "the server refused the login"),
}
# The classes for a lost connection, and the phase of their commonest case.
_LOST = {
    ConnectError: Phase.CONNECT,
    ConnectionLost: Phase.DATA,
    DeliveryUnknown: Phase.FINAL,
}


def _typical(
    kind: type[SendError], code: int | None, recipients: tuple[str, ...]
) -> SendError:
    """Make the error that the library raises in the commonest case of a class."""
    if kind is RecipientsRefused:
        return recipients_refused(dict.fromkeys(recipients, reply_of(code or 550)), 0)
    if kind is Rejected:
        return refusal(Phase.FINAL, reply_of(code or 554))
    if kind is AuthError and code is None:
        code = 535
    reply = None if code is None else reply_of(code)
    may_pass = reply is not None and reply.code < 500
    if kind in _LOST:
        greeted = kind is ConnectError and reply is not None
        error = lost(Phase.GREETING if greeted else _LOST[kind], "by a test")
        error.reply = reply
        error.temporary = error.temporary and (reply is None or may_pass)
        return error
    if kind is ConfigError:
        return ConfigError("something cannot be used (by a test)")
    phase, event, text = _CASES[kind]
    return kind(text, phase=phase, event=event, reply=reply, temporary=may_pass)


def _completed(given: SendError, typical: SendError) -> SendError:
    """Fill in what the caller left out of the error `given`."""
    given.event = given.event or typical.event
    if given.phase is Phase.CONFIG:
        given.phase = typical.phase
    if given.reply is None:
        given.reply = typical.reply
        given.temporary = given.temporary or typical.temporary
    else:
        given.temporary = given.reply.code < 500
    given.hint = given.hint or typical.hint
    given.message_id = given.message_id or typical.message_id
    if isinstance(given, RecipientsRefused) and isinstance(typical, RecipientsRefused):
        given.refused = given.refused or typical.refused
    return given


def _add_attempts(error: ConnectError, server: Server) -> None:
    methods = server.policy.methods
    if isinstance(error, CertificateError):
        methods = methods[:1]  # the policy stops there
    assert error.event is not None  # noqa: S101  # set above
    error.attempts = tuple(
        Attempt(
            method, None, error.phase, error.said(), 0.0, 0.0, error.event, server.host
        )
        for method in methods
    )
