"""What a refused login means, by its reply: one table for hints, checks and the guide.

The hint of an `AuthError` and the advice of a check are made of it, and the OAuth2 guide
shows it.
"""

from __future__ import annotations

from smtpsend._values import NamedTuple
from smtpsend.errors import Reply


__all__ = ["PASSWORDS", "TABLE", "TOKENS", "RefusedLogin", "refused_login"]

_MICROSOFT = (
    "https://techcommunity.microsoft.com/blog/exchange/"
    "exchange-online-to-retire-basic-auth-for-client-submission-smtp-auth/4114750"
)
_GOOGLE = "https://support.google.com/a/answer/3726730"
_USERS = "second-hand, from users of Microsoft 365"


class RefusedLogin(NamedTuple):
    """One kind of refusal.

    Attributes:
        provider: whose servers are known to reply like this.
        reply: the reply, as the guide shows it.
        enhanced: the enhanced status code of the reply (RFC 3463).
        phrases: texts in lower case, of which the reply holds one; empty for a row that
            the code alone decides.
        cause: what it means.
        passwords: what to do if a password was refused.
        tokens: what to do if an OAuth 2.0 token was refused.
        source: where this is documented.
    """

    provider: str
    reply: str
    enhanced: str
    phrases: tuple[str, ...]
    cause: str
    passwords: str
    tokens: str
    source: str

    def fits(self, reply: Reply, text: str) -> bool:
        """Return whether `reply` is of this kind; `text` is its text in lower case."""
        if self.phrases:
            return any(phrase in text for phrase in self.phrases)
        return reply.enhanced == self.enhanced


TOKENS = (
    "check that the token is a current one, of this user, and that its scopes (the "
    "rights that it was issued for) include sending mail by SMTP; whoever runs the "
    "account may have to turn SMTP AUTH on"
)
"""What to do about a refused token of which nothing else is known."""

PASSWORDS = (
    "check user name (often the whole mail address) and password; many providers "
    "want an app password or OAuth2 in place of the account's password"
)
"""What to do about a refused password of which nothing else is known."""

_TURN_ON = (
    "SMTP AUTH is off: an administrator has to turn it on, for the mailbox or for the "
    "whole organisation"
)

_NO_TLS = (
    "the server sees no TLS, although this connection has it: something before the "
    "server, such as a proxy, ends TLS; ask whoever runs it"
)

