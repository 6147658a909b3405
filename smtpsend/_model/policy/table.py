"""What can happen on a method, and what is done then: the whole policy as one table.

`TABLE` has one row for each event; `follows` reads it, and `decide` (policy.py) reads
nothing else, so that every rule can be tested without a network, and printed for
people (`Policy.explain`, docs/policy.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from smtpsend.errors import Event


class Then(StrEnum):
    """What follows something that happened on a method."""

    NEXT = "next"
    NEXT_ONCE = "next, once"
    NEXT_OR_FRESH_ONCE = "next or a fresh connection, once"
    STOP = "stop"
    FRESH_ONCE = "a fresh connection, once"
    GO_ON = "go on"


@dataclass(frozen=True, slots=True)
class Row:
    """One rule: what happened, what is done then, and why."""

    what: str
    then: Then
    why: str


TABLE: dict[Event, Row] = {
    Event.UNRESOLVED: Row(
        "the host name does not resolve",
        Then.STOP,
        "it is the same name on every port",
    ),
    Event.UNREACHABLE: Row(
        "TCP refused, unreachable or timed out",
        Then.NEXT,
        "firewalls and providers block ports",
    ),
    Event.NO_GREETING: Row(
        "no greeting in time, closed, garbage, or a greeting of 4yz or 5yz",
        Then.NEXT,
        "nothing was said yet",
    ),
    Event.EHLO_REFUSED: Row(
        "EHLO refused or not answered",
        Then.NEXT,
        "nothing was said yet",
    ),
    Event.NO_STARTTLS: Row(
        "STARTTLS missing from EHLO, or refused",
        Then.NEXT,
        "never in the clear; a stripped STARTTLS looks like this",
    ),
    Event.INJECTED: Row(
        "plaintext behind the 220 to STARTTLS",
        Then.GO_ON,
        "discarded before the handshake, never read as a reply (RFC 3207 section 6)",
    ),
    Event.HANDSHAKE: Row(
        "TLS handshake failed, timed out, or too old",
        Then.NEXT,
        "another port may do better, and is as safe",
    ),
    Event.CERTIFICATE: Row(
        "certificate refused by us",
        Then.STOP,
        "one host has one certificate: an alarm, not an obstacle "
        '(on_certificate_error="next" goes on; both stay verified)',
    ),
    Event.NO_MECHANISM: Row(
        "credentials given, but AUTH not offered or no shared mechanism",
        Then.NEXT,
        "some servers offer AUTH on one port only; never unauthenticated by accident",
    ),
    Event.AUTH_REFUSED: Row(
        "AUTH refused, 4yz or 5yz",
        Then.STOP,
        "one try of one mechanism: the account is the same on every port, no lockouts",
    ),
    Event.AUTH_LOST: Row(
        "AUTH lost, timed out, or answered with 421 or garbage",
        Then.NEXT_ONCE,
        "the server cannot have taken the message",
    ),
    Event.REFUSED: Row(
        "sender, recipient or message refused",
        Then.STOP,
        "the answer is the answer",
    ),
    Event.LOST: Row(
        "421, lost, timed out, garbage or a reply too many before the end of the message",
        Then.NEXT_OR_FRESH_ONCE,
        "the server cannot have taken the message",
    ),
    Event.NO_BDAT: Row(
        "BDAT answered with 500 or 502 by a server that offers CHUNKING",
        Then.FRESH_ONCE,
        "by DATA; BDAT is not tried with that server again",
    ),
    Event.CLOSING_AT_END: Row(
        "421 in answer to the end of the message",
        Then.STOP,
        "4yz: not taken; Rejected, temporary",
    ),
    Event.WRONG_CLASS: Row(
        "a reply of a class that cannot be (2yz to DATA, a stray 3yz)",
        Then.STOP,
        "we no longer speak the same language; Rejected, not temporary",
    ),
    Event.ACCEPTED_EARLY: Row(
        "2yz before the end of the message was written",
        Then.STOP,
        "it may have taken half of it; DeliveryUnknown",
    ),
    Event.UNKNOWN: Row(
        "lost, timed out or garbage after the end of the message",
        Then.STOP,
        "it may have taken it; DeliveryUnknown",
    ),
    Event.ABANDONED: Row(
        "another method was ready first",
        Then.NEXT,
        "the first to be ready wins; only the winner sees credentials",
    ),
}


def follows(event: Event, on_certificate_error: str = "stop") -> Then:
    """What the table says follows `event`."""
    if event is Event.CERTIFICATE and on_certificate_error == "next":
        return Then.NEXT
    return TABLE[event].then
