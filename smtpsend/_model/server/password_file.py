"""A password in a file, which is read again for each new connection.

A file that a secret is mounted as changes when the secret is rotated: Kubernetes, Docker
and the agents of vaults replace it while the program runs.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from pathlib import Path

from smtpsend._model.address.domain import decoded
from smtpsend._model.shortage import raise_if_short
from smtpsend.errors import AuthError, ConfigError, Event, Phase


class FilePassword(str):
    """The text that a password file held when it was first read; a call reads it again.

    It is a str, so that ``Password.password`` can be compared and read as before.

    Attributes:
        path: the path of the file.
    """

    __slots__ = ("path",)

    path: str

    def __new__(cls, text: str, path: str = "") -> FilePassword:
        made = super().__new__(cls, text)
        made.path = path
        return made

    def __call__(self) -> str:
        """Read the file again.

        Raises:
            AuthError: it cannot be read, or holds no password; temporary, because a
                rotation may be replacing it at this moment.
        """
        why = "it is not UTF-8 text"
        try:
            password = password_in(Path(self.path).read_bytes())
        except OSError as error:
            password, why = None, error.strerror or "it is no file"
        if password == "":
            password, why = None, "it is empty"
        if password is None:
            # Raised outside of the handler, whose exception would be its context.
            raise AuthError(
                f"the password file {self.path} cannot be used: {why}",
                phase=Phase.AUTH,
                event=Event.AUTH_REFUSED,
                temporary=True,
                hint="nothing was sent; see that the file is there, and that this "
                "process may read it",
            )
        return password


def read_password_file(path: str, name: str) -> FilePassword:
    """Read a password file for the first time.

    Args:
        path: the path of the file.
        name: what names the file, for an error: a variable or an option. The path is not
            shown, because what is given as a path by mistake may be the password.

    Raises:
        ConfigError: the file cannot be read, or holds no text.
        ConnectError: this machine has no file descriptor left to read it; temporary.
    """
    why = "it is not UTF-8 text"
    try:
        password = password_in(Path(path).read_bytes())
    except OSError as error:
        raise_if_short(error, f"{name} cannot be read", Phase.CONFIG)
        password, why = None, error.strerror or "it is no file"
    except ValueError:
        password, why = None, "it is no path"
    if password is None:
        # Raised outside of the handlers, whose exceptions quote the path.
        raise ConfigError(f"{name} cannot be read: {why}")
    return FilePassword(password, path)


def password_in(content: bytes) -> str | None:
    """The password that a file holds; None if the file is not UTF-8 text.

    A byte order mark, which editors of Windows write, and one line end at the end are no
    part of it. The permissions of the file are not looked at: Docker and Kubernetes mount
    secrets readable by all, in containers in which there is nobody else.
    """
    text = decoded(content.removeprefix(BOM_UTF8))
    return None if text is None else text.removesuffix("\n").removesuffix("\r")