# The first row that fits is used. A row without phrases comes after those with phrases,
# since it is the rest of its code.
TABLE = (
    RefusedLogin(
        provider="Microsoft 365",
        reply="550 5.7.30 Basic authentication is not supported for Client Submission",
        enhanced="5.7.30",
        phrases=("5.7.30", "not supported for client submission"),
        cause="Microsoft 365 accepts no passwords any more",
        passwords="the provider accepts no passwords: use OAuth2(...) in place of one",
        tokens=TOKENS,
        source=_MICROSOFT,
    ),
    RefusedLogin(
        provider="Microsoft 365",
        reply="535 5.7.139 ... basic authentication is disabled",
        enhanced="5.7.139",
        phrases=("basic authentication is disabled",),
        cause="the server accepts no password for this account",
        passwords="the provider accepts no password for this account: use OAuth2(...) in "
        "place of one",
        tokens=TOKENS,
        source=_USERS,
    ),
    RefusedLogin(
        provider="Microsoft 365",
        reply="535 5.7.139 ... SmtpClientAuthentication is disabled for the Tenant",
        enhanced="5.7.139",
        phrases=("smtpclientauthentication is disabled",),
        cause="SMTP AUTH is off, for the mailbox or for the whole organisation",
        passwords=_TURN_ON,
        tokens=_TURN_ON,
        source="https://aka.ms/smtp_auth_disabled, which the reply names",
    ),
    RefusedLogin(
        provider="Microsoft 365",
        reply="535 5.7.139 ... locked by your organization's security defaults policy",
        enhanced="5.7.139",
        phrases=("security defaults",),
        cause="the security defaults of the organisation block the login",
        passwords="the security defaults of the organisation block passwords: use "
        "OAuth2(...) in place of one, or let an administrator replace the security "
        "defaults by a policy of Conditional Access",
        tokens="the security defaults of the organisation block this login: let an "
        "administrator replace them by a policy of Conditional Access",
        source=_USERS,
    ),
    RefusedLogin(
        provider="Microsoft 365",
        reply="535 5.7.139 ... the user credentials were incorrect",
        enhanced="5.7.139",
        phrases=("user credentials were incorrect",),
        cause="the user name or the password is wrong",
        passwords="check user name (the whole mail address) and password",
        tokens=TOKENS,
        source=_USERS,
    ),
    RefusedLogin(
        provider="Microsoft 365",
        reply="535 5.7.139 with another text",
        enhanced="5.7.139",
        phrases=(),
        cause="a rule of the organisation forbids this login",
        passwords="a rule of the organisation forbids this login, and the reply says "
        "which: ask its administrator, or use OAuth2(...) in place of a password",
        tokens="a rule of the organisation forbids this login, and the reply says which: "
        "ask its administrator",
        source=_USERS,
    ),
    RefusedLogin(
        provider="Microsoft 365, Exchange",
        reply="535 5.7.3 Authentication unsuccessful",
        enhanced="5.7.3",
        phrases=(),
        cause="a password is wrong or not allowed; or the application of a token has no "
        "service principal, or no right to the mailbox; or the scope is wrong",
        passwords="check user name (the whole mail address) and password, and that SMTP "
        "AUTH is on for the mailbox",
        tokens="check the scope of the token, and that its application has a service "
        "principal in Exchange Online and the right to use the mailbox",
        source="second-hand; the steps are Microsoft's, see above",
    ),
    RefusedLogin(
        provider="Gmail and others",
        reply="534 5.7.9 Application-specific password required",
        enhanced="5.7.9",
        phrases=("app password", "application-specific", "5.7.9 "),
        cause="the account has two-factor sign-in, and its password is not enough",
        passwords="the provider wants an app password, made in the settings of the "
        "account",
        tokens=TOKENS,
        source=_GOOGLE,
    ),
    RefusedLogin(
        provider="Gmail",
        reply="534 5.7.14 Please log in through your web browser",
        enhanced="5.7.14",
        phrases=("your web browser",),
        cause="Google wants to see the owner of the account first",
        passwords="sign in to the account with a web browser once, from this network if "
        "possible, or use an app password",
        tokens="sign in to the account with a web browser once, from this network if "
        "possible",
        source=_GOOGLE,
    ),
    RefusedLogin(
        provider="Gmail",
        reply="535 5.7.8 Username and Password not accepted",
        enhanced="5.7.8",
        phrases=("username and password not accepted", "p=badcredentials"),
        cause="the password is wrong, or it is the account's own and no app password; or "
        "the token has the wrong scope, or is of another account",
        passwords="check the user name (the whole mail address), and give an app "
        "password: Gmail accepts the account's own password no more",
        tokens="check that the token has the scope https://mail.google.com/, and that "
        "the user name is the address of its account",
        source="https://support.google.com/mail/?p=BadCredentials, which the reply names",
    ),
    RefusedLogin(
        provider="any",
        reply="530 5.7.0 Must issue a STARTTLS command first; 538 5.7.11 Encryption "
        "required",
        enhanced="5.7.11",
        phrases=("starttls command first", "encryption required", "5.7.11 "),
        cause="the server sees no TLS: the connection has none, or TLS ends at a proxy "
        "before it; many servers offer AUTH inside TLS only",
        passwords=_NO_TLS,
        tokens=_NO_TLS,
        source="RFC 3207 section 4, RFC 4954 section 6",
    ),
)


def refused_login(reply: Reply) -> RefusedLogin | None:
    """Return the row of the table that a refused login belongs to; None if none does."""
    text = f"{reply.enhanced or ''} {reply.text}".lower()
    return next((row for row in TABLE if row.fits(reply, text)), None)
