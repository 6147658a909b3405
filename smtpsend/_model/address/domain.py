"""Domain and host names in the ASCII form for DNS and SMTP (RFC 5890, UTS 46)."""

from __future__ import annotations

import contextlib
import ipaddress

from smtpsend._patterns import pattern
from smtpsend.errors import ConfigError


__all__ = ["address_literal", "ascii_domain", "decoded", "is_ldh", "is_unicode", "shown"]

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = pattern(rf"{_LABEL}(?:\.{_LABEL})*")
_SURROGATE = pattern("[\ud800-\udfff]")
_LONGEST_NAME = 253
_LONGEST_LABEL = 63
_LONGEST_SHOWN = 60
# IDNA 2003 (the standard library) maps a name with one of these characters to another
# domain than IDNA 2008 does. Its codec returns none of them, but this is not documented.
_DEVIATIONS = frozenset("ßς\u200c\u200d")


def shown(value: object) -> str:
    """Quote `value` for an error: control characters escaped, cut where it is long."""
    if not isinstance(value, str):
        return f"a {type(value).__name__}"
    if len(value) > _LONGEST_SHOWN:
        return f"{value[:_LONGEST_SHOWN]!r}..."
    return repr(value)


def is_unicode(text: str) -> bool:
    """Whether `text` can be encoded in UTF-8.

    Python represents bytes of the environment and of the command line that are not
    UTF-8 as lone surrogates (PEP 383). `str.encode` is not used to find them: its
    exception holds the whole text, and stays the `__context__` of any error that is
    raised while it is handled, also of one raised ``from None``.
    """
    return text.isascii() or _SURROGATE.search(text) is None


def decoded(content: bytes) -> str | None:
    """Decode UTF-8; None if `content` is no UTF-8.

    An error that the caller raised while it handled the UnicodeDecodeError would keep it,
    and the content in it, as its `__context__`.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def is_ldh(name: str) -> bool:
    """Whether `name` consists of LDH labels, of at most 63 octets each.

    A process that sends one message checks two names. No regular expression is used,
    because to compile one takes a hundred times as long as this.
    """
    return all(
        len(label) <= _LONGEST_LABEL
        and label.isascii()
        and label.replace("-", "").isalnum()
        and label[0] != "-" != label[-1]
        for label in name.split(".")
    )


def ascii_domain(text: str) -> str:
    """Convert a domain or host name to its ASCII form, IDN to A-labels.

    An ASCII name is returned unchanged, "xn--" labels included. Any other name is mapped
    by UTS 46, non-transitional, with the optional package `idna`. Without this package
    a name is accepted only if the standard library's IDNA 2003 gives the same result.

    Raises:
        ConfigError: the name does not consist of LDH labels (RFC 5321 section 4.1.2:
            letters, digits and hyphens, 63 octets a label, 253 in all, no trailing
            dot), or it is an IDN that needs the extra ``smtpsend[idn]``.
    """
    if not isinstance(text, str):
        raise ConfigError(f"a domain must be a str, not {shown(text)}")
    name = text if text.isascii() else _from_idn(text)
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        raise ConfigError(
            f"not a domain name: {shown(text)}",
            hint="a domain is made of letters, digits, hyphens and single dots, "
            "at most 63 characters between dots and 253 in all",
        ) from None
    return name


def _from_idn(text: str) -> str:
    if len(text) > _LONGEST_NAME:
        raise ConfigError(f"the domain name is too long: {shown(text)}")
    try:
        import idna
    except ImportError:
        return ".".join(_from_label(label, text) for label in text.split("."))
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except (UnicodeError, ValueError, IndexError):
        raise ConfigError(
            f"not a valid internationalised domain name: {shown(text)}",
            hint="check its spelling: it breaks the rules of IDNA 2008 (RFC 5891)",
        ) from None


def _from_label(label: str, text: str) -> str:
    """Convert one label by IDNA 2003, if IDNA 2008 gives the same result."""
    if label.isascii():
        return label
    with contextlib.suppress(UnicodeError):
        encoded = label.encode("idna")
        if encoded.decode("idna") == label.lower() and _DEVIATIONS.isdisjoint(label):
            return encoded.decode("ascii")
    raise ConfigError(
        f"the domain name {shown(text)} needs the package 'idna'",
        hint="pip install 'smtpsend[idn]'",
    )


def address_literal(text: str) -> str:
    """Check an address literal, such as ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]``.

    Returns:
        `text`, unchanged.

    Raises:
        ConfigError: `text` is not of the form of RFC 5321 section 4.1.3.
    """
    inside = text[1:-1]
    bracketed = text[:1] == "[" and text[-1:] == "]"
    try:
        if inside[:5].lower() == "ipv6:":
            valid = ipaddress.IPv6Address(inside[5:]).scope_id is None
        else:
            valid = bool(ipaddress.IPv4Address(inside))
    except ValueError:
        valid = False
    if not (bracketed and valid and text.isascii()):
        raise ConfigError(
            f"not an address literal: {shown(text)}",
            hint="write [192.0.2.1] or [IPv6:2001:db8::1]",
        )
    return text
