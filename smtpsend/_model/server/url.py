"""Servers from URLs and from the environment. No error quotes a URL or a password."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from smtpsend._model.policy.policy import Method
from smtpsend._model.server.credentials import Password
from smtpsend.errors import ConfigError


def split(url: str) -> SplitResult:
    """Split the URL of a server into its parts.

    Raises:
        ConfigError: the URL is malformed, or has parts that a server does not need.
    """
    # Nothing here may quote the URL: it holds a password.
    if not isinstance(url, str):
        raise ConfigError("the URL must be a str")
    if any(ord(c) <= 32 or ord(c) == 127 for c in url):
        # urlsplit would drop them in silence.
        raise ConfigError("the URL holds white space or a control character")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = None, None
    if parts is None or port == 0:
        raise ConfigError(_URL_FORM)
    if parts.scheme not in ("smtp", "smtps"):
        raise ConfigError("the URL must begin with smtp:// or smtps://")
    if parts.path not in ("", "/") or parts.query or parts.fragment or not parts.hostname:
        raise ConfigError(_URL_FORM)
    host = parts.netloc.rpartition("@")[2]
    if "?" in url or "#" in url or not _HOST_AND_PORT.fullmatch(host):
        raise ConfigError(_URL_FORM)
    return parts


# Python's parser silently drops any text before or after an address in brackets.
_HOST_AND_PORT = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:]+)(?::[0-9]+)?")

_URL_FORM = (
    "the URL is not of the form smtp://user:password@host:port; "
    "characters such as / ? # @ : % in user or password must be percent-encoded"
)


def auth_of(parts: SplitResult) -> Password | None:
    """The credentials of a URL.

    Raises:
        ConfigError: the user or the password is missing or malformed.
    """
    if parts.username is None and parts.password is None:
        return None
    if not parts.username or not parts.password:
        raise ConfigError(
            "a URL with a user needs a password too: smtp://user:password@host"
        )
    if parts.netloc.count("@") > 1:
        raise ConfigError(_URL_FORM)
    return Password(_unquote(parts.username), _unquote(parts.password))


def _unquote(text: str) -> str:
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise ConfigError("a % in user or password must be written as %25 in a URL")
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(
            "user and password in a URL must be percent-encoded UTF-8"
        ) from None


def method_of(parts: SplitResult) -> Method | None:
    """The one method that a URL with a port or with smtps:// names; else None."""
    if parts.scheme == "smtps":
        return Method(parts.port or 465, "implicit")
    if parts.port is None:
        return None
    return Method(parts.port, "implicit" if parts.port == 465 else "starttls")


def auth_from_env(found: Mapping[str, str]) -> Password | None:
    """The credentials of the environment.

    Raises:
        ConfigError: they are incomplete, or contradict each other.
    """
    password = found.get("PASSWORD")
    if file := found.get("PASSWORD_FILE"):
        if password is not None:
            raise ConfigError("set SMTP_PASSWORD or SMTP_PASSWORD_FILE, not both")
        try:
            password = Path(file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise ConfigError(f"SMTP_PASSWORD_FILE cannot be read: {why}") from None
        password = password.removesuffix("\n").removesuffix("\r")
    if (found.get("USERNAME") is None) != (password is None):
        raise ConfigError("SMTP_USERNAME and the password go together: set both or none")
    if password is None:
        return None
    return Password(found["USERNAME"], password)
