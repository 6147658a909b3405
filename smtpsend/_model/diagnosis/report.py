"""What a check of a server found: facts, method by method, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from smtpsend._model.diagnosis.certificate import Certificate
from smtpsend._model.policy.policy import Method, Security
from smtpsend.errors import Attempt, Phase, Reply, SendError


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was done, and how many seconds it took."""

    phase: Phase
    seconds: float


@dataclass(frozen=True, slots=True)
class MethodReport:
    """What one method of the policy came to; nothing was sent over it.

    Attributes:
        method: the method.
        address: the IP address that got furthest.
        connected: whether TCP came about.
        greeting: the server's first words.
        starttls: whether the server offers STARTTLS; None where it was not asked.
        tls: the TLS version, such as ``"TLSv1.3"``.
        cipher: the cipher suite.
        certificate: the server's certificate, also one that was refused.
        mechanisms: what the server offers to log in by.
        extensions: what it offers in its last EHLO, with the parameters.
        size_limit: the largest message in bytes, or None if it does not say.
        speaks: what the port speaks in place of what `method` says, if that was found.
        steps: the steps that were done, in order, in seconds; EHLO comes twice with
            STARTTLS.
        elapsed: seconds from the start of this method to its end.
        error: what went wrong; None if the method is ready to send by.
    """

    method: Method
    address: str | None
    connected: bool
    greeting: Reply | None
    starttls: bool | None
    tls: str | None
    cipher: str | None
    certificate: Certificate | None
    mechanisms: tuple[str, ...]
    extensions: tuple[str, ...]
    size_limit: int | None
    speaks: Security | None
    steps: tuple[Step, ...]
    elapsed: float
    error: SendError | None

    @property
    def ready(self) -> bool:
        """Whether a message could be sent by this method."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class Port25:
    """What port 25 is: for servers talking to servers (RFC 6409), and never used.

    Attributes:
        address: the IP address that was tried.
        connected: whether TCP came about.
        greeting: the server's first words.
        error: what went wrong, in words.
        elapsed: seconds that the look took.
    """

    address: str | None
    connected: bool
    greeting: Reply | None
    error: str | None
    elapsed: float


@dataclass(frozen=True, slots=True)
class Login:
    """The one login of a check.

    Attributes:
        username: who logged in; ``***`` where the user name is the password, too.
        method: the method over which; None if it is not known.
        mechanism: the SASL mechanism; None if the login failed.
        elapsed: seconds to connect by the policy and log in.
        error: why it was refused; None if it was not.
    """

    username: str
    method: Method | None
    mechanism: str | None
    elapsed: float
    error: SendError | None


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found.

    Attributes:
        host: the host name that was checked.
        addresses: its IP addresses; empty if the look-up failed.
        methods: one report for each method of the policy, in its order; empty if the
            look-up failed.
        port25: what port 25 is, where the policy is the default one; else None.
        chosen: the method by which a message would be sent now; None if by none.
        login: the login, if there are credentials and it came to that; else None.
        attempts: what was tried before `chosen`, as in a receipt.
        error: what `send` would raise; None if it would send.
        elapsed: seconds that the check took.
        verdict: what the policy would do, and why, in words.
        advice: what to change, in words; empty if all is well.
    """

    host: str
    addresses: tuple[str, ...]
    methods: tuple[MethodReport, ...]
    port25: Port25 | None
    chosen: Method | None
    login: Login | None
    attempts: tuple[Attempt, ...]
    error: SendError | None
    elapsed: float
    verdict: str = ""
    advice: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether a message would be sent."""
        return self.error is None and self.chosen is not None

    def as_dict(self) -> dict[str, Any]:
        """All of it in what JSON can carry; times are seconds, dates ISO 8601."""
        names = [name for name in self.__slots__ if name not in ("host", "verdict")]
        head = {"host": self.host, "ok": self.ok, "verdict": self.verdict}
        return head | {name: plain(getattr(self, name)) for name in names}


def plain(value: Any) -> Any:
    """Values of this library as JSON can carry them."""
    match value:
        case SendError():
            return _plain_error(value)
        case Method():
            return {"port": value.port, "security": value.security}
        case datetime():
            return value.isoformat()
        case float():
            return round(value, 4)
        case tuple() | list():
            return [plain(item) for item in value]
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case str():
            return str(value)  # an enum's member as its value
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def _plain_error(error: SendError) -> dict[str, Any]:
    names = ("phase", "event", "temporary", "timed_out", "reply", "hint", "message_id")
    facts = {name: plain(getattr(error, name)) for name in names}
    facts |= {"accepted": list(error.accepted), "attempts": plain(error.attempts)}
    if (refused := getattr(error, "refused", None)) is not None:
        facts["refused"] = plain(refused)
    return {"type": type(error).__name__, "message": error.message, **facts}
