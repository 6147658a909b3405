"""Remedies for what the token endpoint of an authorization server refuses.

The codes in `error` are those of RFC 6749 section 5.2 and RFC 8628 section 3.5. What
tells their causes apart stands in `error_description`: a code that begins with AADSTS
from Microsoft Entra ID, and a sentence from Google.
"""

from __future__ import annotations

from smtpsend._patterns import pattern


_CLOCK = (
    "the endpoint finds the dates of the signed request wrong: set the clock of this "
    "machine"
)

# The code in `error` ("" is any), phrases of the description, and the remedy. The first
# row that fits is used; phrases are compared in lower case.
_ROWS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    # Microsoft: learn.microsoft.com/entra/identity-platform/reference-error-codes
    (
        "",
        ("aadsts7000215",),
        "the client secret is wrong: give the *value* of the secret, not its id",
    ),
    (
        "",
        ("aadsts7000222",),
        "the client secret has expired: make a new one in the app registration",
    ),
    (
        "",
        ("aadsts700016",),
        "the client id is not known in this tenant: check both; an administrator may "
        "have to consent to the app first",
    ),
    ("", ("aadsts90002", "aadsts900023"), "there is no such tenant: check the tenant id"),
    (
        "",
        ("aadsts7000218",),
        "the app registration allows no public clients: turn on 'Allow public client "
        "flows' there, or give a client secret",
    ),
    (
        "",
        ("aadsts700025",),
        "the app registration is a public client: leave the client secret out",
    ),
    (
        "",
        ("aadsts65001",),
        "nobody has consented to the permission: a user or an administrator has to",
    ),
    (
        "",
        ("aadsts70011", "aadsts1002012", "aadsts500011"),
        "the scope is wrong: it is https://outlook.office365.com/.default for client "
        "credentials, and https://outlook.office.com/SMTP.Send for a user",
    ),
    (
        "",
        ("aadsts700082", "aadsts70008", "aadsts700084"),
        "the refresh token has expired: the user has to log in again",
    ),
    (
        "",
        ("aadsts50173", "aadsts50076", "aadsts50078", "aadsts50079", "aadsts53003"),
        "the password or the rules for this user have changed since: the user has to log "
        "in again",
    ),
    # Google: developers.google.com/identity/protocols/oauth2/service-account#error-codes
    (
        "invalid_grant",
        ("short-lived token", "reasonable timeframe", "iat and exp"),
        _CLOCK,
    ),
    (
        "invalid_grant",
        ("jwt signature",),
        "the key of the service account was deleted or replaced: make a new one",
    ),
    (
        "invalid_grant",
        ("invalid email or user id", "account not found"),
        "there is no such account: check the subject, which is the mail address of the "
        "user to send as",
    ),
    (
        "invalid_grant",
        ("invalid_rapt", "reauth"),
        "the Workspace wants the user to log in again (its session control)",
    ),
    (
        "unauthorized_client",
        ("client is unauthorized to retrieve", "any of the scopes requested"),
        "an administrator has to grant the service account domain-wide delegation for "
        "exactly the scope https://mail.google.com/",
    ),
    # Any authorization server.
    (
        "invalid_client",
        (),
        "check the client id and the client secret; the secret may have expired",
    ),
    (
        "invalid_grant",
        (),
        "the refresh token has expired or was revoked (a new password revokes it, too), "
        "or belongs to another client: the user has to log in again. While a Google app "
        "has the publishing status 'Testing', its refresh tokens end after 7 days",
    ),
    (
        "unauthorized_client",
        (),
        "this client may not use this grant: change that where the client is registered",
    ),
    ("unsupported_grant_type", (), "this endpoint has no such grant: check its URL"),
    ("invalid_scope", (), "check the scope: it is not known, or not allowed"),
    ("invalid_target", (), "check the scope and the resource: one is not known"),
    ("access_denied", (), "the user, or an administrator, did not allow it"),
    ("expired_token", (), "nobody entered the code in time: begin again"),
)

_ASSERTION = (
    "check the key of the service account (it may have been deleted), the subject, and "
    "the clock of this machine"
)

_AADSTS = pattern(r"aadsts\d+")

# The errors that a later request may not meet. RFC 6749 lists them for the authorization
# endpoint (section 4.1.2.1), and token endpoints send them, too.
_TEMPORARY = frozenset({"temporarily_unavailable", "server_error"})

LATER = "the authorization server cannot issue tokens now: try again later"

UNREACHABLE = (
    "see that this machine can reach the authorization server, directly or by the proxy "
    "in HTTPS_PROXY; check the URL of the token endpoint"
)

UNUSABLE = (
    "this is no token endpoint, or something between replied in its place: check its "
    "URL, and the proxy"
)

CERTIFICATE = (
    "the certificate of the authorization server was refused: if a private CA issued it, "
    "give cafile="
)


def is_temporary(status: int, error: str = "") -> bool:
    """Return whether the same request may succeed later.

    Args:
        status: the status code of HTTP.
        error: the ``error`` of the reply, if it has one.
    """
    return status >= 500 or status in (408, 429) or error in _TEMPORARY


def token_remedy(error: str, description: str, *, signed: bool = False) -> str:
    """Return the remedy for a refusal of the token endpoint.

    Args:
        error: the ``error`` of the reply.
        description: its ``error_description``; may be empty.
        signed: whether the request had a signed assertion (RFC 7523) and no refresh
            token.
    """
    text = description.lower()
    # A longer code may begin with a shorter one: AADSTS700082 with AADSTS70008.
    codes = set(_AADSTS.findall(text))
    for code, phrases, remedy in _ROWS:
        if code not in ("", error):
            continue
        if not phrases or any(
            phrase in (codes if _AADSTS.fullmatch(phrase) else text) for phrase in phrases
        ):
            general = not phrases and error == "invalid_grant"
            return _ASSERTION if signed and general else remedy
    return "the reason is given by the authorization server: see its documentation"
