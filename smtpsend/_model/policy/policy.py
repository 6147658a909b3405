"""The submission methods, their order, and how long each step may take.

Port 25 is in no default: it is for servers talking to servers (RFC 6409 section 3.1).
587 with STARTTLS comes before 465, since most servers and networks have had it open
for longest; 465 is the implicit TLS of RFC 8314; 2525 is in no standard, but providers
open it where the other two are blocked. table.py says what follows each event, and
`decide` reads it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from smtpsend._model.policy.table import TABLE, follows, reason
from smtpsend._values import dataclass
from smtpsend.errors import ConfigError


Security = Literal["starttls", "implicit", "plaintext"]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to reach a submission server: a port, and how TLS starts there.

    Args:
        port: the TCP port, 1 to 65535.
        security: ``"starttls"`` (RFC 3207, required: never opportunistic),
            ``"implicit"`` (TLS from the first byte, RFC 8314 section 3.3), or
            ``"plaintext"`` for a development sink: only as a policy's sole method,
            never with credentials, and only to a loopback or private address.

    Raises:
        ConfigError: the port or the security is not one of these.
    """

    port: int
    security: Security

    def __post_init__(self) -> None:
        if type(self.port) is not int or not 0 < self.port < 65536:
            raise ConfigError("a method's port must be a whole number from 1 to 65535")
        if self.security not in get_args(Security):
            raise ConfigError(
                "a method's security must be 'starttls', 'implicit' or 'plaintext'"
            )

    def __str__(self) -> str:
        return f"{self.port} {_SECURITY_NAMES[self.security]}"


# 465 is the standard port (RFC 8314). Services that open more ports for networks where it
# is blocked choose one of the others, such as Amazon SES 2465, and 443.
_IMPLICIT_PORTS = {443, 465, 2465, 8465}


def usual_security(port: int) -> Security:
    """How TLS usually starts on a port: by STARTTLS, on a few from the first byte."""
    return "implicit" if port in _IMPLICIT_PORTS else "starttls"


_SECURITY_NAMES = {
    "starttls": "STARTTLS",
    "implicit": "implicit TLS",
    "plaintext": "plaintext",
}

