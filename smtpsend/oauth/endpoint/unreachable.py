"""Why an authorization server is out of reach, in words that hold no secret.

The texts of requests and urllib3 name the proxy with its password, so none is shown.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from smtpsend._model.diagnosis.token_remedies import CERTIFICATE, UNREACHABLE
from smtpsend._model.shortage import HINT, shortage
from smtpsend.oauth.endpoint.failures import Failure


def unreachable(host: str, error: BaseException, timeout: float) -> Failure:
    """Return the failure for an exception of requests, urllib3, or below.

    Args:
        host: the host name of the token endpoint.
        error: the exception.
        timeout: the time limit of the request, in seconds.
    """
    found = list(_chain(error))
    start = f"the token endpoint of {host} cannot be reached"
    for cause in found:
        if (short := shortage(cause)) is not None:
            return Failure(f"{start}: {short}", HINT, temporary=True)
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = cause.verify_message or "it does not fit the host name"
            text = f"the certificate of {host} was refused: {why}"
            return Failure(text, CERTIFICATE)
    names = {type(cause).__name__ for cause in found}
    if any(
        isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__
        for cause in found
    ):
        text = f"the token endpoint of {host} did not reply within {timeout:.3g} s"
        return Failure(text, UNREACHABLE, temporary=True, timed_out=True)
    why = next(filter(None, map(_why, found)), "the connection failed")
    if "ProxyError" in names:
        why = f"the proxy refused or was not reached: {why}"
    if any(isinstance(cause, OSError) and _is_file(cause) for cause in found):
        text = "the CA file for the token endpoint cannot be read"
        return Failure(text, "check cafile=")
    return Failure(f"{start}: {why}", UNREACHABLE, temporary=True)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all that it came from.

    urllib3 keeps some causes as an attribute or an argument in place of a context.
    """
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        others = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        waiting += [other for other in others if isinstance(other, BaseException)]


def _why(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "its name does not resolve"
    if isinstance(error, ssl.SSLError):
        return f"the TLS handshake failed ({error.reason or 'no reason given'})"
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return (error.strerror or "").lower()
    return ""


def _is_file(error: OSError) -> bool:
    """Return whether requests found no CA file; its text names the path."""
    text = str(error)
    return type(error) is OSError and "TLS CA certificate bundle" in text
