"""Chooses the hint of an error by its cause, so that no hint names what cannot help.

`_events.py` has a general hint for each event, which names all possible causes. `explain`
replaces it by a narrower one if the reply, the phase, the method or the credentials
exclude some of these causes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from smtpsend._events import HINTS, NO_MESSAGE_ID
from smtpsend.errors import ConnectError, Event, Phase, SendError


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
    if event is not None and error.hint == HINTS.get(event):
        # Only a send that fails imports these hints. If there is no descriptor left to
        # read the module, the general hint stays.
        with suppress(OSError, ImportError):
            from smtpsend._model.diagnosis.hints_by_event import narrower_hint

            error.hint = narrower_hint(error, server)
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
