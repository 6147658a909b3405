"""Probe one method of a policy as far as a send would go before the login.

The probe opens a session as a send does, over a channel that records the replies of the
server, so that the report can show them even if the session does not become ready.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

from smtpsend._client.log import unexpected
from smtpsend._model.diagnosis.certificate import Certificate, read_certificate
from smtpsend._model.diagnosis.report import MethodReport, Port25, Step
from smtpsend._model.policy.policy import Method, Security
from smtpsend._protocol.extensions import parse_extensions
from smtpsend._protocol.failures import positive
from smtpsend._protocol.redaction.redact import Redactor
from smtpsend._wire.channel import Channel
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.handshake import open_session
from smtpsend._wire.progress import Track, step
from smtpsend._wire.proxy.connect import open_socket
from smtpsend._wire.target import Target
from smtpsend._wire.transport.transports import open_transport
from smtpsend.errors import CertificateError, Event, Phase, Reply, SendError, TLSError


# Seconds that a second connection to a port may take.
_SECOND_TIMEOUT = 5.0
# Seconds for which the probe waits until the socket is closed.
_CLOSE_TIMEOUT = 0.5
# No certificate has this fingerprint, so the handshake always fails.
_IMPOSSIBLE_FINGERPRINT = "sha256:" + "0" * 64


@dataclass(slots=True)
class _StepTrack(Track):
    """A track that records how long each step took."""

    steps: list[Step] = field(default_factory=list)

    def progress(self) -> None:
        self.steps.append(Step(self.phase, self.idle))
        Track.progress(self)


@dataclass(slots=True)
class _Record:
    """The replies, the TLS parameters and the certificate of one connection."""

    track: Track
    replies: list[tuple[Phase, Reply]] = field(default_factory=list)
    tls: str | None = None
    cipher: str | None = None
    der: bytes | None = None

    def channel(self, redact: Redactor) -> Channel:
        return _RecordingChannel(redact, self)

    def at(self, phase: Phase) -> list[Reply]:
        return [reply for when, reply in self.replies if when is phase]


class _RecordingChannel(Channel):
    def __init__(self, redact: Redactor, record: _Record) -> None:
        super().__init__(redact)
        self._record = record

    async def reply(self, timeout: float) -> Reply:
        reply = await super().reply(timeout)
        self._record.replies.append((self._record.track.phase, reply))
        return reply

    def set_transport(self, transport: asyncio.Transport) -> None:
        super().set_transport(transport)
        if (tls := transport.get_extra_info("ssl_object")) is not None:
            self._record.tls = tls.version()
            self._record.cipher = (tls.cipher() or (None,))[0]
            self._record.der = tls.getpeercert(binary_form=True)


async def probe(target: Target, method: Method, deadline: Deadline) -> MethodReport:
    """Try `method` until its session is ready, then close the connection.

    Returns:
        The report of the method, which also holds the error if there is one.
    """
    track = _StepTrack(method, deadline.elapsed)
    record = _Record(track)
    speaks: Security | None = None
    error: SendError | None = None
    try:
        session = await open_session(target, track, deadline, record.channel)
        session.channel.quit()
        await session.channel.wait_closed(_CLOSE_TIMEOUT)
    except SendError as caught:
        error = caught
    except Exception as caught:  # noqa: BLE001  # P3: nothing untyped escapes
        error = unexpected(caught, track.phase)
    elapsed = deadline.elapsed - track.started
    if isinstance(error, TLSError) and error.phase is Phase.GREETING:
        speaks = "implicit"
    elif error is not None and _failed_implicit_tls(method, error):
        seen = await read_greeting(target, method.port, deadline)
        speaks = "starttls" if seen.greeting is not None else None
    certificate = _read(record.der, verified=True)
    if isinstance(error, CertificateError):
        certificate = await _refused_certificate(target, method, deadline)
    return _report(record, elapsed, error, speaks, certificate)


def _failed_implicit_tls(method: Method, error: SendError) -> bool:
    return method.security == "implicit" and error.event is Event.HANDSHAKE


async def _refused_certificate(
    target: Target, method: Method, deadline: Deadline
) -> Certificate | None:
    """Read the certificate that was refused, so that a person can look at it.

    A second connection pins a fingerprint that no certificate has. It ends with the
    handshake, before anything else can be sent inside TLS.
    """
    pinned = target._replace(fingerprint=_IMPOSSIBLE_FINGERPRINT)
    track = Track(method, deadline.elapsed)
    record = _Record(track)
    try:
        async with asyncio.timeout(min(_SECOND_TIMEOUT, deadline.left)):
            session = await open_session(pinned, track, deadline, record.channel)
    except (SendError, TimeoutError):
        return _read(record.der, verified=False)
    session.channel.abort()
    return None


def _read(der: bytes | None, *, verified: bool) -> Certificate | None:
    if der is None:
        return None
    return read_certificate(der, datetime.now(UTC), verified=verified)


def _report(
    record: _Record,
    elapsed: float,
    error: SendError | None,
    speaks: Security | None,
    certificate: Certificate | None,
) -> MethodReport:
    track = record.track
    steps = track.steps if isinstance(track, _StepTrack) else []
    greetings, starttls = record.at(Phase.GREETING), None
    ehlos = [reply for reply in record.at(Phase.EHLO) if positive(reply)]
    if track.method.security == "starttls" and ehlos:
        starttls = "STARTTLS" in parse_extensions(ehlos[0].text)
    extensions = parse_extensions(ehlos[-1].text if ehlos else "")
    return MethodReport(
        method=track.method,
        address=track.address,
        connected=any(step.phase is Phase.CONNECT for step in steps),
        greeting=greetings[0] if greetings else None,
        starttls=starttls,
        tls=record.tls,
        cipher=record.cipher,
        certificate=certificate,
        mechanisms=extensions.mechanisms,
        extensions=extensions.lines,
        size_limit=extensions.size_limit,
        speaks=speaks,
        steps=tuple(steps),
        elapsed=elapsed,
        error=error,
    )


async def read_greeting(target: Target, port: int, deadline: Deadline) -> Port25:
    """Connect, read the greeting and close the connection, without a command but QUIT."""
    track = _StepTrack(Method(port, "starttls"), deadline.elapsed)
    greeting, why = None, None
    try:
        sock = await open_socket(target, track, deadline)
        channel = Channel(target.redact)
        given = target.context_is_given
        await open_transport(sock, channel, target.context, given=given)
        try:
            with step(track, Phase.GREETING):
                greeting = await channel.reply(deadline.within(_SECOND_TIMEOUT))
        finally:
            channel.quit()
    except SendError as error:
        why = error.said()
    except Exception as error:  # noqa: BLE001  # P3: nothing untyped escapes
        why = unexpected(error, track.phase).said()
    elapsed = deadline.elapsed - track.started
    return Port25(track.address, bool(track.steps), greeting, why, elapsed)
