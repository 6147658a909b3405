"""`SecretFile`: a secret in a file, read again each time."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from smtpsend._model.server.password_file import password_in
from smtpsend._model.shortage import HINT, shortage
from smtpsend._model.tracebacks import hides_arguments
from smtpsend.errors import ConfigError
from smtpsend.oauth.endpoint.failures import Failure


@dataclass(frozen=True)
class SecretFile:
    """A function that returns the secret in a file, as Docker and Kubernetes mount them.

    The file is read at each call, so that a secret that was replaced is found. It is
    UTF-8; a byte order mark and one line end at its end are dropped.

    Args:
        path: the path of the file.

    Raises:
        ConfigError: `path` is no path.
    """

    path: str | os.PathLike[str]

    def __post_init__(self) -> None:
        usable = isinstance(self.path, str | os.PathLike)
        if not usable or not os.fspath(self.path) or "\0" in str(self.path):
            raise ConfigError("path must be the path of a file")

    @hides_arguments
    def __call__(self) -> str:
        """Return the secret.

        Raises:
            AuthError: the file cannot be read (temporary), or is not UTF-8 text.
        """
        return read_secret(os.fspath(self.path), "the secret file")

    @hides_arguments
    def replace(self, secret: str) -> None:
        """Write another secret into the file, in one step; only its owner can read it.

        Raises:
            OSError: it cannot be written.
        """
        path = Path(self.path).resolve()  # a symbolic link stays one
        replace_file(path, f"{secret}\n")


def replace_file(path: Path, text: str) -> None:
    """Write a file that only its owner can read (0600), in one step.

    Raises:
        OSError: it cannot be written; the file of before is as it was.
    """
    # `mkstemp` makes the file with 0600.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def read_secret(path: str, what: str) -> str:
    """Return the text of a file.

    Args:
        path: the path of the file.
        what: what the file is, for the error.

    Raises:
        AuthError: the file cannot be read (temporary, because it may be replaced just
            now), or is not UTF-8 text. It names the path.
    """
    shown = path if path.isprintable() else ascii(path)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        short = shortage(error)
        why = short or error.strerror or "it is no file"
        hint = HINT if short else "see that the file is there, and may be read"
        text = f"{what} cannot be read: {shown}: {why}"
        raise Failure(text, hint, temporary=True).error() from None
    secret = password_in(content)
    if not secret:
        why = "is empty" if secret == "" else "is not UTF-8 text"
        raise Failure(f"{what} {why}: {shown}", "write the secret into it").error()
    return secret
