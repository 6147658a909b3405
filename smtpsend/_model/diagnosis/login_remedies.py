"""Remedies for a refused or missing login, and for credentials that fit no mechanism.

The hints of errors and the advice of a check use them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from smtpsend._model.diagnosis.refused_logins import PASSWORDS, TOKENS, refused_login
from smtpsend._model.diagnosis.tls_remedies import listed
from smtpsend._model.server.credentials import Auth, External, OAuth2
from smtpsend._patterns import pattern
from smtpsend.errors import Reply


_OAUTH2 = {"XOAUTH2", "OAUTHBEARER"}

LATER = "the server cannot check logins now: try again later, and not too often"

_CERTIFICATE_REMEDY = (
    "check that ssl_context has the certificate of the client (load_cert_chain), that "
    "the server accepts it, and that it may use this account"
)


def refused_login_remedy(auth: Auth | None, reply: Reply) -> str:
    """Return the remedy for a refused login.

    Args:
        auth: the credentials that were refused.
        reply: the refusal.
    """
    if reply.code < 500:
        return LATER
    if isinstance(auth, External):
        return _CERTIFICATE_REMEDY
    row = refused_login(reply)
    if isinstance(auth, OAuth2):
        return row.tokens if row is not None else TOKENS
    return row.passwords if row is not None else PASSWORDS


def mechanism_remedy(auth: Auth | None, offered: Sequence[str]) -> str:
    """Return the remedy if no mechanism of the server fits the credentials.

    Args:
        auth: the credentials.
        offered: the SASL mechanisms that the server offers.
    """
    if not offered:
        return (
            "no login is offered there: leave the credentials out if the server needs no "
            "login; else check that this is a submission server, and the port"
        )
    names = listed(offered)
    if isinstance(auth, External):
        return (
            f"the server offers no login by a certificate ({names}): use Password(...) "
            "or OAuth2(...), or ask whoever runs it"
        )
    if isinstance(auth, OAuth2):
        return (
            f"the server accepts no OAuth 2.0 tokens ({names}): use Password(...) in "
            "place of OAuth2(...), or ask whoever runs it"
        )
    if _OAUTH2 & {*offered}:
        return (
            f"the server accepts OAuth 2.0 tokens and no password ({names}): use "
            "OAuth2(...) in place of Password(...)"
        )
    return (
        f"the server offers {names}, which a password does not fit: ask whoever runs it "
        "to offer PLAIN inside TLS"
    )


# A server that requires a login replies 530 (RFC 4954 section 6), or one of many other
# codes with one of these phrases.
_WANTS_LOGIN = pattern(
    r"authenticat(e|ion)\b|not authenticated|\bauth\b|log ?in first|must log ?in",
    re.IGNORECASE,
)
_RELAY = pattern(r"\brelay", re.IGNORECASE)
# A refusal that names one of these is about the sender's domain, so no login helps.
_DOMAIN = pattern(r"\b(spf|dkim|dmarc|arc)\b", re.IGNORECASE)
_WANTS_TLS = pattern(r"\b(start)?tls\b", re.IGNORECASE)

GIVE_CREDENTIALS = "Server(host, (username, password))"


def wants_login(reply: Reply) -> bool:
    """Return whether the server may accept after a login what it refused by `reply`."""
    if reply.code == 530:
        return True
    if reply.code < 500 or _DOMAIN.search(reply.text):
        return False
    return bool(_WANTS_LOGIN.search(reply.text) or _RELAY.search(reply.text))


def login_wanted_remedy(reply: Reply, *, plaintext: bool) -> str:
    """Return the remedy if the server requires a login, and no credentials were given.

    Args:
        reply: the refusal.
        plaintext: whether the connection has no TLS.
    """
    if plaintext and _WANTS_TLS.search(reply.text):
        return (
            "the server wants TLS: use Method(port, 'starttls') in place of 'plaintext'"
        )
    if plaintext:
        return (
            "the server wants a login, and credentials are never sent by a plaintext "
            "method: let it accept mail without a login, or use Method(port, 'starttls')"
        )
    if reply.code == 530 or not _RELAY.search(reply.text):
        return (
            "the server wants a login, and no credentials were given: give "
            f"{GIVE_CREDENTIALS}, or both in the URL or in the environment"
        )
    return (
        "no credentials were given, and most servers send mail on to other servers only "
        f"after a login: give {GIVE_CREDENTIALS}"
    )
