"""List-Unsubscribe and List-Unsubscribe-Post (RFC 2369 section 3.2, RFC 8058)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

from smtpsend._model.address.domain import shown
from smtpsend._model.address.mailbox import mailboxes
from smtpsend._patterns import pattern
from smtpsend.errors import ConfigError


__all__ = ["unsubscribe_headers"]

_URI = pattern(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")  # RFC 3986 section 2
_FORM = "give an https:// URL, a mailto: URL, or both as ('https://...', 'mailto:...')"


def unsubscribe_headers(value: object) -> list[tuple[str, str]]:
    """Make the headers by which mail programs show a button to unsubscribe.

    Args:
        value: one URL, or several in the order of preference. An https: URL makes the
            button work with one click.

    Raises:
        ConfigError: a URL is malformed, or cannot be used to unsubscribe.
    """
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise ConfigError(f"unsubscribe must be a str, not {shown(value)}", hint=_FORM)
    urls = [value] if isinstance(value, str) else list(value)
    if not urls:
        return []
    schemes = [_scheme(url) for url in urls]
    if schemes.count("https") > 1:
        raise ConfigError(
            "unsubscribe has more than one https: URL",
            hint="give one, with a mailto: URL beside it (RFC 8058 section 3.1)",
        )
    found = [("List-Unsubscribe", ", ".join(f"<{url}>" for url in urls))]
    if "https" in schemes:
        found.append(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    return found


def _scheme(url: object) -> str:
    """The scheme of a URL that was checked."""
    if not isinstance(url, str):
        raise ConfigError(f"unsubscribe must be a str, not {shown(url)}", hint=_FORM)
    if not _URI.fullmatch(url):
        raise ConfigError(
            f"not a URL to unsubscribe by: {shown(url)}",
            hint="encode other characters than those of a URL by urllib.parse.quote()",
        )
    scheme, _, rest = url.partition(":")
    scheme = scheme.lower()
    try:
        named = scheme == "https" and bool(urlsplit(url).hostname)
        mailed = scheme == "mailto" and bool(mailboxes(unquote(rest.partition("?")[0])))
    except ValueError:  # ConfigError is one, too
        named = mailed = False
    if not named and not mailed:
        hint = "one-click needs https: (RFC 8058)" if scheme == "http" else _FORM
        raise ConfigError(f"not a URL to unsubscribe by: {shown(url)}", hint=hint)
    return scheme
