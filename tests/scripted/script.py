"""Scripts: the actions by moment, and the extensions that the server offers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import tls

from scripted.actions import Action, hang


OFFERS = (
    "SIZE 10485760",
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "AUTH PLAIN LOGIN",
)
"""The extensions that a server offers by default; a test may add to them."""

MOMENTS = {
    "connect": "TCP is there, before anything else",
    "greeting": "before the first reply",
    "ehlo": "the EHLO in the clear, or the only one on a port with implicit TLS",
    "starttls": "the STARTTLS command",
    "tls": "in place of the TLS handshake; the ClientHello has come",
    "ehlo2": "the EHLO after STARTTLS",
    "auth": "the AUTH command",
    "auth-step": "each line that follows it",
    "mail": "MAIL",
    "rcpt": "RCPT; rcpt:2 is the second on this connection",
    "data": "DATA",
    "bdat": "each BDAT but the last",
    "content": "content:N only: N bytes of one message's content have come",
    "final": "the end of a message, by dot or by BDAT LAST; the message has come whole",
    "rset": "RSET",
    "noop": "NOOP",
    "quit": "QUIT",
    "other": "any other command",
    "command": "any command for which nothing more exact is given, see rcpt",
    "after-auth": "after-auth:N only: N bytes have come after the 235; what the Nth "
    "completes gets no reply, what was complete before does",
    "sent-after-auth": "sent-after-auth:N only: N bytes have left after the 235",
}
"""The moments of a script. `rcpt` is every RCPT, `rcpt:2` the second one on a connection,
`rcpt:3+` the third one and all later ones; the most exact key counts."""

_KEY = re.compile(r"([a-z0-9-]+?)(?::(\d+)(\+?))?")
_COUNTED_IN_BYTES = ("content", "after-auth", "sent-after-auth")


@dataclass(frozen=True)
class Script:
    """How the server behaves on one connection: correctly, but for the actions in `on`.

    Args:
        on: actions by moment (see `MOMENTS`).
        offers: the keywords in the reply to EHLO, under TLS.
        offers_in_clear: those before STARTTLS; by default `offers` without AUTH, with
            STARTTLS.
        certificate: one of `tls.KINDS`.
        require_tls: refuse MAIL in the clear.
        require_auth: refuse MAIL before AUTH.
    """

    on: Mapping[str, Action] = field(default_factory=dict)
    offers: Sequence[str] = OFFERS
    offers_in_clear: Sequence[str] | None = None
    certificate: str = "good"
    require_tls: bool = True
    require_auth: bool = True

    def __post_init__(self) -> None:
        if self.certificate not in tls.KINDS:
            raise ValueError(f"no such certificate: {self.certificate!r}")
        for key, action in self.on.items():
            match = _KEY.fullmatch(key)
            if match is None or match[1] not in MOMENTS:
                raise ValueError(f"no such moment: {key!r}")
            if match[1] in _COUNTED_IN_BYTES and (not match[2] or match[3]):
                raise ValueError(f"this moment needs a number of bytes: {key!r}")
            if not isinstance(action, Action):
                raise TypeError(f"no action: {action!r}; did you call it?")

    def action(self, moment: str, n: int) -> Action | None:
        """The action at the nth time of this moment; None for the correct behaviour."""
        if f"{moment}:{n}" in self.on:
            return self.on[f"{moment}:{n}"]
        open_ended = [
            (int(match[2]), action)
            for key, action in self.on.items()
            if (match := _KEY.fullmatch(key)) and match[1] == moment and match[3]
        ]
        reached = [pair for pair in open_ended if pair[0] <= n]
        if reached:
            return max(reached, key=lambda pair: pair[0])[1]
        return self.on.get(moment)

    def marks(self, moment: str) -> list[tuple[int, Action]]:
        """The actions of a moment that is counted in bytes, ordered by this count."""
        found = [
            (int(match[2]), action)
            for key, action in self.on.items()
            if (match := _KEY.fullmatch(key)) and match[1] == moment
        ]
        return sorted(found, key=lambda pair: pair[0])


Scripts = Script | Mapping[str, Action] | Sequence[Script | Mapping[str, Action]]
"""A script, the mapping for `Script(on=...)`, or a list of them: one for the first
connection, one for the second, ..., the last for all others."""

SILENT = Script({"connect": hang()})


def as_scripts(given: Scripts) -> list[Script]:
    """Make the scripts of a port, one for each connection in turn."""
    several = [given] if isinstance(given, Script | Mapping) else list(given)
    if not several:
        raise ValueError("a port needs at least one script")
    return [one if isinstance(one, Script) else Script(one) for one in several]