DEFAULT_METHODS = (
    Method(587, "starttls"),
    Method(465, "implicit"),
    Method(2525, "starttls"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The methods to try, their order, and how long each step may take.

    All times are seconds.

    Args:
        methods: the methods, in order of preference; each at most once.
        stagger: how long a method may go without progress (a TCP connection, a whole
            reply, a TLS handshake) before the next one is started beside it.
        connect_timeout: the limit for the name look-up, and again for the TCP connection
            to all addresses of a method together.
        reply_timeout: the limit for one whole reply, for one TLS handshake, and for an
            upload that makes no progress.
        final_timeout: the limit for the reply to the end of the message. It is long on
            purpose (RFC 5321 section 4.5.3.2.6): a client that gives up there and sends
            again causes duplicates.
        deadline: the limit for the whole call; ``send(timeout=)`` replaces it.
        on_certificate_error: what follows a refused certificate: ``"stop"``, or
            ``"next"`` to try the next method, which is verified in the same way.
        remember: how long the method that worked is tried first; 0 turns this off. The
            addresses of the host are used again for 5 s at most, and no longer than this.
        pipelining: use PIPELINING (RFC 2920) where the server offers it.
        chunking: use CHUNKING (RFC 3030) where the server offers it.
        on_temporary_refusal: what follows a 4yz reply to the whole message where several
            servers are given: ``"next"`` to try the next server, or ``"stop"``.
        retry_interval: how long a server that failed is left alone where several are
            given. Each further failure doubles the time, up to 32 times; 0 turns this
            off.

    Raises:
        ConfigError: a value is out of range.
    """

    methods: tuple[Method, ...] = DEFAULT_METHODS
    stagger: float = 0.3
    connect_timeout: float = 10
    reply_timeout: float = 60
    final_timeout: float = 600
    deadline: float = 900
    on_certificate_error: Literal["stop", "next"] = "stop"
    remember: float = 600
    pipelining: bool = True
    chunking: bool = True
    on_temporary_refusal: Literal["next", "stop"] = "next"
    retry_interval: float = 30

    def __post_init__(self) -> None:
        _check_methods(self.methods)
        object.__setattr__(self, "methods", tuple(self.methods))
        for name in ("connect_timeout", "reply_timeout", "final_timeout", "deadline"):
            check_seconds(name, getattr(self, name))
        for name in ("stagger", "remember", "retry_interval"):
            check_seconds(name, getattr(self, name), zero=True)
        if self.on_certificate_error not in ("stop", "next"):
            raise ConfigError("on_certificate_error must be 'stop' or 'next'")
        if self.on_temporary_refusal not in ("next", "stop"):
            raise ConfigError("on_temporary_refusal must be 'next' or 'stop'")
        for name in ("pipelining", "chunking"):
            if type(getattr(self, name)) is not bool:
                raise ConfigError(f"{name} must be True or False")

    def explain(self) -> str:
        """Describe the whole policy in words.

        Returns:
            Text of several lines: methods, time limits, and the tables of events.
        """
        from smtpsend._model.policy.servers import explain_servers

        lines = ["Methods, in order:"]
        lines += [f"  {n}. {method}" for n, method in enumerate(self.methods, 1)]
        lines += [
            "",
            f"If a method makes no progress for {self.stagger:g} s, the next one starts "
            "beside it.",
            "The first to be ready (TLS verified, a reply to EHLO, a shared AUTH "
            "mechanism) wins;",
            "only it sees credentials.",
            "",
            "Time limits:",
            f"  {self.connect_timeout:g} s to look the name up, and as long to connect",
            f"  {self.reply_timeout:g} s for a reply, a TLS handshake, or no progress "
            "while uploading",
            f"  {self.final_timeout:g} s for the reply to the end of the message",
            f"  {self.deadline:g} s for the whole call",
            "",
            "What happens, what follows, and why:",
        ]
        for event in TABLE:
            row = TABLE[event]
            why = reason(event, self.on_certificate_error)
            lines.append(f"  - {row.what}:")
            lines.append(f"      {follows(event, self.on_certificate_error)} ({why})")
        if self.remember:
            lines += [
                "",
                f"The method that worked is tried first for {self.remember:g} s.",
            ]
        lines += [
            "",
            "Where several servers are given: what happens, and what follows:",
        ]
        lines += explain_servers(self.on_certificate_error, self.on_temporary_refusal)
        if self.retry_interval:
            lines += [
                "",
                "If it fails, the others are tried before it for "
                f"{self.retry_interval:g} s, and longer each time.",
            ]
        return "\n".join(lines)


def _check_methods(methods: Sequence[Method]) -> None:
    if isinstance(methods, str) or not isinstance(methods, Sequence) or not methods:
        raise ConfigError("methods must be a non-empty sequence of Method")
    if not all(isinstance(method, Method) for method in methods):
        raise ConfigError(
            "methods must hold Method objects, such as Method(587, 'starttls')"
        )
    if len({method.port for method in methods}) != len(methods):
        raise ConfigError("each port can stand in methods only once")
    if len(methods) > 1 and any(m.security == "plaintext" for m in methods):
        # P1: no fallback may ever lead from TLS to plaintext.
        raise ConfigError("a plaintext method can only be the sole method of a policy")


def check_seconds(name: str, value: float, *, zero: bool = False) -> None:
    """Refuse a value that is no usable number of seconds.

    Args:
        name: the name of the argument, for the error.
        value: the value.
        zero: whether 0 is allowed.

    Raises:
        ConfigError: `value` is no finite number above 0 (or, with `zero`, at least 0).
    """
    valid = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and (value > 0 or (zero and value == 0))
    )
    if not valid:
        least = "at least" if zero else "above"
        raise ConfigError(f"{name} must be a finite number of seconds, {least} 0")
