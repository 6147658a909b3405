"""The values of one request to a token endpoint (RFC 6749 section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from smtpsend.errors import ConfigError
from smtpsend.oauth.endpoint.failures import Failure


ClientAuth = Literal["post", "basic"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A token endpoint and the client that asks it.

    Attributes:
        url: the URL of the endpoint; https only (RFC 6749 section 3.2).
        client_id: the id of the client; None where the grant itself names it.
        client_auth: whether the client secret stands in the body (``post``) or in the
            header Authorization (``basic``).
        cafile: a PEM file of the CAs to trust; None for certifi's.
        timeout: seconds for one request, the reply included.
    """

    url: str
    client_id: str | None = None
    client_auth: ClientAuth = "post"
    cafile: str | None = None
    timeout: float = 30.0

    @property
    def host(self) -> str:
        """The name that error texts show."""
        return urlsplit(self.url).hostname or ""


@dataclass(frozen=True, slots=True)
class Request:
    """What one request holds.

    Attributes:
        grant_type: the ``grant_type``; None for the request of a device code, which has
            none (RFC 8628 section 3.1).
        params: the further parameters.
        client_secret: the client secret; None for a public client.
        signed: whether the request holds a date of this machine's clock.
    """

    grant_type: str | None
    params: Mapping[str, str] = field(repr=False)
    client_secret: str | None = field(default=None, repr=False)
    signed: bool = False

    def secrets(self) -> list[str]:
        """What no text may repeat: all that is sent but the scope."""
        params = (value for name, value in self.params.items() if name != "scope")
        return [text for text in (self.client_secret, *params) if text]


@dataclass(eq=False)
class Refused(Exception):
    """The endpoint refused the request.

    Attributes:
        error: its ``error`` (RFC 6749 section 5.2), without the secrets of the request.
        failure: the failure to raise.
    """

    error: str
    failure: Failure


def check_secret_text(name: str, value: object) -> str:
    """Check that a secret is a str of one line, and return it.

    Args:
        name: what the secret is called in an error.
        value: the secret.

    Raises:
        ConfigError: it is empty, no str, or holds a control character.
    """
    if not isinstance(value, str):
        raise ConfigError(f"the {name} must be a str, not {type(value).__name__}")
    if not value:
        raise ConfigError(f"the {name} cannot be empty")
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in value):
        line = value.rstrip("\r\n")
        ends = line != value and line.isprintable()
        what = "ends with a line end: strip it" if ends else "holds a control character"
        raise ConfigError(f"the {name} {what}")
    return value
