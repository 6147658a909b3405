"""Chooses the hint of an error by its cause, so that no hint names what cannot help.

`_events.py` has a general hint for each event, which names all possible causes. `explain`
replaces it by a narrower one if the reply, the phase, the method or the credentials
exclude some of these causes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from smtpsend._events import HINTS, NO_MESSAGE_ID
from smtpsend._model.diagnosis.login_remedies import (
    login_wanted_remedy,
    refused_login_remedy,
    wants_login,
)
from smtpsend._model.diagnosis.refusals import refusal_remedy
from smtpsend._model.server.host import is_local, is_private
from smtpsend._model.server.url import argument_for, sink_url
from smtpsend._patterns import pattern
from smtpsend.errors import (
    Attempt,
    ConnectError,
    Event,
    Phase,
    RecipientsRefused,
    SendError,
)


if TYPE_CHECKING:
    from smtpsend._model.server.server import Server


PARTLY_DELIVERED = (
    "the recipients in `accepted` have the message: send it again to the others alone"
)


def explain(error: SendError, server: Server) -> SendError:
    """Give `error` the hint that fits what is known of its cause, and return it.

    Only the general hint of the event is replaced. The host name is added to the text of
    a `ConnectError`, and set as `server`. A second call changes nothing.

    Args:
        error: the error; its `accepted` and `attempts` are complete.
        server: the server of the send.
    """
    error.server, event = server.host, error.event
    if event is not None and error.hint == HINTS.get(event) and event in _BY_EVENT:
        error.hint = _BY_EVENT[event](error, server) or error.hint
        if event in _CHECKED and server.proxy is None:
            where = argument_for(server.host, server.policy.methods)
            error.hint += f"; `smtpsend check {where}` shows more"
    if error.accepted and event is not Event.UNKNOWN:
        # Only the hint of a refusal stays true for the other recipients.
        error.hint = PARTLY_DELIVERED
    if isinstance(error, ConnectError) and error.phase is not Phase.CONFIG:
        error.args = (_naming(error.message, server.host),)
    return error


def identify(error: SendError, message_id: str | None) -> SendError:
    """Set the Message-ID of `error`, and the hint that fits it, and return `error`.

    An error is explained before it is known which message it is about. So only this
    function, and not `explain`, chooses between the hints of an unknown delivery.

    Args:
        error: the error.
        message_id: the Message-ID; None for a message without one.
    """
    error.message_id = message_id
    if message_id is None and error.hint == HINTS[Event.UNKNOWN]:
        error.hint = NO_MESSAGE_ID
    return error


# Beginnings of error texts, and what replaces each of them to name the host.
_BEGINNINGS = (
    ("no connection", "no connection to {}"),
    ("no greeting", "no greeting from {}"),
    ("no reply", "no reply from {}"),
    ("the TLS handshake", "the TLS handshake with {}"),
    ("the server", "the server {}"),
)


def _naming(message: str, host: str) -> str:
    """Add the name of the host to the text of an error."""
    if host in message:
        return message
    for beginning, named in _BEGINNINGS:
        rest = message.removeprefix(beginning)
        # The last word must end there: "the server's" does not match "the server".
        if rest != message and not rest[:1].isalnum() and rest[:1] != "'":
            return named.format(host) + rest
    return f"{host}: {message}"


def _attempt(error: SendError) -> Attempt | None:
    """Return the attempt that ended with this error, if it is known."""
    text = error.said()
    return next((a for a in error.attempts if a.error == text), None)


def sink_remedy(host: str, port: int) -> str:
    """Return how to configure a development sink without TLS, such as Mailpit."""
    return (
        "for a development sink, which gets no credentials, write "
        f"{sink_url(host, port)}, or set SMTP_SECURITY=plaintext beside SMTP_HOST"
    )


def _unresolved(error: SendError, server: Server) -> str:
    if server.proxy is not None:
        return "check the URL of the proxy, and the DNS of this machine"
    if error.temporary:
        return "check the DNS and the network of this machine"
    return "check its spelling, and that the DNS of this machine knows it"


def _unreachable(error: SendError, server: Server) -> str:
    if "unreachable" in error.message or "no route" in error.message:
        return (
            "this machine has no network, or none of that kind (IPv4, IPv6), or the host "
            "is down"
        )
    if not is_local(server.host):
        return ""
    # No provider can block a connection to this machine itself or to its own network.
    if error.timed_out:
        return "check host, port and firewall"
    if server.plaintext:
        return "nothing listens there: see whether the sink runs, and its port"
    return f"nothing listens there: check host and port; {sink_remedy(server.host, 1025)}"


def _greeting(error: SendError, _: Server) -> str:
    if error.reply is not None and error.reply.code < 500:
        return (
            "the server is too busy, or refuses this machine for a while: try again later"
        )
    if error.reply is not None:
        return (
            "the reply says why: the server may refuse the IP address of this machine, "
            "or may not be a submission server"
        )
    if "closed" in error.message or "reset" in error.message:
        return (
            "what listens there closes the connection: it may refuse the IP address of "
            "this machine, or may be no mail server; check host and port"
        )
    if error.timed_out:
        return ""
    return "what listens there is no mail server: check host and port"


# The texts for something that is no reply, or no reply to the command.
_GARBAGE = pattern("not an SMTP reply|without end|disagree|extra reply|out of place")


def _ehlo(error: SendError, _: Server) -> str:
    if error.reply is not None and error.reply.code >= 500:
        return ""
    if error.reply is not None or error.timed_out:
        return (
            "the server is too busy, or refuses this machine for a while: try again later"
        )
    if _GARBAGE.search(error.message):
        return "what listens there does not speak SMTP as it should: check host and port"
    return (
        "the server ended the connection after its greeting: it may refuse the IP "
        "address of this machine; whoever runs the server finds the cause in its log"
    )


def _starttls(error: SendError, server: Server) -> str:
    if error.temporary:
        return "the server offers STARTTLS, but cannot start TLS now: try again later"
    if error.reply is not None:
        return (
            "the server offers STARTTLS, but refuses it: whoever runs the server finds "
            "the cause in its log; nothing is ever sent in the clear"
        )
    attempt = _attempt(error)
    if attempt is None or attempt.address is None or not is_private(attempt.address):
        return ""
    remedy = sink_remedy(server.host, attempt.method.port)
    return f"the server offers no TLS on this port; {remedy}"


def _handshake(error: SendError, _: Server) -> str:
    attempt = _attempt(error)
    if attempt is None:
        return ""
    method = attempt.method
    if error.timed_out:
        # A port with STARTTLS greets at once, so it is none.
        return (
            "the server does not do its part of the handshake: it may be overloaded, or "
            "something in between may break TLS; try again later"
        )
    if method.security == "implicit":
        return (
            "the port may expect STARTTLS, as 587 does: then use "
            f"Method({method.port}, 'starttls'); TLS 1.2 or newer is required"
        )
    return (
        "the server accepted STARTTLS, and TLS failed after it: something in between may "
        "break it; whoever runs the server finds the cause in its log"
    )


def _login(error: SendError, server: Server) -> str:
    return "" if error.reply is None else refused_login_remedy(server.auth, error.reply)


_LATER = "the reply says why; the server may accept the same later"
_SOME_LATER = (
    "the reply to each recipient is in `refused`; those with a code below 500 may be "
    "accepted later"
)


def _refused(error: SendError, server: Server) -> str:
    reply = error.reply
    if reply is None:
        return ""
    if server.auth is None and wants_login(reply):
        return login_wanted_remedy(reply, plaintext=server.plaintext)
    if error.temporary:
        return _LATER
    if isinstance(error, RecipientsRefused) and any(
        one.code < 500 for one in error.refused.values()
    ):
        return _SOME_LATER
    return refusal_remedy(reply, error.phase, logged_in=server.auth is not None)


_BY_EVENT: dict[Event, Callable[[SendError, Server], str]] = {
    Event.UNRESOLVED: _unresolved,
    Event.UNREACHABLE: _unreachable,
    Event.NO_GREETING: _greeting,
    Event.EHLO_REFUSED: _ehlo,
    Event.NO_STARTTLS: _starttls,
    Event.HANDSHAKE: _handshake,
    Event.AUTH_REFUSED: _login,
    Event.REFUSED: _refused,
}

# In these cases, no usable connection was made, and `smtpsend check` finds out more.
_CHECKED = {
    Event.UNREACHABLE,
    Event.NO_GREETING,
    Event.EHLO_REFUSED,
    Event.NO_STARTTLS,
    Event.HANDSHAKE,
}
