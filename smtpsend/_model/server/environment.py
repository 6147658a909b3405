"""Servers from environment variables. No error quotes the value of a variable."""

from __future__ import annotations

from collections.abc import Mapping

from smtpsend._model.server.credentials import Password
from smtpsend._model.server.password_file import read_password_file
from smtpsend._model.tracebacks import hides_arguments
from smtpsend.errors import ConfigError


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
        password = read_password_file(file, "SMTP_PASSWORD_FILE")
    if (found.get("USERNAME") is None) != (password is None):
        raise ConfigError("SMTP_USERNAME and the password go together: set both or none")
    if password is None:
        return None
    return Password(found["USERNAME"], password)
