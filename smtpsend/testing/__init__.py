"""Help for the tests of programs that send mail: an outbox, and a server on loopback.

`capture` needs no network and no extra: every send in the process goes to an `Outbox`.
`local_server` is a real server with TLS and login on loopback (extra ``testing``). Both
are also pytest fixtures: ``smtpsend_outbox`` and ``smtpsend_server``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from smtpsend.testing._capture import capture, outbox
    from smtpsend.testing._outbox import Captured, Outbox
    from smtpsend.testing.server import LocalServer

__all__ = ["Captured", "Outbox", "capture", "local_server", "outbox"]

_HOMES = {"Captured": "_outbox", "Outbox": "_outbox", "capture": "_capture"}
_HOMES["outbox"] = "_capture"


def __getattr__(name: str) -> Any:
    # Imported on first use, since the pytest plugin loads this package in every run.
    if name in _HOMES:
        return getattr(import_module(f"smtpsend.testing.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def local_server(**options: Any) -> LocalServer:
    """Make a submission server on loopback with TLS and login: a context manager.

    ::

        with local_server() as local:
            smtpsend.send(message, local.server())
            assert local.messages[0].recipients == ("bob@example.net",)

    Args:
        options: the keyword arguments of `LocalServer`.

    Raises:
        ImportError: the extra ``testing`` is not installed, or what it brings cannot be
            imported here, such as cryptography in a subinterpreter.
    """
    try:
        from smtpsend.testing.server import LocalServer
    except ModuleNotFoundError as error:
        if not is_missing(error):
            raise
        raise ImportError(
            "local_server() needs: pip install 'smtpsend[testing]'", name=error.name
        ) from error
    return LocalServer(**options)


_OF_THE_EXTRA = {"aiosmtpd", "trustme", "attr", "cryptography", "idna", "public"}


def is_missing(error: ImportError) -> bool:
    """Whether a module of the extra ``testing`` is not installed.

    One that is installed and cannot be imported is another matter, with another cause.
    """
    name = (error.name or "").partition(".")[0]
    return isinstance(error, ModuleNotFoundError) and name in _OF_THE_EXTRA
