"""The proxy that a server is reached by: SOCKS5 (RFC 1928) or HTTP CONNECT (RFC 9110).

No error quotes the URL of a proxy, because it may hold a password.
"""

from __future__ import annotations

import base64
import re
from importlib.util import find_spec
from urllib.parse import urlsplit

from smtpsend._model.server.host import check_host
from smtpsend._model.server.url import (
    HOST_AND_PORT,
    bracketed,
    check_characters,
    unquote,
)
from smtpsend._model.shortage import importing
from smtpsend._model.tracebacks import hides_arguments, hides_fields
from smtpsend._patterns import pattern
from smtpsend._values import dataclass, field
from smtpsend.errors import ConfigError


# The schemes, with the module that speaks the protocol. The name of the server is always
# looked up at the proxy, which is what `socks5h` of other programs stands for.
_MODULES = {"socks5": "python_socks", "socks5h": "python_socks", "http": "h11"}
_SCHEME = pattern(r"([a-z][a-z0-9+.-]{0,20})://", re.IGNORECASE)
# The port that IANA has registered for SOCKS. No port is usual for HTTP proxies.
_SOCKS_PORT = 1080
_FORM = "the URL of the proxy is not of the form socks5://user:password@host:port"
_HINT = (
    "write socks5://host:1080 or http://host:3128, with user:password@ before the host "
    "if the proxy wants a login; urllib.parse.quote(text, safe='') encodes each of both"
)
# RFC 1929 section 2: one octet has the length of each.
_LONGEST_SOCKS = 255


@hides_fields
@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; `Server.proxy` reads back as one.

    Attributes:
        scheme: ``"socks5"`` or ``"http"``.
        host: the host name or the IP address of the proxy.
        port: its port.
        username: the user name for the proxy, or None. Hidden in `repr` and `str`, as is
            the password.
        password: the password for the proxy, or None.
    """

    scheme: str
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        login = "" if self.username is None else "***@"
        return f"{self.scheme}://{login}{self.where}"

    def __repr__(self) -> str:
        return f"Proxy({str(self)!r})"

    @property
    def where(self) -> str:
        """Host and port, as in a URL."""
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no text may show: the password, and the login of RFC 7617 in base64."""
        if self.username is None or not self.password:
            return ()
        return (self.password, basic_login(self.username, self.password))


def basic_login(username: str, password: str) -> str:
    """The credentials for the Basic scheme of HTTP (RFC 7617 section 2)."""
    return base64.b64encode(f"{username}:{password}".encode()).decode("ascii")


@hides_arguments
def proxy_of(given: object) -> Proxy | None:
    """Convert the URL of a proxy to a `Proxy`; return a `Proxy` and None as they are.

    Raises:
        ConfigError: the URL is malformed, or the package for this proxy is missing.
    """
    if given is None or isinstance(given, Proxy):
        return given
    if not isinstance(given, str):
        raise ConfigError("proxy must be the URL of a proxy, as a str", hint=_HINT)
    scheme = _scheme(given)
    check_characters(given, "the URL of the proxy")
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        raise ConfigError(_FORM, hint=_HINT) from None
    authority = parts.netloc.rpartition("@")[2]
    rest = "?" in given or "#" in given or parts.path not in ("", "/")
    if rest or port == 0 or not parts.hostname or not HOST_AND_PORT.fullmatch(authority):
        raise ConfigError(_FORM, hint=_HINT)
    if port is None and scheme == "http":
        raise ConfigError("the URL of an HTTP proxy needs a port", hint=_HINT)
    try:
        host = check_host(parts.hostname)
    except ConfigError as error:
        raise ConfigError(f"proxy: {error.message}", hint=_HINT) from None
    login = _login(scheme, parts.username, parts.password)
    _require(scheme)
    return Proxy(scheme, host, port or _SOCKS_PORT, *login)


def _scheme(url: str) -> str:
    found = _SCHEME.match(url)
    scheme = "" if found is None else found[1].lower()
    if scheme == "https":
        raise ConfigError(
            "a proxy that is itself reached by TLS (https://) is not supported",
            hint="use its port for HTTP; the TLS of the mail server goes through CONNECT "
            "unchanged, so that the proxy reads neither the password nor the message",
        )
    if scheme not in _MODULES:
        raise ConfigError("proxy must begin with socks5:// or http://", hint=_HINT)
    return "http" if scheme == "http" else "socks5"


def _login(
    scheme: str, quoted_user: str | None, quoted_password: str | None
) -> tuple[str | None, str | None]:
    if quoted_user is None and quoted_password is None:
        return None, None
    username, password = (
        unquote(text or "", "the URL of the proxy")
        for text in (quoted_user, quoted_password)
    )
    text = username + password
    if not username or any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise ConfigError(
            "the login in the URL of the proxy has no user, or a control character"
        )
    if scheme == "http":
        if ":" in username:
            raise ConfigError("the user name of an HTTP proxy has no colon (RFC 7617)")
    elif (
        not password
        or not text.isascii()
        or max(map(len, (username, password))) > (_LONGEST_SOCKS)
    ):
        raise ConfigError(
            "user and password of a SOCKS5 proxy must both be given, in ASCII, with at "
            "most 255 characters each (RFC 1929)"
        )
    return username, password


def _require(scheme: str) -> None:
    with importing():
        found = find_spec(_MODULES[scheme])
    if found is None:
        raise ConfigError(
            f"a {scheme}:// proxy needs the package {_MODULES[scheme]!r}",
            hint="pip install 'smtpsend[proxy]'",
        )
