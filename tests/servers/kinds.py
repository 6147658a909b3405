"""The kinds of server, by name.

Each is a module with CAPABILITIES and MECHANISMS (what the server offers in its reply to
EHLO inside TLS), REFUSES_SENDER_AT ("MAIL" or "DATA"), `missing()` (what to install; None
if nothing) and `prepare(setup)`. `prepare` runs in the supervisor. It returns the program
to start, or None if the server runs in the supervisor itself. Some modules have
`oauth_token`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from servers import aiosmtpd_server, chasquid, dovecot, exim, postfix, smtp_server


if TYPE_CHECKING:
    from types import ModuleType


KINDS: dict[str, ModuleType] = {
    "postfix": postfix,
    "dovecot": dovecot,
    "chasquid": chasquid,
    "smtp-server": smtp_server,
    "aiosmtpd": aiosmtpd_server,
}
"""Those that the tests use."""

ALL: dict[str, ModuleType] = {**KINDS, "exim": exim}
"""Those, and what the benchmarks use besides."""
