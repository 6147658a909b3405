"""The policy as one table: each event on a method, and what the client does then.

`TABLE` has one row for each event, and `follows` reads it. `decide` (decide.py) uses
no other rules, so every rule can be tested without a network, and printed for people
(`Policy.explain`, docs/policy.md).
"""

from __future__ import annotations

from enum import StrEnum

from smtpsend._values import NamedTuple
from smtpsend.errors import Event


class Then(StrEnum):
    """What the client does after an event on a method.

    A "once" ends the call when the same event happens for the second time.
    """

    NEXT = "next"
    NEXT_ONCE = "next, once"
    NEXT_OR_FRESH_ONCE = "next or a fresh connection, once"
    STOP = "stop"
    FRESH_ONCE = "a fresh connection, once"
    GO_ON = "go on"


class Row(NamedTuple):
    """One rule: what happened, what the client does then, and why."""

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
        "TCP refused, unreachable or timed out, here or at the proxy",
        Then.NEXT,
        "firewalls, proxies and providers block ports",
    ),
    Event.PROXY_LOGIN: Row(
        "the proxy refused our login, or wants one",
        Then.STOP,
        "it is the same proxy for every port, and more tries could lock the account",
    ),
    Event.NO_GREETING: Row(
        "no greeting in time, connection closed, garbage, or a greeting of 4yz or 5yz",
        Then.NEXT,
        "nothing of the message was sent yet",
    ),
    Event.EHLO_REFUSED: Row(
        "EHLO refused, or no reply to it",
        Then.NEXT,
        "nothing of the message was sent yet",
    ),
    Event.NO_STARTTLS: Row(
        "STARTTLS missing from EHLO, or refused",
        Then.NEXT,
        "nothing is sent in the clear; a stripped STARTTLS looks like this",
    ),
    Event.INJECTED: Row(
        "plaintext after the 220 to STARTTLS",
        Then.GO_ON,
        "it is discarded before the handshake, and never read as a reply "
        "(RFC 3207 section 6)",
    ),
    Event.HANDSHAKE: Row(
        "TLS handshake failed or timed out, or the TLS version is too old",
        Then.NEXT,
        "another port may work, and is verified in the same way",
    ),
    Event.CERTIFICATE: Row(
        "certificate refused by us",
        Then.STOP,
        "one host has one certificate, so a wrong one may mean an attack "
        '(on_certificate_error="next" tries the next method, which is verified too)',
    ),
    Event.CLIENT_CERTIFICATE: Row(
        "the server wants a certificate of the client, or refused the one it was given",
        Then.NEXT,
        "another port may want none; never temporary",
    ),
    Event.NO_MECHANISM: Row(
        "credentials given, but AUTH not offered or no shared mechanism",
        Then.NEXT,
        "some servers offer AUTH on one port only; a message is never sent "
        "unauthenticated by accident",
    ),
    Event.AUTH_REFUSED: Row(
        "AUTH refused, 4yz or 5yz",
        Then.STOP,
        "one try of one mechanism: the account is the same on every port, and more "
        "tries could lock it (after a 504, which says that no password was looked at, "
        "the next mechanism is tried: RFC 4954 section 6)",
    ),
    Event.AUTH_RENEWED: Row(
        "AUTH refused and the connection closed, and the function of the credentials "
        "then returned another password or token",
        Then.FRESH_ONCE,
        "the secret was just replaced; none is tried twice",
    ),
    Event.AUTH_LOST: Row(
        "connection lost, time-out, 421 or garbage in reply to AUTH",
        Then.NEXT_ONCE,
        "the server cannot have accepted the message",
    ),
    Event.REFUSED: Row(
        "sender, recipient or message refused",
        Then.STOP,
        "the server would give the same reply on every port",
    ),
    Event.LOST: Row(
        "421, connection lost, time-out, garbage or an extra reply before the end of "
        "the message",
        Then.NEXT_OR_FRESH_ONCE,
        "the server cannot have accepted the message",
    ),
    Event.NO_BDAT: Row(
        "500 or 502 in reply to BDAT, from a server that offers CHUNKING",
        Then.FRESH_ONCE,
        "the message is sent by DATA; BDAT is not tried with that server again",
    ),
    Event.CLOSING_AT_END: Row(
        "421 in reply to the end of the message",
        Then.STOP,
        "a 4yz reply: the server did not accept the message; Rejected, temporary",
    ),
    Event.WRONG_CLASS: Row(
        "a reply of a class that the command cannot have (2yz to DATA, a stray 3yz), "
        "before the end of the message",
        Then.STOP,
        "the server does not follow the protocol; Rejected, not temporary",
    ),
    Event.ACCEPTED_EARLY: Row(
        "2yz before the end of the message was written",
        Then.STOP,
        "the server may have accepted an incomplete message; DeliveryUnknown",
    ),
    Event.UNKNOWN: Row(
        "connection lost, time-out, garbage or a 3yz after the end of the message",
        Then.STOP,
        "the server may have accepted the message; DeliveryUnknown",
    ),
    Event.ABANDONED: Row(
        "another method was ready first",
        Then.NEXT,
        "the first to be ready wins; only the winner sees credentials",
    ),
}


def reason(event: Event, on_certificate_error: str = "stop") -> str:
    """Say why `follows` returns what it does.

    Args:
        event, on_certificate_error: as for `follows`.
    """
    if event is Event.CERTIFICATE and on_certificate_error == "next":
        return 'on_certificate_error="next" is set; the next method is verified, too'
    return TABLE[event].why


def follows(event: Event, on_certificate_error: str = "stop") -> Then:
    """Look up what the client does after `event`.

    Args:
        event: the event.
        on_certificate_error: that of the policy, ``"stop"`` or ``"next"``.
    """
    if event is Event.CERTIFICATE and on_certificate_error == "next":
        return Then.NEXT
    return TABLE[event].then
