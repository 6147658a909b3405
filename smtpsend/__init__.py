"""Send mail to a submission server: verified TLS, port fallback, honest errors."""

import sys as _sys
import typing as _typing


__all__ = [
    "AsyncClient",
    "AuthError",
    "CertificateError",
    "Client",
    "ConfigError",
    "ConnectError",
    "ConnectionLost",
    "Delivery",
    "DeliveryUnknown",
    "External",
    "Method",
    "OAuth2",
    "Outcome",
    "Password",
    "Policy",
    "Prepared",
    "Receipt",
    "RecipientsRefused",
    "Rejected",
    "Report",
    "SendError",
    "Server",
    "TLSError",
    "compose",
    "diagnose",
    "diagnose_async",
    "prepare",
    "send",
    "send_async",
]

if _typing.TYPE_CHECKING:
    # Type checkers see these names and no `__getattr__`, so that a misspelt one is an
    # error for them.
    from smtpsend import check as check
    from smtpsend import errors as errors
    from smtpsend import oauth as oauth
    from smtpsend import prepared as prepared
    from smtpsend import testing as testing
    from smtpsend._client.aio import AsyncClient
    from smtpsend._client.diagnosis.examination import diagnose, diagnose_async
    from smtpsend._client.send import send, send_async
    from smtpsend._client.submission import prepare
    from smtpsend._client.sync import Client
    from smtpsend._model.delivery import Delivery
    from smtpsend._model.diagnosis.report import Report
    from smtpsend._model.message.compose import compose
    from smtpsend._model.message.prepared import Prepared
    from smtpsend._model.policy.policy import Method, Policy
    from smtpsend._model.receipt import Outcome, Receipt
    from smtpsend._model.server.credentials import External, OAuth2, Password
    from smtpsend._model.server.server import Server
    from smtpsend.errors import (
        AuthError,
        CertificateError,
        ConfigError,
        ConnectError,
        ConnectionLost,
        DeliveryUnknown,
        RecipientsRefused,
        Rejected,
        SendError,
        TLSError,
    )

    __version__: str
else:
    # Each name is imported when it is first used (PEP 562), so that a program that may
    # never send a mail does not pay for it when it starts.
    _HOMES = {
        "_client.aio": ("AsyncClient",),
        "_client.diagnosis.examination": ("diagnose", "diagnose_async"),
        "_client.send": ("send", "send_async"),
        "_client.submission": ("prepare",),
        "_client.sync": ("Client",),
        "_model.delivery": ("Delivery",),
        "_model.diagnosis.report": ("Report",),
        "_model.message.compose": ("compose",),
        "_model.message.prepared": ("Prepared",),
        "_model.policy.policy": ("Method", "Policy"),
        "_model.receipt": ("Outcome", "Receipt"),
        "_model.server.credentials": ("External", "OAuth2", "Password"),
        "_model.server.server": ("Server",),
    }
    _HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
    _MODULES = ("check", "errors", "oauth", "prepared", "testing")

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return _module(name)
        if name == "__version__":
            return _version()
        if name not in __all__:
            raise AttributeError(f"module 'smtpsend' has no attribute {name!r}")
        # What has no other home is a class of the error tree.
        home = _HOME_OF.get(name, "errors")
        value = getattr(_module(home), name)
        globals()[name] = value
        return value

    def _module(path: str) -> object:
        if not _sys.is_finalizing():
            from importlib import import_module

            return import_module(f"smtpsend.{path}")
        # Nothing can be imported any more; what was imported before can still be found.
        head, _, rest = path.partition(".")
        found = globals().get(head)
        for part in filter(None, rest.split(".")):
            found = getattr(found, part, None)
        if found is None:
            raise RuntimeError(
                f"the interpreter is ending, and smtpsend.{path}, which was not used "
                "before, cannot be imported any more"
            )
        return found

    def _version() -> str:
        # Read on demand: importlib.metadata costs more than all of this package.
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("smtpsend")
        except PackageNotFoundError:  # a copy of the source that was never installed
            return "unknown"

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "__version__"})
