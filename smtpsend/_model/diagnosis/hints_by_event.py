"""The hints of errors that depend on the reply, the method or the credentials.

`explain` in hints.py chooses them. This is a module of its own because only a send that
fails needs it, and what it imports.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from smtpsend._model.diagnosis.login_remedies import (
    login_wanted_remedy,
    refused_login_remedy,
    wants_login,
)
from smtpsend._model.diagnosis.refusals import refusal_remedy
from smtpsend._model.server.host import is_local, is_private
from smtpsend._model.server.url import argument_for, sink_url
from smtpsend._patterns import pattern
from smtpsend.errors import Attempt, Event, RecipientsRefused, SendError


if TYPE_CHECKING:
    from smtpsend._model.server.server import Server


def narrower_hint(error: SendError, server: Server) -> str:
    """Return a hint that fits `error` better than the general one of its event.

    Args:
        error: the error; it has the general hint.
        server: the server of the send.
    """
    event, hint = error.event, error.hint
    if event is None or event not in _BY_EVENT:
        return hint
    hint = _BY_EVENT[event](error, server) or hint
    if event in _CHECKED and server.proxy is None:
        where = argument_for(server.host, server.policy.methods)
        hint += f"; `smtpsend check {where}` shows more"
    return hint


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
