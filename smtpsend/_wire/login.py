"""The login: one try of the secret (RFC 4954); nothing is pipelined after AUTH.

No part of a message is sent before the 235: after a refused AUTH, a lax server could
accept the message unauthenticated.
"""

from __future__ import annotations

import asyncio
import binascii
import contextlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from smtpsend._model.server.credentials import (
    Auth,
    Provider,
    known_secret,
    provider_of,
    secret_kind,
)
from smtpsend._model.shortage import importing, shortage
from smtpsend._model.tracebacks import forget_locals
from smtpsend._protocol.failures import (
    Garbage,
    TimedOut,
    WrongSignature,
    closing,
    positive,
    temporary,
)
from smtpsend._protocol.redaction.redact import user_shown
from smtpsend._protocol.sasl import Exchange, exchange, is_scram
from smtpsend._wire.callers.threads import in_thread
from smtpsend._wire.progress import step
from smtpsend.errors import AuthError, ConnectionLost, Event, Phase, Reply


if TYPE_CHECKING:
    from smtpsend._protocol.scram import Scram
    from smtpsend._wire.connection import Session


async def login(session: Session) -> None:
    """Log in if there are credentials; a refused secret is replaced by a new one once.

    Raises:
        AuthError: the server refused the login, or the provider of the secret failed.
        ConnectionLost: the server sent no reply, a 421, or something that is no reply; or
            it closed the connection, and the provider has another secret by now.
    """
    try:
        await _login(session)
    except BaseException as error:
        # Below here the secret is in local variables, aiosmtplib's among them.
        forget_locals(error)
        raise


async def _login(session: Session) -> None:
    auth = session.target.auth
    if auth is None:
        return
    session.track.phase = Phase.AUTH
    provider = provider_of(auth)
    if provider is None:
        refusal = await _authenticate(session, auth, known_secret(auth) or "")
    else:
        refusal = await _with_provider(session, auth, provider)
    if refusal is not None:
        raise AuthError(
            f"the server refused the login of {user_shown(auth)}",
            phase=Phase.AUTH,
            event=Event.AUTH_REFUSED,
            reply=refusal,
            temporary=temporary(refusal),
        )


async def _with_provider(
    session: Session, auth: Auth, provider: Provider
) -> Reply | None:
    """Log in with what the provider of `auth` returns; return the refusal, or None."""
    # Imported here, so that a program with a plain password does not pay for it.
    with importing():
        from smtpsend._wire.secrets.fetch import discard_token, fetch_secret
    secret = await fetch_secret(auth, provider, session.timeout())
    refusal = await _authenticate(session, auth, secret.text)
    if refusal is not None:
        discard_token(auth, secret.text)
        renewed = await fetch_secret(auth, provider, session.timeout())
        if renewed.text != secret.text:
            secret = renewed
            refusal = await _second_try(session, auth, secret.text, refusal)
    session.secret_version = secret.version
    return refusal


async def _second_try(
    session: Session, auth: Auth, secret: str, refusal: Reply
) -> Reply | None:
    """Try to log in with another secret, after the first one was refused.

    Raises:
        ConnectionLost: the server has closed the connection after the refusal.
    """
    if session.channel.usable:
        try:
            return await _authenticate(session, auth, secret)
        except ConnectionLost as error:
            if not _was_closed(session, error):
                raise
    kind = secret_kind(auth)
    raise ConnectionLost(
        f"the server refused the login and closed the connection, and the {kind} has "
        "changed since",
        phase=Phase.AUTH,
        event=Event.AUTH_RENEWED,
        reply=refusal,
        temporary=True,
    )


def _was_closed(session: Session, error: ConnectionLost) -> bool:
    """Whether an AUTH met the end of the connection, which follows an earlier reply.

    That end may arrive a moment after the reply.
    """
    replied = error.reply is not None or session.channel.unread
    return not replied and not error.timed_out


