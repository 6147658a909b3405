"""What a session is opened to, and what is known of it."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from smtpsend._model.policy.policy import Policy
from smtpsend._model.server.credentials import Auth
from smtpsend._protocol.redact import Redactor
from smtpsend._wire.dial import Address


class Behind(Enum):
    """Whether a server answers commands that stand behind the final dot of a message."""

    UNTRIED = "untried"
    TRYING = "trying"  # some connection is about to see
    ANSWERED = "answered"
    LOST = "lost"  # or refused, or it hangs up


@dataclass(slots=True)
class Quirks:
    """What a server was found not to do as it says."""

    no_bdat: bool = False
    no_content_in_group: bool = False
    no_window: bool = False  # it does not say where a window of messages ends
    behind: Behind = Behind.UNTRIED
    doubts: int = 0  # how often it refused a sender behind a final dot


@dataclass(frozen=True, slots=True)
class Target:
    """What a session is opened to."""

    host: str
    addresses: Sequence[Address]
    context: ssl.SSLContext
    fingerprint: str | None
    auth: Auth | None
    ehlo_name: str | None
    policy: Policy
    quirks: Quirks
    redact: Redactor
