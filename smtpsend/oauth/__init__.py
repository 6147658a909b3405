"""OAuth 2.0 tokens for `OAuth2`: each grant asks for them, caches them and renews them.

::

    from smtpsend import OAuth2, Server
    from smtpsend.oauth import ClientCredentials

    token = ClientCredentials.microsoft("contoso.example", "client id", "client secret")
    server = Server("smtp.office365.com", OAuth2("ann@example.org", token))

It needs the extra ``oauth``: ``pip install 'smtpsend[oauth]'``.
"""

from smtpsend.oauth.browser import BrowserLogin
from smtpsend.oauth.client_credentials import ClientCredentials
from smtpsend.oauth.device import DeviceLogin, DevicePrompt
from smtpsend.oauth.grant import Grant
from smtpsend.oauth.refresh_token import RefreshToken
from smtpsend.oauth.secret_file import SecretFile
from smtpsend.oauth.service_account import ServiceAccount
from smtpsend.oauth.store import stored_login


__all__ = [
    "BrowserLogin",
    "ClientCredentials",
    "DeviceLogin",
    "DevicePrompt",
    "Grant",
    "RefreshToken",
    "SecretFile",
    "ServiceAccount",
    "stored_login",
]
