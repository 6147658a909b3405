"""The events that can end an attempt, and a hint for each: what a person can do."""

from __future__ import annotations

from enum import StrEnum


class Event(StrEnum):
    """What happened on one method; each event has a row in the policy table."""

    UNRESOLVED = "unresolved"
    UNREACHABLE = "unreachable"
    PROXY_LOGIN = "proxy-login"
    NO_GREETING = "no-greeting"
    EHLO_REFUSED = "ehlo-refused"
    NO_STARTTLS = "no-starttls"
    INJECTED = "injected"
    HANDSHAKE = "handshake"
    CERTIFICATE = "certificate"
    CLIENT_CERTIFICATE = "client-certificate"
    NO_MECHANISM = "no-mechanism"
    AUTH_REFUSED = "auth-refused"
    AUTH_RENEWED = "auth-renewed"
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
    Event.PROXY_LOGIN: "check user and password in the URL of the proxy",
    Event.NO_GREETING: "the port is open, but no mail server greets there: "
    "check host and port, or try later",
    Event.EHLO_REFUSED: "the server may refuse the EHLO name: "
    "give another one with Server(ehlo_name=...)",
    Event.NO_STARTTLS: "the server offers no TLS on this port, or something in between "
    "removes the offer; nothing is ever sent in the clear",
    Event.HANDSHAKE: "a port with TLS from the first byte (usually 465) needs "
    "Method(port, 'implicit'), one with STARTTLS (587) needs Method(port, 'starttls'); "
    "TLS 1.2 or newer is required",
    Event.CERTIFICATE: "use the name that the certificate is for, or give the CA that "
    "signed it with Server(cafile=...); verification cannot be turned off",
    Event.CLIENT_CERTIFICATE: "give the certificate of the client by "
    "context.load_cert_chain(...) and Server(ssl_context=context); whoever runs the "
    "server knows which certificates it accepts",
    Event.NO_MECHANISM: "the server offers no mechanism on this port that the "
    "credentials fit: check that this is a submission server, and what it offers",
    Event.AUTH_REFUSED: "check user name and password; many providers want an "
    "app password or OAuth2 in place of the account's password",
    Event.AUTH_RENEWED: "the message was not sent: try again, which uses the password or "
    "token of now",
    Event.AUTH_LOST: "the message was not sent: try again later",
    Event.REFUSED: "the reply says why; if its code is below 500, try again later, "
    "else change the sender, the recipient or the message",
    Event.LOST: "nothing was delivered: it is safe to send again later",
    Event.NO_BDAT: "nothing was delivered; to send without BDAT, "
    "use Policy(chunking=False)",
    Event.CLOSING_AT_END: "the server did not accept the message: send it again later",
    Event.WRONG_CLASS: "the server does not follow the protocol: "
    "show its reply to whoever runs it",
    Event.ACCEPTED_EARLY: "the server may have accepted an incomplete message: "
    "look in its log before you send it again",
    Event.UNKNOWN: "the server may have accepted the message: look for its Message-ID "
    "before you send it again, or it may arrive twice; some providers, such as Amazon "
    "SES, replace the Message-ID: there, look for the recipient and the time",
}
"""The hint for each event: what to do about it."""

NO_MESSAGE_ID = (
    "the server may have accepted the message, which has no Message-ID to look for: ask "
    "the recipient, or look in the log of the server, before you send it again"
)
"""The hint for `Event.UNKNOWN` where the message was given without a Message-ID."""

NO_MD5 = (
    "ask whoever runs the server to offer PLAIN inside TLS; a Python with MD5 can log in "
    "by CRAM-MD5"
)
"""What to do where the server offers CRAM-MD5 alone, and this Python has no MD5."""
