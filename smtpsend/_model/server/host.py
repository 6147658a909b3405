"""Checks for the arguments of `Server`: host names, addresses, fingerprints."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from smtpsend._model.address.domain import address_literal, ascii_domain, is_ldh
from smtpsend.errors import ConfigError


_LONGEST = 254  # with the dot at the end that makes a name absolute

QUOTED = "leave out the quotation marks, which the reader of a .env file should remove"
"""The hint for a URL or a host in quotation marks."""


def check_host(host: object) -> str:
    """Check a host: a host name, IDN included, or an IP address.

    Returns:
        The host in ASCII, an IPv6 address without brackets.

    Raises:
        ConfigError: the host is neither.
    """
    if not isinstance(host, str) or not host:
        raise ConfigError("the host must be a host name or an IP address, as a str")
    try:
        ip = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        pass
    else:
        if getattr(ip, "scope_id", None):
            raise ConfigError("an IPv6 address with a zone is not supported")
        return str(ip)
    if not host.isascii() and not set(host) & set("@:/?#"):
        # A host with one of "@:/?#" may be a URL with a password: no error may quote it.
        absolute = "." if host.endswith(".") else ""
        host = ascii_domain(host.removesuffix(".")) + absolute
    labels = host.removesuffix(".").rpartition(".")
    if not _is_name(host) or labels[2].isdigit():
        hint = (
            "a port goes into a URL (smtp://host:587) or into Policy(methods=...)"
            if re.fullmatch(r"[\w.-]+:[0-9]+", host)
            else QUOTED * (host[:1] in ("'", '"'))
        )
        raise ConfigError("the host is not a valid host name or IP address", hint=hint)
    return host


def _is_name(host: str) -> bool:
    """Whether `host` has the form of a host name (RFC 1123 section 2.1).

    The underscore is accepted, because many internal host names hold it.
    """
    return len(host) <= _LONGEST and is_ldh(host.removesuffix(".").replace("_", "x"))


@lru_cache(maxsize=64)
def literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """`host` as an IP address, or None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def check_tls_name(name: object) -> str:
    """Check the name that the certificate must be for, in place of the host.

    Raises:
        ConfigError: it is neither a host name nor an IP address.
    """
    try:
        return check_host(name)
    except ConfigError as error:
        raise ConfigError(
            f"tls_name: {error.message}",
            hint="it is a name that the certificate of the server has, without a port",
        ) from None


def check_source_address(given: object) -> tuple[str, int] | None:
    """Check the address that connections come from.

    Args:
        given: an IP address, or a pair of an IP address and a port as in smtplib; the
            port 0 stands for any port, and an empty address for any address.

    Returns:
        The pair; None for any address and port.

    Raises:
        ConfigError: it is neither.
    """
    if given is None:
        return None
    pair: list[object] = list(given) if isinstance(given, tuple | list) else [given, 0]
    if len(pair) != 2:
        raise ConfigError(_SOURCE)
    address, port = pair
    if not isinstance(address, str):
        raise ConfigError(_SOURCE)
    if not isinstance(port, int) or port is True or not 0 <= port < 65536:
        raise ConfigError("the port of source_address must be from 0 (any) to 65535")
    if address:
        try:
            ip = ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
        except ValueError:
            raise ConfigError(_SOURCE) from None
        if getattr(ip, "scope_id", None):
            raise ConfigError("an IPv6 address with a zone is not supported")
        address = str(ip)
    return (address, port) if address or port else None


_SOURCE = (
    "source_address must be an IP address of this machine, or a pair of one and a port, "
    "such as ('192.0.2.1', 0)"
)


def is_private(address: str) -> bool:
    """Whether an address is a loopback or private IP address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        # With a proxy, nobody here knows the IP address of the server.
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in network for network in _PRIVATE if network.version == ip.version)


def is_local(host: str) -> bool:
    """Whether a host is ``localhost`` or a loopback or private IP address."""
    if host.lower().removesuffix(".") == "localhost":
        return True
    return literal(host) is not None and is_private(host)


def check_private(address: str) -> None:
    """Refuse a plaintext method for an address that is neither loopback nor private.

    Raises:
        ConfigError: the address is public.
    """
    if not is_private(address):
        raise ConfigError(
            f"plaintext is for a development sink on this machine or a private network, "
            f"and {address} is neither",
            hint="use Method(587, 'starttls') or Method(465, 'implicit')",
        )


# RFC 1918, RFC 4193, loopback, and link-local of IPv6, which a name on the local network
# has beside its private IPv4 address. Not 169.254.0.0/16, where clouds have services that
# hand out credentials. `is_private` of ipaddress includes more.
_PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        (
            "127.0.0.0/8",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "::1/128",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)


def check_ehlo_name(name: object) -> str:
    """Check the name for EHLO: a domain or an address literal (RFC 5321 section 4.1.3).

    Raises:
        ConfigError: the name is neither.
    """
    if isinstance(name, str) and name:
        if name.startswith("["):
            return address_literal(name)
        domain = name.removesuffix(".")
        domain = domain if domain.isascii() else ascii_domain(domain)
        if _is_name(domain) and not domain.rpartition(".")[2].isdigit():
            return domain
    raise ConfigError(
        "ehlo_name must be a domain or an address literal such as [192.0.2.1] "
        "(RFC 5321 section 4.1.3)"
    )


def check_fingerprint(text: object) -> str:
    """Check the SHA-256 fingerprint of a certificate.

    Args:
        text: ``sha256:`` and 64 hexadecimal digits; colons between the digits and upper
            case are allowed.

    Returns:
        The fingerprint in lower case, without colons between the digits.

    Raises:
        ConfigError: `text` is no such fingerprint.
    """
    if isinstance(text, str) and text[:7].lower() == "sha256:":
        digits = text[7:].replace(":", "").lower()
        if re.fullmatch("[0-9a-f]{64}", digits):
            return f"sha256:{digits}"
    raise ConfigError(
        "fingerprint must be 'sha256:' and 64 hexadecimal digits",
        hint="openssl x509 -noout -fingerprint -sha256 -in cert.pem prints it",
    )
