"""The server of a command, and its credentials."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from smtpsend import OAuth2, Password, Server
from smtpsend._model.server.environment import (
    auth_from_env,
    proxy_from_env,
    variables,
    wants_tokens,
)
from smtpsend._model.server.server import server_of
from smtpsend._model.server.url import split, user_of
from smtpsend._model.shortage import raise_if_short
from smtpsend._model.tracebacks import hides_arguments
from smtpsend.cli.exits import Exit, Problem
from smtpsend.cli.terminal.output import printable
from smtpsend.errors import ConfigError, Phase


if TYPE_CHECKING:
    from smtpsend._model.server.password_file import FilePassword


@hides_arguments
def server_from(arguments: argparse.Namespace) -> Server:
    """The server that the arguments or the environment name.

    The credentials of the environment are used for the server of the environment only,
    except that with ``--user`` its password is used for any server. Its proxy is used for
    any server, too.

    Raises:
        Problem: there is no server or no password.
        ConfigError: a value cannot be used.
    """
    given = arguments.server
    server, named = (_from_environment(), None) if given is None else server_named(given)
    options: dict[str, Any] = {
        "cafile": arguments.cafile,
        "fingerprint": arguments.fingerprint,
        "tls_name": arguments.tls_name,
        # The proxy is the way out of this network, to whatever server.
        "proxy": arguments.proxy or proxy_from_env(os.environ.get("SMTP_PROXY")),
    }
    server = replace(server, **{name: v for name, v in options.items() if v is not None})
    if arguments.user is not None and named is not None:
        raise Problem(Exit.USAGE, "the URL has a user already: leave --user out")
    user = named if arguments.user is None else arguments.user
    if user is None:
        if arguments.password_file is not None:
            raise Problem(Exit.USAGE, "--password-file goes with --user")
        return server
    if arguments.password_file is None and not _password_is_set():
        token = _token(user, server.host)
        if token is not None:
            return replace(server, auth=token)
    password = _password(user, arguments.password_file, server.host)
    return replace(server, auth=password)


def _password_is_set() -> bool:
    names = ("SMTP_PASSWORD", "SMTP_PASSWORD_FILE")
    return any(os.environ.get(name) for name in names)


def _token(user: str, host: str) -> OAuth2 | None:
    """The login of a user by a token: of the environment, or as `smtpsend login` stored.

    Raises:
        AuthError: the stored login cannot be read.
    """
    if wants_tokens(os.environ):
        from smtpsend._model.server.oauth_environment import tokens_from_env

        env = {name: v for name, v in os.environ.items() if name.startswith("SMTP_OAUTH")}
        return tokens_from_env({**env, "SMTP_USERNAME": user})[1](host)
    from smtpsend.oauth import store

    if store.load(host, user) is None:
        return None
    return OAuth2(user, store.stored_login(host, user))


def server_named(given: str) -> tuple[Server, str | None]:
    """The server that an argument names, and the user that stands in its URL.

    Raises:
        ConfigError: it is neither a host name nor a URL.
    """
    if "://" not in given:
        return server_of(given), None
    user = user_of(split(given))
    if user is None:
        return server_of(given), None
    scheme, _, rest = given.partition("://")
    # A URL without a password is no server yet: the password is still to be found.
    return server_of(f"{scheme}://{rest.rpartition('@')[2]}"), user


def is_asked() -> bool:
    """Whether a person sits at standard input, who can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()


def _from_environment() -> Server:
    if not {"URL", "HOST", "PROVIDER"} & variables(os.environ).keys():
        raise Problem(
            Exit.USAGE,
            "no server is given: name it (a host name or a URL), or set SMTP_URL, "
            "SMTP_HOST or SMTP_PROVIDER",
        )
    return Server.from_env()


def _password(user: str, file: str | None, host: str) -> Password:
    if file is not None:
        return Password(user, _read(file))
    given = variables(os.environ)
    found: dict[str, str] = {
        name: given[name] for name in ("PASSWORD", "PASSWORD_FILE") if name in given
    }
    if found:
        password = auth_from_env({"USERNAME": user, **found})
        assert password is not None  # noqa: S101  # both parts are there
        return password
    if not is_asked():
        raise Problem(
            Exit.CONFIG,
            "no password: give --password-file, or set SMTP_PASSWORD or "
            "SMTP_PASSWORD_FILE (there is no terminal to ask at)",
        )
    import getpass  # it imports more than all other passwords need

    try:
        prompt = f"Password of {printable(user)} at {host}: "
        return Password(user, getpass.getpass(prompt))
    except EOFError:
        raise Problem(Exit.CONFIG, "no password was given") from None


def _read(file: str) -> FilePassword:
    why = "it is no path"
    try:
        from pathlib import Path

        from smtpsend._model.server.password_file import FilePassword, password_in

        password = password_in(Path(file).read_bytes())
    except OSError as error:
        raise_if_short(error, "the password file cannot be read", Phase.CONFIG)
        why = error.strerror or "it is no file"
    except ValueError:
        pass
    else:
        if password is None:
            raise ConfigError("the password file is not UTF-8 text")
        return FilePassword(password, file)
    raise Problem(Exit.NO_INPUT, f"the password file cannot be read: {why}")
