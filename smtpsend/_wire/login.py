"""The login: one try of one mechanism (RFC 4954), and nothing else in its group.

Nothing of a message leaves before the 235: after a refused AUTH a lax server could
take the mail unauthenticated.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from smtpsend._model.server.credentials import Auth, OAuth2, Password, shown_name
from smtpsend._protocol.failures import Garbage, closing, positive, temporary
from smtpsend._protocol.sasl import Exchange, exchange
from smtpsend._wire.oauth import fetch_token
from smtpsend._wire.progress import step
from smtpsend.errors import AuthError, ConnectionLost, Event, Phase, Reply


if TYPE_CHECKING:
    from smtpsend._wire.connection import Session


async def login(session: Session) -> None:
    """Log in, if there are credentials; for a token one more try with a new one.

    Raises:
        AuthError: refused, or the token provider failed.
        ConnectionLost: no answer, or none that makes sense.
    """
    auth = session.target.auth
    if auth is None:
        return
    session.track.phase = Phase.AUTH
    secret = await _secret(session, auth)
    refusal = await _authenticate(session, auth, secret)
    if refusal is not None and isinstance(auth, OAuth2) and callable(auth.token):
        again = await _secret(session, auth)
        # A server that hung up with the refusal has said its last word here.
        if again != secret and session.channel.fit:
            try:
                refusal = await _authenticate(session, auth, again)
            except ConnectionLost as error:
                # Nor has it said more where its end came in a moment later.
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
    """None if the server let us in, else its refusal."""
    mechanism = session.mechanism
    assert mechanism is not None  # noqa: S101  # looked at before the session was ready
    session.channel.redact.add(secret)
    talk = exchange(mechanism, auth, secret)
    words = [b"AUTH", mechanism.encode()]
    if (first := next(talk)) is not None:
        words.append(b64encode(first) or b"=")
    with step(session.track, Phase.AUTH), session.channel.transcript.login():
        reply = await session.ask(*words)
        while reply.code == 334:
            answer = _next_answer(talk, session.channel.challenge)
            reply = await session.ask(answer)
        if 300 <= reply.code < 400:
            raise Garbage(f"a reply out of place: {reply}")
    if reply.code == 421:
        raise closing(Phase.AUTH, reply)
    return None if positive(reply) else reply


def _next_answer(talk: Exchange, text: bytes) -> bytes:
    """The client's next line, in base64.

    Raises:
        Garbage: the challenge is no base64, or the server asks for more than there is.
    """
    try:
        challenge = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Garbage("a challenge that is not base64") from None
    try:
        answer = talk.send(challenge)
    except StopIteration:
        raise Garbage("a login that asks for more than its mechanism has") from None
    return b64encode(answer or b"")
