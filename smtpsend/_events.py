"""What can happen on a method, and what a person can do about it."""

from __future__ import annotations

from enum import StrEnum


class Event(StrEnum):
    """What happened on one method: each is a row of the policy table."""

    UNRESOLVED = "unresolved"
    UNREACHABLE = "unreachable"
    NO_GREETING = "no-greeting"
    EHLO_REFUSED = "ehlo-refused"
    NO_STARTTLS = "no-starttls"
    INJECTED = "injected"
    HANDSHAKE = "handshake"
    CERTIFICATE = "certificate"
    NO_MECHANISM = "no-mechanism"
    AUTH_REFUSED = "auth-refused"
    AUTH_LOST = "auth-lost"
    REFUSED = "refused"
    LOST = "lost"
    NO_BDAT = "no-bdat"
    CLOSING_AT_END = "closing-at-end"
    WRONG_CLASS = "wrong-class"
    ACCEPTED_EARLY = "accepted-early"
    UNKNOWN = "unknown"
    ABANDONED = "abandoned"


HINTS: dict[Event, str] = {
    Event.UNRESOLVED: "check the spelling of the host name and the DNS of this machine",
    Event.UNREACHABLE: "check host, port and firewall; "
    "many networks and cloud providers block outgoing mail ports",
    Event.NO_GREETING: "the port is open but no mail server answers there: "
    "check host and port, or try later",
    Event.EHLO_REFUSED: "the server may not like the EHLO name: "
    "see Server(ehlo_name=...)",
    Event.NO_STARTTLS: "the server offers no TLS on this port, or somebody in between "
    "removes it; nothing is ever sent in the clear",
    Event.HANDSHAKE: "a port with TLS from the first byte (usually 465) wants "
    "Method(port, 'implicit'), one with STARTTLS (587) wants Method(port, 'starttls'); "
    "TLS 1.2 or newer is required",
    Event.CERTIFICATE: "use the name that the certificate is for, or give the CA that "
    "signed it with Server(cafile=...); verification cannot be turned off",
    Event.NO_MECHANISM: "the server offers no login on this port that the credentials "
    "fit: check that this is a submission server and which mechanisms it offers",
    Event.AUTH_REFUSED: "check user name and password; many providers want an "
    "app password or OAuth2 in place of the account's password",
    Event.AUTH_LOST: "nothing was sent: try again later",
    Event.REFUSED: "the server's own words say why; a 4yz reply may pass later, a 5yz "
    "one asks for another sender, recipient or message",
    Event.LOST: "nothing was delivered: it is safe to send again later",
    Event.NO_BDAT: "nothing was delivered; Policy(chunking=False) does without BDAT",
    Event.CLOSING_AT_END: "the server did not take the message: send again later",
    Event.WRONG_CLASS: "the server does not follow the protocol: "
    "tell whoever runs it what it said",
    Event.ACCEPTED_EARLY: "the server may have taken half of the message: "
    "look in its log before sending again",
    Event.UNKNOWN: "the server may have taken the message: look for its Message-ID "
    "before sending it again, or it may arrive twice",
}
"""What to do, by what happened."""
