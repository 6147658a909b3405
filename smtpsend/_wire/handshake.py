"""From a socket to a ready session: greeting, EHLO, TLS, EHLO again."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from smtpsend._model.server.host import check_private
from smtpsend._protocol.failures import lost, positive, temporary
from smtpsend._protocol.redact import Redactor
from smtpsend._protocol.sasl import known
from smtpsend._wire.channel import Channel
from smtpsend._wire.connection import Session
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.dial import dial
from smtpsend._wire.progress import Track, step
from smtpsend._wire.target import Target
from smtpsend._wire.tls import check_pin, pinning_context, require_verifying, tls_name
from smtpsend.errors import (
    AuthError,
    CertificateError,
    ConfigError,
    ConnectError,
    Event,
    Phase,
    TLSError,
)


async def open_session(
    target: Target,
    track: Track,
    deadline: Deadline,
    make: Callable[[Redactor], Channel] = Channel,
) -> Session:
    """A ready session to `target` by `track.method`.

    `make` gives the channel: another than ours for who wants to note what is said.

    Raises:
        ConnectError, CertificateError, TLSError: it did not come about.
        AuthError: credentials are wanted and the server takes none that fit.
    """
    limit = target.policy.connect_timeout
    sock = await dial(target.addresses, limit, deadline, track)
    if track.method.security == "plaintext":
        try:
            check_private(str(track.address))
        except ConfigError:
            sock.close()
            raise
    loop = asyncio.get_running_loop()
    # From here on the socket is the transport's, which closes it on a cancellation, too.
    _, channel = await loop.create_connection(lambda: make(target.redact), sock=sock)
    session = Session(target, track, channel, deadline, sock)
    try:
        await _handshake(session)
    except BaseException:
        channel.abort()
        raise
    return session


async def _handshake(session: Session) -> None:
    """Greeting, EHLO, TLS, EHLO: until the session is ready."""
    if session.method.security == "implicit":
        await _start_tls(session)
    with step(session.track, Phase.GREETING):
        greeting = await session.channel.reply(session.timeout())
    if not positive(greeting):
        raise ConnectError(
            "the server does not take mail now",
            phase=Phase.GREETING,
            event=Event.NO_GREETING,
            reply=greeting,
            temporary=greeting.code < 500,
        )
    session.attach()
    await session.ehlo()
    if session.method.security == "starttls":
        await _ask_for_tls(session)
        await _start_tls(session)
        session.attach()
        await session.ehlo()
    _check_mechanism(session)


async def _ask_for_tls(session: Session) -> None:
    if "STARTTLS" not in session.extensions:
        raise TLSError(
            "the server does not offer STARTTLS",
            phase=Phase.STARTTLS,
            event=Event.NO_STARTTLS,
        )
    with step(session.track, Phase.STARTTLS):
        reply = await session.ask(b"STARTTLS")
    if not positive(reply):
        raise TLSError(
            "the server refused STARTTLS",
            phase=Phase.STARTTLS,
            event=Event.NO_STARTTLS,
            reply=reply,
            temporary=temporary(reply),
        )
    # RFC 3207 section 6: whatever stands in plaintext behind the 220 was never said.
    session.channel.discard()


async def _start_tls(session: Session) -> None:
    """The handshake, on a port of either kind."""
    loop = asyncio.get_running_loop()
    pin = session.target.fingerprint
    context = (
        require_verifying(session.target.context) if pin is None else pinning_context()
    )
    plain = session.channel.transport
    limit = session.timeout()
    session.track.phase = Phase.TLS
    if plain.is_closing():
        raise lost(Phase.TLS, "the connection was closed")
    secure: asyncio.Transport | None = None
    broken: BaseException | None = None
    try:
        async with asyncio.timeout(limit):
            secure = await loop.start_tls(
                plain,
                session.channel,
                context,
                server_hostname=tls_name(session.target.host),
                ssl_handshake_timeout=limit + 1,
            )
    except BaseException as error:  # noqa: BLE001  # raised again, translated
        plain.abort()
        broken = _handshake_error(error, session.target.host, limit)
    if broken is not None:
        # Not from `error`: who keeps this one would keep the buffers of TLS by it.
        try:
            raise broken
        finally:
            del broken  # which has this frame
    if secure is None:
        raise lost(Phase.TLS, "the connection was closed")
    session.channel.use(secure)
    if pin is not None:
        check_pin(secure.get_extra_info("ssl_object").getpeercert(binary_form=True), pin)
    session.tls = secure.get_extra_info("ssl_object").version()
    session.track.progress()


def _check_mechanism(session: Session) -> None:
    auth = session.target.auth
    if auth is None or session.mechanism is not None:
        return
    offered = ", ".join(session.extensions.mechanisms[:20])
    what = f"offers only {offered}" if offered else "offers no login"
    raise AuthError(
        f"the server {what}, and the credentials need one of {known(auth)}",
        phase=Phase.AUTH,
        event=Event.NO_MECHANISM,
    )


def _handshake_error(error: BaseException, host: str, limit: float) -> BaseException:
    """What a failed handshake is: a refused certificate is an alarm, the rest is not."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return CertificateError(
            f"the certificate of {host} was refused: {error.verify_message}",
            phase=Phase.TLS,
            event=Event.CERTIFICATE,
        )
    if isinstance(error, ssl.SSLError):
        cut = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        why = (
            "the server cut it off"
            if cut
            else (error.reason or "").replace("_", " ").lower()
        )
        failure = lost(Phase.TLS, why or "protocol error")
        failure.temporary = cut
        return failure
    if isinstance(error, TimeoutError | ConnectionAbortedError):
        return lost(Phase.TLS, f"not done within {limit:.3g} s", timed_out=True)
    if isinstance(error, OSError):
        return lost(Phase.TLS, "the connection was cut")
    return error
