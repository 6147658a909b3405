"""A grant of each kind, and a mail server that accepts its token."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from scripted import Script, ScriptedServer
from token_endpoint import TokenEndpoint

from smtpsend.oauth import ClientCredentials, Grant, RefreshToken, ServiceAccount


USER = "user@example.org"
TOKEN = "ya29.the-access-token"
OFFERS = ("SIZE", "ENHANCEDSTATUSCODES", "AUTH XOAUTH2")
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_for(url: str) -> dict[str, str]:
    """The JSON file of a service account, with the token endpoint at `url`."""
    pem = KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "type": "service_account",
        "client_email": "robot@project.example",
        "private_key": pem.decode(),
        "private_key_id": "key-1",
        "token_uri": url,
    }


def grant(kind: str, issuer: TokenEndpoint, **options: Any) -> Grant:
    """A grant of each kind."""
    options.setdefault("cafile", issuer.ca)
    if kind == "client credentials":
        return ClientCredentials(
            issuer.url, "the-client", "the-client-secret", "a b", **options
        )
    if kind == "refresh token":
        return RefreshToken(
            issuer.url, "the-client", "the-refresh-token", scope="a b", **options
        )
    return ServiceAccount(key_for(issuer.url), USER, scope="a b", **options)


KINDS = ("client credentials", "refresh token", "service account")


def bearer(accepted: str = TOKEN, script: Any = None) -> ScriptedServer:
    """A mail server that accepts one token, on one port."""
    return ScriptedServer(
        script or Script(offers=OFFERS), password=accepted, starttls=None, starttls2=None
    )
