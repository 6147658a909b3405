"""Servers from URLs. No error quotes a URL or a password."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast, get_args
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from smtpsend._model.address.domain import decoded, is_unicode
from smtpsend._model.policy.policy import Method, Security, usual_security
from smtpsend._model.server.credentials import Password
from smtpsend._model.server.host import QUOTED
from smtpsend._patterns import pattern
from smtpsend.errors import ConfigError


def split(url: str) -> SplitResult:
    """Split the URL of a server into its parts.

    Raises:
        ConfigError: the URL is malformed, or has parts that a server does not need.
    """
    # Nothing here may quote the URL: it holds a password.
    if not isinstance(url, str):
        raise ConfigError("the URL must be a str")
    check_characters(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = None, None
    if parts is None or port == 0:
        raise ConfigError(_URL_FORM)
    if parts.scheme not in ("smtp", "smtps"):
        raise ConfigError("the URL must begin with smtp:// or smtps://")
    if parts.path not in ("", "/") or parts.fragment or not parts.hostname:
        raise ConfigError(_URL_FORM)
    host = parts.netloc.rpartition("@")[2]
    if "#" in url or not HOST_AND_PORT.fullmatch(host):
        raise ConfigError(_URL_FORM)
    if "?" in url and not _QUERY.fullmatch(parts.query):
        # The query may be a part of a password that was not encoded.
        raise ConfigError(_URL_FORM)
    return parts


def check_characters(url: str, what: str = "the URL") -> None:
    """Refuse a URL that is no Unicode text, or that urlsplit would change.

    Args:
        url: the URL.
        what: names it in the error.

    Raises:
        ConfigError: it has a character that cannot be in a URL.
    """
    if not is_unicode(url):
        raise ConfigError(
            f"{what} holds a lone surrogate, which is no text",
            hint="write it in UTF-8, or percent-encode the UTF-8 of user and password",
        )
    if any(ord(c) <= 32 or ord(c) == 127 for c in url):
        # urlsplit would drop them in silence.
        raise ConfigError(f"{what} holds white space or a control character")
    if url[:1] in ("'", '"'):
        raise ConfigError(f"{what} begins with a quotation mark", hint=QUOTED)


# Python's parser silently drops any text before or after an address in brackets.
HOST_AND_PORT = pattern(r"(?:\[[^\[\]]+\]|[^\[\]:]+)(?::[0-9]+)?")

_QUERY = pattern(f"security=({'|'.join(get_args(Security))})")

_URL_FORM = (
    "the URL is not of the form smtp://user:password@host:port; characters such as "
    "/ ? # : % in user or password must be percent-encoded, as "
    "urllib.parse.quote(text, safe='') does, and ?security=plaintext (for a development "
    "sink) is the only kind of query"
)


def auth_of(parts: SplitResult) -> Password | None:
    """The credentials of a URL.

    The last @ of the authority ends them, as in the URL standard of browsers (RFC 3986
    allows no other @ there), so that a mail address may stand as the user as it is.

    Raises:
        ConfigError: the user or the password is missing or malformed.
    """
    if parts.username is None and parts.password is None:
        return None
    if not parts.username or not parts.password:
        raise ConfigError(
            "a URL with a user needs a password too: smtp://user:password@host"
        )
    return Password(unquote(parts.username), unquote(parts.password))


def user_of(parts: SplitResult) -> str | None:
    """The user name of a URL that has a user name and no password; else None.

    Raises:
        ConfigError: it is malformed.
    """
    if not parts.username or parts.password:
        return None
    return unquote(parts.username)


def unquote(text: str, what: str = "a URL") -> str:
    """Decode a user or a password of a URL.

    Args:
        text: the user or the password, percent-encoded.
        what: names the URL in the error.

    Raises:
        ConfigError: it is not percent-encoded UTF-8.
    """
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise ConfigError(
            f"a % in user or password must be written as %25 in {what}",
            hint="urllib.parse.quote(text, safe='') encodes a user or a password",
        )
    plain = decoded(unquote_to_bytes(text))
    if plain is None:
        raise ConfigError(f"user and password in {what} must be percent-encoded UTF-8")
    return plain


def method_of(parts: SplitResult) -> Method | None:
    """The one method that a URL names by its port, smtps:// or its query; else None.

    Raises:
        ConfigError: smtps:// and the query contradict each other.
    """
    security = parts.query.partition("=")[2]
    if parts.scheme == "smtps":
        if security not in ("", "implicit"):
            raise ConfigError(
                "smtps:// is implicit TLS, and the query names another security",
                hint="write smtp:// with that query",
            )
        return Method(parts.port or 465, "implicit")
    if security:
        return method_for(security, parts.port)
    if parts.port is None:
        return None
    return Method(parts.port, usual_security(parts.port))


_USUAL_PORTS = {"starttls": 587, "implicit": 465, "plaintext": 1025}


def method_for(security: str, port: int | None = None) -> Method:
    """The method of a security of `Method`; the port is by default the usual one.

    Mailpit, MailHog and most other development sinks listen on 1025.
    """
    return Method(port or _USUAL_PORTS[security], cast("Security", security))


def sink_url(host: str, port: int) -> str:
    """The URL of a development sink."""
    return f"smtp://{bracketed(host)}:{port}?security=plaintext"


def argument_for(host: str, methods: Sequence[Method]) -> str:
    """The argument of ``smtpsend check`` for a server: its host, or a URL with a port."""
    if len(methods) != 1:
        return host
    method = methods[0]
    where = f"{bracketed(host)}:{method.port}"
    if method.security == "implicit":
        return f"smtps://{where}"
    if method.security == usual_security(method.port):
        return f"smtp://{where}"
    return f"'smtp://{where}?security={method.security}'"


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host
