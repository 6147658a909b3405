"""Names the settings of Django in the hints of its backend, in place of arguments."""

from __future__ import annotations

import re

from smtpsend._patterns import pattern
from smtpsend.errors import Event, SendError


# Parts of hints, and what a user of the EMAIL_* settings writes for each; the first that
# fits is replaced first.
_WORDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        pattern(
            r"write (smtp://\S{1,300}), or set SMTP_SECURITY=plaintext beside SMTP_\w+"
        ),
        r"set SMTPSEND_SERVER = '\1'",
    ),
    (
        pattern(r"Method\(([0-9]{1,5}), 'starttls'\)"),
        r"EMAIL_USE_TLS = True with EMAIL_PORT = \1",
    ),
    (
        pattern(r"Method\(([0-9]{1,5}), 'implicit'\)"),
        r"EMAIL_USE_SSL = True with EMAIL_PORT = \1",
    ),
    (pattern(r"Method\(port, 'starttls'\)"), "EMAIL_USE_TLS = True"),
    (pattern(r"Method\(port, 'implicit'\)"), "EMAIL_USE_SSL = True"),
    (pattern(r" in place of 'plaintext'"), ""),
    # One Server has all of it, since no other setting of Django names a CA.
    (
        pattern(r"Server\(([a-z_]{1,20})=[^()]{1,20}\)"),
        r"SMTPSEND_SERVER = Server(..., \1=...)",
    ),
    (
        pattern(r"Policy\([a-z_]{1,20}=[^()]{1,20}\)"),
        "SMTPSEND_SERVER = Server(..., policy=...)",
    ),
    (
        pattern(r"(use|give) (OAuth2|Password)\(\.\.\.\)"),
        r"\1 SMTPSEND_SERVER = Server(..., \2(...))",
    ),
    (
        pattern(r"check user name( \([^()]{1,60}\))? and password"),
        r"check EMAIL_HOST_USER\1 and EMAIL_HOST_PASSWORD",
    ),
    (
        pattern("check host, port and firewall"),
        "check EMAIL_HOST, EMAIL_PORT and firewall",
    ),
    (pattern("check host and port"), "check EMAIL_HOST and EMAIL_PORT"),
    (pattern("a name that it covers as host"), "a name that it covers as EMAIL_HOST"),
)


def name_settings(error: SendError, *, use_ssl: bool, use_tls: bool) -> None:
    """Let the hint say which settings to change, where those of Django are in use.

    Args:
        error: the error; its hint is replaced.
        use_ssl: ``EMAIL_USE_SSL``.
        use_tls: ``EMAIL_USE_TLS``.
    """
    if use_ssl and error.event is Event.HANDSHAKE and "'starttls')" in error.hint:
        error.hint = (
            "the port may expect STARTTLS, as 587 does: set EMAIL_USE_TLS in place of "
            "EMAIL_USE_SSL, or EMAIL_PORT to the port for TLS from the first byte, "
            "usually 465"
        )
    elif error.event is Event.NO_GREETING and "'implicit')" in error.hint:
        place = " in place of EMAIL_USE_TLS" if use_tls else ""
        error.hint = (
            f"set EMAIL_USE_SSL{place}, or EMAIL_PORT to the port for STARTTLS, usually "
            "587"
        )
    for found, words in _WORDS:
        error.hint = found.sub(words, error.hint)
