"""What follows when one of several servers fails: the table over servers.

`decide` (decide.py) has tried the methods of a server before a row of this table applies.
The next server is tried only where the message cannot have been accepted, and where the
failure says nothing that would hold for every server. `row_of` finds the row of an error,
and `goes_on` reads it.
"""

from __future__ import annotations

from enum import StrEnum

from smtpsend._values import dataclass
from smtpsend.errors import Event, RecipientsRefused, SendError


class ServerThen(StrEnum):
    """Whether the next server is tried."""

    NEXT = "next"
    STOP = "stop"


class Pause(StrEnum):
    """Who leaves a server alone for a while after the failure."""

    PROCESS = "all sends of the process"
    CLIENT = "sends of the client"
    NONE = "nobody"


class Refusal(StrEnum):
    """Failures that are one `Event`, but have rows of their own here."""

    TEMPORARY = "temporary"
    UNSUPPORTED = "unsupported"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One rule: what happened at a server, what follows, and why.

    Attributes:
        pause: which sends leave the server alone for a while.
    """

    what: str
    then: ServerThen
    pause: Pause
    why: str


_NOTHING_SENT = "nothing of the message was sent"
_NOT_ACCEPTED = "the server cannot have accepted the message"
_CREDENTIALS = "nothing of the message was sent; the next server has its own credentials"

SERVER_TABLE: dict[Event | Refusal, ServerRow] = {
    Event.UNRESOLVED: ServerRow(
        "the host name does not resolve",
        ServerThen.NEXT,
        Pause.PROCESS,
        "the next server has another name",
    ),
    Event.UNREACHABLE: ServerRow(
        "no TCP connection by any method",
        ServerThen.NEXT,
        Pause.PROCESS,
        _NOTHING_SENT,
    ),
    Event.PROXY_LOGIN: ServerRow(
        "the proxy refused our login",
        ServerThen.NEXT,
        Pause.CLIENT,
        "nothing of the message was sent; the next server may have another proxy",
    ),
    Event.NO_GREETING: ServerRow(
        "no greeting, or a greeting of 4yz or 5yz",
        ServerThen.NEXT,
        Pause.PROCESS,
        _NOTHING_SENT,
    ),
    Event.EHLO_REFUSED: ServerRow(
        "EHLO refused, or no reply to it",
        ServerThen.NEXT,
        Pause.PROCESS,
        _NOTHING_SENT,
    ),
    Event.NO_STARTTLS: ServerRow(
        "STARTTLS missing, or refused",
        ServerThen.NEXT,
        Pause.PROCESS,
        "nothing is sent in the clear; the next server is verified in the same way",
    ),
    Event.HANDSHAKE: ServerRow(
        "TLS handshake failed",
        ServerThen.NEXT,
        Pause.PROCESS,
        "nothing of the message was sent; the next server is verified in the same way",
    ),
    Event.CERTIFICATE: ServerRow(
        "certificate refused by us",
        ServerThen.STOP,
        Pause.NONE,
        "it may mean an attack, which a delivery by another server would hide "
        '(on_certificate_error="next" of this server tries the next one, which is '
        "verified by its own trust, and leaves this one alone)",
    ),
    Event.CLIENT_CERTIFICATE: ServerRow(
        "the server wants a certificate of the client, or refused the one it was given",
        ServerThen.NEXT,
        Pause.CLIENT,
        _CREDENTIALS,
    ),
    Event.NO_MECHANISM: ServerRow(
        "AUTH not offered, or no shared mechanism",
        ServerThen.NEXT,
        Pause.CLIENT,
        _CREDENTIALS,
    ),
    Event.AUTH_REFUSED: ServerRow(
        "AUTH refused, 4yz or 5yz, or no password or token to be had",
        ServerThen.NEXT,
        Pause.CLIENT,
        "nothing of the message was sent; the next server has its own credentials, and "
        "the pause keeps further tries from locking the account",
    ),
    Event.AUTH_RENEWED: ServerRow(
        "AUTH refused again with a password or token that was just replaced",
        ServerThen.NEXT,
        Pause.CLIENT,
        _CREDENTIALS,
    ),
    Event.AUTH_LOST: ServerRow(
        "connection lost, time-out, 421 or garbage in reply to AUTH",
        ServerThen.NEXT,
        Pause.PROCESS,
        _NOT_ACCEPTED,
    ),
    Event.REFUSED: ServerRow(
        "5yz to sender, message, or a recipient, so that nobody gets it",
        ServerThen.STOP,
        Pause.NONE,
        "a permanent refusal is the reply to the message, and is not evaded",
    ),
    Refusal.TEMPORARY: ServerRow(
        "4yz, except 421, to sender, message, or recipients, so that nobody gets it",
        ServerThen.NEXT,
        Pause.NONE,
        "the server did not accept the message, and another may now "
        '(on_temporary_refusal="stop" of this server ends the call)',
    ),
    Refusal.UNSUPPORTED: ServerRow(
        "the EHLO reply rules the message out: SIZE, 8BITMIME, SMTPUTF8, LIMITS, "
        "DSN, REQUIRETLS",
        ServerThen.NEXT,
        Pause.NONE,
        "this server cannot carry the message, and another may",
    ),
    Event.LOST: ServerRow(
        "421, connection lost, time-out or garbage before the end of the message, on a "
        "fresh connection, too",
        ServerThen.NEXT,
        Pause.PROCESS,
        _NOT_ACCEPTED,
    ),
    Event.NO_BDAT: ServerRow(
        "500 or 502 in reply to BDAT, on a fresh connection, too",
        ServerThen.NEXT,
        Pause.PROCESS,
        _NOT_ACCEPTED,
    ),
    Event.CLOSING_AT_END: ServerRow(
        "421 in reply to the end of the message",
        ServerThen.NEXT,
        Pause.PROCESS,
        "a 4yz reply: the server did not accept the message, and is closing",
    ),
    Event.WRONG_CLASS: ServerRow(
        "a reply of a class that the command cannot have, before the end of the message",
        ServerThen.STOP,
        Pause.PROCESS,
        "client and server disagree about what was said",
    ),
    Event.ACCEPTED_EARLY: ServerRow(
        "2yz before the end of the message was written",
        ServerThen.STOP,
        Pause.PROCESS,
        "the server may have accepted an incomplete message; DeliveryUnknown",
    ),
    Event.UNKNOWN: ServerRow(
        "connection lost, time-out, garbage or a 3yz after the end of the message",
        ServerThen.STOP,
        Pause.PROCESS,
        "the server may have accepted the message; DeliveryUnknown",
    ),
    Refusal.LOCAL: ServerRow(
        "a CA file cannot be used, this machine has no descriptor left, all connections "
        "of the client are in use, or max_rate allows no message before the deadline",
        ServerThen.STOP,
        Pause.NONE,
        "the server is not the cause",
    ),
}


def row_of(error: SendError) -> ServerRow:
    """Find the row of an error that ended the send at one server."""
    return SERVER_TABLE[_key(error)]


def _key(error: SendError) -> Event | Refusal:
    event = error.event
    if event is Event.REFUSED:
        if isinstance(error, RecipientsRefused):
            permanent = any(reply.code >= 500 for reply in error.refused.values())
            return event if permanent else Refusal.TEMPORARY
        if error.reply is None:
            return Refusal.UNSUPPORTED
        return Refusal.TEMPORARY if 400 <= error.reply.code < 500 else event
    # Whatever ends a method is in `attempts`. Without one, no method was tried.
    if event is Event.UNREACHABLE and not error.attempts:
        return Refusal.LOCAL
    return event if event is not None and event in SERVER_TABLE else Refusal.LOCAL


def goes_on(
    error: SendError,
    on_certificate_error: str = "stop",
    on_temporary_refusal: str = "next",
) -> bool:
    """Decide whether the message may be sent by the next server.

    Args:
        error: the error that ended the send at a server.
        on_certificate_error: that of the server's policy, ``"stop"`` or ``"next"``.
        on_temporary_refusal: that of the server's policy, ``"next"`` or ``"stop"``.
    """
    row = row_of(error)
    if row is SERVER_TABLE[Event.CERTIFICATE]:
        return on_certificate_error == "next"
    if row is SERVER_TABLE[Refusal.TEMPORARY]:
        return on_temporary_refusal == "next"
    return row.then is ServerThen.NEXT


def pause_after(error: SendError, on_certificate_error: str = "stop") -> Pause:
    """Decide which sends leave the server alone for a while.

    Args:
        error, on_certificate_error: as for `goes_on`.
    """
    row = row_of(error)
    if row is SERVER_TABLE[Event.CERTIFICATE] and on_certificate_error == "next":
        # Other sends of the process may trust other CAs.
        return Pause.CLIENT
    return row.pause


# The reasons where the policy of a server differs from the table.
_SET_OTHERWISE: dict[Event | Refusal, str] = {
    Event.CERTIFICATE: 'on_certificate_error="next" is set; the next server is verified '
    "by its own trust, and this one is left alone by the client",
    Refusal.TEMPORARY: 'on_temporary_refusal="stop" is set; the server may accept the '
    "message later",
}


def explain_servers(on_certificate_error: str, on_temporary_refusal: str) -> list[str]:
    """Describe the table in words, for the policy of a server."""
    lines = []
    for key, row in SERVER_TABLE.items():
        then = row.then
        if key is Event.CERTIFICATE:
            then = ServerThen(on_certificate_error)
        elif key is Refusal.TEMPORARY:
            then = ServerThen(on_temporary_refusal)
        why = row.why if then is row.then else _SET_OTHERWISE[key]
        lines += [f"  - {row.what}:", f"      {then} ({why})"]
    return lines
