"""One method of a policy tried for a check: everything that a send would do, but send.

The handshake is the library's own; what is added is a channel that notes what the server
said, so that there is something to show where the handshake fails, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from smtpsend._client.log import unexpected
from smtpsend._model.diagnosis.certificate import Certificate, read_certificate
from smtpsend._model.diagnosis.report import MethodReport, Port25, Step
from smtpsend._model.policy.policy import Method, Security
from smtpsend._protocol.extensions import parse_extensions
from smtpsend._protocol.failures import lost, positive
from smtpsend._protocol.redact import Redactor
from smtpsend._wire.channel import Channel
from smtpsend._wire.deadline import Deadline
from smtpsend._wire.dial import dial
from smtpsend._wire.handshake import open_session
from smtpsend._wire.progress import Track, step
from smtpsend._wire.target import Target
from smtpsend.errors import CertificateError, Event, Phase, Reply, SendError


# After this silence it is worth a look whether the port waits for TLS; in seconds.
_QUIET = 2.0
# How long a second look at a port may take, and a goodbye.
_LOOK = 5.0
_GOODBYE = 0.5
# No certificate has it: the handshake ends, and everything with it.
_NOBODY = "sha256:" + "0" * 64


@dataclass(slots=True)
class _StepTrack(Track):
    """A track that notes how long each step took."""

    steps: list[Step] = field(default_factory=list)

    def progress(self) -> None:
        self.steps.append(Step(self.phase, self.idle))
        Track.progress(self)


@dataclass(slots=True)
class _Notes:
    """What the server said on one connection."""

    track: Track
    replies: list[tuple[Phase, Reply]] = field(default_factory=list)
    tls: str | None = None
    cipher: str | None = None
    der: bytes | None = None

    def channel(self, redact: Redactor) -> Channel:
        return _NotingChannel(redact, self)

    def at(self, phase: Phase) -> list[Reply]:
        return [reply for when, reply in self.replies if when is phase]


class _NotingChannel(Channel):
    def __init__(self, redact: Redactor, notes: _Notes) -> None:
        super().__init__(redact)
        self._notes = notes

    async def reply(self, timeout: float) -> Reply:
        reply = await super().reply(timeout)
        self._notes.replies.append((self._notes.track.phase, reply))
        return reply

    def set_transport(self, transport: asyncio.Transport) -> None:
        super().set_transport(transport)
        if (tls := transport.get_extra_info("ssl_object")) is not None:
            self._notes.tls = tls.version()
            self._notes.cipher = (tls.cipher() or (None,))[0]
            self._notes.der = tls.getpeercert(binary_form=True)


async def probe(target: Target, method: Method, deadline: Deadline) -> MethodReport:
    """Try `method` as far as a ready session, and hang up.

    Never raises a `SendError`: it is in the report.
    """
    track = _StepTrack(method, deadline.elapsed)
    notes = _Notes(track)
    speaks: Security | None = None
    error: SendError | None = None
    try:
        speaks = await _attempt(target, track, notes, deadline)
    except SendError as caught:
        error = caught
    except Exception as caught:  # noqa: BLE001  # P3: nothing untyped escapes
        error = unexpected(caught, track.phase)
    elapsed = deadline.elapsed - track.started
    if speaks is not None:
        error = lost(Phase.GREETING, "the port waits for TLS from the first byte")
        error.temporary = False
    elif error is not None and _plain_where_tls_was_meant(method, error):
        seen = await look(target, method.port, deadline)
        speaks = "starttls" if seen.greeting is not None else None
    certificate = _shown(notes.der, verified=True)
    if isinstance(error, CertificateError):
        certificate = await _refused(target, method, deadline)
    return _report(notes, elapsed, error, speaks, certificate)


async def _attempt(
    target: Target, track: _StepTrack, notes: _Notes, deadline: Deadline
) -> Security | None:
    """Come as far as a ready session; what else the port speaks, if it is silent."""
    opening = asyncio.create_task(open_session(target, track, deadline, notes.channel))
    try:
        quiet = min(_QUIET, deadline.left / 3)
        await asyncio.wait({opening}, timeout=quiet)
        port, security = track.method.port, track.method.security
        silent = not opening.done() and track.phase is Phase.GREETING
        meant = silent and security == "starttls"
        if meant and await _speaks_tls(target, port, deadline):
            return "implicit"
        session = await opening
    finally:
        opening.cancel()
        await asyncio.wait({opening})
    session.channel.quit()
    await session.channel.wait_closed(_GOODBYE)
    return None


async def _speaks_tls(target: Target, port: int, deadline: Deadline) -> bool:
    """Whether a port that says nothing answers a TLS handshake."""
    track = Track(Method(port, "implicit"), deadline.elapsed)
    try:
        async with asyncio.timeout(min(_LOOK, deadline.left / 2)):
            session = await open_session(target, track, deadline)
    except CertificateError:
        return True
    except (SendError, TimeoutError):
        return track.phase not in (Phase.CONNECT, Phase.TLS)
    session.channel.quit()
    return True


def _plain_where_tls_was_meant(method: Method, error: SendError) -> bool:
    return method.security == "implicit" and error.event is Event.HANDSHAKE


async def _refused(
    target: Target, method: Method, deadline: Deadline
) -> Certificate | None:
    """The certificate that was refused, to be shown to a person.

    A second connection with a fingerprint that no certificate has: it ends with the
    handshake, before a byte of anything else can go out inside TLS.
    """
    pinned = replace(target, fingerprint=_NOBODY)
    track = Track(method, deadline.elapsed)
    notes = _Notes(track)
    try:
        async with asyncio.timeout(min(_LOOK, deadline.left)):
            session = await open_session(pinned, track, deadline, notes.channel)
    except (SendError, TimeoutError):
        return _shown(notes.der, verified=False)
    session.channel.abort()
    return None


def _shown(der: bytes | None, *, verified: bool) -> Certificate | None:
    if der is None:
        return None
    return read_certificate(der, datetime.now(UTC), verified=verified)


def _report(
    notes: _Notes,
    elapsed: float,
    error: SendError | None,
    speaks: Security | None,
    certificate: Certificate | None,
) -> MethodReport:
    track = notes.track
    steps = track.steps if isinstance(track, _StepTrack) else []
    greetings, starttls = notes.at(Phase.GREETING), None
    ehlos = [reply for reply in notes.at(Phase.EHLO) if positive(reply)]
    if track.method.security == "starttls" and ehlos:
        starttls = "STARTTLS" in parse_extensions(ehlos[0].text)
    extensions = parse_extensions(ehlos[-1].text if ehlos else "")
    return MethodReport(
        method=track.method,
        address=track.address,
        connected=any(step.phase is Phase.CONNECT for step in steps),
        greeting=greetings[0] if greetings else None,
        starttls=starttls,
        tls=notes.tls,
        cipher=notes.cipher,
        certificate=certificate,
        mechanisms=extensions.mechanisms,
        extensions=extensions.lines,
        size_limit=extensions.size_limit,
        speaks=speaks,
        steps=tuple(steps),
        elapsed=elapsed,
        error=error,
    )


async def look(target: Target, port: int, deadline: Deadline) -> Port25:
    """Connect, read the greeting, and hang up; nothing else is said."""
    track = _StepTrack(Method(port, "starttls"), deadline.elapsed)
    greeting, why = None, None
    make: Callable[[], Channel] = lambda: Channel(target.redact)  # noqa: E731
    try:
        sock = await dial(
            target.addresses, target.policy.connect_timeout, deadline, track
        )
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(make, sock=sock)
        try:
            with step(track, Phase.GREETING):
                greeting = await channel.reply(deadline.within(_LOOK))
        finally:
            channel.quit()
    except SendError as error:
        why = error.said()
    except Exception as error:  # noqa: BLE001  # P3: nothing untyped escapes
        why = unexpected(error, track.phase).said()
    elapsed = deadline.elapsed - track.started
    return Port25(track.address, bool(track.steps), greeting, why, elapsed)
