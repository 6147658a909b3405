"""An address as a caller gives it: a str, a pair, or the `Address` of `email`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from email.headerregistry import Address, Group

from smtpsend._model.address.display_name import UNSAFE
from smtpsend._model.address.domain import shown
from smtpsend._model.address.mailbox import Mailbox, mailbox
from smtpsend._patterns import pattern
from smtpsend.errors import ConfigError


__all__ = ["AddressLike", "mailbox_of", "mailboxes_of"]

AddressLike = str | Address | tuple[str | None, str]
"""``"Name <user@host>"``, ``("Name", "user@host")`` or an `email` `Address`."""

_NOT_IN_A_NAME = pattern(rf"\t|{UNSAFE.pattern}")


def mailbox_of(value: object) -> Mailbox:
    """Make a mailbox of one address.

    The name of a pair or of an `Address` is the text itself, without quoting: nothing in
    it is syntax, and all of it is kept.

    Raises:
        ConfigError: `value` is not exactly one well-formed address.
    """
    if isinstance(value, str):
        return mailbox(value)
    if isinstance(value, Mailbox):
        # The caller may have made it with any content, so its address is parsed.
        return _named(value.display, value.address)
    if isinstance(value, Address):
        return _named(value.display_name, value.addr_spec)
    if isinstance(value, tuple) and len(value) == 2:
        return _named(*value)
    if isinstance(value, Group):
        raise ConfigError(
            "an address must be one address, not a Group",
            hint="give the members of the group, which are in its `addresses`",
        )
    raise ConfigError(
        f"an address must be a str, not {shown(value)}",
        hint="write user@host, Name <user@host> or (name, address)",
    )


def mailboxes_of(value: object) -> list[Mailbox]:
    """Make the mailboxes of one address or of several.

    A tuple of two str is a pair of name and address if the first holds no @. Otherwise it
    is two addresses, as any other sequence of str is.

    Raises:
        ConfigError: an address is malformed, or `value` is nothing of the kind.
    """
    if type(value) is list:  # the usual form needs fewer checks
        return [mailbox_of(address) for address in value]
    if isinstance(value, (str, Mailbox, Address, Group)) or _is_pair(value):
        return [mailbox_of(value)]
    if not isinstance(value, Iterable) or isinstance(value, (bytes, bytearray, Mapping)):
        raise ConfigError(
            f"addresses must be a str or a sequence of str, not {shown(value)}"
        )
    return [mailbox_of(address) for address in value]


def _is_pair(value: object) -> bool:
    match value:
        case (None, str()) if isinstance(value, tuple):
            return True
        case (str(name), str()) if isinstance(value, tuple):
            return "@" not in name
    return False


def _named(name: object, address: object) -> Mailbox:
    if not isinstance(name, str | None):
        raise ConfigError(f"the name of an address must be a str, not {shown(name)}")
    if not isinstance(address, str):
        raise ConfigError(f"an address must be a str, not {shown(address)}")
    if name and (unsafe := _NOT_IN_A_NAME.search(name)):
        raise ConfigError(
            f"the name of an address holds the control character {unsafe[0]!r}: "
            f"{shown(name)}",
            hint="a name is one line of printable characters",
        )
    box = mailbox(address)
    if box.display:
        raise ConfigError(
            f"the address beside a name must be user@host, not {shown(address)}"
        )
    return Mailbox((name or "").strip(" "), box.local, box.domain)
