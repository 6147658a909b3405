"""The report of a check: facts about each method, the verdict, and advice."""

from __future__ import annotations

from typing import Any

from smtpsend._model.diagnosis.certificate import Certificate
from smtpsend._model.policy.policy import Method, Security
from smtpsend._plain import plain as exact
from smtpsend._values import dataclass
from smtpsend.errors import Attempt, Phase, Reply, SendError


@dataclass(frozen=True, slots=True)
class Step:
    """A finished step of a method.

    Attributes:
        phase: the phase of the send.
        seconds: the duration of the step.
    """

    phase: Phase
    seconds: float


@dataclass(frozen=True, slots=True)
class MethodReport:
    """The result of a check of one method of the policy; no message was sent.

    Attributes:
        method: the method.
        address: the IP address that got furthest; with a proxy, as in `Attempt`.
        connected: whether a TCP connection was made, all the way to the server.
        greeting: the greeting of the server, or None.
        starttls: whether the server offers STARTTLS; None if there was no EHLO for it.
        tls: the TLS version, such as ``"TLSv1.3"``.
        cipher: the cipher suite.
        certificate: the server's certificate, even if it was refused.
        mechanisms: the SASL mechanisms that the server offers.
        extensions: the extensions in its last reply to EHLO, with their parameters.
        size_limit: the largest message in bytes (SIZE, RFC 1870), or None if the server
            announces no limit.
        speaks: the actual security of the port if it differs from that of `method`; else
            None.
        steps: the finished steps, in order; with STARTTLS there are two EHLO steps.
        elapsed: seconds from the start of this method to its end.
        error: the failure; None if the method is ready to send a message.
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
    """The result of a connection to port 25, which the library never sends through.

    Port 25 is for the relay of mail between servers (RFC 6409 section 3.1).

    Attributes:
        address: the IP address that was tried.
        connected: whether a TCP connection was made.
        greeting: the greeting of the server, or None.
        error: the text of the failure, or None.
        elapsed: seconds that the connection and the greeting took.
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
        username: the user name; ``***`` if the user name is the password, too.
        method: the method that was used; None if it is not known.
        mechanism: the SASL mechanism; None if the login failed.
        elapsed: seconds to connect by the policy and log in.
        error: the failure; None if the login was accepted.
    """

    username: str
    method: Method | None
    mechanism: str | None
    elapsed: float
    error: SendError | None


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a check.

    Attributes:
        host: the host name that was checked.
        addresses: its IP addresses; empty if the look-up failed, or if there is a proxy,
            which looks the name up itself.
        methods: one report for each method of the policy, in its order; empty if the
            look-up failed.
        port25: the look at port 25, if the policy is the default one; else None.
        chosen: the method by which a message would be sent now, or None.
        login: the login, if there are credentials and a method was ready; else None.
        attempts: the methods that failed or were abandoned before `chosen`, as in a
            receipt.
        error: the error that `send` would raise, or None.
        elapsed: seconds that the check took.
        verdict: one or two sentences that predict the result of a send, with the cause.
        advice: sentences that name what to change; empty if there is nothing to change.
        provider: the name, for `Server.at`, of the mail provider that the host belongs
            to; None if it is not known.
        proxy: the URL of the proxy, without its login; None for a direct connection.
        tls_name: the name that the certificate must be for, if it is not the host.
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
    provider: str | None = None
    proxy: str | None = None
    tls_name: str | None = None

    @property
    def ok(self) -> bool:
        """Whether a message would be sent."""
        return self.error is None and self.chosen is not None

    def __str__(self) -> str:
        return "\n".join([self.verdict, *(f"- {sentence}" for sentence in self.advice)])

    def as_dict(self) -> dict[str, Any]:
        """Convert to a dict for JSON; durations are seconds, dates are ISO 8601."""
        names = [name for name in self.__slots__ if name not in ("host", "verdict")]
        head = {"host": self.host, "ok": self.ok, "verdict": self.verdict}
        return head | {name: plain(getattr(self, name)) for name in names}


def plain(value: Any) -> Any:
    """Convert a value for people's JSON: a duration has four digits."""
    return exact(value, 4)
