"""``smtpsend login``: obtain a refresh token, and store it for the other commands."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smtpsend.cli.credentials import is_asked, server_named
from smtpsend.cli.exits import Exit, Problem
from smtpsend.cli.terminal.output import OUT
from smtpsend.errors import AuthError, ConfigError


if TYPE_CHECKING:
    from smtpsend.oauth.cache import Issued


_GOOGLE = ("smtp.gmail.com", "smtp-relay.gmail.com")
_MICROSOFT = {"smtp.office365.com": "organizations", "smtp-mail.outlook.com": "consumers"}


def login(arguments: argparse.Namespace) -> Exit:
    """Log in, and store the login."""
    from smtpsend.oauth import store

    server, named = server_named(arguments.server)
    if arguments.user is not None and named is not None:
        raise Problem(Exit.USAGE, "the URL has a user already: leave --user out")
    user = named or arguments.user
    if user is None:
        raise Problem(Exit.USAGE, "name the account: --user NAME")
    facts = _endpoints(arguments, server.host)
    secret = _content(arguments.client_secret_file, "the client secret")
    refresh_token = _given(arguments)
    if refresh_token is None:
        issued = _interactive(arguments, facts, secret)
        refresh_token = issued.refresh_token
    if refresh_token is None:
        raise AuthError(
            "the authorization server issued no refresh token",
            hint="it may want another scope for one, such as offline_access: --scope",
        )
    # Without a scope, a refresh token stands for all that the user has allowed (RFC 6749
    # section 6); only Microsoft wants it again.
    repeated = facts["scope"] if facts["microsoft"] else None
    found = store.Login(
        server.host,
        user,
        facts["token_url"],
        arguments.client_id,
        refresh_token,
        secret,
        repeated or (arguments.scope if arguments.refresh_token else None),
        arguments.cafile,
    )
    if arguments.refresh_token:
        refresh_token = _tried(found)
        found = store.Login(**{**vars(found), "refresh_token": refresh_token})
    try:
        where = store.save(found, keyring=not arguments.no_keyring)
    except OSError as error:
        why = error.strerror or "it is no file"
        raise Problem(Exit.CANNOT_WRITE, f"the login cannot be stored: {why}") from None
    OUT.line(f"Logged in. The login of {user} at {server.host} is stored in {where}.")
    OUT.line(f"Try it: smtpsend check {arguments.server} --user {user}")
    return Exit.OK


def _endpoints(arguments: argparse.Namespace, host: str) -> dict[str, Any]:
    """The endpoints and the scope: those of the provider, where the options name none."""
    from smtpsend.oauth import grant

    tenant = arguments.tenant or _MICROSOFT.get(host.lower())
    facts: dict[str, Any] = dict.fromkeys(("token_url", "device_url", "scope"))
    facts |= {"browser_url": None, "microsoft": False}
    if arguments.token_url is None and host.lower() in _GOOGLE:
        facts["token_url"], facts["scope"] = grant.GOOGLE_URL, grant.GOOGLE_SCOPE
        facts["browser_url"] = grant.GOOGLE_BROWSER_URL
    elif arguments.token_url is None and tenant:
        facts["token_url"] = grant.microsoft_url(tenant)
        facts["device_url"] = grant.microsoft_url(tenant, "devicecode")
        facts["scope"], facts["microsoft"] = grant.MICROSOFT_USER_SCOPE, True
    for name in ("token_url", "device_url", "browser_url", "scope"):
        facts[name] = getattr(arguments, name) or facts[name]
    if facts["token_url"] is None:
        raise Problem(
            Exit.USAGE,
            "the authorization server of this host is not known: give --tenant for "
            "Microsoft 365, or --token-url with --device-url or --browser-url",
        )
    return facts


def _given(arguments: argparse.Namespace) -> str | None:
    """The refresh token that the user has already; None if there is none."""
    if arguments.refresh_token_file is not None:
        arguments.refresh_token = True
        return _content(arguments.refresh_token_file, "the refresh token")
    if not arguments.refresh_token:
        return None
    if not is_asked():
        raise Problem(
            Exit.USAGE,
            "there is no terminal to ask for the refresh token at: give "
            "--refresh-token-file",
        )
    try:
        return getpass.getpass("Refresh token: ")
    except EOFError:
        raise Problem(Exit.CONFIG, "no refresh token was given") from None


def _interactive(
    arguments: argparse.Namespace, facts: dict[str, Any], secret: str | None
) -> Issued:
    from smtpsend.oauth import BrowserLogin, DeviceLogin

    if facts["scope"] is None:
        raise Problem(Exit.USAGE, "name what to ask for: --scope")
    client, scope, cafile = arguments.client_id, facts["scope"], arguments.cafile
    if facts["device_url"]:
        device = DeviceLogin(
            facts["device_url"], facts["token_url"], client, scope, secret, cafile=cafile
        )
        prompt = device.begin()
        OUT.line(f"Open {prompt.uri} in any browser, and enter the code {prompt.code}")
        OUT.line(f"Waiting for at most {prompt.expires_in / 60:.0f} minutes ...")
        return device.finish(prompt)
    if facts["browser_url"]:
        google = facts["browser_url"].startswith("https://accounts.google.com/")
        more = (("access_type", "offline"), ("prompt", "consent")) if google else ()
        browser = BrowserLogin(
            facts["browser_url"],
            facts["token_url"],
            client,
            scope,
            secret,
            parameters=more,
            cafile=cafile,
        )
        return browser.run(_show)
    raise Problem(Exit.USAGE, "give --device-url, --browser-url or --refresh-token")


def _show(url: str) -> None:
    OUT.line("Open this page in a browser on this machine, and log in:")
    OUT.line(url)


def _tried(found: Any) -> str:
    """Ask for a token by a refresh token that the user typed; return the present one."""
    from smtpsend.oauth import RefreshToken

    rotated: list[str] = []
    RefreshToken(
        found.token_url,
        found.client_id,
        found.refresh_token,
        found.client_secret,
        found.scope,
        on_rotation=rotated.append,
        cafile=found.cafile,
    )()
    return rotated[-1] if rotated else str(found.refresh_token)


def _content(file: str | None, what: str) -> str | None:
    if file is None:
        return None
    from smtpsend.oauth import SecretFile

    try:
        return SecretFile(Path(file))()
    except (AuthError, ConfigError) as error:
        text = f"{what} cannot be used: {error.message}"
        raise Problem(Exit.NO_INPUT, text) from None
