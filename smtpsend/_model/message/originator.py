"""The sender and the recipients that the headers of a message object name."""

from __future__ import annotations

from email.message import Message

from smtpsend._model.address.mailbox import Group, Mailbox
from smtpsend._model.message.headers import ADDRESS_HEADERS, addresses_of
from smtpsend._values import NamedTuple
from smtpsend.errors import ConfigError


__all__ = ["HeaderAddresses"]

_RESENT = frozenset(
    f"resent-{name}" for name in ("date", "from", "sender", "to", "cc", "bcc")
)


class HeaderAddresses(NamedTuple):
    """The addresses that each header of a message names.

    Attributes:
        headers: for each header in order, its name in lower case and its addresses. The
            addresses are None for a header that is no address header. They are a
            ConfigError where they are malformed; it is raised only if the envelope is
            made from this header.
    """

    headers: tuple[tuple[str, list[Group] | ConfigError | None], ...]

    @classmethod
    def of(cls, message: Message) -> HeaderAddresses:
        """Read the headers of a message."""
        return cls(
            tuple(
                (name.lower(), _read(name, value)) for name, value in message.raw_items()
            )
        )

    def sender(self) -> str:
        """The address for MAIL: that of Sender, else that of From.

        If there is a Resent- block, Resent-Sender and Resent-From count in their place.

        Raises:
            ConfigError: the headers do not name exactly one sender.
        """
        prefix = self._prefix()
        authors = self._groups(prefix + "from")
        senders = self._groups(prefix + "sender") or authors
        title = prefix.title()
        if not any(group.members for group in authors):
            raise ConfigError(
                f"the message has no {title}From", hint="set From, or give sender="
            )
        if len(senders) != 1 or senders[0].name is not None:
            raise ConfigError(
                f"{title}Sender and {title}From do not name exactly one sender",
                hint="several mailboxes in From need a Sender with one, or give sender=",
            )
        return senders[0].members[0].address

    def recipients(self) -> list[Mailbox]:
        """The mailboxes of To, Cc and Bcc.

        If there is a Resent- block, its headers count in their place.

        Raises:
            ConfigError: an address is malformed.
        """
        prefix = self._prefix()
        return [
            box
            for name in ("to", "cc", "bcc")
            for group in self._groups(prefix + name)
            for box in group.members
        ]

    def domain(self) -> str:
        """The domain of the first well-formed address in From; empty if there is none."""
        for name, found in self.headers:
            if name == "from" and isinstance(found, list):
                for group in found:
                    for box in group.members:
                        return box.domain
        return ""

    def _prefix(self) -> str:
        names = [name for name, _ in self.headers if name in _RESENT]
        if len(names) > len({*names}):
            raise ConfigError(
                "the message has more than one block of Resent- headers",
                hint="give sender= and recipients=: which block counts is not known",
            )
        return "resent-" if names else ""

    def _groups(self, wanted: str) -> list[Group]:
        found: list[Group] = []
        for name, groups in self.headers:
            if name != wanted or groups is None:
                continue
            if isinstance(groups, ConfigError):
                raise ConfigError(
                    f"in the header {name.title()}: {groups.message}", hint=groups.hint
                ) from None
            found += groups
        return found


def _read(name: str, value: object) -> list[Group] | ConfigError | None:
    if name.lower() not in ADDRESS_HEADERS:
        return None
    try:
        return addresses_of(value)
    except ConfigError as error:
        return error
