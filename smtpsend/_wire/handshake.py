"""Opens a session: dials, reads the greeting, and sends EHLO before and inside TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from smtpsend._events import NO_MD5
from smtpsend._model.server.host import check_private
from smtpsend._protocol.failures import TimedOut, lost, positive, temporary
from smtpsend._protocol.redaction.redact import Redactor
from smtpsend._protocol.sasl import lacks_md5, mechanisms_for
from smtpsend._wire.callers.code import passes
from smtpsend._wire.channel import Channel
from smtpsend._wire.connection import Session
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.progress import Track, step
from smtpsend._wire.proxy.connect import open_socket
from smtpsend._wire.target import Target, forget_addresses
from smtpsend._wire.tls.alerts import about_client, alert_of, client_refused
from smtpsend._wire.tls.context import (
    check_names,
    check_peer,
    check_pin,
    check_version,
    pinning_context,
    refused_by,
    require_verifying,
    tls_name,
)
from smtpsend._wire.transport.transports import open_transport, start_tls
from smtpsend.errors import (
    AuthError,
    CertificateError,
    ConfigError,
    ConnectError,
    Event,
    Phase,
    Reply,
    SendError,
    TLSError,
)


async def open_session(
    target: Target,
    track: Track,
    deadline: Deadline,
    make_channel: Callable[[Redactor], Channel] = Channel,
) -> Session:
    """Open a session to `target` by `track.method`; it is not logged in yet.

    Args:
        target: the server.
        track: receives the progress.
        deadline: the deadline of the call.
        make_channel: makes the channel from the redactor of the target.

    Raises:
        ConnectError: the connection, the greeting or EHLO failed.
        CertificateError: the certificate of the server was refused.
        TLSError: STARTTLS or the handshake failed.
        AuthError: there are credentials, and the server offers no mechanism for them.
        ConfigError: a plaintext method connected to a public address.
    """
    try:
        return await _open_session(target, track, deadline, make_channel)
    except SendError:
        forget_addresses(target)
        raise


async def _open_session(
    target: Target,
    track: Track,
    deadline: Deadline,
    make_channel: Callable[[Redactor], Channel],
) -> Session:
    sock = await open_socket(target, track, deadline)
    if track.method.security == "plaintext":
        try:
            check_private(str(track.address))
        except ConfigError:
            sock.close()
            raise
    channel = make_channel(target.redact)
    # From here on the transport owns the socket, and closes it on a cancellation, too.
    given = target.context_is_given
    await open_transport(sock, channel, target.context, given=given)
    session = Session(target, track, channel, deadline, sock)
    try:
        await _handshake(session)
    except BaseException:
        channel.abort()
        raise
    return session


async def _handshake(session: Session) -> None:
    """Read the greeting, send EHLO, start TLS and send EHLO again, by the method."""
    if session.method.security == "implicit":
        await _start_tls(session)
    with step(session.track, Phase.GREETING):
        greeting = await _greeting(session)
    if not positive(greeting):
        raise ConnectError(
            "the server does not accept mail now",
            phase=Phase.GREETING,
            event=Event.NO_GREETING,
            reply=greeting,
            temporary=greeting.code < 500,
        )
    session.attach()
    await session.ehlo()
    if session.method.security == "starttls":
        await _send_starttls(session)
        await _start_tls(session)
        await session.ehlo()
    _require_mechanism(session)


async def _greeting(session: Session) -> Reply:
    """Read the greeting; if none comes, find out whether the port speaks TLS instead.

    A server that is slow is waited for meanwhile, and after that.

    Raises:
        TLSError: the port speaks TLS from the first byte.
    """
    channel, limit = session.channel, session.timeout()
    method, silence = session.method, min(_SILENCE, limit / 2)
    if method.security == "implicit" or method.port == _RELAY_PORT:
        return await channel.reply(limit)
    with suppress(TimedOut):
        return await channel.reply(silence)
    until = channel.last_received + limit  # nothing has come since the connection
    loop = asyncio.get_running_loop()
    greeting = loop.create_task(channel.reply(max(0.0, until - loop.time())))
    tasks: list[asyncio.Task[Any]] = [greeting]
    try:
        if not channel.unread:
            probe = loop.create_task(_speaks_tls(session))
            tasks.append(probe)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not greeting.done() and probe.result():
                raise _speaks_tls_at_once(method.port)
        try:
            return await greeting
        except TimedOut:
            raise TimedOut(f"no reply within {limit:.3g} s") from None
    finally:
        for task in tasks:
            task.cancel()
        # `gather` also retrieves the exceptions, which nobody else may do.
        await asyncio.gather(*tasks, return_exceptions=True)


async def _speaks_tls(session: Session) -> bool:
    """Return whether the port speaks TLS from the first byte, as far as can be seen."""
    try:
        # Imported here, because few servers are silent for so long.
        from smtpsend._wire.tls.detection import speaks_tls
    except (OSError, ImportError):
        # No descriptor is left to read the module, and so none for a connection.
        return False
    return await speaks_tls(session.target, session.track, session.deadline)


def _speaks_tls_at_once(port: int) -> TLSError:
    return TLSError(
        "no greeting: the port speaks TLS from the first byte",
        phase=Phase.GREETING,
        event=Event.NO_GREETING,
        hint=f"use Method({port}, 'implicit'), or smtps:// with this port in the URL",
    )


# Seconds without a greeting after which the port is asked whether it speaks TLS.
_SILENCE = 2.0
# Port 25 never speaks TLS from the first byte, and servers there delay their greeting on
# purpose: they refuse a client that sends something before it.
_RELAY_PORT = 25


async def _send_starttls(session: Session) -> None:
    if "STARTTLS" not in session.extensions:
        raise TLSError(
            "the server does not offer STARTTLS",
            phase=Phase.STARTTLS,
            event=Event.NO_STARTTLS,
        )
    with step(session.track, Phase.STARTTLS):
        reply = await session.execute(b"STARTTLS")
    if not positive(reply):
        raise TLSError(
            "the server refused STARTTLS",
            phase=Phase.STARTTLS,
            event=Event.NO_STARTTLS,
            reply=reply,
            temporary=temporary(reply),
        )
    # RFC 3207 section 6: plaintext after the 220 is discarded, and never read as a reply.
    session.channel.discard()


async def _start_tls(session: Session) -> None:
    """Do the TLS handshake, after STARTTLS or on a port with implicit TLS."""
    pin, context = session.target.fingerprint, session.target.context
    if pin is not None:
        context = pinning_context()
    elif session.target.context_is_given:
        # The caller may have changed it since the last connection.
        require_verifying(context)
    outer = session.channel.transport
    limit = session.timeout()
    session.track.phase = Phase.TLS
    if outer.is_closing():
        raise lost(Phase.TLS, "the connection was closed")
    secure: asyncio.Transport | None = None
    broken: BaseException | None = None
    try:
        name = session.target.name
        secure = await start_tls(outer, session.channel, context, name, limit)
    except BaseException as error:  # noqa: BLE001  # raised again, translated
        outer.abort()
        broken = _handshake_error(error, session.target, limit)
    if broken is not None:
        # Not raised from `error`: a stored exception would keep the buffers of TLS alive
        # through it.
        try:
            raise broken
        finally:
            del broken  # its traceback refers to this frame
    if secure is None:
        raise lost(Phase.TLS, "the connection was closed")
    session.channel.set_transport(secure)
    tls: ssl.SSLObject = secure.get_extra_info("ssl_object")
    check_version(tls.version())
    check_peer(tls)
    if pin is not None:
        check_pin(tls.getpeercert(binary_form=True), pin)
    elif session.target.context_is_given:
        check_names(tls, session.target.name)
    session.tls = tls.version()
    session.track.progress()


def _require_mechanism(session: Session) -> None:
    auth = session.target.auth
    if auth is None or session.mechanism is not None:
        return
    offered = ", ".join(session.extensions.mechanisms[:20])
    what = f"offers only {offered}" if offered else "offers no login"
    text = f"the server {what}, and the credentials need one of {mechanisms_for(auth)}"
    hint = ""
    with suppress(OSError, ImportError):  # see `_handshake_error`
        from smtpsend._model.diagnosis.login_remedies import mechanism_remedy

        hint = mechanism_remedy(auth, session.extensions.mechanisms)
    if lacks_md5(auth, session.extensions.mechanisms):
        text += "; CRAM-MD5 needs MD5, which this Python does not have (FIPS mode)"
        hint = NO_MD5
    raise AuthError(text, phase=Phase.AUTH, event=Event.NO_MECHANISM, hint=hint)


def _handshake_error(error: BaseException, target: Target, limit: float) -> BaseException:
    """The error of a failed handshake; any other exception is returned as it is."""
    # Only a handshake that failed imports the remedies. If there is no descriptor left to
    # read the modules, the error has the general hint of its event.
    hint = ""
    if isinstance(error, ssl.SSLCertVerificationError):
        # The error has no `verify_message` if code in Python made it.
        why = getattr(error, "verify_message", "") or str(error)
        found = refused_by(error)
        other = target.name != tls_name(target.host)
        with suppress(OSError, ImportError):
            from smtpsend._model.diagnosis.tls_remedies import certificate_remedy

            hint = certificate_remedy(why, target.name, found, tls_name=other)
        return CertificateError(
            f"the certificate of {target.name} was refused: {why}",
            phase=Phase.TLS,
            event=Event.CERTIFICATE,
            hint=hint,
        )
    if (alert := alert_of(error)) is not None and about_client(alert):
        return client_refused(alert)
    if isinstance(error, ssl.SSLError):
        cut = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
        why = (
            "the server cut it off"
            if cut
            else (getattr(error, "reason", None) or "").replace("_", " ").lower()
        )
        failure = lost(Phase.TLS, why or "protocol error")
        failure.temporary = cut
        with suppress(OSError, ImportError):
            from smtpsend._model.diagnosis.tls_remedies import handshake_remedy

            failure.hint = handshake_remedy(why) or failure.hint
        return failure
    if isinstance(error, TimeoutError | ConnectionAbortedError):
        return lost(Phase.TLS, f"not done within {limit:.3g} s", timed_out=True)
    if isinstance(error, OSError):
        return lost(Phase.TLS, "the connection was cut")
    if not isinstance(error, Exception) and not passes(error):
        # A callback of the caller's ssl_context.
        return lost(Phase.TLS, f"the ssl_context raised {type(error).__name__}")
    return error
