"""What a sender asks of every server on the way: notifications (DSN), and TLS only.

RFC 3461 has the parameters for delivery status notifications, and RFC 8689 REQUIRETLS.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

from smtpsend._model.address.domain import shown
from smtpsend._values import dataclass
from smtpsend.errors import ConfigError


Notify = Literal["never", "success", "failure", "delay"]

_NOTIFY = get_args(Notify)
_RET = ("headers", "full")
_LONGEST_ENVID = 100  # as xtext; RFC 3461 section 4.4
_LONGEST_ORCPT = 500  # RFC 3461 section 4.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What the servers on the way are to do about the delivery of a message.

    A notification (DSN, RFC 3464) is a mail to the envelope sender, which a server on the
    way sends later. A message whose server does not offer what is asked for is not sent:
    see `Rejected`.

    Args:
        notify: the events for which a notification is asked, for each recipient: any of
            ``"success"``, ``"failure"`` and ``"delay"``, or ``("never",)`` alone. By
            default nothing is asked, and servers notify of failures, and some of delays
            (RFC 3461 section 4.1).
        ret: what of the message a notification of a failure returns: ``"headers"`` or
            ``"full"`` (RFC 3461 section 4.3). By default the server decides.
        envid: an identifier that each notification repeats (RFC 3461 section 4.4):
            printable ASCII, of at most 100 characters as xtext, which writes a space,
            ``+`` and ``=`` as three characters each.
        require_tls: if True, the message travels to each further server over TLS with a
            verified server only, and is returned where that is not possible (REQUIRETLS,
            RFC 8689).

    Raises:
        ConfigError: a value cannot be used, or nothing is asked for.
    """

    notify: tuple[Notify, ...] = ()
    ret: Literal["headers", "full"] | None = None
    envid: str | None = None
    require_tls: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "notify", _checked_notify(self.notify))
        object.__setattr__(self, "ret", _checked_ret(self.ret))
        if self.envid is not None:
            _check_envid(self.envid)
        if type(self.require_tls) is not bool:
            raise ConfigError("require_tls must be True or False")
        if not (self.asks_for_dsn or self.require_tls):
            raise ConfigError(
                "a Delivery() without arguments asks for nothing",
                hint="give notify, ret, envid or require_tls, or delivery=None",
            )

    @property
    def asks_for_dsn(self) -> bool:
        """Whether the server has to offer DSN (RFC 3461)."""
        return bool(self.notify or self.ret or self.envid)

    @property
    def asks_for_mail(self) -> bool:
        """Whether a notification is to be sent for some event."""
        return bool(self.notify) and self.notify != ("never",)


def _checked_notify(given: Any) -> tuple[Notify, ...]:
    """The names, each once."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ConfigError(
            f"notify must be a tuple of names, not {shown(given)}",
            hint='such as notify=("failure", "delay")',
        )
    names: list[Notify] = []
    for name in given:
        known = next((one for one in _NOTIFY if name == one), None)
        if known is None:
            raise ConfigError(
                f"not an event of a notification: {shown(name)}",
                hint='notify has any of "success", "failure" and "delay", or "never"',
            )
        if known not in names:
            names.append(known)
    if "never" in names and len(names) > 1:
        raise ConfigError(
            'notify has "never" beside another event',
            hint='"never" must stand alone (RFC 3461 section 4.1)',
        )
    return tuple(names)


def _checked_ret(given: Any) -> str | None:
    """The value itself, for anything that equals it, such as a member of an enum."""
    found = next((ret for ret in _RET if given == ret), None)
    if found is None and given is not None:
        raise ConfigError(f"ret must be 'headers' or 'full', not {shown(given)}")
    return found


def _check_envid(envid: Any) -> None:
    if not isinstance(envid, str) or not envid:
        raise ConfigError(f"envid must be a str, and not empty, not {shown(envid)}")
    if not (envid.isascii() and envid.isprintable()):
        raise ConfigError(
            f"envid must be printable ASCII: {shown(envid)}",
            hint="RFC 3461 section 4.4 allows no other characters",
        )
    if len(xtext(envid)) > _LONGEST_ENVID:
        raise ConfigError(
            f"envid is too long: {shown(envid)}",
            hint=f"at most {_LONGEST_ENVID} characters, of which a space, + and = count "
            "three (RFC 3461 section 4.4)",
        )


def xtext(text: str) -> str:
    """Encode ASCII text as xtext (RFC 3461 section 4)."""
    return "".join([x if _is_xchar(x) else f"+{ord(x):02X}" for x in text])


def utf8_xtext(text: str) -> str:
    """Encode any text as utf-8-addr-xtext (RFC 6533 section 3), which is ASCII."""
    return "".join(
        [x if _is_xchar(x) and x != "\\" else f"\\x{{{ord(x):02X}}}" for x in text]
    )


def _is_xchar(char: str) -> bool:
    return "!" <= char <= "~" and char not in "+="


def original_recipient(address: str) -> str | None:
    """The value of ORCPT for an address; None if it would be longer than allowed.

    The parameter is optional; a server that relays the message may add it (RFC 3461
    section 5.2.1).
    """
    kind, encode = ("rfc822", xtext) if address.isascii() else ("utf-8", utf8_xtext)
    value = f"{kind};{encode(address)}"
    return value if len(value) <= _LONGEST_ORCPT else None
