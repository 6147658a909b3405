"""The login: one try of one mechanism (RFC 4954); nothing is pipelined after AUTH.

No part of a message is sent before the 235: after a refused AUTH, a lax server could
accept the message unauthenticated.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from smtpsend._model.server.credentials import Auth, OAuth2, Password, shown_name
from smtpsend._model.tracebacks import forget_locals
from smtpsend._protocol.failures import Garbage, closing, positive, temporary
from smtpsend._protocol.sasl import Exchange, exchange
from smtpsend._wire.oauth import discard_token, fetch_token
from smtpsend._wire.progress import step
from smtpsend.errors import AuthError, ConnectionLost, Event, Phase, Reply


if TYPE_CHECKING:
    from smtpsend._wire.connection import Session


async def login(session: Session) -> None:
    """Log in if there are credentials; a refused token is replaced by a new one once.

    Raises:
        AuthError: the server refused the login, or the token provider failed.
        ConnectionLost: the server sent no reply, a 421, or something that is no reply.
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
    secret = await _secret(session, auth)
    refusal = await _authenticate(session, auth, secret)
    if refusal is not None and isinstance(auth, OAuth2) and callable(auth.token):
        discard_token(auth, secret)
        new_secret = await _secret(session, auth)
        # If the server closed the connection after the refusal, the refusal stands.
        if new_secret != secret and session.channel.usable:
            try:
                refusal = await _authenticate(session, auth, new_secret)
            except ConnectionLost as error:
                # It also stands if the end of the connection arrived a moment later.
                if error.reply is not None or error.timed_out or session.channel.unread:
                    raise
    if refusal is not None:
        raise AuthError(
            f"the server refused the login of {shown_name(auth)}",
            phase=Phase.AUTH,
            event=Event.AUTH_REFUSED,
            reply=refusal,
            temporary=temporary(refusal),
        )


async def _secret(session: Session, auth: Auth) -> str:
    if isinstance(auth, Password):
        return auth.password
    return await fetch_token(auth, session.timeout())


async def _authenticate(session: Session, auth: Auth, secret: str) -> Reply | None:
    """Try to log in; return the refusal, or None if the session is authenticated."""
    mechanism = session.mechanism
    assert mechanism is not None  # noqa: S101  # open_session requires one
    session.channel.redact.add(secret)
    responses = exchange(mechanism, auth, secret)
    words = [b"AUTH", mechanism.encode()]
    if (initial := next(responses)) is not None:
        words.append(b64encode(initial) or b"=")
    with step(session.track, Phase.AUTH), session.channel.transcript.login():
        reply = await session.execute(*words)
        while reply.code == 334:
            response = _next_response(responses, session.channel.challenge)
            reply = await session.execute(response)
        if 300 <= reply.code < 400:
            raise Garbage(f"a reply out of place: {reply}")
    if reply.code == 421:
        raise closing(Phase.AUTH, reply)
    return None if positive(reply) else reply


def _next_response(responses: Exchange, text: bytes) -> bytes:
    """The response of the client to a challenge, both in base64.

    Raises:
        Garbage: the challenge is not base64, or the mechanism has no further response.
    """
    try:
        challenge = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Garbage("a challenge that is not base64") from None
    try:
        response = responses.send(challenge)
    except StopIteration:
        raise Garbage("a login that asks for more than its mechanism has") from None
    return b64encode(response or b"")
