"""Names the settings of Django in the errors of its backend."""

from __future__ import annotations

from smtpsend.errors import Event, SendError


def name_settings(error: SendError, *, use_ssl: bool, use_tls: bool) -> None:
    """Add to the hint which setting to change, if the port expects the other TLS."""
    if use_ssl and error.event is Event.HANDSHAKE:
        given, other = "SSL", "TLS"
    elif use_tls and error.event is Event.NO_GREETING:
        given, other = "TLS", "SSL"
    else:
        return
    advice = f"in Django, set EMAIL_USE_{other} in place of EMAIL_USE_{given}"
    error.hint = f"{error.hint}; {advice}" if error.hint else advice
