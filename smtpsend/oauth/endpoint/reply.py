"""The reply of a token endpoint: read within bounds, and checked before it is used."""

from __future__ import annotations

import io
import json
import math
from email.utils import parsedate_to_datetime
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from smtpsend._model.diagnosis.token_remedies import (
    LATER,
    UNUSABLE,
    is_temporary,
    token_remedy,
)
from smtpsend._protocol.redaction.redact import Redactor
from smtpsend._values import dataclass, field
from smtpsend.errors import AuthError
from smtpsend.oauth.endpoint.failures import Failure
from smtpsend.oauth.endpoint.request import Endpoint, Refused, Request
from smtpsend.oauth.endpoint.unreachable import unreachable


if TYPE_CHECKING:
    import requests


# A token of Microsoft has up to some 10 kB, and an error page may have any size.
_LONGEST_REPLY = 1 << 20
_CHUNK = 1 << 14
_LONGEST_TEXT = 600
# Servers ask for a pause of seconds; nobody wants a worker to wait for hours.
_LONGEST_PAUSE = 300.0
# A clock that is wrong by less than this is not the cause of a refusal, in seconds.
_SKEW = 60.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of HTTP, read to its end."""

    response: requests.Response
    status: int
    body: bytes = field(repr=False)

    def checked(self, endpoint: Endpoint, request: Request) -> requests.Response:
        """Return the reply as Authlib reads it.

        Raises:
            Refused: it is an error.
            AuthError: it is no reply of a token endpoint.
        """
        facts = self.facts()
        if facts is not None and "error" in facts:
            description = facts.get("error_description")
            raise _refused(endpoint, request, self, str(facts["error"]), description)
        if self.status != 200 or facts is None:
            text = f"replied HTTP {self.status}"
            if 300 <= self.status < 400:
                text += ", a redirection, which is not followed"
            elif self.status == 200:
                text += " without a JSON object"
            if is_temporary(self.status):
                raise self._later(endpoint, text).error()
            raise unusable(endpoint, text).error()
        # The lifetime is read by `lifetime_of`: Authlib wants a number there.
        facts = {name: v for name, v in facts.items() if name != "expires_at"}
        lifetime = lifetime_of(facts.pop("expires_in", None))
        if lifetime is not None:
            facts["expires_in"] = int(lifetime)
        self.response.raw = io.BytesIO(json.dumps(facts).encode())
        return self.response

    def facts(self) -> dict[str, Any] | None:
        """The members of the JSON object; None if the body is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def _later(self, endpoint: Endpoint, text: str) -> Failure:
        message = f"the token endpoint of {endpoint.host} {text}"
        return Failure(message, LATER, temporary=True, retry_after=self.retry_after())

    def retry_after(self) -> float:
        """The seconds in the header Retry-After; 0 without it, or if it is a date."""
        text = self.response.headers.get("Retry-After", "").strip()
        return min(float(text), _LONGEST_PAUSE) if text.isdecimal() else 0.0

    def skew(self) -> float:
        """By how many seconds the clock of this machine is ahead of the server's."""
        try:
            theirs = parsedate_to_datetime(self.response.headers.get("Date", ""))
        except ValueError:
            return 0.0
        return time() - theirs.timestamp()


def read_reply(endpoint: Endpoint, response: requests.Response, end: float) -> Reply:
    """Read a reply, as far as it is neither too long nor too slow.

    The time limit of requests holds for each read from the socket, of which a slow reply
    may need any number.
    """
    body = bytearray()
    try:
        # `read` would return only when the whole chunk is there.
        raw = response.raw
        read = getattr(raw, "read1", raw.read)  # urllib3 1.26 has no `read1`
        while chunk := read(_CHUNK, decode_content=True):
            body += chunk
            if len(body) > _LONGEST_REPLY:
                raise unusable(endpoint, "sent a reply without an end").error()
            if monotonic() > end:
                raise TimeoutError
    except AuthError:
        raise
    except Exception as error:  # noqa: BLE001  # of urllib3, http.client, zlib
        raise unreachable(endpoint.host, error, endpoint.timeout).error() from None
    finally:
        response.close()
    response.headers.pop("Content-Encoding", None)
    return Reply(response, response.status_code, bytes(body))


def _refused(
    endpoint: Endpoint, request: Request, reply: Reply, error: str, description: object
) -> Refused:
    redact = redactor(request)
    code = _shown(redact(error))
    text = _shown(redact(description)) if isinstance(description, str) else ""
    said = f"{code}: {text}" if text else code
    hint = token_remedy(error, text, signed=request.signed)
    temporary = is_temporary(reply.status, error)
    if request.signed and abs(skew := reply.skew()) > _SKEW:
        ahead = "ahead of" if skew > 0 else "behind"
        hint = (
            f"the clock of this machine is {abs(skew):.0f} s {ahead} that of "
            f"{endpoint.host}, which checks the dates of the signed request: set it"
        )
    failure = Failure(
        f"the token endpoint of {endpoint.host} refused: {said}",
        LATER if temporary else hint,
        temporary=temporary,
        retry_after=reply.retry_after() if temporary else 0.0,
    )
    return Refused(code, failure)


def unusable(endpoint: Endpoint, what: str) -> Failure:
    return Failure(f"the token endpoint of {endpoint.host} {what}", UNUSABLE)


def redactor(request: Request) -> Redactor:
    redact = Redactor()
    redact.add(*request.secrets())
    return redact


def _shown(text: str) -> str:
    """A text of the endpoint on one line, without control characters, cut if long."""
    text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."


def lifetime_of(value: object) -> float | None:
    """The seconds of an ``expires_in``; None if it is no number.

    RFC 6749 wants a number; some servers send it as a string.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), 1e9) if math.isfinite(seconds) else None
