"""What a session is opened to, and what is known of it."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from smtpsend._model.auth import Auth
from smtpsend._model.policy import Policy
from smtpsend._wire.dial import Address
from smtpsend._wire.redact import Redactor


@dataclass(slots=True)
class Quirks:
    """What a server was found not to do as it says."""

    no_bdat: bool = False
    no_content_in_group: bool = False
    no_window: bool = False  # it does not say where a window of messages ends
    no_commands_behind: bool = False  # it loses what stands behind the final dot
    commands_behind: bool = False  # it was seen to answer it
    trying: bool = False  # some connection is about to see
    doubts: int = 0  # how often it refused a sender there


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
