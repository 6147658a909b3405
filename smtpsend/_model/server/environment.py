"""Servers from environment variables. No error quotes the value of a variable."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

from smtpsend._model.policy.policy import Method, Security, usual_security
from smtpsend._model.server.credentials import Password
from smtpsend._model.server.url import method_for
from smtpsend._model.shortage import importing
from smtpsend._model.tracebacks import hides_arguments
from smtpsend.errors import ConfigError


if TYPE_CHECKING:
    from smtpsend._model.server.proxy import Proxy


OAUTH_PREFIX = "SMTP_OAUTH_"
"""What the names of the variables for a login by a token begin with."""

log = logging.getLogger("smtpsend")

NAMES = (
    "URL",
    "HOST",
    "PROVIDER",
    "REGION",
    "PORT",
    "SECURITY",
    "USERNAME",
    "PASSWORD",
    "PASSWORD_FILE",
    "PROXY",
)
"""The variables, without ``SMTP_``."""

# Names that other programs use, and the variable that takes their place here. They are
# without SMTP_ and without underscores, since people write SMTP_USER_NAME, too.
_OTHER_NAMES = {
    "URL": "URI DSN CONNECTION CONNECTIONURL CONNECTIONSTRING ADDR",
    "HOST": "SERVER HOSTNAME SERVERNAME SERVERHOST SERVERADDRESS RELAY RELAYHOST "
    "ADDRESS MAILHOST SMARTHOST ENDPOINT",
    "PORT": "SERVERPORT PORTNUMBER RELAYPORT",
    "SECURITY": "SECURE TLS SSL USETLS USESSL STARTTLS USESTARTTLS ENABLESTARTTLS "
    "ENABLETLS ENABLESSL TLSENABLED SSLENABLED ENCRYPTION ENCRYPT TLSMODE SSLMODE "
    "PROTOCOL CRYPTO STARTTLSAUTO TLSSSL REQUIRETLS STARTTLSENABLE",
    "USERNAME": "USER LOGIN AUTHUSER AUTHUSERNAME ACCOUNT USERID UID LOGINUSER USR "
    "SERVERUSER",
    "PASSWORD": "PASS PWD PASSWD SECRET AUTHPASS AUTHPASSWORD USERPASSWORD APPPASSWORD "
    "PW PSW APIKEY PASSPHRASE SERVERPASSWORD",
    "PASSWORD_FILE": "PASSFILE PWDFILE PASSWDFILE SECRETFILE PASSWORDPATH "
    "AUTHPASSWORDFILE FILEPASSWORD",
    "PROXY": "PROXYURL PROXYURI HTTPPROXY HTTPSPROXY ALLPROXY SOCKSPROXY SOCKS5PROXY "
    "PROXYHOST PROXYSERVER PROXYADDRESS",
}
_RIGHT = {
    other: name for name, others in _OTHER_NAMES.items() for other in others.split()
}
_RIGHT |= {name.replace("_", ""): name for name in NAMES}

# Kubernetes sets these for a service that is called smtp, as Docker did for links.
_SERVICE_LINK = ("SERVICE_HOST", "SERVICE_PORT", "PORT_")
_OAUTH = "OAUTH_"


@hides_arguments
def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that are set, without ``SMTP_``; an empty one counts as missing.

    Raises:
        ConfigError: another one is set that can only be meant as one of them.
    """
    found: dict[str, str] = {}
    unknown = []
    for whole, value in environ.items():
        name = whole.upper().removeprefix("SMTP_")
        if name == whole.upper() or not value or _is_foreign(whole, name, value):
            continue
        if whole == f"SMTP_{name}" and name in NAMES:
            found[name] = value
        elif (right := _meant(name)) is not None:
            raise ConfigError(
                f"{whole} is set, and is not read: the name is SMTP_{right}",
                hint=f"set SMTP_{right} in place of {whole}",
            )
        else:
            unknown.append(whole)
    if unknown:
        log.warning("not read from the environment: %s", ", ".join(sorted(unknown)))
    return found