async def _authenticate(session: Session, auth: Auth, secret: str) -> Reply | None:
    """Try to log in; return the refusal, or None if the session is authenticated.

    The next mechanism is tried only if the server shows that it looked at no password:
    by a 504 in reply to AUTH (RFC 4954 section 6), or by a refusal of -PLUS before the
    proof of the password.

    Raises:
        AuthError: the server has none of the mechanisms that it offers.
    """
    if secret:
        session.channel.redact.add(secret)
    unknown: list[str] = []
    refusal = None
    for mechanism in session.mechanisms:
        session.login_mechanism = mechanism
        try:
            reply, looked_at = await _try(session, auth, mechanism, secret)
        except ConnectionLost as error:
            if not unknown or not _was_closed(session, error):
                raise
            break
        if reply is None or looked_at:
            return reply
        refusal = reply
        unknown.append(mechanism)
        if not session.channel.usable:
            break
    session.login_mechanism = None
    raise AuthError(
        f"the server offers {', '.join(unknown)}, but does not have it",
        phase=Phase.AUTH,
        event=Event.NO_MECHANISM,
        reply=refusal,
        hint="the mechanisms that the server offers are a mistake of its configuration: "
        "ask whoever runs it",
    )


async def _try(
    session: Session, auth: Auth, mechanism: str, secret: str
) -> tuple[Reply | None, bool]:
    """Try one mechanism.

    Returns:
        The refusal, or None after a success; and whether the server may have looked at
        the secret.
    """
    responses = exchange(
        mechanism,
        auth,
        secret,
        binding=session.binding if mechanism.startswith("SCRAM-") else None,
        offered=session.extensions.mechanisms,
    )
    line = [b"AUTH", mechanism.encode()]
    initial = next(responses)
    if initial is not None:
        encoded = b64encode(initial) or b"="
        # RFC 4954 section 4: it is left out where the line would be too long.
        if len(b" ".join([*line, encoded])) + len(_CRLF) <= _LONGEST_LINE:
            line.append(encoded)
            initial = None
    with step(session.track, Phase.AUTH), session.channel.transcript.login():
        reply = await session.execute(*line)
        unknown = reply.code == _NO_MECHANISM
        while reply.code == 334:
            if initial is not None:
                response, initial = b64encode(initial), None
            else:
                response = await _next_response(session, responses)
            reply = await session.execute(response)
        if 300 <= reply.code < 400:
            raise Garbage(f"a reply out of place: {reply}")
    if reply.code == 421:
        raise closing(Phase.AUTH, reply)
    if positive(reply):
        if is_scram(responses) and not responses.verified:
            raise _not_proved(reply)
        return None, True
    if is_scram(responses) and mechanism.endswith("-PLUS"):
        unknown |= not responses.proof_sent
    return reply, not unknown


_CRLF = b"\r\n"
_LONGEST_LINE = 512  # RFC 5321 section 4.5.3.1.4
_NO_MECHANISM = 504


async def _next_response(session: Session, responses: Exchange | Scram) -> bytes:
    """The response of the client to the last challenge, in base64.

    Raises:
        AuthError: the server did not prove that it knows the password.
        Garbage: the mechanism has no further response, or cannot use the challenge.
    """
    challenge: bytes | None = None
    with contextlib.suppress(binascii.Error, ValueError):
        challenge = b64decode(session.channel.challenge, validate=True)
    try:
        if is_scram(responses):
            # It hashes the password some thousand times, which may take a second.
            async with asyncio.timeout(session.timeout()):
                response = await in_thread(
                    lambda: responses.send(challenge), "smtpsend-scram"
                )
        else:
            response = responses.send(challenge)
    except WrongSignature:
        raise _not_proved(None) from None
    except TimeoutError:
        raise TimedOut("the deadline ran out") from None
    except (StopIteration, RuntimeError) as end:
        if shortage(end) is not None:
            raise
        raise Garbage("a login that asks for more than its mechanism has") from None
    return b64encode(response or b"")


def _not_proved(reply: Reply | None) -> AuthError:
    return AuthError(
        "the server did not prove that it knows the password (the signature of SCRAM)",
        phase=Phase.AUTH,
        event=Event.AUTH_REFUSED,
        reply=reply,
        hint="the server may not be the one that has the account: ask whoever runs it",
    )
