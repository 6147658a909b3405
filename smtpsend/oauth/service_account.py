"""`ServiceAccount`: a Google service account with delegation (RFC 7523 section 2.1)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any

from smtpsend._model.address.mailbox import mailbox
from smtpsend._model.tracebacks import hides_fields
from smtpsend.errors import ConfigError
from smtpsend.oauth.cache import Issued
from smtpsend.oauth.endpoint.failures import Failure
from smtpsend.oauth.endpoint.request import Request
from smtpsend.oauth.grant import GOOGLE_SCOPE, Grant, check_text, check_url, issued
from smtpsend.oauth.secret_file import read_secret


_GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# Google accepts an assertion for an hour at most, in seconds.
_VALID = 3600
_NAMES = ("client_email", "private_key", "private_key_id", "token_uri")


@hides_fields
@dataclass(frozen=True)
class ServiceAccount(Grant):
    """Tokens for any account of a Google Workspace (RFC 7523 section 2.1).

    An administrator grants the service account domain-wide delegation for the scope. Give
    it as the token of `OAuth2`, with the same address as the user name.

    Args:
        key: the path of the JSON file with the key of the service account, which is read
            again for each new token; or its content as a dict. Hidden in `repr`.
        subject: the mail address of the account to send as.
        scope: the scope (default: ``https://mail.google.com/``).
        cafile: a PEM file of the CAs to trust for the authorization server; by default
            those of requests.
        timeout: seconds within which the authorization server must reply (default: 30).

    Raises:
        ConfigError: an argument cannot be used, or the extra ``oauth`` is not installed.
            The file is not read yet.
    """

    key: str | os.PathLike[str] | Mapping[str, Any] = field(repr=False)
    subject: str
    scope: str = GOOGLE_SCOPE

    def __post_init__(self) -> None:
        if isinstance(self.key, Mapping):
            try:
                _checked(self.key)
            except ValueError as error:
                raise ConfigError(
                    f"key is no key of a service account: {error}"
                ) from None
        elif not isinstance(self.key, str | os.PathLike) or not os.fspath(self.key):
            raise ConfigError("key must be the path of a JSON file, or a dict")
        object.__setattr__(self, "subject", mailbox(self.subject).address)
        check_text("scope", self.scope)
        super().__post_init__()

    def _renew(self) -> Issued:
        key = self._key()
        try:
            assertion = self._assertion(key)
        except Exception:  # noqa: BLE001  # of joserfc or cryptography; may hold the key
            raise _unusable("the private key in it cannot be used").error() from None
        endpoint = self._endpoint(key["token_uri"])
        return issued(
            endpoint, Request(_GRANT_TYPE, {"assertion": assertion}, signed=True)
        )

    def _assertion(self, key: dict[str, str]) -> str:
        """The signed JWT that stands for the service account (RFC 7523 section 3)."""
        from joserfc import jwt
        from joserfc.jwk import RSAKey

        now = int(time())
        claims: dict[str, Any] = {
            "iss": key["client_email"],
            "sub": self.subject,
            "scope": self.scope,
        }
        claims |= {"aud": key["token_uri"], "iat": now, "exp": now + _VALID}
        head = {"alg": "RS256", "typ": "JWT", "kid": key["private_key_id"]}
        return jwt.encode(head, claims, RSAKey.import_key(key["private_key"]))

    def _key(self) -> dict[str, str]:
        """The members of the key.

        Raises:
            AuthError: the file cannot be read (temporary), or holds no such key.
        """
        if isinstance(self.key, Mapping):
            return _checked(self.key)
        text = read_secret(os.fspath(self.key), "the key of the service account")
        try:
            return _checked(json.loads(text))
        except (ValueError, RecursionError) as error:
            # The text of an error of JSON quotes nothing, but its attributes do.
            plain = type(error) is ValueError
            raise _unusable(str(error) if plain else "it is not JSON").error() from None


def _checked(key: object) -> dict[str, str]:
    """Return the members that are used.

    Raises:
        ValueError: one is missing.
    """
    if not isinstance(key, Mapping):
        raise ValueError("it holds no JSON object")  # noqa: TRY004  # caught above
    kind = key.get("type")
    if kind is not None and kind != "service_account":
        raise ValueError("its type is not service_account")
    for name in _NAMES:
        if not isinstance(key.get(name), str) or not key[name]:
            raise ValueError(f"{name} is missing")
    try:
        check_url("token_uri", key["token_uri"])
    except ConfigError as error:
        raise ValueError(error.message) from None
    return {name: key[name] for name in _NAMES}


def _unusable(why: str) -> Failure:
    return Failure(
        f"the key of the service account cannot be used: {why}",
        "make a key of the type JSON for the service account, and give that file",
    )