def _is_foreign(whole: str, name: str, value: str) -> bool:
    """Whether nobody has set the variable for this, or another module reads it."""
    link = name.startswith(_SERVICE_LINK) or (name == "PORT" and "://" in value)
    return link or (whole == f"SMTP_{name}" and name.startswith(_OAUTH))


def _meant(name: str) -> str | None:
    """The name that was meant by one of another program, or by a misspelt one."""
    plain = name.replace("_", "")
    if plain in _RIGHT:
        return _RIGHT[plain]
    import difflib  # only a misspelt name needs it

    close = difflib.get_close_matches(plain, _RIGHT, n=1, cutoff=0.85)
    return _RIGHT[close[0]] if close and len(plain) > _SHORTEST_MISSPELT else None


# How the names of other frameworks begin: EMAIL_HOST of Django, MAIL_SERVER of
# Flask-Mail, MAILER_DSN of Symfony.
_OTHER_BEGINNINGS = ("EMAIL_", "MAIL_", "MAILER_", "DJANGO_EMAIL_")


def hint_without_server(environ: Mapping[str, str]) -> str:
    """The hint where no server is set: what another framework's variable is called."""
    for whole, value in environ.items():
        for beginning in _OTHER_BEGINNINGS:
            name = whole.upper().removeprefix(beginning)
            right = _RIGHT.get(name.replace("_", ""))
            if name != whole.upper() and value and right in ("HOST", "URL"):
                return f"{whole} is set, and is not read: set SMTP_{right} in place of it"
    return "set SMTP_HOST, SMTP_USERNAME and SMTP_PASSWORD, or a whole SMTP_URL"


# A shorter name is too much like others: SMTP_FROM is no misspelt name of ours.
_SHORTEST_MISSPELT = 4


def method_from_env(found: Mapping[str, str]) -> Method | None:
    """The one method that SMTP_PORT and SMTP_SECURITY stand for; None without both.

    Raises:
        ConfigError: one of them cannot be used.
    """
    security, text = found.get("SECURITY"), found.get("PORT")
    if security is not None and security not in get_args(Security):
        names = ", ".join(get_args(Security))
        raise ConfigError(f"SMTP_SECURITY must be one of {names}")
    if text is None:
        return None if security is None else method_for(security)
    digits = text.strip()
    if not digits.isascii() or not digits.isdigit() or not 0 < int(digits[:9]) < 65536:
        raise ConfigError("SMTP_PORT must be a port: a whole number from 1 to 65535")
    port = int(digits)
    return method_for(security or usual_security(port), port)


@hides_arguments
def auth_from_env(found: Mapping[str, str]) -> Password | None:
    """The credentials of the environment.

    Args:
        found: the variables that are set, without ``SMTP_``.

    Raises:
        ConfigError: they are incomplete, or contradict each other.
        ConnectError: this machine has no file descriptor left to read the password.
    """
    password = found.get("PASSWORD")
    if file := found.get("PASSWORD_FILE"):
        if password is not None:
            raise ConfigError("set SMTP_PASSWORD or SMTP_PASSWORD_FILE, not both")
        with importing():
            from smtpsend._model.server.password_file import read_password_file
        password = read_password_file(file, "SMTP_PASSWORD_FILE")
    if (found.get("USERNAME") is None) != (password is None):
        raise ConfigError("SMTP_USERNAME and the password go together: set both or none")
    if password is None:
        return None
    return Password(found["USERNAME"], password)


@hides_arguments
def proxy_from_env(url: str | None) -> Proxy | None:
    """Convert the value of ``SMTP_PROXY``; None if it is missing or empty.

    Raises:
        ConfigError: it cannot be used.
    """
    if not url:
        return None
    with importing():
        from smtpsend._model.server.proxy import proxy_of
    try:
        return proxy_of(url)
    except ConfigError as error:
        raise ConfigError(f"SMTP_PROXY: {error.message}", hint=error.hint) from None


def wants_tokens(env: Mapping[str, str]) -> bool:
    """Return whether a variable of OAuth 2.0 is set."""
    return any(name.startswith(OAUTH_PREFIX) and env[name] for name in env)
